"""Apply what was read from the topics to the index, in one transaction. The rules are in index.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.entry import LogEntry, NewEntry, Stray
from broker.core.errors import LogCorrupt
from broker.core.streams import Position
from broker.messagelog.kafka.judge import REPLAYED, SealedEntry, SealedPack
from broker.messagelog.kafka.positions import POSITION_BITS, position_of
from broker.messagelog.sqlite.destinations import insert_destinations
from broker.messagelog.sqlite.rows import entries_with_ids, insert_rows, values_present

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from broker.core.streams import StreamPartition

_NUMBER_BYTES: Final = 2


class Known(NamedTuple):
    """How far a partition was applied.

    Attributes:
        next_offset: Kafka's offset from which it is read next.
        end: the last entry's position plus one.
        accepted_at_ms: the last entry's time.
        epoch: the leader epoch of the last pack.
    """

    next_offset: int
    end: int
    accepted_at_ms: int
    epoch: int


class Placed(NamedTuple):
    """An entry that counts, and the append that put it there. ``sound``: the topic has its value."""

    entry: LogEntry
    append_id: bytes
    sound: bool


class Applied(NamedTuple):
    """What came of some items: the entries that count, in order, and the records that their partition had already.

    An entry that is not sound has no value. A record that the partition had already is left out if it is not sound.
    """

    placed: list[Placed]
    repeated: list[NewEntry]


class Applying:
    """One call of ``KafkaIndex.apply``, within its transaction.

    Args:
        connection: in the transaction.
        known: how far each partition was applied. It is updated.
        numbers: the number of each partition in row keys.
        log_ids: the topic id of each stream.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        known: dict[StreamPartition, Known],
        numbers: Mapping[StreamPartition, int],
        log_ids: Mapping[str, str],
    ) -> None:
        self._connection = connection
        self._known = known
        self._numbers = numbers
        self._log_ids = log_ids
        # By partition and id, the place and the digest of every record that the index has, as far as needed here.
        self._present: dict[tuple[int, bytes], tuple[int, bytes]] = {}
        self._packs: set[bytes] = set()
        self._rows: list[tuple[object, ...]] = []
        self._copies: list[tuple[int, int, bytes]] = []

    def take(self, judged: Sequence[SealedPack | Stray]) -> Applied:
        """Apply all items in order.

        Raises:
            LogCorrupt: see ``KafkaIndex.apply``.
        """
        packs = [item for item in judged if isinstance(item, SealedPack)]
        self._look_up(packs)
        applied = Applied([], [])
        for item in judged:
            if isinstance(item, Stray):
                self._keep(item)
            else:
                self._take(item, applied)
        insert_rows(self._connection, "entries", self._rows)
        insert_rows(self._connection, "copies", self._copies)
        insert_destinations(self._connection, [(self._key(entry.position), entry) for entry, *_ in applied.placed])
        return applied

    def _look_up(self, packs: Sequence[SealedPack]) -> None:
        """Look up together which of the packs and records the index already has."""
        self._packs.update(values_present(self._connection, "packs", "pack", [self._pack_key(pack) for pack in packs]))
        record_ids = [sealed.packed.entry.record_id for pack in packs for sealed in pack.entries]
        columns = "position, record_id, record_sha256"
        for key, record_id, record_sha256 in entries_with_ids(self._connection, columns, record_ids):
            self._present[key >> POSITION_BITS, record_id] = key, record_sha256

    def _take(self, pack: SealedPack, applied: Applied) -> None:
        partition = pack.partition
        known = self._known[partition]
        if pack.epoch < known.epoch:
            message = "a partition goes on under an earlier leader than before: its topic was made anew"
            raise LogCorrupt(message, position=str(Position(*partition, position_of(pack.offset))))
        self._known[partition] = known._replace(epoch=pack.epoch)
        pack_key = self._pack_key(pack)
        if pack_key in self._packs:
            self._keep(Stray.of(Position(*partition, position_of(pack.offset)), REPLAYED, pack.value))
            return
        self._packs.add(pack_key)
        self._connection.execute("INSERT INTO packs VALUES (?)", (pack_key,))
        for stray in pack.altered:
            self._keep(stray)
        number = self._numbers[partition]
        for sealed in pack.entries:
            entry = sealed.packed.entry
            first = self._present.get((number, entry.record_id))
            if first is None:
                key = number << POSITION_BITS | sealed.position
                self._present[number, entry.record_id] = key, entry.record_sha256
                applied.placed.append(Placed(self._place(pack, sealed), pack.sealing.append_id, sealed.sound))
            elif sealed.sound:
                applied.repeated.append(entry)
                if entry.record_sha256 == first[1]:
                    copy = number << POSITION_BITS | sealed.position
                    self._copies.append((first[0], copy, sealed.packed.value_sha256))

    def _place(self, pack: SealedPack, sealed: SealedEntry) -> LogEntry:
        known = self._known[pack.partition]
        accepted_at_ms = max(known.accepted_at_ms, pack.sealing.at_ms)
        position = Position(*pack.partition, sealed.position)
        entry = sealed.packed.entry.placed(position, accepted_at_ms, self._log_ids[position.stream], pack.epoch)
        if not sealed.sound:
            entry = entry._replace(value=b"")
        self._known[pack.partition] = known._replace(end=sealed.position + 1, accepted_at_ms=accepted_at_ms)
        self._insert(entry, sealed.packed.value_sha256)
        return entry

    def _keep(self, stray: Stray) -> None:
        row = (self._key(stray.position), stray.reason, stray.size, stray.sha256)
        self._connection.execute("REPLACE INTO strays VALUES (?, ?, ?, ?)", row)

    def _insert(self, entry: LogEntry, value_sha256: bytes) -> None:
        self._rows.append(
            (
                self._key(entry.position),
                entry.record_id,
                entry.kind,
                entry.ordering_key,
                " ".join(entry.recipients),
                entry.record_sha256,
                entry.accepted_at_ms,
                entry.epoch,
                value_sha256,
            )
        )

    def _pack_key(self, pack: SealedPack) -> bytes:
        return self._numbers[pack.partition].to_bytes(_NUMBER_BYTES) + pack.pack_id

    def _key(self, position: Position) -> int:
        return self._numbers[position.stream_partition] << POSITION_BITS | position.offset
