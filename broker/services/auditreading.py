"""Read what the audit stream tells, also behind a record of it that is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.errors import EnvelopeMalformed, LogCorrupt
from broker.core.sections import unsalted
from broker.services.accepted import accepted

if TYPE_CHECKING:
    from broker.core.entry import Interest, LogEntry
    from broker.core.events import AuditEvent
    from broker.core.streams import StreamPartition
    from broker.ports import MessageLog, RecordCodec

_SCAN_RECORDS: Final = 5000


def events_of(entry: LogEntry, codec: RecordCodec) -> list[AuditEvent] | None:
    """The events of an audit record, in order. None if it is damaged, or if this version does not know one of them."""
    try:
        envelope, _ = accepted(entry, codec)
        return [event for section in envelope.sections for event in codec.decode_audit_events(unsalted(section))]
    except (LogCorrupt, EnvelopeMalformed):
        return None


async def past_damaged(
    log: MessageLog, partition: StreamPartition, wanted: Interest, offset: int, end: int
) -> tuple[LogEntry | None, int]:
    """The next wanted record from ``offset`` on, which is damaged, and from where to go on. The facts of entries tell.

    Raises:
        LogUnavailable, LogCorrupt
    """
    while entries := await log.read(partition, offset, _SCAN_RECORDS, 1 << 62, values=False):
        for entry in entries:
            if wanted.concerns(entry):
                return entry, entry.position.offset + 1
        offset = entries[-1].position.offset + 1
    return None, end
