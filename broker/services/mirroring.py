"""Extend a partition's tree by what its follower published, in this or another process.

The leaves are published together with each checkpoint. A process that has read the log compares them with its own, one
by one. It names the first difference. The leaves must give the root that was signed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from broker.core.errors import LogCorrupt
from broker.core.streams import Position
from broker.core.tree.checkpoint import Checkpoint, NoteSignature, marshal_note, parse_note
from broker.core.tree.leaf import leaf_of
from broker.core.tree.merkle import CompactRange, leaf_hash, range_coordinates
from broker.core.tree.origin import checkpoint_origin
from broker.ports import LeafRow, TreeHead

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from broker.core.entry import LogEntry
    from broker.core.streams import StreamPartition
    from broker.ports import CheckpointBoard, CheckpointStore, MessageLog, NoteSigner


@dataclass(slots=True)
class PartitionTree:
    """A partition's stored tree: its frontier, the offset after its last leaf, and whether it has a checkpoint."""

    tree: CompactRange
    next_offset: int
    signed: bool


class CheckpointMirror:
    """Takes published checkpoints into the local store. For one event loop.

    Args:
        store: the trees and checkpoints of this process.
        board: where followers publish.
        log: origins and leaves are compared with it. None for an auditor, who compares each entry later.
        trust_domain: the beginning of the origins.
    """

    def __init__(
        self, store: CheckpointStore, board: CheckpointBoard, log: MessageLog | None, trust_domain: str
    ) -> None:
        self._store = store
        self._board = board
        self._log = log
        self._trust_domain = trust_domain

    async def load(self, partition: StreamPartition) -> PartitionTree:
        """Load the stored tree of a partition.

        Raises:
            LogCorrupt: the stored tree is not the one that was signed, or it belongs to another log.
            LogUnavailable
        """
        head = await self._store.head(partition)
        if head is None:
            return PartitionTree(CompactRange(), 0, signed=False)
        frontier = await self._store.nodes(partition, range_coordinates(0, head.size))
        tree = CompactRange(head.size, frontier)
        self._check_signed(partition, tree, head.note)
        return PartitionTree(tree, await self._store.next_offset(partition), signed=True)

    async def catch_up(self, partition: StreamPartition, state: PartitionTree) -> None:
        """Take in everything that was published beyond a tree.

        Raises:
            LogCorrupt: the published leaves are not those of this log, or not those that were signed.
            LogUnavailable, LogFull, CheckpointConflict
        """
        while True:
            published = await self._board.published(partition, state.tree.size)
            if published is None or (state.signed and published.head.size == state.tree.size):
                return
            if self._log is not None and published.leaves:
                # The signer had read these entries. So they can be read here, or they are lost.
                await self._log.catch_up(partition, published.leaves[-1].offset + 1)
                await self._compare(partition, state.next_offset, published.leaves)
            before = state.tree.size
            nodes = await asyncio.to_thread(append_leaves, state.tree, [leaf.hash for leaf in published.leaves])
            self._check_signed(partition, state.tree, published.head.note)
            await self._store.extend(partition, before, published._replace(nodes=nodes))
            state.signed = True
            if published.leaves:
                state.next_offset = published.leaves[-1].offset + 1

    def _check_signed(self, partition: StreamPartition, tree: CompactRange, note: bytes) -> None:
        signed = Checkpoint.parse(parse_note(note).text)
        if self._log is not None and signed.origin != checkpoint_origin(
            self._trust_domain, partition, self._log.log_id(partition.stream)
        ):
            message = (
                "a checkpoint was signed for another incarnation of this log, and the directory does not declare it"
            )
            raise LogCorrupt(message, partition=str(partition))
        if (signed.size, signed.root) != (tree.size, tree.root()):
            message = "a tree is not the one that its checkpoint was signed for"
            raise LogCorrupt(message, partition=str(partition))

    async def _compare(self, partition: StreamPartition, offset: int, published: Sequence[LeafRow]) -> None:
        if self._log is None:
            return
        done = 0
        while done < len(published):
            entries = await self._log.read(partition, offset, len(published) - done, 1 << 62, values=False)
            own = await asyncio.to_thread(leaves_of, entries)
            for ours, theirs in zip_longest(own, published[done : done + max(len(own), 1)]):
                if ours != theirs:
                    at = min(leaf.offset for leaf in (ours, theirs) if leaf is not None)
                    position = Position(*partition, at)
                    message = f"a checkpoint was signed over another entry than stands in the log at {position}"
                    raise LogCorrupt(message, position=str(position))
            done += len(own)
            offset = own[-1].offset + 1


def leaves_of(entries: Iterable[LogEntry]) -> list[LeafRow]:
    """The leaves of entries."""
    return [
        LeafRow(entry.position.offset, entry.accepted_at_ms, leaf_hash(leaf_of(entry).marshal())) for entry in entries
    ]


def sign_head(signer: NoteSigner, origin: str, tree: CompactRange, signed_at_ms: int) -> TreeHead:
    """Sign the checkpoint of a tree."""
    text = Checkpoint(origin, tree.size, tree.root()).marshal()
    signature = NoteSignature(signer.name, signer.key_id, signer.sign(text))
    return TreeHead(tree.size, marshal_note(text, [signature]), signed_at_ms)


def append_leaves(tree: CompactRange, hashes: Iterable[bytes]) -> list[tuple[int, int, bytes]]:
    """Append leaves to a tree and return the inner nodes that they complete."""
    nodes: list[tuple[int, int, bytes]] = []
    for hashed in hashes:
        nodes += tree.append(hashed)
    return nodes
