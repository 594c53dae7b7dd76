"""Read for a subscription whose kinds begin at different offsets (broker/core/subscriptions.py). Both logs do it so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from broker.core.entry import Page
from broker.core.subscriptions import stages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.entry import Interest
    from broker.core.streams import StreamPartition
    from broker.core.subscriptions import KindStart


class _Log(Protocol):
    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page: ...


async def read_staged(
    log: _Log,
    partition: StreamPartition,
    offset: int,
    interest: Interest,
    starts: Sequence[KindStart],
    *,
    max_records: int,
    max_bytes: int,
) -> Page:
    """The wanted entries from an offset on, as ``LogCursor.read`` promises, each kind from its start on.

    Raises:
        LogCorrupt, LogUnavailable
    """
    page = Page([], offset)
    for stage in stages(starts, offset):
        wanted = interest._replace(kinds=stage.kinds)
        page = await log.read_wanted(partition, stage.first, wanted, max_records, max_bytes)
        if stage.end is None:
            return page
        entries = [entry for entry in page.entries if entry.position.offset < stage.end]
        if entries:
            # What follows is read next, and with other kinds.
            return Page(entries, min(page.next_offset, stage.end))
        if page.next_offset < stage.end and not page.entries:
            # The log ends before the next kind begins.
            return page
    return page
