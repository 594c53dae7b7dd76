"""A Merkle tree that keeps all its nodes in memory, built only through broker.core.tree.merkle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.tree.merkle import CompactRange, consistency_proof, inclusion_proof, leaf_hash

if TYPE_CHECKING:
    from collections.abc import Iterable


class GrownTree:
    """A tree with all of its earlier roots. ``roots[n]`` is the root of its first ``n`` leaves."""

    def __init__(self, leaves: Iterable[bytes]) -> None:
        self.leaves: list[bytes] = []
        self.nodes: dict[tuple[int, int], bytes] = {}
        self._range = CompactRange()
        self.roots = [self._range.root()]
        for leaf in leaves:
            self.append(leaf)

    def append(self, leaf: bytes) -> None:
        hashed = leaf_hash(leaf)
        self.nodes[0, len(self.leaves)] = hashed
        for level, index, node in self._range.append(hashed):
            self.nodes[level, index] = node
        self.leaves.append(leaf)
        self.roots.append(self._range.root())

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        return inclusion_proof(index, size, lambda level, at: self.nodes[level, at])

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        return consistency_proof(old, new, lambda level, at: self.nodes[level, at])
