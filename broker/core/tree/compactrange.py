"""A growing Merkle tree that keeps only its frontier, and the hashes of such trees (RFC 6962 section 2.1).

This is the lower half of merkle.py. Other modules use it through that module.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeAlias

from broker.core.errors import PositionUnknown, ProofInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of the tree without leaves."""

Coordinate: TypeAlias = tuple[int, int]
"""``(level, index)`` of a complete subtree."""

# Different prefixes, so that a leaf's bytes cannot pass as two child hashes (RFC 6962 section 2.1, second preimages).
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


def leaf_hash(data: bytes) -> bytes:
    """Hash one leaf's bytes."""
    return sha256(_LEAF + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash two neighbouring subtrees into their parent."""
    return sha256(_NODE + left + right).digest()


def range_coordinates(begin: int, end: int) -> tuple[Coordinate, ...]:
    """The fewest complete subtrees that cover the leaves ``[begin, end)``, left to right.

    Raises:
        PositionUnknown: ``0 <= begin <= end`` is false.
    """
    if not 0 <= begin <= end:
        message = "not a range of leaves"
        raise PositionUnknown(message, begin=str(begin), end=str(end))
    return tuple(_cover(begin, end))


def _cover(begin: int, end: int) -> Iterator[Coordinate]:
    while begin < end:
        level = (end - begin).bit_length() - 1
        if begin:  # A subtree of 2**level leaves begins at a multiple of 2**level.
            level = min(level, (begin & -begin).bit_length() - 1)
        yield level, begin >> level
        begin += 1 << level


class CompactRange:
    """A growing tree that keeps only its frontier: the complete subtrees that cover it, at most one for each level.

    An append costs one node hash on average. At most ``size.bit_length()`` hashes are held.

    Args:
        size: the number of leaves so far.
        nodes: the hashes at ``frontier_coordinates(size)``. They are not checked: compare ``root()`` with a signed
            root.

    Raises:
        ProofInvalid: ``nodes`` cannot be the frontier of a tree of ``size`` leaves.
    """

    __slots__ = ("_nodes", "_size")

    def __init__(self, size: int = 0, nodes: Sequence[bytes] = ()) -> None:
        if size < 0 or len(nodes) != size.bit_count():
            message = "the number of frontier hashes is not that of the tree's size"
            raise ProofInvalid(message, size=str(size), hashes=str(len(nodes)))
        check_hashes(*nodes)
        self._size = size
        self._nodes = list(nodes)

    @property
    def size(self) -> int:
        """The number of leaves so far."""
        return self._size

    @property
    def nodes(self) -> tuple[bytes, ...]:
        """The frontier's hashes, left to right. With ``size``, they are all that is needed to resume."""
        return tuple(self._nodes)

    def append(self, leaf: bytes) -> tuple[tuple[int, int, bytes], ...]:
        """Add one leaf hash.

        Returns:
            The inner nodes that this leaf completed, lowest first, as ``(level, index, hash)`` with level >= 1. With
            these and the leaf hash itself (level 0), a store can build any proof later.

        Raises:
            ProofInvalid: ``leaf`` is not a hash; nothing is added.
        """
        if len(leaf) != HASH_BYTES:
            check_hashes(leaf)
        return self._push(0, leaf)

    def append_subtree(self, level: int, node: bytes) -> None:
        """Add the ``1 << level`` leaves of a complete subtree by its hash.

        Raises:
            ProofInvalid: ``node`` is not a hash, or such a subtree cannot begin at the present size; nothing is added.
        """
        check_hashes(node)
        if level < 0 or self._size & ((1 << level) - 1):
            message = "a complete subtree of this level does not begin at the present size"
            raise ProofInvalid(message, size=str(self._size), level=str(level))
        self._push(level, node)

    def _push(self, level: int, node: bytes) -> tuple[tuple[int, int, bytes], ...]:
        nodes = self._nodes
        index = self._size >> level
        self._size += 1 << level
        completed = []
        # As in binary addition: each trailing one bit of the size is a left sibling that waits for this node.
        while index & 1:
            node = sha256(_NODE + nodes.pop() + node).digest()
            level += 1
            index >>= 1
            completed.append((level, index, node))
        nodes.append(node)
        return tuple(completed)

    def root(self) -> bytes:
        """The root hash of the tree as it is now."""
        return fold(self._nodes) if self._nodes else EMPTY_ROOT


def fold(nodes: Sequence[bytes]) -> bytes:
    """Join neighbouring complete subtrees of decreasing size, from the right."""
    joined = nodes[-1]
    for node in reversed(nodes[:-1]):
        joined = node_hash(node, joined)
    return joined


def check_hashes(*hashes: bytes) -> None:
    """Refuse anything that cannot be a hash.

    Raises:
        ProofInvalid: one of them is not 32 bytes long.
    """
    # A hash of another length could move the border between two children without a change of their parent.
    if any(len(item) != HASH_BYTES for item in hashes):
        message = "not every hash has 32 bytes"
        raise ProofInvalid(message)
