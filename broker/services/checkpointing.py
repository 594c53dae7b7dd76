"""The checkpoint follower: it reads what the log accepted, grows one tree per partition, and signs what it has grown.

A pass goes over every partition: up to where each ended when the pass began, read the entries' facts (never their
values), append their leaves, sign the new size and root as a C2SP checkpoint, store both. So an entry is covered within
about one interval. The store refuses an extension of another size than it holds, so that two roots are never signed for
one size, and the follower goes on from the store after any error, never from its own memory.

Evidence or stop (design decision 8): ``check`` refuses as soon as the last complete pass began too long ago.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.checkpoint import Checkpoint, NoteSignature, checkpoint_origin, marshal_note, parse_note
from broker.core.errors import CaseExchangeError, EvidenceUnavailable, LogCorrupt, LogError
from broker.core.leaf import leaf_of
from broker.core.merkle import CompactRange, leaf_hash, range_coordinates
from broker.core.streams import STREAMS, StreamPartition
from broker.ports import LeafRow, TreeExtension, TreeHead

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.entry import LogEntry
    from broker.ports import CheckpointStore, Clock, MessageLog, NoteSigner

_BATCH: Final = 4096
"""Leaves in one extension, and so in one transaction of the store."""
_NO_BOUND: Final = 1 << 62
_LONGEST_BACKOFF_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """How often, and how late it may get.

    Attributes:
        interval_seconds: between two passes.
        evidence_bound_seconds: entries that wait longer than this for a checkpoint stop publishing.
    """

    interval_seconds: float = 1.0
    evidence_bound_seconds: float = 30.0


class CheckpointFollower:
    """The one follower of a log; also the port Evidence. For one event loop."""

    def __init__(
        self,
        *,
        log: MessageLog,
        store: CheckpointStore,
        signer: NoteSigner,
        trust_domain: str,
        clock: Clock,
        settings: CheckpointSettings,
        report: Callable[[CaseExchangeError], None],
    ) -> None:
        """Prepare to follow.

        Args:
            log: what is followed.
            store: where trees and checkpoints are kept.
            signer: the log's checkpoint key.
            trust_domain: the beginning of the checkpoints' origins.
            clock: gives the time of signing, and the age of the evidence.
            settings: see there.
            report: told of every error, before it is tried again or given up.
        """
        self._log = log
        self._store = store
        self._signer = signer
        self._trust_domain = trust_domain
        self._clock = clock
        self._settings = settings
        self._report = report
        self._partitions = [
            StreamPartition(stream, number) for stream in STREAMS for number in range(log.partitions(stream))
        ]
        self._trees: dict[StreamPartition, CompactRange] = {}
        self._next: dict[StreamPartition, int] = {}
        self._covered_until: float | None = None
        self._passed = asyncio.Event()
        self._failure: CaseExchangeError | None = None

    def check(self) -> None:
        """See ``Evidence``."""
        now = self._clock.monotonic()
        late = self._covered_until is None or now - self._covered_until > self._settings.evidence_bound_seconds
        if self._failure is not None or late:
            message = "checkpoints do not keep up with the log"
            raise EvidenceUnavailable(message, cause=self._failure.reason if self._failure else "")

    async def run(self) -> None:
        """Follow until cancelled.

        Raises:
            LogError: the log or the store contradicts itself, or a second follower is at work. From then on ``check``
                refuses.
        """
        failures = 0
        while True:
            try:
                while True:
                    await self.follow_once()
                    failures = 0
                    await asyncio.sleep(self._settings.interval_seconds)
            except LogError as error:
                self._failure = error
                self._report(error)
                raise
            except CaseExchangeError as error:
                self._report(error)
                failures += 1
                await asyncio.sleep(min(self._settings.interval_seconds * 2**failures, _LONGEST_BACKOFF_SECONDS))

    async def covered(self, ends: Mapping[StreamPartition, int]) -> None:
        """Return once checkpoints cover every entry below these offsets."""
        while any(self._next.get(partition, 0) < end for partition, end in ends.items()):
            await self._passed.wait()

    async def follow_once(self) -> None:
        """One pass.

        Raises:
            LogUnavailable, LogFull, LogError
        """
        if not self._trees:
            await self._load()
        began = self._clock.monotonic()
        try:
            for partition in self._partitions:
                end = await self._log.end_offset(partition)
                while self._next[partition] < end:
                    await self._extend(partition)
        except BaseException:
            # A tree may have grown here and not in the store.
            self._trees.clear()
            raise
        self._covered_until = began
        passed, self._passed = self._passed, asyncio.Event()
        passed.set()

    async def _load(self) -> None:
        """Go on from what is stored; a partition without a checkpoint gets that of the empty tree."""
        for partition in self._partitions:
            head = await self._store.head(partition)
            if head is None:
                empty = CompactRange()
                await self._store.extend(partition, 0, TreeExtension((), (), self._sign(partition, empty)))
                self._trees[partition], self._next[partition] = empty, 0
                continue
            frontier = await self._store.nodes(partition, range_coordinates(0, head.size))
            tree = CompactRange(head.size, frontier)
            signed = Checkpoint.parse(parse_note(head.note).text)
            if (signed.size, signed.root) != (head.size, tree.root()):
                message = "a stored tree is not the one that its checkpoint was signed for"
                raise LogCorrupt(message, partition=str(partition))
            following = await self._store.next_offset(partition)
            if await self._log.end_offset(partition) < following:
                message = "the log ends before entries that checkpoints cover: it was cut short or restored from a copy"
                raise LogCorrupt(message, partition=str(partition))
            self._trees[partition], self._next[partition] = tree, following

    async def _extend(self, partition: StreamPartition) -> None:
        entries = await self._log.read(partition, self._next[partition], _BATCH, _NO_BOUND, values=False)
        if not entries:
            message = "the log ends before the offset that it gave as its end"
            raise LogCorrupt(message, partition=str(partition))
        tree = self._trees[partition]
        before = tree.size
        # Hashing many small leaves would hold up the event loop.
        leaves, nodes = await asyncio.to_thread(_grow, tree, entries)
        await self._store.extend(partition, before, TreeExtension(leaves, nodes, self._sign(partition, tree)))
        self._next[partition] = entries[-1].position.offset + 1

    def _sign(self, partition: StreamPartition, tree: CompactRange) -> TreeHead:
        text = Checkpoint(checkpoint_origin(self._trust_domain, partition), tree.size, tree.root()).marshal()
        signature = NoteSignature(self._signer.name, self._signer.key_id, self._signer.sign(text))
        return TreeHead(tree.size, marshal_note(text, [signature]), self._clock.now_ms())


def _grow(tree: CompactRange, entries: Sequence[LogEntry]) -> tuple[list[LeafRow], list[tuple[int, int, bytes]]]:
    leaves: list[LeafRow] = []
    nodes: list[tuple[int, int, bytes]] = []
    for entry in entries:
        hashed = leaf_hash(leaf_of(entry).marshal())
        nodes += tree.append(hashed)
        leaves.append(LeafRow(entry.position.offset, entry.accepted_at_ms, hashed))
    return leaves, nodes
