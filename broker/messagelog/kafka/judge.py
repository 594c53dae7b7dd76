"""Separate entries from strays: what a broker of this exchange appended to a partition, and everything else.

A stray is evidence and is never delivered. Only its place, size and digest are kept. It is a whole Kafka record if
nobody of this exchange sealed it for this partition, or what a pack has beyond the entries that its header lists.

An entry whose value is not what was sealed is an entry all the same: the seal covers its header, so everything that
its leaf says is known. It is only not sound. Its value may be read from a copy (docs/adr/0039-repair-on-kafka.md).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker.core.entry import Stray
from broker.core.errors import LogCorrupt, LogSchemaUnsupported, ProofInvalid
from broker.core.seal import Seal, Sealing, pack_statement, value_digest
from broker.core.streams import Position, StreamPartition
from broker.messagelog.kafka.lenient import Unread
from broker.messagelog.kafka.packs import VERSION, Pack, Packed, entries_of, parse_pack
from broker.messagelog.kafka.positions import MAX_OFFSET, position_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.ports import LogKeys

NOT_SEALED: Final = "NOT_SEALED"
"""The reason of a stray that no broker of this exchange appended here."""
ALTERED: Final = "ALTERED"
"""The reason where a sealed pack has another value than was sealed, none, or one more."""
REPLAYED: Final = "REPLAYED"
"""The reason of a stray that is a copy of a pack, with its seal."""
BEFORE_PACKS: Final = "BEFORE_PACKS"
"""The reason of a stray in the format of earlier development versions: one Kafka record for each entry."""
_HEADERS_BEFORE_PACKS: Final = {"record-id", "kind", "recipients", "record-sha256", "seal"}
_SEALS_REMEMBERED: Final = 4096


class SealedEntry(NamedTuple):
    """An entry of a sealed pack: its position in the partition, its content, and the digest of its value.

    ``sound``: the pack has the value that was sealed.
    """

    position: int
    packed: Packed
    sound: bool = True


class SealedPack(NamedTuple):
    """A Kafka record that a broker of this exchange appended: its place, its seal and what is in it.

    Attributes:
        partition: where it is.
        offset: its offset in Kafka.
        epoch: the leader epoch under which Kafka took it.
        sealing: the append.
        pack_id: another one for each pack that was ever appended.
        entries: its entries, in order.
        altered: what it has beyond them.
        value: the whole Kafka record's value.
    """

    partition: StreamPartition
    offset: int
    epoch: int
    sealing: Sealing
    pack_id: bytes
    entries: list[SealedEntry]
    altered: list[Stray]
    value: bytes


class PackJudge:
    """Judges Kafka records. For one thread.

    Args:
        log_ids: the topic id of each stream.
        keys: the checkpoint keys that the directory lists.
    """

    def __init__(self, log_ids: Mapping[str, str], keys: LogKeys) -> None:
        self._log_ids = log_ids
        self._keys = keys
        # The packs of one append share a signature, so it is checked once.
        self._is_signed = lru_cache(maxsize=_SEALS_REMEMBERED)(self._check)

    def judge(self, partition: StreamPartition, record: Any) -> SealedPack | Stray:
        """Decide whether a consumed Kafka record is a pack of entries or a stray.

        Raises:
            LogSchemaUnsupported: a newer broker of this exchange appended it.
            LogCorrupt: its offset is higher than any that Kafka gives.
        """
        if record.offset > MAX_OFFSET:
            message = "a partition has an offset that Kafka cannot have given"
            raise LogCorrupt(message, partition=str(partition))
        pack = parse_pack(record.value or b"")
        if pack is None or record.headers or record.key is not None:
            before_packs = {name for name, _ in record.headers} == _HEADERS_BEFORE_PACKS
            return _stray(partition, record, BEFORE_PACKS if before_packs else NOT_SEALED)
        try:
            return self._sealed(partition, record, pack)
        except ProofInvalid:
            return _stray(partition, record, NOT_SEALED)

    def _sealed(self, partition: StreamPartition, record: Any, pack: Pack) -> SealedPack:
        seal = Seal.decode(pack.seal)
        sealing = Sealing(seal.append_id, record.timestamp)
        log_id = self._log_ids[partition.stream]
        text = seal.signed_text(pack_statement(pack.version, partition, log_id, sealing, pack.header))
        if not self._is_signed(seal.key_id, text, seal.signature):
            message = "the seal is not signed by a key of this exchange"
            raise ProofInvalid(message)
        ended = self._keys.ended(seal.key_id)
        if ended is not None and not ended.covers_entry(partition, log_id, position_of(record.offset)):
            message = "the key of the seal had ended before this position"
            raise ProofInvalid(message)
        if pack.version != VERSION:
            message = f"a newer broker appended a pack of version {pack.version}, and this one knows version {VERSION}"
            raise LogSchemaUnsupported(message, partition=str(partition))
        entries, altered = _told_apart(partition, record.offset, pack)
        pack_id = seal.append_id + seal.index.to_bytes(4)
        epoch = record.leader_epoch
        return SealedPack(partition, record.offset, epoch, sealing, pack_id, entries, altered, record.value)

    def _check(self, key_id: bytes, text: bytes, signature: bytes) -> bool:
        check = self._keys.check(key_id)
        return check is not None and check(text, signature)


def _told_apart(partition: StreamPartition, offset: int, pack: Pack) -> tuple[list[SealedEntry], list[Stray]]:
    """The entries of a sealed pack, and what it has beyond them."""
    entries: list[SealedEntry] = []
    altered: list[Stray] = []
    place = position_of(offset)
    for packed in entries_of(pack, partition):
        entries.append(SealedEntry(place, packed, value_digest(packed.entry.value) == packed.value_sha256))
        place += 1
    more = pack.values[place - position_of(offset) :]
    if more:
        altered.append(Stray.of(Position(*partition, place), ALTERED, b"".join(more)))
    return entries, altered


def _stray(partition: StreamPartition, record: Any, reason: str) -> Stray:
    position = Position(*partition, position_of(record.offset))
    # A header that was read has bytes. Only the reader itself puts this one there.
    unread = next((content for _, content in record.headers if isinstance(content, Unread)), None)
    if unread is not None:
        return Stray(position, reason, unread.size, unread.sha256)
    return Stray.of(position, reason, record.value or b"")
