"""The Merkle tree over a log partition, by RFC 6962 section 2.1. RFC 9162 section 2.1 gives the same hashes.

A tree of ``size`` leaves splits at the largest power of two below its size. Its *complete* subtrees never change once
they are full, so only they are stored, each at ``(level, index)``: the hash over the leaves
``[index << level, (index + 1) << level)``. Level 0 is the leaves. If the size is no power of two, the nodes on the
right edge are computed from the stored ones. All hashes are 32 bytes of SHA-256.

Proofs are sequences of hashes in RFC order, from the leaf towards the root. Verifiers raise ``ProofInvalid`` and return
nothing, so that a forgotten ``if`` cannot accept a bad proof.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias

from broker.core.errors import PositionUnknown, ProofInvalid
from broker.core.tree.compactrange import (
    EMPTY_ROOT,
    HASH_BYTES,
    CompactRange,
    Coordinate,
    check_hashes,
    fold,
    leaf_hash,
    node_hash,
    range_coordinates,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "EMPTY_ROOT",
    "HASH_BYTES",
    "MAX_SIZE",
    "CompactRange",
    "Coordinate",
    "NodeReader",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "range_coordinates",
    "root_from_path",
    "root_of",
    "verify_consistency",
    "verify_inclusion",
]

MAX_SIZE: Final = (1 << 63) - 1
"""The limit for the leaves of a tree from outside. Other implementations have signed 64-bit numbers."""

NodeReader: TypeAlias = Callable[[int, int], bytes]
"""Returns the hash of the complete subtree at ``(level, index)``."""


def root_of(size: int, begin: int, left: Sequence[bytes], leaves: Iterable[bytes], right: Sequence[bytes]) -> bytes:
    """The root of a tree, from the leaves of one period and the subtree hashes on both sides of it.

    If it equals a signed root, the period's leaves are exactly those at ``[begin, end)`` of the signed tree, with
    ``end = begin +`` the number of leaves. The sizes fix the tree's shape, so other leaves would be a SHA-256
    collision.

    Args:
        size: the number of leaves of the whole tree.
        begin: the index of the period's first leaf.
        left: the hashes at ``range_coordinates(0, begin)``.
        leaves: the period's leaf hashes in order. They are read once and not kept.
        right: the hashes at ``range_coordinates(end, size)``.

    Raises:
        ProofInvalid: a count does not fit the sizes, or something is not a hash.
    """
    tree = CompactRange(begin, left)
    for leaf in leaves:
        tree.append(leaf)
    if tree.size > size:
        message = "the period ends beyond the tree"
        raise ProofInvalid(message, size=str(size), end=str(tree.size))
    coordinates = range_coordinates(tree.size, size)
    _check_count(right, len(coordinates))
    for (level, _), node in zip(coordinates, right, strict=True):
        tree.append_subtree(level, node)
    return tree.root()


def complete_subtrees(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """The hashes of all complete subtrees over these leaf hashes, by level. Proofs can be built from them."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
    return levels


