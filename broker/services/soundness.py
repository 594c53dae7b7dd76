"""Whether entries of the log are what was accepted: compared with their leaves, with their records, and with the index.

Kind, recipients and case stand beside a record's bytes, in columns and an index that no leaf covers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.errors import LogCorrupt
from broker.core.streams import Position
from broker.core.tree.leaf import leaf_of
from broker.core.tree.merkle import leaf_hash
from broker.services.accepted import check_place, check_recipients, record_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.entry import LogEntry
    from broker.core.streams import StreamPartition
    from broker.ports import Clock, LeafRow, RecordCodec
    from broker.services.erasureorders import ErasureOrders


class Damage(NamedTuple):
    """An entry that is not what it should be. ``recipients`` None: nobody can say whose record it was."""

    position: Position
    cause: str
    recipients: tuple[str, ...] | None


class EntryJudge:
    """Judges entries with their values. Safe to call from any thread.

    Args:
        codec: reads the records.
        clock: says what may be gone.
        expire_seconds: a record may be gone this long after it was accepted. None: never.
    """

    def __init__(self, codec: RecordCodec, orders: ErasureOrders, clock: Clock, expire_seconds: float | None) -> None:
        self._codec = codec
        self._orders = orders
        self._clock = clock
        self._expire_seconds = expire_seconds

    def judged(
        self, partition: StreamPartition, rows: Sequence[LeafRow], entries: Sequence[LogEntry], missing: set[Position]
    ) -> list[Damage]:
        """What is wrong with the entries of some leaves, in order.

        Args:
            partition: where they are.
            rows: the leaves.
            entries: what the log has at their offsets.
            missing: those of the entries that are not in the index.
        """
        found = {entry.position.offset: entry for entry in entries}
        expire, now_ms = self._expire_seconds, self._clock.now_ms()
        damage = []
        for row in rows:
            entry = found.get(row.offset)
            expired = expire is not None and row.accepted_at_ms + expire * 1000 < now_ms
            if expired and (entry is None or not entry.value):
                continue
            if entry is None:
                damage.append(Damage(Position(*partition, row.offset), "the log has lost the entry", None))
            elif (wrong := self._wrong(entry, row, missing)) is not None:
                damage.append(wrong)
        return damage

    def _wrong(self, entry: LogEntry, row: LeafRow, missing: set[Position]) -> Damage | None:
        if leaf_hash(leaf_of(entry).marshal()) != row.hash:
            return Damage(entry.position, "the entry is not the one that the tree has here", None)
        try:
            _, routing = record_of(entry, self._codec, self._orders)
        except LogCorrupt as error:
            return Damage(entry.position, error.message, None)
        try:
            check_place(entry, routing)
            check_recipients(entry, routing)
        except LogCorrupt as error:
            return Damage(entry.position, error.message, tuple(item.agency for item in routing.recipients))
        if entry.position in missing:
            return Damage(entry.position, "an entry of the log is not in the index", entry.recipients)
        return None
