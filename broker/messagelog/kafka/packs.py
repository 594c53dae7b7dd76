"""Packs: the entries that one append puts into one partition are one Kafka record.

A Kafka record has a cost of its own in every client, in the nodes and in the network. A pack shares it. Its value is a
``caseexchange.log.v1.Pack``; key and headers are empty, and the timestamp is the sealed time.
"""

from __future__ import annotations

from itertools import chain, repeat
from typing import TYPE_CHECKING, Final, NamedTuple

from google.protobuf.message import DecodeError

from broker.core.entry import NewEntry
from broker.core.errors import ProofInvalid
from broker.core.seal import value_digest
from broker.messagelog.kafka.positions import PACK_ENTRIES
from caseexchange.log.v1 import pack_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.seal import Seal
    from broker.core.streams import StreamPartition

VERSION: Final = 1
PACK_BYTES: Final = 512 << 10
"""A pack takes no more entries once it is this large. One entry may be larger alone."""
_ENTRY_BYTES: Final = 128
"""More than the digests, the lengths and the tags of an entry."""
_PACK_BYTES: Final = 1024
"""More than the seal, the tags of a pack, and Kafka's own bytes."""
_RECORD_ID_BYTES: Final = 16
_DIGEST_BYTES: Final = 32


class Pack(NamedTuple):
    """The content of a pack. Nothing in it has been checked."""

    version: int
    header: bytes
    seal: bytes
    values: Sequence[bytes]


class Draft(NamedTuple):
    """A pack without its seal."""

    partition: StreamPartition
    header: bytes
    values: Sequence[bytes]

    def encode(self, seal: Seal) -> bytes:
        """The value of the Kafka record."""
        message = pack_pb2.Pack(version=VERSION, header=self.header, seal=seal.encode(), values=self.values)
        return message.SerializeToString()


class Packed(NamedTuple):
    """What a header says of one entry, and the entry's value."""

    entry: NewEntry
    value_sha256: bytes


def drafts_of(entries: Sequence[NewEntry]) -> list[Draft]:
    """The packs of an append: for each partition as few as the limits allow, with the entries in their order."""
    groups: dict[StreamPartition, list[list[NewEntry]]] = {}
    sizes: dict[StreamPartition, int] = {}
    for entry in entries:
        packs = groups.setdefault(entry.partition, [[]])
        size = sizes.get(entry.partition, 0) + _size(entry)
        if packs[-1] and (size > PACK_BYTES or len(packs[-1]) == PACK_ENTRIES):
            packs.append([])
            size = _size(entry)
        packs[-1].append(entry)
        sizes[entry.partition] = size
    return [_draft(partition, pack) for partition, packs in groups.items() for pack in packs]


def fits(entry: NewEntry, value_bytes: int) -> bool:
    """Whether a pack of this entry alone is a Kafka record of at most ``value_bytes``."""
    return _size(entry) + _PACK_BYTES <= value_bytes


def parse_pack(value: bytes) -> Pack | None:
    """Read the value of a Kafka record, or None if it is no pack."""
    try:
        message = pack_pb2.Pack.FromString(value)
    except DecodeError:
        return None
    return Pack(message.version, message.header, message.seal, message.values)


def entries_of(pack: Pack, partition: StreamPartition) -> list[Packed]:
    """The entries that a header lists. An entry whose value is missing has the empty value.

    Raises:
        ProofInvalid: no broker writes such a header.
    """
    try:
        listed = pack_pb2.PackHeader.FromString(pack.header).entries
    except DecodeError as error:
        raise _malformed() from error
    if not 0 < len(listed) <= PACK_ENTRIES:
        raise _malformed()
    values = chain(pack.values, repeat(b""))
    return [_packed(said, partition, value) for said, value in zip(listed, values, strict=False)]


def _packed(said: pack_pb2.PackedEntry, partition: StreamPartition, value: bytes) -> Packed:
    record_id, record_sha256, recipients = said.record_id, said.record_sha256, tuple(said.recipients)
    if len(record_id) != _RECORD_ID_BYTES or len(record_sha256) != _DIGEST_BYTES:
        raise _malformed()
    entry = NewEntry(partition, record_id, said.kind, said.ordering_key, recipients, record_sha256, value)
    return Packed(entry, said.value_sha256)


def _malformed() -> ProofInvalid:
    return ProofInvalid("the header of a pack is not one that a broker writes")


def _draft(partition: StreamPartition, entries: Sequence[NewEntry]) -> Draft:
    header = pack_pb2.PackHeader(
        entries=[
            pack_pb2.PackedEntry(
                record_id=entry.record_id,
                kind=entry.kind,
                ordering_key=entry.ordering_key,
                recipients=entry.recipients,
                record_sha256=entry.record_sha256,
                value_sha256=value_digest(entry.value),
            )
            for entry in entries
        ]
    )
    return Draft(partition, header.SerializeToString(), [entry.value for entry in entries])


def _size(entry: NewEntry) -> int:
    """More bytes than the entry adds to its pack."""
    texts = len(entry.ordering_key) + len(entry.kind) + sum(len(recipient) + 2 for recipient in entry.recipients)
    return len(entry.value) + texts + _ENTRY_BYTES
