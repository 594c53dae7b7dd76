"""Checkpoints for tests of boards, over trees with invented leaves."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING

from broker.core.tree.checkpoint import Checkpoint, NoteSignature, marshal_note
from broker.core.tree.merkle import CompactRange
from broker.core.tree.origin import checkpoint_origin
from broker.ports import LeafRow, TreeExtension, TreeHead
from tests.support.kafkalog import TRUST_DOMAIN

if TYPE_CHECKING:
    from broker.core.streams import StreamPartition
    from broker.ports import CheckpointBoard
    from broker.trust.signing import Ed25519NoteSigner


def signed_extension(
    signer: Ed25519NoteSigner,
    partition: StreamPartition,
    begin: int,
    end: int,
    *,
    log_id: str = "a-log",
    lie: bytes = b"",
) -> TreeExtension:
    """Extend the tree of ``begin`` leaves to ``end`` leaves. With a ``lie`` the leaves are others."""
    leaves = [LeafRow(at, 1000 + at, sha256(b"leaf %d" % at + lie).digest()) for at in range(end)]
    tree = CompactRange()
    for leaf in leaves:
        tree.append(leaf.hash)
    text = Checkpoint(checkpoint_origin(TRUST_DOMAIN, partition, log_id), end, tree.root()).marshal()
    note = marshal_note(text, [NoteSignature(signer.name, signer.key_id, signer.sign(text))])
    return TreeExtension(leaves[begin:], (), TreeHead(end, note, 2000 + end))


async def followed(board: CheckpointBoard, *partitions: StreamPartition) -> None:
    """Return when this process follows all of these."""
    async with asyncio.timeout(30):
        while not all(map(board.follows, partitions)):  # noqa: ASYNC110 - the port has no event for it
            await asyncio.sleep(0.02)
