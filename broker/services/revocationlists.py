"""The revocation lists in the audit stream: what a broker has seen, also if its folder with the copies is lost."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from broker.core.entry import EXCHANGE, Interest
from broker.core.streams import AUDIT, REVOCATION_LISTS, StreamPartition
from broker.services.versions import kept_document

if TYPE_CHECKING:
    from broker.ports import MessageLog, RecordCodec

_LISTS: Final = Interest(EXCHANGE, frozenset({REVOCATION_LISTS}))
_KEPT: Final = 8
"""So many of the newest records are read. A process that has not seen the newest list may have written the last."""
_FIRST_SPAN: Final = 1 << 16
_FURTHER: Final = 8
_PAGE_RECORDS: Final = 16
_PAGE_BYTES: Final = 1 << 20


async def newest_lists(log: MessageLog, codec: RecordCodec) -> list[bytes]:
    """The newest records of revocation lists, each PEM. Signatures are not checked here. A lost record is left out.

    It looks from the end of the stream, so it takes no longer when the stream grows.

    Raises:
        LogUnavailable, LogCorrupt
    """
    found: deque[bytes] = deque(maxlen=_KEPT)
    for number in range(log.partitions(AUDIT)):
        partition = StreamPartition(AUDIT, number)
        end, span = await log.end_offset(partition), _FIRST_SPAN
        while not await _read_from(log, codec, partition, max(0, end - span), found) and span < end:
            span *= _FURTHER
    return [*found]


async def _read_from(
    log: MessageLog, codec: RecordCodec, partition: StreamPartition, offset: int, found: deque[bytes]
) -> bool:
    """Add what there is from an offset on. Return whether there is anything."""
    some = False
    while offset < await log.end_offset(partition):
        page = await log.read_wanted(partition, offset, _LISTS, _PAGE_RECORDS, _PAGE_BYTES)
        for entry in page.entries:
            if entry.kind == REVOCATION_LISTS and (document := kept_document(codec, entry)) is not None:
                found.append(document)
                some = True
        offset = page.next_offset
    return some
