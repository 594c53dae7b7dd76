"""Read entries: the newest from memory, older ones from the index, with their values from Kafka."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from broker.core.entry import Page
from broker.core.seal import value_digest
from broker.messagelog.kafka.positions import offset_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.entry import Interest, LogEntry
    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.index import Facts, KafkaIndex
    from broker.messagelog.kafka.values import ValueReaders
    from broker.messagelog.tail import Tail

_PAGE_RECORDS: Final = 1000
"""The limit for the entries that are fetched from Kafka at once, so that readers take turns."""
_GAP_PACKS: Final = 16
"""Between two wanted packs, at most so many others are fetched. A request for another place costs more."""


class EntryReader:
    """Keeps the promise of ``MessageLog.read`` with a tail, an index and the topics. For one event loop."""

    def __init__(self, tail: Tail, index: KafkaIndex, values: ValueReaders) -> None:
        self._tail = tail
        self._index = index
        self._values = values

    async def read(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int, *, values: bool
    ) -> list[LogEntry]:
        """Entries as the topic has them now. A value that the topic has lost is empty.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        recent = self._tail.read(partition, offset, max_records, max_bytes)
        if recent is not None:
            return recent
        facts = await self._index.facts(partition, offset, min(max_records, _PAGE_RECORDS))
        entries = [fact.entry for fact in facts]
        if values:
            entries = await self._with_values(partition, facts, max_bytes)
        return entries

    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page:
        """Wanted entries as they were accepted. One that the topic has lost or changed has no value.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        recent = self._tail.read_wanted(partition, offset, interest, max_records, max_bytes)
        if recent is not None:
            return recent
        end = self._tail.ends[partition]
        facts, reached = await self._index.wanted(partition, offset, end, interest, min(max_records, _PAGE_RECORDS))
        near = _close_together(facts)
        entries = await self._with_values(partition, near, max_bytes)
        entries = [
            entry if value_digest(entry.value) == fact.value_sha256 else entry._replace(value=b"")
            for entry, fact in zip(entries, near, strict=False)
        ]
        if len(entries) < len(facts):
            reached = entries[-1].position.offset + 1
        return Page(entries, reached)

    async def _with_values(self, partition: StreamPartition, facts: Sequence[Facts], max_bytes: int) -> list[LogEntry]:
        """The first of these entries, with their values, up to and including the one that reaches ``max_bytes``."""
        values = await self._values.read(partition, [fact.entry.position.offset for fact in facts], max_bytes)
        return [fact.entry._replace(value=value) for fact, value in zip(facts, values, strict=False)]


def _close_together(facts: Sequence[Facts]) -> Sequence[Facts]:
    """The first facts, up to a gap: the packs between two that are read are fetched too."""
    for at, (before, fact) in enumerate(pairwise(facts), start=1):
        if offset_of(fact.entry.position.offset) - offset_of(before.entry.position.offset) > _GAP_PACKS:
            return facts[:at]
    return facts
