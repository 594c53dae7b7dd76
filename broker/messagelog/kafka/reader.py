"""Read entries: the newest from memory, older ones from the index, with their values from Kafka.

Where the topic has lost or changed a value, that of a copy stands in for it, if the index knows one (index.py).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from broker.core.entry import REPAIRED, Page, Stray
from broker.core.seal import value_digest
from broker.core.streams import Position
from broker.messagelog.kafka.judge import ALTERED
from broker.messagelog.kafka.positions import offset_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from broker.core.entry import Interest, LogEntry
    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.damage import DamagedPlaces
    from broker.messagelog.kafka.index import Facts, KafkaIndex
    from broker.messagelog.kafka.values import ValueReaders
    from broker.messagelog.tail import Tail

_PAGE_RECORDS: Final = 1000
"""The limit for the entries that are fetched from Kafka at once, so that readers take turns."""
_GAP_PACKS: Final = 16
"""Between two wanted packs, at most so many others are fetched. A request for another place costs more."""


class EntryReader:
    """Keeps the promise of ``MessageLog.read`` with a tail, an index and the topics. For one event loop.

    Args:
        tail: the newest entries.
        index: what the topics hold.
        values: reads values from the topics.
        catch_up: returns when this process has read a partition to its present end.
        damaged: is told what is damaged.
    """

    def __init__(
        self,
        tail: Tail,
        index: KafkaIndex,
        values: ValueReaders,
        catch_up: Callable[[StreamPartition], Awaitable[None]],
        damaged: DamagedPlaces,
    ) -> None:
        self._tail = tail
        self._index = index
        self._values = values
        self._catch_up = catch_up
        self._damaged = damaged

    async def read(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int, *, values: bool
    ) -> list[LogEntry]:
        """Entries, with their values as they were accepted. One that the topic has lost or changed has no value.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        recent = self._tail.read(partition, offset, max_records, max_bytes)
        if recent is not None and (not values or _whole(recent)):
            return recent
        facts = await self._index.facts(partition, offset, min(max_records, _PAGE_RECORDS))
        entries = [fact.entry for fact in facts]
        if values:
            entries = await self._with_values(partition, facts, max_bytes)
        return entries

    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page:
        """Wanted entries, as ``read`` returns them.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        recent = self._tail.read_wanted(partition, offset, interest, max_records, max_bytes)
        if recent is not None and _whole(recent.entries):
            return recent
        end = self._tail.ends[partition]
        facts, reached = await self._index.wanted(partition, offset, end, interest, min(max_records, _PAGE_RECORDS))
        near = _close_together(facts)
        entries = await self._with_values(partition, near, max_bytes)
        if len(entries) < len(facts):
            reached = entries[-1].position.offset + 1
        return Page(entries, reached)

    async def as_it_is(self, fact: Facts) -> LogEntry:
        """An entry as the topic and its copies have it now, and not what was read of them before.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        (entry,) = await self._with_values(fact.entry.position.stream_partition, [fact], 1, fresh=True)
        return entry

    async def _with_values(
        self, partition: StreamPartition, facts: Sequence[Facts], max_bytes: int, *, fresh: bool = False
    ) -> list[LogEntry]:
        """The first of these entries, with their values, up to and including the one that reaches ``max_bytes``."""
        offsets = [fact.entry.position.offset for fact in facts]
        read = await self._values.read(partition, offsets, max_bytes, fresh=fresh)
        entries = [fact.entry._replace(value=value) for fact, value in zip(facts, read, strict=False)]
        wrong = {at for at, entry in enumerate(entries) if value_digest(entry.value) != facts[at].value_sha256}
        stand_ins = await self._stand_ins(partition, [offsets[at] for at in sorted(wrong)]) if wrong else {}
        return [_judged(entry, stand_ins) if at in wrong else entry for at, entry in enumerate(entries)]

    async def _stand_ins(self, partition: StreamPartition, offsets: Sequence[int]) -> dict[int, bytes]:
        """What copies have for damaged entries, by the offset of each."""
        copies = await self._index.copies(partition, offsets)
        if len(copies) < len(offsets):
            # Another process may have repaired one a moment ago, and said so.
            await self._catch_up(partition)
            copies = await self._index.copies(partition, offsets)
        found: dict[int, bytes] = {}
        for offset in offsets:
            for copy in copies.get(offset, ()):
                (value,) = await self._values.read(partition, [copy.offset], 1, fresh=True)
                if value_digest(value) == copy.value_sha256:
                    found[offset] = value
                    break
            position = Position(*partition, offset)
            if offset in found:
                self._damaged.discard(position)
            else:
                self._damaged.add(position)
        return found


def _judged(entry: LogEntry, stand_ins: Mapping[int, bytes]) -> LogEntry:
    """A damaged entry: with the value that stands in for its own, or without a value, and with what the topic has."""
    stand_in = stand_ins.get(entry.position.offset)
    if stand_in is not None:
        return entry._replace(value=stand_in, damage=Stray.of(entry.position, REPAIRED, entry.value))
    # What is lost leaves no bytes that could be named.
    damage = Stray.of(entry.position, ALTERED, entry.value) if entry.value else None
    return entry._replace(value=b"", damage=damage)


def _whole(entries: Sequence[LogEntry]) -> bool:
    """Whether all of them were sound when they were read."""
    return all(entry.value for entry in entries)


def _close_together(facts: Sequence[Facts]) -> Sequence[Facts]:
    """The first facts, up to a gap: the packs between two that are read are fetched too."""
    for at, (before, fact) in enumerate(pairwise(facts), start=1):
        if offset_of(fact.entry.position.offset) - offset_of(before.entry.position.offset) > _GAP_PACKS:
            return facts[:at]
    return facts
