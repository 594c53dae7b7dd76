"""From a delivery to a record: verified, joined, decoded and judged, or kept aside with the reason."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import structlog

from adapters import folders
from adapters.edge.signing import ToPublish
from adapters.records.sections import join
from adapters.records.validate import validate
from broker.core.errors import AdapterFailed, CaseExchangeError, LeaseLost, RecordInvalid, SpoolUnavailable, Unavailable
from broker.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from adapters.base import Record
    from adapters.edge.edge import Edge
    from adapters.edge.sending import Accepted
    from broker.client.records import VerifiedRecord
    from broker.client.subscriber import Delivered, SubscriptionStream
    from broker.core.body import Body

_log = structlog.get_logger("adapters.edge.receiving")
_PASSING: Final = (Unavailable, SpoolUnavailable, OSError)
"""What the next attempt may find otherwise, and what says nothing about the record: it has to wait."""
_BY_ABSENCE: Final = frozenset({"FIELD_MISSING", "LR_INVALID"})
"""What validation finds where a section is not there."""
_Used = TypeVar("_Used")


class Opened(NamedTuple):
    """A delivered record whose signature holds, and its message."""

    verified: VerifiedRecord
    record: Record


class Delivery:
    """One record that was delivered, verified and decoded. It comes again until it is acknowledged."""

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
        """The message. Of sections that were withheld, the fields are missing."""
        self.body: Final[Body] = opened.verified.body
        """What its publisher signed: record id, kind, case id, publisher, recipients, purpose, times."""
        self.withheld_sections: Final = opened.verified.withheld_sections
        self.position: Final = delivered.position
        self.attempt: Final = delivered.attempt
        """1 at the first delivery."""
        self.accepted_at_ms: Final = delivered.accepted_at_ms

    async def reply(
        self, record: Record, *, recipients: Sequence[str] = (), purpose: str = "", stream: str = ""
    ) -> Accepted:
        """Publish a record that answers this one, in its case and for its purpose, and wait for the receipt.

        To answer a record that came twice with the same content publishes once: it returns the first answer's receipt.

        Args:
            record: the message.
            recipients: where the profile's [routes] do not say so; without either, this record's publisher.
            purpose: where it is not this record's purpose.
            stream: where a record of the kind can go on several; without it, this record's.

        Raises:
            RecordInvalid, InputRefused: it cannot be sent; nothing of it was kept.
            CaseExchangeError: the broker refused it for good.
            SpoolUnavailable
        """
        return await self._reply(self.body, ToPublish(record, "", recipients, purpose, stream))

    async def ack(self) -> bool:
        """Say that the record is safe here. Returns whether the broker has that durably: if not, it comes again."""
        return await answered(self._stream.ack([self._delivered.delivery_id]))

    async def nack(self, delay_seconds: float = 0.0, *, transient: bool = False) -> None:
        """Give the record back, to be delivered again after this delay (0 to 600 s).

        It counts as a failed attempt, and after the last the record is a dead letter. ``transient`` says that a passing
        fault on this side was the cause: that never counts.
        """
        await answered(self._stream.nack(self._delivered.delivery_id, delay_seconds, transient=transient))

    async def extend(self, seconds: float) -> None:
        """Ask for so much more time from now, in seconds; the broker bounds how much."""
        await answered(self._stream.extend(self._delivered.delivery_id, seconds))


class Receiver:
    """Opens deliveries for a program. Whatever goes wrong with one stays with that one. For one event loop."""

    def __init__(self, edge: Edge, quarantine: Path, retry_seconds: float) -> None:
        self._edge = edge
        self._quarantine = quarantine
        self._retry_seconds = retry_seconds

    async def take(
        self, stream: SubscriptionStream, delivered: Delivered, use: Callable[[Opened], Awaitable[_Used]]
    ) -> _Used | None:
        """Verify a delivery, put its record together, and use it.

        A delivery that cannot be used, now or ever, is kept in quarantine/ as it came, with the reason, and
        acknowledged. One that has to wait for something passing is given back; that is no failed attempt.

        Returns:
            What ``use`` returned, if it was used. To acknowledge it is left to the caller.

        Raises:
            CaseExchangeError: the stream broke. What was not acknowledged comes again.
        """
        try:
            try:
                with contained(OSError):
                    return await use(await open_delivery(self._edge, delivered))
            except _PASSING:
                raise
            except CaseExchangeError as error:
                await asyncio.to_thread(self._set_aside, delivered, error)
        except _PASSING as error:
            _log.error("a delivery has to wait", position=str(delivered.position), cause=type(error).__name__)
            await stream.nack(delivered.delivery_id, self._retry_seconds, transient=True)
            return None
        await acknowledge(stream, delivered)
        return None

    def _set_aside(self, delivered: Delivered, error: CaseExchangeError) -> None:
        stem = f"delivery-{str(delivered.position).replace('/', '-')}"
        replace_file(self._quarantine / f"{stem}.envelope", self._edge.codec.encode_envelope(delivered.envelope))
        facts = {"reason": error.reason, "message": error.message, "position": str(delivered.position)}
        folders.write_reason(self._quarantine, stem, facts)
        _log.error("a delivery was refused", position=str(delivered.position), reason=error.reason)


async def open_delivery(edge: Edge, delivered: Delivered) -> Opened:
    """Verify a delivery and put its record together.

    Raises:
        Unavailable, SpoolUnavailable: it has to wait.
        CaseExchangeError: it cannot be used, and will be no better the next time.
    """
    with contained(OSError):
        verified = await edge.verify(delivered)
        return Opened(verified, await asyncio.to_thread(_record, verified))


async def acknowledge(stream: SubscriptionStream, delivered: Delivered) -> None:
    """Acknowledge a delivery; where its lease had ended, it comes again.

    Raises:
        CaseExchangeError: the stream broke.
    """
    try:
        await stream.ack([delivered.delivery_id])
    except LeaseLost:
        _log.info("took longer than the lease", position=str(delivered.position))


@contextlib.contextmanager
def contained(*passing: type[Exception]) -> Iterator[None]:
    """Keep a defect to the record on which it shows: whatever fails inside, fails with a typed error.

    Args:
        passing: types that say nothing about the record, and are let through.

    Raises:
        AdapterFailed: another exception than these or a CaseExchangeError was raised inside. Its own words may quote
            the record, so only its type is told.
    """
    try:
        yield
    except Exception as defect:
        if isinstance(defect, (CaseExchangeError, *passing)):
            raise
        message = f"the program failed on this record: {type(defect).__name__}"
        raise AdapterFailed(message) from defect


async def answered(answer: Awaitable[None]) -> bool:
    """Whether an answer reached the broker. Where it did not, the record comes again, which is no error."""
    try:
        await answer
    except (LeaseLost, Unavailable) as error:
        _log.info("an answer was lost, so the record comes again", reason=error.reason)
        return False
    return True


def _record(verified: VerifiedRecord) -> Record:
    record = join(verified.body.kind, verified.sections)
    codes = [issue.code for issue in validate(record) if issue.refuses]
    # What a withheld section held is missing here by right.
    if set(codes) - (_BY_ABSENCE if verified.withheld_sections else set()):
        message = ",".join(codes)
        raise RecordInvalid(message)
    return record
