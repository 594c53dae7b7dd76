"""When the next message of an agency is read and used, so that what it sends in vain or at once holds up no other.

To read, copy and check a message holds up everybody, also if it is refused then. So before a message is read, and again
before it is used:

1. The agency has paid for what was refused. A refused call counts 1, a refused record of a batch a tenth, an answer to
   a delivery that never was a hundredth, and each ``BYTES_OF_ONE`` bytes of refused messages 1 more. An agency has
   ``refusals_per_second`` of them. Above that its messages wait, up to ``MOST_WAIT_SECONDS``. While something counts
   against it, what is not judged yet counts as if it were refused. So messages of many calls at the same time cost no
   more than those of one. A call that its client cancels counts too, beyond what a link that breaks can cancel. A
   question about a position that is not there, or not yet, counts a tenth. A call over a quota of calls waits as well,
   before it is refused.
2. Its rates of records and bytes have room. What is not read is held back at the sender, by the transport.
3. Of large messages that are not judged yet, it has at most ``MOST_LARGE_BYTES``, or one. What was read and waits is
   kept up to ``MOST_WAITING_BYTES``.

Each service has an account of its own. So an agency whose records are refused can still acknowledge deliveries. And a
call of which something was accepted and nothing refused goes on with messages that are not large: what one program of
an agency does wrong holds up no stream of another.
They hold for each agency. There is no bound over all: one agency could use it up for the others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec, TypeVar

from broker.core.errors import Internal, LogError, PositionUnknown, QuotaExceeded, Unavailable
from broker.services.accounts import Account
from broker.services.buckets import Bucket
from broker.services.slots import Slots

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from broker.core.errors import CaseExchangeError
    from broker.core.quota import QuotaLimits
    from broker.ports import Clock

_P = ParamSpec("_P")
_T = TypeVar("_T")
BYTES_OF_ONE: Final = 100_000
"""So many refused bytes count as much as a refused call. Amounts below are in such bytes."""
RECORD_BYTES: Final = BYTES_OF_ONE // 10
"""What a refused record of a batch counts. Most of a call's cost is not in its records."""
ANSWER_BYTES: Final = BYTES_OF_ONE // 100
"""What an answer to a delivery counts that was never made to the stream. A client that connected again sends some."""
AT_ONCE_SECONDS: Final = 4.0
"""What may be refused in so many seconds may be refused at once."""
CANCELLED_SECONDS: Final = 60.0
"""As much may be cancelled at once as may be refused in so many seconds: a link that breaks cancels all calls on it."""
MOST_WAIT_SECONDS: Final = 30.0
"""The longest wait for what was refused."""
LARGE_BYTES: Final = 256 << 10
"""A message of more bytes is large."""
MOST_LARGE_BYTES: Final = 16 << 20
"""Large messages of one agency at one service that are not judged yet."""

MOST_WAITING_BYTES: Final = 16 << 20
"""Messages of one agency at one service that were read and wait. More are refused."""

_NOBODYS_FAULT: Final = (Unavailable, LogError, Internal, PositionUnknown)
"""A failure of the broker's own, or "not yet": who asks for a proof cannot know when a checkpoint covers a record."""


class _Message(NamedTuple):
    """A message that is not judged. ``held``: what it counts until then. ``large``: its bytes, 0 if it is small."""

    size: int
    held: int
    large: int


def counts(error: CaseExchangeError) -> bool:
    """Whether a refusal counts against the caller: it could know better."""
    return isinstance(error, QuotaExceeded) or not isinstance(error, _NOBODYS_FAULT)