def inclusion_proof(index: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """Prove that a leaf is in a tree: PATH of RFC 9162 section 2.1.3.1.

    Only complete subtrees of the tree of ``size`` leaves are read.

    Raises:
        PositionUnknown: ``0 <= index < size`` is false.
    """
    if not 0 <= index < size:
        message = "no such leaf in a tree of this size"
        raise PositionUnknown(message, index=str(index), size=str(size))
    return tuple(_subtree(begin, end, node) for begin, end in _siblings(index, index + 1, size))


def consistency_proof(old: int, new: int, node: NodeReader) -> tuple[bytes, ...]:
    """Prove that a tree only grew: PROOF of RFC 9162 section 2.1.4.1.

    Only complete subtrees of the tree of ``new`` leaves are read. The proof is empty if ``old`` is 0 or ``new``.

    Raises:
        PositionUnknown: ``0 <= old <= new`` is false.
    """
    if not 0 <= old <= new:
        message = "a tree does not shrink"
        raise PositionUnknown(message, old=str(old), new=str(new))
    return tuple(_subtree(begin, end, node) for begin, end in _consistency_ranges(old, new))


def root_from_path(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof gives for the leaf hash ``leaf`` at ``index`` of a tree of ``size`` leaves.

    The computation of RFC 9162 section 2.1.3.2, after a check of the proof's exact length. It proves nothing until the
    caller has compared the root with a trusted one.

    Raises:
        ProofInvalid: the proof does not have the shape that index and size demand.
    """
    # (1) The leaf is in the tree.
    if not 0 <= index < size <= MAX_SIZE:
        message = "the leaf index is not within the tree"
        raise ProofInvalid(message, index=str(index), size=str(size))
    # (2) The number of hashes is what index and size demand, and each has 32 bytes.
    siblings = _siblings(index, index + 1, size)
    _check_count(proof, len(siblings))
    check_hashes(leaf, *proof)
    # (3) Join them from the leaf upward.
    node = leaf
    for (begin, _), sibling in zip(siblings, proof, strict=True):
        node = node_hash(sibling, node) if begin < index else node_hash(node, sibling)
    return node


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf hash ``leaf`` is at ``index`` of the tree that has ``size`` leaves and the root ``root``.

    Raises:
        ProofInvalid: the proof does not show this.
    """
    if root_from_path(index, size, leaf, proof) != root:
        message = "the inclusion proof does not lead to the root"
        raise ProofInvalid(message, index=str(index), size=str(size))


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of ``new_size`` leaves begins with the tree of ``old_size`` leaves.

    The check of RFC 9162 section 2.1.4.2, after a check of the proof's exact length. Every tree begins with the empty
    tree, so an ``old_size`` of 0 says nothing about ``new_root``.

    Raises:
        ProofInvalid: the proof does not show this.
    """
    # (1) A log does not shrink.
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        message = "the older tree is larger than the newer"
        raise ProofInvalid(message, old=str(old_size), new=str(new_size))
    # (2) The number of hashes is what the sizes demand, and each has 32 bytes.
    ranges = _consistency_ranges(old_size, new_size)
    _check_count(proof, len(ranges))
    check_hashes(old_root, new_root, *proof)
    # (3) They give both roots. The start is a complete subtree on the old tree's right edge: the first hash, or the old
    #     root itself. Hashes that begin beyond the old tree belong only to the newer one.
    path = list(zip(ranges, proof, strict=True))
    start = path.pop(0)[1] if ranges and ranges[0][1] == old_size else old_root
    old_node = new_node = start if old_size else EMPTY_ROOT
    for (begin, _), sibling in path:
        if begin < old_size:
            old_node, new_node = node_hash(sibling, old_node), node_hash(sibling, new_node)
        else:
            new_node = node_hash(new_node, sibling)
    if old_node != old_root or (new_node != new_root and (old_size or not new_size)):
        message = "the consistency proof does not lead to the two roots"
        raise ProofInvalid(message, old=str(old_size), new=str(new_size))


def _siblings(begin: int, end: int, size: int) -> list[tuple[int, int]]:
    """The ranges that join ``[begin, end)`` to the root over ``[0, size)``, lowest first."""
    siblings = []
    low, high = 0, size
    while (low, high) != (begin, end):
        middle = low + (1 << (high - low - 1).bit_length() - 1)  # the largest power of two below the width
        if end <= middle:
            siblings.append((middle, high))
            high = middle
        else:
            siblings.append((low, middle))
            low = middle
    siblings.reverse()
    return siblings


def _consistency_ranges(old: int, new: int) -> list[tuple[int, int]]:
    """The ranges of the hashes in a consistency proof, in its order."""
    if old in (0, new):
        return []
    level, index = range_coordinates(0, old)[-1]
    begin = index << level
    siblings = _siblings(begin, old, new)
    # If the start is the whole old tree, its root is known already and is left out.
    return [(begin, old), *siblings] if begin else siblings


def _subtree(begin: int, end: int, node: NodeReader) -> bytes:
    """The hash over ``[begin, end)``. ``begin`` is aligned for that width: complete, or on the right edge."""
    return fold([node(level, index) for level, index in range_coordinates(begin, end)])


def _check_count(hashes: Sequence[bytes], expected: int) -> None:
    if len(hashes) != expected:
        message = "the number of hashes is not the one that the tree's shape dictates"
        raise ProofInvalid(message, hashes=str(len(hashes)), expected=str(expected))
