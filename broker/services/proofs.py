"""Checkpoints and proofs.

A proof of inclusion shows the leaf: position, log, record id, digest, time. Only the publisher, the recipients,
and auditors that may replay the stream get it. For anyone else, there is no entry at the position. So an agency cannot
learn the ids of others' records, or when they were accepted. Checkpoints and proofs of consistency name no record, so
every member gets them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from broker.core.body import is_uuid
from broker.core.bundle import ProvedBeginning
from broker.core.errors import EnvelopeMalformed, InputRefused, LogCorrupt, PositionUnknown
from broker.core.policy import may_replay
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.core.tree.leaf import leaf_of
from broker.core.tree.merkle import consistency_proof, inclusion_proof
from broker.core.tree.origin import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.entry import LogEntry
    from broker.core.incarnations import Incarnations
    from broker.core.streams import Position, StreamPartition
    from broker.core.tree.merkle import Coordinate
    from broker.ports import CheckpointStore, DirectoryInForce, MessageLog, RecordCodec, TreeHead

MAX_ASKED: Final = 1000
"""Records in one question for what is missing."""


class InclusionProof(NamedTuple):
    """A leaf's bytes and its path to the root of the note's tree."""

    leaf: bytes
    leaf_index: int
    tree_size: int
    path: tuple[bytes, ...]
    note: bytes


class ConsistencyProof(NamedTuple):
    """A path from the tree of ``old_size`` to the note's tree."""

    old_size: int
    new_size: int
    path: tuple[bytes, ...]
    note: bytes


class ProofService:
    """Answers from the checkpoint store. Calls may be concurrent."""

    def __init__(
        self, log: MessageLog, store: CheckpointStore, directory: DirectoryInForce, codec: RecordCodec
    ) -> None:
        self._log = log
        self._store = store
        self._directory = directory
        self._codec = codec

    async def checkpoint(self, partition: StreamPartition) -> bytes:
        """The newest checkpoint of a partition, as a signed note.

        Raises:
            PositionUnknown: there is no such partition, or it has no checkpoint yet.
        """
        return (await self._head(partition)).note

    async def prove_inclusion(self, agency: str, position: Position) -> InclusionProof:
        """Prove to a party or an auditor that the entry at a position is in the tree of the newest checkpoint.

        Raises:
            PositionUnknown: there is no entry, or no checkpoint covers it yet, or it is not for this agency. The caller
                cannot tell which.
            DirectoryUnavailable
        """
        partition = position.stream_partition
        head = await self._head(partition)
        index = await self._store.leaf_index(partition, position.offset)
        entries = await self._log.read(partition, position.offset, 1, 1, values=False)
        there = index is not None and index < head.size and bool(entries) and entries[0].position == position
        if index is None or not there or not await self._concerns(agency, entries[0]):
            message = "no checkpoint covers an entry at this position"
            raise PositionUnknown(message, position=str(position))
        path = await _path(self._store, partition, lambda node: inclusion_proof(index, head.size, node))
        return InclusionProof(leaf_of(entries[0]).marshal(), index, head.size, path, head.note)

    async def prove_consistency(self, partition: StreamPartition, old_size: int) -> ConsistencyProof:
        """Prove that the tree of the newest checkpoint extends the tree of an earlier size.

        Raises:
            PositionUnknown: there is no such partition, or the tree was never of that size.
        """
        head = await self._head(partition)
        return ConsistencyProof(old_size, head.size, await self.path_between(partition, old_size, head.size), head.note)

    async def path_between(self, partition: StreamPartition, old_size: int, new_size: int) -> tuple[bytes, ...]:
        """The proof that the tree of one size extends that of an earlier size.

        Raises:
            PositionUnknown: ``0 <= old_size <= new_size`` is false, or the tree was never that large.
        """
        return await path_between(self._store, partition, old_size, new_size)

    async def missing(self, record_ids: Sequence[str]) -> list[str]:
        """Which of these records the log does not have, in their order.

        Raises:
            InputRefused: there are more than ``MAX_ASKED``, or one is not the id of a record.
            LogUnavailable
        """
        if len(record_ids) > MAX_ASKED or not all(map(is_uuid, record_ids)):
            message = f"a request names at most {MAX_ASKED} records, by their ids"
            raise InputRefused(message)
        keys = [UUID(record_id).bytes for record_id in record_ids]
        known = await self._log.lookup(keys)
        return [record_id for record_id, key in zip(record_ids, keys, strict=True) if key not in known]

    async def _concerns(self, agency: str, entry: LogEntry) -> bool:
        if agency in entry.recipients or may_replay(self._directory.current(), agency, entry.position.stream):
            return True
        try:
            (whole,) = await self._log.read(entry.position.stream_partition, entry.position.offset, 1, 1)
            return self._codec.parse_body(self._codec.decode_envelope(whole.value).body).publisher == agency
        except (LogCorrupt, EnvelopeMalformed, ValueError):
            # Nobody can say any more who published it.
            return False

    async def _head(self, partition: StreamPartition) -> TreeHead:
        if not 0 <= partition.partition < self._log.partitions(partition.stream):
            message = "the log has no such stream or partition"
            raise PositionUnknown(message)
        head = await self._store.head(partition)
        if head is None:
            message = "the partition has no checkpoint yet"
            raise PositionUnknown(message)
        return head


async def path_between(
    store: CheckpointStore, partition: StreamPartition, old_size: int, new_size: int
) -> tuple[bytes, ...]:
    """The proof that the tree of one size extends that of an earlier size.

    Raises:
        PositionUnknown: ``0 <= old_size <= new_size`` is false, or the tree was never that large.
    """
    return await _path(store, partition, lambda node: consistency_proof(old_size, new_size, node))


async def proved_beginnings(
    store: CheckpointStore, declared: Incarnations, trust_domain: str, partition: StreamPartition, note: bytes
) -> tuple[ProvedBeginning, ...]:
    """The proofs that a checkpoint of this process extends what is declared to survive of its log's former ones.

    Args:
        store: the trees.
        declared: the incarnations in the directory.
        trust_domain: the beginning of the origins.
        partition: the checkpoint's.
        note: the checkpoint.

    Raises:
        PositionUnknown: the tree does not hold it all, as while a process rebuilds it.
        LogUnavailable
    """
    checkpoint = Checkpoint.parse(parse_note(note).text)
    found = declared.beginnings(*origin_of(checkpoint, trust_domain))
    sizes = dict.fromkeys(each.size for each in found)
    return tuple([ProvedBeginning(size, await path_between(store, partition, size, checkpoint.size)) for size in sizes])


async def _path(
    store: CheckpointStore,
    partition: StreamPartition,
    prove: Callable[[Callable[[int, int], bytes]], tuple[bytes, ...]],
) -> tuple[bytes, ...]:
    """Build a proof in two runs: find out which nodes it reads, fetch them together, build it."""
    wanted: list[Coordinate] = []

    def learn(level: int, index: int) -> bytes:
        wanted.append((level, index))
        return bytes(32)

    prove(learn)
    nodes = dict(zip(wanted, await store.nodes(partition, wanted), strict=True))
    return prove(lambda level, index: nodes[level, index])