class Turns:
    """The accounts of all agencies in one process. For one event loop.

    Args:
        limits: the quotas of an agency.
        clock: for the rate of refusals.
        rate_seconds: how long an agency has to wait because of its other rates.
    """

    def __init__(
        self, limits: Callable[[str], QuotaLimits], clock: Clock, rate_seconds: Callable[[str], float]
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._rate_seconds = rate_seconds
        self._accounts: dict[tuple[str, str], Account] = {}
        self.slots: Final = Slots()
        """Where messages are examined and records are checked."""

    def of(self, agency: str, service: str, *, publishes: bool) -> Turn:
        """The turns of a call that begins. ``publishes``: it takes records, so their rates hold for it."""
        account = self._accounts.setdefault((agency, service), Account())
        return Turn(self, account, agency, publishes=publishes)

    def owed_seconds(self, account: Account) -> float:
        """How long it takes until the agency has paid for what was refused, and for what it cancelled."""
        now, buckets = self._clock.monotonic(), (account.bucket, account.cancelled)
        return max((bucket.wait_seconds(now) for bucket in buckets if bucket is not None), default=0.0)

    def rate_seconds(self, agency: str) -> float:
        """How long the agency's next records have to wait because of its rates."""
        return self._rate_seconds(agency)

    def charge(self, account: Account, agency: str, amount: int) -> None:
        """So much was refused."""
        account.bucket = self._taken(account.bucket, agency, amount, AT_ONCE_SECONDS)

    def charge_cancelled(self, account: Account, agency: str, amount: int) -> None:
        """So much was cancelled by its client."""
        account.cancelled = self._taken(account.cancelled, agency, amount, CANCELLED_SECONDS)

    def _taken(self, bucket: Bucket | None, agency: str, amount: int, room_seconds: float) -> Bucket | None:
        rate = self._limits(agency).refusals_per_second * BYTES_OF_ONE
        if not rate:
            return None
        now = self._clock.monotonic()
        if bucket is None or bucket.rate != rate:
            bucket = Bucket(rate, now, room_seconds=room_seconds, most_seconds=MOST_WAIT_SECONDS)
        bucket.take(amount, now)
        return bucket

    def until(self, account: Account, amount: int) -> float:
        """How long it takes until so much may be sent in vain, or nothing counts against the agency any more."""
        left, bucket = self.left(account), account.bucket
        if left is None or bucket is None:
            return 0.0
        return max(0.0, (min(amount, bucket.room) - left) / bucket.rate)

    def left(self, account: Account) -> float | None:
        """How much the agency may still send in vain. None: nothing counts against it."""
        bucket = account.bucket
        if bucket is None:
            return None
        left = bucket.level(self._clock.monotonic())
        if left < bucket.room:
            return left
        account.bucket = None
        return None


class Turn:
    """The messages of one call, in their order. Close it when the call ends."""

    def __init__(self, turns: Turns, account: Account, agency: str, *, publishes: bool) -> None:
        self._turns = turns
        self._account = account
        self._agency = agency
        self._publishes = publishes
        self._messages: deque[_Message] = deque()
        self._accepted = False
        self._refused = False

    async def to_read(self) -> None:
        """Wait until the next message may be read."""
        if not self._in_good_order:
            await self._until_paid(self._account.reading)
        while (seconds := self._rate_seconds()) > 0:
            await self._account.change_within(seconds)

    async def to_refuse(self) -> None:
        """Wait until the call, which is over a quota, may be refused. Refused at once, it would come again at once."""
        await self._until_paid(self._account.refusing)

    async def to_use(self, size: int) -> None:
        """A message of so many bytes was read. Wait until it may be parsed and checked. It is not judged yet.

        Raises:
            QuotaExceeded: too much of the agency waits already.
        """
        account, large = self._account, size if size > LARGE_BYTES else 0
        if self._in_good_order and not large:
            while (seconds := self._rate_seconds()) > 0:
                await account.change_within(seconds)
        elif large or account.lines[False].locked() or self._turns.left(account) is not None or self._rate_seconds():
            with self._waiting(size):
                async with account.lines[large > 0]:
                    while (wait := self._wait_seconds(large)) != 0:
                        await account.change_within(wait)
        held = 0 if self._turns.left(account) is None else BYTES_OF_ONE + size
        account.held += held
        account.large += large
        self._messages.append(_Message(size, held, large))

    def judged(self, messages: int = 1, refused: int = 0, refused_bytes: int = 0) -> None:
        """The oldest messages of the call are judged, with so many refused records."""
        for _ in range(min(messages, len(self._messages))):
            self._let_go(self._messages.popleft())
        self._accepted = True
        if refused:
            self._refused = True
            self._charge(refused * RECORD_BYTES + refused_bytes)

    def in_vain(self, answers: int) -> None:
        """A stream sent so many answers to nothing that it was handed.

        They end its good order only if the agency has sent more in vain than may be at once. So what an honest client
        answers after it connected again, or twice, holds up nothing.
        """
        if answers:
            self._charge(answers * ANSWER_BYTES)
            self._refused = self._refused or self._turns.owed_seconds(self._account) > 0

    def refused(self, error: CaseExchangeError) -> None:
        """The call is refused. This counts, with its messages that are not judged, if the caller could know better."""
        if counts(error):
            # To refuse what is over a quota costs little, and an honest agency may meet it.
            self._charge(BYTES_OF_ONE + (0 if isinstance(error, QuotaExceeded) else self._unjudged))
        elif isinstance(error, PositionUnknown):
            self._charge(RECORD_BYTES)
        self.close()

    def cancelled(self) -> None:
        """Its client cancelled the call, or its link broke. Beyond what a link can break, this counts."""
        self._turns.charge_cancelled(self._account, self._agency, RECORD_BYTES + self._unjudged)
        self.close()

    async def in_thread(self, work: Callable[_P, _T], *arguments: _P.args, **named: _P.kwargs) -> _T:
        """Do something for the call in a thread, when its agency has a slot. See ``Slots.run``."""
        return await self._turns.slots.run(self._agency, work, *arguments, **named)

    def close(self) -> None:
        """The call has ended. Idempotent."""
        while self._messages:
            self._let_go(self._messages.popleft())

    def _wait_seconds(self, large: int) -> float | None:
        """How long a message has to wait. None: until something changes."""
        account = self._account
        seconds = max(self._turns.owed_seconds(account), self._rate_seconds())
        if seconds > 0:
            return seconds
        left = self._turns.left(account)
        if left is not None and account.held and account.held > left:
            # It also ends when what is held is judged.
            return self._turns.until(account, account.held)
        if large and account.large and account.large + large > MOST_LARGE_BYTES:
            return None
        return 0.0

    @contextlib.contextmanager
    def _waiting(self, size: int) -> Iterator[None]:
        account = self._account
        if account.waiting and account.waiting + size > MOST_WAITING_BYTES:
            message = "too many bytes of the agency's messages wait already"
            raise QuotaExceeded(message, quota="bytes that wait", retry_after_ms=str(int(MOST_WAIT_SECONDS * 1000)))
        account.waiting += size
        try:
            yield
        finally:
            account.waiting -= size

    @property
    def _in_good_order(self) -> bool:
        return self._accepted and not self._refused

    @property
    def _unjudged(self) -> int:
        return sum(message.size for message in self._messages)

    async def _until_paid(self, line: asyncio.Lock) -> None:
        """Wait until the agency has paid, behind its other calls that wait. So they do not all go on together then."""
        if not self._turns.owed_seconds(self._account):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MOST_WAIT_SECONDS), line:
                while (seconds := self._turns.owed_seconds(self._account)) > 0:
                    await self._account.change_within(seconds)

    def _rate_seconds(self) -> float:
        return self._turns.rate_seconds(self._agency) if self._publishes else 0.0

    def _charge(self, amount: int) -> None:
        self._turns.charge(self._account, self._agency, amount)

    def _let_go(self, message: _Message) -> None:
        self._account.held -= message.held
        self._account.large -= message.large
        if message.held or message.large:
            self._account.change()
