"""From a delivery to a record: verified, joined, decoded and judged, or kept aside with the reason."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from adapters import folders
from adapters.edge.signing import ToPublish
from adapters.records.sections import join
from adapters.records.validate import validate
from broker.core.errors import CaseExchangeError, LeaseLost, RecordInvalid, SpoolUnavailable, Unavailable
from broker.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from adapters.base import Record
    from adapters.edge.edge import Edge
    from adapters.edge.sending import Accepted
    from broker.client.records import VerifiedRecord
    from broker.client.subscriber import Delivered, SubscriptionStream
    from broker.core.body import Body

_log = structlog.get_logger("adapters.edge.receiving")
PASSING: Final = (Unavailable, SpoolUnavailable, OSError)
"""What the next attempt may find otherwise: the delivery has to wait."""


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

    async def nack(self, delay_seconds: float = 0.0) -> None:
        """Give the record back, to be delivered again after this delay (0 to 600 s). It counts as a failed attempt."""
        await answered(self._stream.nack(self._delivered.delivery_id, delay_seconds))

    async def extend(self, seconds: float) -> None:
        """Ask for so much more time from now, in seconds; the broker bounds how much."""
        await answered(self._stream.extend(self._delivered.delivery_id, seconds))


async def open_delivery(edge: Edge, delivered: Delivered) -> Opened:
    """Verify a delivery and put its record together.

    Raises:
        Unavailable, SpoolUnavailable: it has to wait (``PASSING``).
        CaseExchangeError: it cannot be used, and will be no better the next time.
    """
    verified = await edge.verify(delivered)
    return Opened(verified, await asyncio.to_thread(_record, verified))


def set_aside(edge: Edge, quarantine: Path, delivered: Delivered, error: CaseExchangeError) -> None:
    """Keep a delivery that cannot be used as it came, durably, with the reason beside it.

    Raises:
        OSError: it could not be written.
    """
    stem = f"delivery-{str(delivered.position).replace('/', '-')}"
    replace_file(quarantine / f"{stem}.envelope", edge.codec.encode_envelope(delivered.envelope))
    facts = {"reason": error.reason, "message": error.message, "position": str(delivered.position)}
    folders.write_reason(quarantine, stem, facts)
    _log.error("a delivery was refused", position=str(delivered.position), reason=error.reason)


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
    if codes and not verified.withheld_sections:
        message = ",".join(codes)
        raise RecordInvalid(message)
    return record
