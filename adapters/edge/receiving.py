"""A delivery as a program gets it: verified, decoded and to be acknowledged; or kept in quarantine with the reason."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from adapters import folders
from adapters.edge.opening import contained, open_delivery, received_copy
from adapters.edge.signing import ToPublish
from broker.core.errors import (
    CaseExchangeError,
    EnvelopeMalformed,
    HardwareKeyUnavailable,
    LeaseLost,
    SealKeyMissing,
    SetupInvalid,
    SpoolUnavailable,
    Unavailable,
)
from broker.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from adapters.base import Record
    from adapters.edge.edge import Edge
    from adapters.edge.opening import Opened
    from adapters.edge.sending import Accepted
    from broker.client.subscriber import Delivered, SubscriptionStream
    from broker.core.body import Body

_log = structlog.get_logger("adapters.edge.receiving")
_PASSING: Final = (Unavailable, SpoolUnavailable, SetupInvalid, OSError)
"""Faults of this side: its disk, its spool, its files of trust and settings. The record has to wait."""
_LONGEST_KEY_WAIT_SECONDS: Final = 24 * 3600.0
"""How long a program waits for a private key that its agency should have. Meanwhile such records fill its window."""
_NOT_IN_A_NAME: Final = re.compile(r"[^A-Za-z0-9]")
_MOST_OF_A_NAME: Final = 100
_Used = TypeVar("_Used")


class Delivery:
    """One record, delivered, verified and decoded. It comes again until it is acknowledged."""

    def __init__(
        self,
        stream: SubscriptionStream,
        delivered: Delivered,
        opened: Opened,
        reply: Callable[[Body, ToPublish], Awaitable[Accepted]],
    ) -> None:
        self._reply = reply
        self._stream = stream
        self._delivered = delivered
        self.record: Final = opened.record
        """The message. The fields of withheld sections are missing."""
        self.body: Final[Body] = opened.verified.body
        """The body that the publisher signed: record id, kind, case id, publisher, recipients, purpose, times.

        A supplement is another copy of the record ``body.original_id``. So count records by that: it may have come
        before, with as many or fewer sections.
        """
        self.not_obeyed: Final = opened.not_obeyed
        """Why this Correction, Closure or supplement does not count here, as a code. Empty: it counts."""
        self.withheld_sections: Final = opened.verified.withheld_sections
        self.erased_sections: Final = opened.verified.erased_sections
        self.position: Final = delivered.position
        self.attempt: Final = delivered.attempt
        """1 at the first delivery."""
        self.accepted_at_ms: Final = delivered.accepted_at_ms

    async def reply(
        self, record: Record, *, recipients: Sequence[str] = (), purpose: str = "", stream: str = ""
    ) -> Accepted:
        """Publish an answer to this record, in the same case, and wait for the receipt.

        If a record comes twice and gets the same answer twice, the answer is published once. The second call returns
        the receipt of the first.

        Args:
            record: the message of the answer.
            recipients: without it, those in the profile's [routes]; without these, this record's publisher.
            purpose: without it, this record's purpose.
            stream: needed only if the kind can go on several streams. Without it, the stream in the profile's [routes];
                without that, this record's.

        Raises:
            RecordInvalid, InputRefused: the answer cannot be sent. Nothing was stored.
            CaseExchangeError: the broker refused the answer for good.
            SpoolUnavailable
        """
        return await self._reply(self.body, ToPublish(record, "", recipients, purpose, stream))

    async def ack(self) -> bool:
        """Report that the record is safe here. Returns whether the broker says that it stored this.

        If not, the record comes again. If it is unknown whether the broker stored it, the record may come again.
        """
        return await answered(self._stream.ack([self._delivered.delivery_id]))

    async def refuse(self, code: str) -> bool:
        """Report that the record cannot be used, and that it is safe here. It does not come again. Returns as ``ack``.

        The audit stream keeps the code. It is a capital letter, then at most 63 capital letters, digits and
        underscores. Never put a value of the record into it.

        Raises:
            InputRefused: the code is none.
        """
        return await answered(self._stream.refuse(self._delivered.delivery_id, code))

    async def nack(self, delay_seconds: float = 0.0, *, transient: bool = False) -> None:
        """Give the record back, to be delivered again after this delay (0 to 600 s).

        It counts as a failed attempt. After the last attempt the record becomes a dead letter. With ``transient`` it
        does not count: the cause is a fault on this side that will pass.
        """
        await answered(self._stream.nack(self._delivered.delivery_id, delay_seconds, transient=transient))

    async def extend(self, seconds: float) -> None:
        """Ask for the lease to end this many seconds from now. The broker limits the total length of a lease."""
        await answered(self._stream.extend(self._delivered.delivery_id, seconds))


class Receiver:
    """Opens deliveries for a program. A fault in one delivery does not affect the others. For one event loop."""

    def __init__(self, edge: Edge, quarantine: Path, retry_seconds: float) -> None:
        self._edge = edge
        self._quarantine = quarantine
        self._retry_seconds = retry_seconds
        self._missed: dict[str, float] = {}  # since when each key is missing, on the monotonic clock
        self.refused = 0
        """How many deliveries were refused."""

    async def take(
        self, stream: SubscriptionStream, delivered: Delivered, use: Callable[[Opened], Awaitable[_Used]]
    ) -> _Used | None:
        """Verify a delivery, put its record together, and use it.

        A delivery that can never be used is kept unchanged in quarantine/, and then refused with the reason's code. One
        that has to wait until a fault of this side passes is given back. That does not count as a failed attempt.

        Returns:
            What ``use`` returned, if it was used. The caller then has to acknowledge the delivery.

        Raises:
            CaseExchangeError: the stream broke. Unacknowledged records come again.
        """
        try:
            try:
                with contained(OSError):
                    return await use(await open_delivery(self._edge, delivered))
            except _PASSING:
                raise
            except CaseExchangeError as error:
                if isinstance(error, SealKeyMissing) and self._key_may_come(error):
                    raise
                await asyncio.to_thread(self._set_aside, delivered, error)
                reason = error.reason
        except (*_PASSING, SealKeyMissing) as error:
            _log.error("a delivery has to wait", position=str(delivered.position), **_told(error))
            await stream.nack(delivered.delivery_id, self._retry_seconds, transient=True)
            return None
        self.refused += 1
        await finish(delivered, stream.refuse(delivered.delivery_id, reason))
        return None

    def _key_may_come(self, error: SealKeyMissing) -> bool:
        """Whether to wait for a private key. Not for one that has ended: it may be gone.

        Any publisher can choose it. Without a key folder the error names no key: that is a fault of the settings.
        """
        key_id, now = error.details.get("key_id", ""), self._edge.clock.monotonic()
        if key_id and self._edge.directories.ended(self._edge.agency, key_id):
            return False
        return not key_id or now - self._missed.setdefault(key_id, now) < _LONGEST_KEY_WAIT_SECONDS

    def _set_aside(self, delivered: Delivered, error: CaseExchangeError) -> None:
        # The broker chose the name of the stream.
        stem = f"delivery-{_NOT_IN_A_NAME.sub('-', str(delivered.position))[:_MOST_OF_A_NAME]}"
        replace_file(
            self._quarantine / f"{stem}{folders.ENVELOPE}", self._edge.codec.encode_envelope(delivered.envelope)
        )
        # What nobody can read names no record.
        with contextlib.suppress(EnvelopeMalformed):
            record_id = self._edge.codec.parse_body(delivered.envelope.body).record_id
            self._edge.spool.received.add(received_copy(self._edge, delivered, record_id))
        facts = {"reason": error.reason, "message": error.message, "position": str(delivered.position)}
        folders.write_reason(self._quarantine, stem, facts)
        _log.error("a delivery was refused", position=str(delivered.position), reason=error.reason, **_told(error))


def _told(error: Exception) -> dict[str, str]:
    """Why; and of a key that is missing or away: which one it is, as its file's name says it, and what to do."""
    told = {"cause": type(error).__name__}
    if isinstance(error, (SealKeyMissing, HardwareKeyUnavailable)):
        told |= {"key_id": error.details.get("key_id", "")[:16], "remedy": error.remedy}
    return told


async def finish(delivered: Delivered, answer: Awaitable[None]) -> None:
    """Answer that a delivery was processed or refused. If its lease had ended, it comes again.

    Raises:
        CaseExchangeError: the stream broke.
    """
    try:
        await answer
    except LeaseLost:
        _log.info("took longer than the lease", position=str(delivered.position))


async def answered(answer: Awaitable[None]) -> bool:
    """Whether the broker took an answer. If it did not say so, the record may come again. That is no error."""
    try:
        await answer
    except (LeaseLost, Unavailable) as error:
        _log.info("an answer was not confirmed, so the record may come again", reason=error.reason)
        return False
    return True
