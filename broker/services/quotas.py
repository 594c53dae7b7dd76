"""Quotas: how much of one broker process an agency may use at a time, so that none can stop the others.

They hold for each process. What is over a quota is refused with QuotaExceeded, which says when to try again. A record
that was refused was not appended, so nothing is lost.
"""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

from broker.core.errors import DirectoryUnavailable, QuotaExceeded
from broker.core.leasing.terms import Room
from broker.services.buckets import Bucket
from broker.services.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from broker.core.quota import QuotaLimits
    from broker.ports import Clock, DirectoryInForce
    from broker.services.turns import Turn

_AGAIN_SECONDS: Final = 1.0
"""When to try again if only the end of something else makes room."""


def limits_in_force(default: QuotaLimits, directory: DirectoryInForce) -> Callable[[str], QuotaLimits]:
    """The quotas of an agency now: what the directory gives it, and else the default of this process."""

    def of(agency: str) -> QuotaLimits:
        try:
            listed = directory.current().agencies.get(agency)
        except DirectoryUnavailable:
            # Whoever needs the directory is refused for that. The others have what the process gives to all.
            return default
        return default if listed is None else default.replaced(listed.limits)

    return of


class Quotas:
    """What each agency uses now. For one event loop.

    Args:
        limits: the quotas of an agency. They may change at any time, and what is under way is not ended by this.
        clock: for the rates.
    """

    def __init__(self, limits: Callable[[str], QuotaLimits], clock: Clock) -> None:
        self._limits = limits
        self._clock = clock
        self._calls: Counter[str] = Counter()
        self._over: Counter[str] = Counter()
        self._connections: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._long: set[str] = set()
        self._subscriptions: Counter[str] = Counter()
        self._creating: Counter[str] = Counter()
        self._undelivered: Counter[str] = Counter()
        self._publishing: Counter[str] = Counter()
        self._records: dict[str, Bucket] = {}
        self._bytes: dict[str, Bucket] = {}
        self.turns: Final = Turns(limits, clock, self.rate_seconds)
        """When the next message of a call is read and used."""

    @contextlib.contextmanager
    def call(self, agency: str, connection: str) -> Iterator[None]:
        """Count a call while it runs, and its connection while that has calls.

        Args:
            agency: whose call it is.
            connection: the peer's address and port.

        Raises:
            QuotaExceeded
        """
        limits, connections = self._limits(agency), self._connections[agency]
        if connection not in connections and len(connections) >= limits.connections:
            raise _exceeded(agency, "connections with calls at the same time", _AGAIN_SECONDS)
        _add(self._calls, agency, 1, limits.calls, "calls at the same time")
        connections[connection] += 1
        try:
            yield
        finally:
            _take_off(self._calls, agency, 1)
            _take_off(connections, connection, 1)

    async def hold_back(self, agency: str, turn: Turn) -> None:
        """A call of the agency is over its quota. Wait until it may be refused, so that it does not come again at once.

        As many wait as may run. More are refused at once.
        """
        if self._over[agency] < self._limits(agency).calls:
            self._over[agency] += 1
            try:
                await turn.to_refuse()
            finally:
                _take_off(self._over, agency, 1)

    @contextlib.contextmanager
    def long_call(self, agency: str) -> Iterator[None]:
        """Something that reads much of the log for an agency: a trace, a list or an order. It has one at a time.

        Raises:
            QuotaExceeded
        """
        if agency in self._long:
            raise _exceeded(agency, "one trace, list or order at a time", _AGAIN_SECONDS)
        self._long.add(agency)
        try:
            yield
        finally:
            self._long.discard(agency)

    def open_subscription(self, agency: str) -> Holding:
        """Count a subscription until it is closed.

        Raises:
            QuotaExceeded
        """
        _add(self._subscriptions, agency, 1, self._limits(agency).subscriptions, "open subscriptions")
        return Holding(self, agency)

    @contextlib.contextmanager
    def create_subscription(self, agency: str, kept: int) -> Iterator[None]:
        """Keep room for one more durable subscription until it is made, and counted elsewhere.

        For a moment it may be counted twice. Then another one is refused that has room a moment later.

        Args:
            agency: whose it is.
            kept: how many it has.

        Raises:
            QuotaExceeded
        """
        if kept + self._creating[agency] >= self._limits(agency).durable_subscriptions:
            raise _exceeded(agency, "durable subscriptions; it can delete some", _AGAIN_SECONDS)
        self._creating[agency] += 1
        try:
            yield
        finally:
            _take_off(self._creating, agency, 1)

    def close_subscription(self, agency: str, held: int) -> None:
        """A counted subscription has ended, with so many bytes undelivered."""
        _take_off(self._subscriptions, agency, 1)
        _take_off(self._undelivered, agency, held)

    def undelivered(self, agency: str, more: int) -> int:
        """So many bytes more (or less) were read for subscriptions. Return for how many more there is room."""
        _take_off(self._undelivered, agency, -more)
        return self._limits(agency).undelivered_bytes - self._undelivered[agency]

    @contextlib.contextmanager
    def publishing(self, agency: str) -> Iterator[Share]:
        """What one call publishes. Whatever it has not given back at its end is given back then."""
        share = Share(self, agency)
        try:
            yield share
        finally:
            share.give_back(share.held)

    def take(self, agency: str, records: int, size: int) -> None:
        """Count records that are to be published until ``give_back``. Above a rate, the next message waits (turns.py).

        Raises:
            QuotaExceeded: too many bytes are under way.
        """
        now, limits = self._clock.monotonic(), self._limits(agency)
        _add(self._publishing, agency, size, limits.publishing_bytes, "bytes of records under way")
        for buckets, rate, amount in (
            (self._records, limits.records_per_second, records),
            (self._bytes, limits.bytes_per_second, size),
        ):
            if rate:
                bucket = buckets.get(agency)
                if bucket is None or bucket.rate != rate:
                    bucket = buckets[agency] = Bucket(rate, now)
                bucket.take(amount, now)

    def rate_seconds(self, agency: str) -> float:
        """How long the agency's next records have to wait, because it has published as many as its rates allow."""
        records, sizes = self._records.get(agency), self._bytes.get(agency)
        if records is None and sizes is None:
            return 0.0
        now, limits = self._clock.monotonic(), self._limits(agency)
        # The bucket of a rate that has changed counts no more.
        waits = [
            bucket.wait_seconds(now)
            for bucket, rate in ((records, limits.records_per_second), (sizes, limits.bytes_per_second))
            if bucket is not None and bucket.rate == rate
        ]
        return max(waits, default=0.0)

    def give_back(self, agency: str, size: int) -> None:
        """Counted records with so many bytes are answered."""
        _take_off(self._publishing, agency, size)


