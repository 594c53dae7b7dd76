"""Find the offsets at which a start point is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import InputRefused
from broker.core.streams import STREAMS_OF_KIND, StreamPartition, streams_of
from broker.core.subscriptions import KindsStart

if TYPE_CHECKING:
    from broker.core.subscriptions import StartPoint
    from broker.ports import Clock, MessageLog


async def first_offsets(log: MessageLog, clock: Clock, kinds: frozenset[str], start: StartPoint) -> list[KindsStart]:
    """The first offsets of these kinds that are not 0. Nothing that is accepted later is before them.

    Raises:
        InputRefused: the start is in the future.
        LogUnavailable, LogCorrupt
    """
    if start.time_ms is not None and start.time_ms > clock.now_ms():
        message = "a start in the future is not possible: use latest"
        raise InputRefused(message)
    found = []
    for stream in streams_of(kinds):
        here = tuple(sorted(kind for kind in kinds if stream in STREAMS_OF_KIND[kind]))
        for number in range(log.partitions(stream)):
            partition = StreamPartition(stream, number)
            offset = await _offset(log, partition, start)
            if offset:
                found.append(KindsStart(partition, here, offset))
    return found


async def _offset(log: MessageLog, partition: StreamPartition, start: StartPoint) -> int:
    if start.time_ms is None:
        return await log.end_offset(partition) if start.latest else 0
    # Times never decrease in a partition, and offsets may have gaps.
    low, high = 0, await log.end_offset(partition)
    while low < high:
        middle = (low + high) // 2
        entries = await log.read(partition, middle, 1, 1, values=False)
        if entries and entries[0].position.offset < high and entries[0].accepted_at_ms < start.time_ms:
            low = entries[0].position.offset + 1
        else:
            high = middle
    return low
