"""Entries as Kafka records, and the check of what a topic contains.

The value is the envelope's exact bytes, the key is the ordering key, and the timestamp is the sealed time. The headers
carry record id, kind, recipients, the record's digest and the append seal (broker/core/seal.py). Everything that a
broker of this exchange did not itself append to this partition is a stray. It is kept as evidence and is never
delivered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker.core.entry import NewEntry, Stray
from broker.core.errors import ProofInvalid
from broker.core.seal import APPEND_ID_BYTES, Seal, Sealing, append_statement, value_digest
from broker.core.streams import Position

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.streams import StreamPartition
    from broker.ports import LogKeys

RECORD_ID: Final = "record-id"
KIND: Final = "kind"
RECIPIENTS: Final = "recipients"
RECORD_SHA256: Final = "record-sha256"
SEAL: Final = "seal"
_HEADERS: Final = frozenset({RECORD_ID, KIND, RECIPIENTS, RECORD_SHA256, SEAL})

NOT_SEALED: Final = "NOT_SEALED"
"""The reason of a stray that no broker of this exchange appended here."""
REPLAYED: Final = "REPLAYED"
"""The reason of a stray that is a copy of an entry, with its seal."""
_RECORD_ID_BYTES: Final = 16
_DIGEST_BYTES: Final = 32
_SEALS_REMEMBERED: Final = 4096


class Sealed(NamedTuple):
    """A Kafka record that a broker of this exchange appended: its content, its place and its seal."""

    entry: NewEntry
    offset: int
    epoch: int
    sealing: Sealing
    value_sha256: bytes


def headers_of(entry: NewEntry, seal: Seal) -> list[tuple[str, bytes]]:
    """The headers of an entry's Kafka record."""
    return [
        (RECORD_ID, entry.record_id),
        (KIND, entry.kind.encode()),
        (RECIPIENTS, " ".join(entry.recipients).encode()),
        (RECORD_SHA256, entry.record_sha256),
        (SEAL, seal.encode()),
    ]


class SealJudge:
    """Separates entries from strays. For one thread.

    Args:
        log_ids: the topic id of each stream.
        keys: the checkpoint keys that the directory lists.
    """

    def __init__(self, log_ids: Mapping[str, str], keys: LogKeys) -> None:
        self._log_ids = log_ids
        self._keys = keys
        # The entries of one append share a signature, so it is checked once.
        self._is_signed = lru_cache(maxsize=_SEALS_REMEMBERED)(self._check)

    def judge(self, partition: StreamPartition, record: Any) -> Sealed | Stray:
        """Decide whether a consumed Kafka record is an entry or a stray."""
        try:
            return self._sealed(partition, record)
        except (ProofInvalid, KeyError, UnicodeDecodeError, ValueError):
            return Stray(Position(*partition, record.offset), NOT_SEALED, record.value or b"")

    def _sealed(self, partition: StreamPartition, record: Any) -> Sealed:
        headers = dict(record.headers)
        value = record.value
        # Everything in a Kafka record may be null, except the names of its headers.
        null = None in (value, record.key, *headers.values())
        if headers.keys() != _HEADERS or len(record.headers) != len(_HEADERS) or null:
            message = "not the headers of an entry"
            raise ProofInvalid(message)
        entry = NewEntry(
            partition=partition,
            record_id=_exactly(headers[RECORD_ID], _RECORD_ID_BYTES),
            kind=headers[KIND].decode(),
            ordering_key=record.key.decode(),
            recipients=tuple(headers[RECIPIENTS].decode().split(" ")) if headers[RECIPIENTS] else (),
            record_sha256=_exactly(headers[RECORD_SHA256], _DIGEST_BYTES),
            value=value,
        )
        seal = Seal.decode(headers[SEAL])
        sealing = Sealing(_exactly(seal.append_id, APPEND_ID_BYTES), record.timestamp)
        digest = value_digest(value)
        text = seal.signed_text(append_statement(entry, self._log_ids[partition.stream], sealing, digest))
        if not self._is_signed(seal.key_id, text, seal.signature):
            message = "the seal is not signed by a key of this exchange"
            raise ProofInvalid(message)
        return Sealed(entry, record.offset, record.leader_epoch, sealing, digest)

    def _check(self, key_id: bytes, text: bytes, signature: bytes) -> bool:
        check = self._keys.check(key_id)
        return check is not None and check(text, signature)


def _exactly(data: bytes, size: int) -> bytes:
    if len(data) != size:
        message = "a header has another length than its kind"
        raise ProofInvalid(message)
    return data