class Holding:
    """What one open subscription holds in memory for its agency: read, and not acknowledged."""

    def __init__(self, quotas: Quotas, agency: str) -> None:
        self._quotas = quotas
        self._agency = agency
        self._held = 0

    def room(self, held: int, room: Room) -> Room:
        """How much more may be read, within what the agency may hold.

        A subscription that holds nothing may always read one record. So a full quota makes an agency's subscriptions
        slow, and stops none.

        Args:
            held: the bytes that the subscription holds now.
            room: how much it may read otherwise.
        """
        left = self._quotas.undelivered(self._agency, held - self._held)
        self._held = held
        if left > 0:
            return room._replace(bytes=min(room.bytes, left))
        return Room(0, 0) if held else Room(min(room.records, 1), min(room.bytes, 1))

    def close(self) -> None:
        """The subscription has ended."""
        self._quotas.close_subscription(self._agency, self._held)


class Share:
    """The part of one call in what its agency publishes."""

    def __init__(self, quotas: Quotas, agency: str) -> None:
        self._quotas = quotas
        self._agency = agency
        self.held = 0
        """Bytes that are not answered yet."""

    def take(self, records: int, size: int) -> None:
        """Records with so many bytes are to be published.

        Raises:
            QuotaExceeded
        """
        self._quotas.take(self._agency, records, size)
        self.held += size

    def give_back(self, size: int) -> None:
        """Records with so many bytes are answered."""
        self.held -= size
        self._quotas.give_back(self._agency, size)


def _add(used: Counter[str], agency: str, amount: int, most: int, what: str) -> None:
    # One thing is always allowed, however large: otherwise it could never be done.
    if used[agency] and used[agency] + amount > most:
        raise _exceeded(agency, what, _AGAIN_SECONDS)
    used[agency] += amount


def _take_off(used: Counter[str], agency: str, amount: int) -> None:
    used[agency] -= amount
    if not used[agency]:
        del used[agency]


def _exceeded(agency: str, what: str, seconds: float) -> QuotaExceeded:
    message = f"{agency} is over its quota of {what}"
    return QuotaExceeded(message, quota=what, retry_after_ms=str(int(seconds * 1000) + 1))
