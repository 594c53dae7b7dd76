"""The directory versions that a replay hands over: what governance signed, found in the audit stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.bundle import LAST_MS, DirectoryDocument
from broker.core.errors import EnvelopeMalformed
from broker.core.sections import unsalted
from broker.core.streams import AUDIT, DIRECTORY_VERSION, StreamPartition

if TYPE_CHECKING:
    from broker.core.entry import LogEntry
    from broker.ports import MessageLog, RecordCodec

_SCAN_RECORDS: Final = 5000


async def directory_versions(
    log: MessageLog, codec: RecordCodec, begin_ms: int | None, until_ms: int | None
) -> list[DirectoryDocument]:
    """The versions that were in force in the period: the last before it, and those that came within it.

    A version that the log has lost, or whose record cannot be read any more, is not among them; whoever verifies names
    its position in the audit stream. Whether governance signed what is returned is not asked here.

    Raises:
        LogUnavailable, LogCorrupt
    """
    found: list[DirectoryDocument] = []
    for number in range(log.partitions(AUDIT)):
        partition, offset = StreamPartition(AUDIT, number), 0
        while entries := await log.read(partition, offset, _SCAN_RECORDS, 1 << 62, values=False):
            offset = entries[-1].position.offset + 1
            for entry in entries:
                if entry.kind == DIRECTORY_VERSION and 0 <= entry.accepted_at_ms <= LAST_MS:
                    whole = await log.read(partition, entry.position.offset, 1, 1)
                    document = _document(codec, whole[0]) if whole and whole[0].position == entry.position else None
                    if document is not None:
                        found.append(DirectoryDocument(document, entry.accepted_at_ms))
    within = [item for item in found if until_ms is None or item.in_force_from_ms < until_ms]
    before = [item for item in within if begin_ms is not None and item.in_force_from_ms <= begin_ms]
    # Where none is from before the end, the one that was is lost, and the first that is left can at least be tried.
    return within[max(0, len(before) - 1) :] or found[:1]


def _document(codec: RecordCodec, entry: LogEntry) -> bytes | None:
    try:
        (section,) = codec.decode_envelope(entry.value).sections
    except (EnvelopeMalformed, ValueError):
        return None
    return unsalted(section)
