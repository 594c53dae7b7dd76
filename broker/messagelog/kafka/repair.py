"""Repair of what the topics have lost or changed: the record is appended once more, as a copy (index.py).

Nothing in a topic can be changed. So what is damaged stays where it is, as evidence, and so do its position, its leaf
and its receipt. Every process takes the later append for a copy, whether it sees the damage or not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from broker.core.entry import LogEntry, NewEntry
    from broker.core.streams import Position
    from broker.messagelog.kafka.damage import DamagedPlaces
    from broker.messagelog.kafka.groupcommit import GroupCommit
    from broker.messagelog.kafka.index import KafkaIndex
    from broker.messagelog.kafka.reader import EntryReader


class KafkaRepair:
    """A ``LogRepair``. For one event loop."""

    def __init__(self, reader: EntryReader, index: KafkaIndex, appends: GroupCommit, damaged: DamagedPlaces) -> None:
        self._damaged = damaged
        self._reader = reader
        self._index = index
        self._appends = appends

    @property
    def rereads(self) -> bool:
        """See ``LogRepair``."""
        return False

    def suspected(self, positions: Collection[Position]) -> frozenset[Position]:
        """See ``LogRepair``: what this process has met as damaged. A look at others would fetch a pack for each."""
        return self._damaged.among(positions)

    async def restore(
        self, again: Sequence[tuple[Position, NewEntry]], sound: Callable[[LogEntry], bool]
    ) -> list[Position]:
        """See ``LogRepair``."""
        offered = dict(again)
        damaged = []
        for fact in await self._index.facts_of([entry.record_id for _, entry in again]):
            position = fact.entry.position
            entry = offered.get(position)
            # A copy stands in only within its partition, and only if it is the record that the entry's leaf names.
            if entry is None or entry.partition != position.stream_partition:
                continue
            if sound(fact.entry._replace(value=entry.value)) and not (await self._reader.as_it_is(fact)).value:
                damaged.append((position, entry))
        if damaged:
            await self._appends.append([entry for _, entry in damaged], again=True)
        return [position for position, _ in damaged]
