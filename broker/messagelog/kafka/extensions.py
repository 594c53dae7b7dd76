"""The bytes that a follower publishes for each checkpoint: the new leaves, and the signed note over the whole tree.

``version (0x01) || size before u64 || count u32 || count x (offset u64, accepted at u64, hash 32) || signed at u64 ||
note``. Every number is big endian. Anyone who has the earlier leaves can check that all leaves give the root in the
note.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from broker.core.errors import CheckpointInvalid
from broker.core.tree.merkle import HASH_BYTES
from broker.ports import LeafRow, TreeExtension, TreeHead

_VERSION: Final = 1
_BEGIN: Final = struct.Struct(">BQI")
_LEAF: Final = struct.Struct(f">QQ{HASH_BYTES}s")
_SIGNED_AT: Final = struct.Struct(">Q")
_INT64: Final = 1 << 63


class SizedExtension(NamedTuple):
    """An extension of the tree of ``size`` leaves. The size of its head is ``size`` plus the number of its leaves."""

    size: int
    extension: TreeExtension


def encode_extension(size: int, extension: TreeExtension) -> bytes:
    """The bytes of an extension of the tree of ``size`` leaves, without inner nodes: the leaves determine them."""
    leaves = b"".join(_LEAF.pack(*leaf) for leaf in extension.leaves)
    begin = _BEGIN.pack(_VERSION, size, len(extension.leaves))
    return begin + leaves + _SIGNED_AT.pack(extension.head.signed_at_ms) + extension.head.note


def decode_extension(data: bytes) -> SizedExtension:
    """Read an extension. Only the exact bytes that ``encode_extension`` writes are accepted.

    Raises:
        CheckpointInvalid: the bytes are not an extension of this version.
    """
    try:
        version, size, count = _BEGIN.unpack_from(data)
        end = _BEGIN.size + count * _LEAF.size
        leaves = [LeafRow(*leaf) for leaf in _LEAF.iter_unpack(data[_BEGIN.size : end])]
        (signed_at_ms,) = _SIGNED_AT.unpack_from(data, end)
    except struct.error:
        message = "not a published checkpoint"
        raise CheckpointInvalid(message) from None
    numbers = [size + count, signed_at_ms]
    for leaf in leaves:
        numbers += (leaf.offset, leaf.accepted_at_ms)
    if version != _VERSION or len(leaves) != count or max(numbers) >= _INT64:
        message = "not a published checkpoint of this version"
        raise CheckpointInvalid(message)
    note = data[end + _SIGNED_AT.size :]
    return SizedExtension(size, TreeExtension(leaves, (), TreeHead(size + count, note, signed_at_ms)))
