r"""The append seal shows that a broker of this exchange appended a pack of entries to a shared log.

The administrators of a distributed log can write to it. So each broker seals what it appends with the checkpoint key.
Readers of the log ignore a pack without a valid seal, and one with a seal that they have seen before. The seal of a
pack covers a *statement*, six lines of UTF-8::

    case-exchange pack v<version>\n
    <stream>/<partition>\n
    <log id>\n
    <append id, hexadecimal>\n
    <base64 of the SHA-256 of the pack's header>\n
    <milliseconds since the Unix epoch>\n

The header says what each entry is, with the SHA-256 of its value (caseexchange/log/v1/pack.proto). So a changed value
spoils only its own entry. The statements of one append, one for each pack, are the leaves of an RFC 6962 tree, and one
signature covers its size and root (as with receipts). The first line of the signed text contains a space, so it cannot
pass as a checkpoint, and the reverse.

The position is not in it, because the log assigns it afterwards. The append id is in it, and is never used twice. So a
copy of a pack, with its seal, differs from a record that two brokers appended at the same time. All versions of the
statement have these lines. So a reader can tell a pack of a newer broker from one that nobody sealed.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import ProofInvalid
from broker.core.tree import merkle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.streams import StreamPartition

APPEND_ID_BYTES: Final = 16
SIGNATURE_BYTES: Final = 64
_KEY_ID_BYTES: Final = 4
_VERSION: Final = 1
_COUNT_BYTES: Final = 4
_FIXED_BYTES: Final = 1 + _KEY_ID_BYTES + APPEND_ID_BYTES + 2 * _COUNT_BYTES


class Sealing(NamedTuple):
    """What all packs of one append share: its id, and the stated time (epoch milliseconds)."""

    append_id: bytes
    at_ms: int


@dataclass(frozen=True, slots=True)
class Seal:
    """One pack's seal: its key, its append, which leaf it is of how many, the path to the root, the signature."""

    key_id: bytes
    append_id: bytes
    index: int
    count: int
    path: tuple[bytes, ...]
    signature: bytes

    def encode(self) -> bytes:
        """The bytes of the seal, which are in the pack."""
        numbers = self.index.to_bytes(_COUNT_BYTES) + self.count.to_bytes(_COUNT_BYTES)
        fixed = bytes([_VERSION]) + self.key_id + self.append_id + numbers
        return fixed + b"".join(self.path) + self.signature

    @classmethod
    def decode(cls, data: bytes) -> Seal:
        """Read a seal. Only the exact bytes that ``encode`` writes are accepted.

        Raises:
            ProofInvalid: the bytes are not a seal of this version.
        """
        path, rest = divmod(len(data) - _FIXED_BYTES - SIGNATURE_BYTES, merkle.HASH_BYTES)
        if path < 0 or rest or data[0] != _VERSION:
            message = "not an append seal"
            raise ProofInvalid(message)
        numbers = data[1 + _KEY_ID_BYTES + APPEND_ID_BYTES : _FIXED_BYTES]
        hashes = data[_FIXED_BYTES:-SIGNATURE_BYTES]
        return cls(
            key_id=data[1 : 1 + _KEY_ID_BYTES],
            append_id=data[1 + _KEY_ID_BYTES : 1 + _KEY_ID_BYTES + APPEND_ID_BYTES],
            index=int.from_bytes(numbers[:_COUNT_BYTES]),
            count=int.from_bytes(numbers[_COUNT_BYTES:]),
            path=tuple(hashes[at : at + merkle.HASH_BYTES] for at in range(0, len(hashes), merkle.HASH_BYTES)),
            signature=data[-SIGNATURE_BYTES:],
        )

    def signed_text(self, statement: bytes) -> bytes:
        """The text that must be signed if this is the seal of the pack of this statement.

        Raises:
            ProofInvalid: the path does not have the shape that index and count demand.
        """
        return _text(self.count, merkle.root_from_path(self.index, self.count, merkle.leaf_hash(statement), self.path))


def pack_statement(version: int, partition: StreamPartition, log_id: str, sealing: Sealing, header: bytes) -> bytes:
    """The statement of a pack that the seal covers.

    Args:
        version: the version of the pack.
        partition: the partition that the pack was appended to, or is said to have been.
        log_id: the incarnation of the log.
        sealing: the id and the time of the append.
        header: the pack's header.
    """
    lines = (
        f"case-exchange pack v{version}",
        str(partition),
        log_id,
        sealing.append_id.hex(),
        b64encode(sha256(header).digest()).decode(),
        str(sealing.at_ms),
        "",
    )
    return "\n".join(lines).encode()


class Unsigned(NamedTuple):
    """The seals of one append, without the signature over ``text``."""

    text: bytes
    paths: tuple[tuple[bytes, ...], ...]

    def signed(self, key_id: bytes, append_id: bytes, signature: bytes) -> list[Seal]:
        """The seals, in the order of the statements."""
        count = len(self.paths)
        return [Seal(key_id, append_id, index, count, path, signature) for index, path in enumerate(self.paths)]


def prepare_seals(statements: Sequence[bytes]) -> Unsigned:
    """Build the tree over the statements of one append. At least one is needed."""
    levels = merkle.complete_subtrees([merkle.leaf_hash(statement) for statement in statements])
    tree = merkle.CompactRange()
    for leaf in levels[0]:
        tree.append(leaf)
    count = len(statements)
    paths = tuple(merkle.inclusion_proof(index, count, lambda level, at: levels[level][at]) for index in range(count))
    return Unsigned(_text(count, tree.root()), paths)


def value_digest(value: bytes) -> bytes:
    """SHA-256 of an entry's value."""
    return sha256(value).digest()


def _text(count: int, root: bytes) -> bytes:
    return b"case-exchange appends v1\n%d\n%b\n" % (count, b64encode(root))
