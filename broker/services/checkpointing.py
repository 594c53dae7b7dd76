"""The checkpoint follower reads what the log accepted, extends one tree per partition, and signs the new trees.

A pass goes over every partition. First it takes in what another process published (mirroring.py). If this process
follows the partition (the port CheckpointBoard), it then goes up to the end that the partition had when the pass began:

1. read the facts of the entries, never their values
2. append their leaves
3. sign the new size and root as a C2SP checkpoint
4. publish leaves and checkpoint on the board
5. store both

So a checkpoint covers an entry within about one interval. Board and store refuse an extension of a tree that does not
have their size. So two roots are never signed for one size. After any error the follower goes on from the store, never
from its own memory.

Evidence or stop (design decision 8): checkpoints are known to cover an end of the log that was observed at some time.
If that time is too long ago, ``check`` refuses, no matter which process signs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from tenacity import AsyncRetrying, retry_if_exception_type, retry_if_not_exception_type, wait_random_exponential

from broker.core.errors import (
    CaseExchangeError,
    EvidenceUnavailable,
    FollowerFenced,
    LogCorrupt,
    LogError,
    LogUnavailable,
)
from broker.core.streams import StreamPartition, every_partition
from broker.core.tree.origin import checkpoint_origin
from broker.ports import TreeExtension
from broker.services.mirroring import CheckpointMirror, PartitionTree, append_leaves, leaves_of, sign_head

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.entry import LogEntry
    from broker.core.tree.merkle import CompactRange
    from broker.ports import CheckpointBoard, CheckpointStore, Clock, MessageLog, NoteSigner, TreeHead

_BATCH: Final = 4096
"""The limit for the leaves in one extension, and so in one transaction of the store."""
_NO_BOUND: Final = 1 << 62
_LONGEST_BACKOFF_SECONDS: Final = 5.0
_FIRST_PASS_SECONDS: Final = 0.05
"""The pause between two looks at what another process signs, before this process serves."""


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """How often checkpoints are made, and how late they may be.

    Attributes:
        interval_seconds: the time between two passes.
        evidence_bound_seconds: if an entry waits longer than this for a checkpoint, publishing stops.
    """

    interval_seconds: float = 1.0
    evidence_bound_seconds: float = 30.0


class _Awaited(NamedTuple):
    """The ends of the partitions at some time. Kept until checkpoints cover them."""

    since: float
    ends: dict[StreamPartition, int]


class CheckpointFollower:
    """A log's follower in one process, and the port Evidence. For one event loop."""

    def __init__(
        self,
        *,
        log: MessageLog,
        store: CheckpointStore,
        board: CheckpointBoard,
        signer: NoteSigner,
        trust_domain: str,
        clock: Clock,
        settings: CheckpointSettings,
        report: Callable[[CaseExchangeError], None],
    ) -> None:
        """Prepare to follow.

        Args:
            log: the log to follow.
            store: the trees and checkpoints of this process.
            board: says which partitions this process follows, and what other processes signed.
            signer: the log's checkpoint key.
            trust_domain: the beginning of the checkpoints' origins.
            clock: gives the time of signing, and the age of the evidence.
            settings: how often, and how late.
            report: called with every error, before the follower tries again or gives up.
        """
        self._log = log
        self._store = store
        self._board = board
        self._mirror = CheckpointMirror(store, board, log, trust_domain)
        self._signer = signer
        self._trust_domain = trust_domain
        self._clock = clock
        self._settings = settings
        self._report = report
        self._partitions = every_partition(log.partitions)
        self._states: dict[StreamPartition, PartitionTree] = {}
        self._awaited: _Awaited | None = None
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
        seconds = self._settings.interval_seconds
        passing = retry_if_exception_type(CaseExchangeError) & retry_if_not_exception_type(LogError)
        again = AsyncRetrying(retry=passing, wait=wait_random_exponential(2 * seconds, _LONGEST_BACKOFF_SECONDS))
        while True:
            await again(self._follow_once_and_tell)
            await asyncio.sleep(seconds)

    async def _follow_once_and_tell(self) -> None:
        try:
            await self.follow_once()
        except CaseExchangeError as error:
            if isinstance(error, LogError):
                self._failure = error
            self._report(error)
            raise

    async def covered(self, ends: Mapping[StreamPartition, int]) -> None:
        """Return when checkpoints cover every entry below these offsets."""
        while not self._covers(ends):
            await self._passed.wait()

    async def passed(self) -> None:
        """Return after the next pass that succeeds."""
        await self._passed.wait()

    async def first_pass(self) -> None:
        """Follow until checkpoints cover everything that the log held at the call. Another process may sign them.

        Raises:
            LogFull, LogError
        """
        while self._covered_until is None:
            try:
                await self.follow_once()
            except (FollowerFenced, LogUnavailable) as error:
                # While processes come and go, partitions move between them.
                self._report(error)
            if self._covered_until is None:
                await asyncio.sleep(_FIRST_PASS_SECONDS)

    async def follow_once(self) -> None:
        """Make one pass.

        Raises:
            LogUnavailable, LogFull, LogError, FollowerFenced
        """
        if not self._states:
            await self._load()
        began = self._clock.monotonic()
        ends = {partition: await self._log.end_offset(partition) for partition in self._partitions}
        if self._awaited is None:
            self._awaited = _Awaited(began, ends)
        try:
            # Every partition gets a checkpoint before any tree grows. For an empty partition it is the empty tree's.
            for partition in self._partitions:
                await self._begin(partition, self._states[partition])
            for partition in self._partitions:
                await self._grow(partition, self._states[partition], ends[partition])
        except BaseException:
            # A tree may have grown in memory and not in the store.
            self._states.clear()
            raise
        if self._covers(ends):
            self._covered_until, self._awaited = began, None
        elif self._covers(self._awaited.ends):
            # While others sign, checkpoints never reach the newest end. They do reach an earlier end.
            self._covered_until, self._awaited = self._awaited.since, None
        passed, self._passed = self._passed, asyncio.Event()
        passed.set()

    def _covers(self, ends: Mapping[StreamPartition, int]) -> bool:
        states = self._states
        return all(
            (state := states.get(partition)) is not None and state.signed and state.next_offset >= end
            for partition, end in ends.items()
        )

    async def _load(self) -> None:
        """Load the stored trees."""
        states = {partition: await self._mirror.load(partition) for partition in self._partitions}
        for partition, state in states.items():
            if await self._log.end_offset(partition) < state.next_offset:
                message = "the log ends before entries that checkpoints cover: it was cut short or restored from a copy"
                raise LogCorrupt(message, partition=str(partition))
        self._states = states

    async def _begin(self, partition: StreamPartition, state: PartitionTree) -> None:
        if await self._may_extend(partition, state) and not state.signed:
            await self._extend(partition, state, [])

    async def _grow(self, partition: StreamPartition, state: PartitionTree, end: int) -> None:
        while state.next_offset < end and await self._may_extend(partition, state):
            entries = await self._log.read(partition, state.next_offset, _BATCH, _NO_BOUND, values=False)
            if not entries:
                message = "the log ends before the offset that it gave as its end"
                raise LogCorrupt(message, partition=str(partition))
            await self._extend(partition, state, entries)

    async def _may_extend(self, partition: StreamPartition, state: PartitionTree) -> bool:
        """Take in what was published. Return whether this process may extend the tree from there."""
        # The order matters. If this process follows, what it takes in next includes everything that others published.
        follows = self._board.follows(partition)
        await self._mirror.catch_up(partition, state)
        return follows

    async def _extend(self, partition: StreamPartition, state: PartitionTree, entries: Sequence[LogEntry]) -> None:
        before = state.tree.size
        # Hashing many small leaves would hold up the event loop.
        leaves = await asyncio.to_thread(leaves_of, entries)
        nodes = await asyncio.to_thread(append_leaves, state.tree, [leaf.hash for leaf in leaves])
        extension = TreeExtension(leaves, nodes, await asyncio.to_thread(self._sign, partition, state.tree))
        await self._board.publish(partition, before, extension)
        await self._store.extend(partition, before, extension)
        state.signed = True
        if leaves:
            state.next_offset = leaves[-1].offset + 1

    def _sign(self, partition: StreamPartition, tree: CompactRange) -> TreeHead:
        origin = checkpoint_origin(self._trust_domain, partition, self._log.log_id(partition.stream))
        return sign_head(self._signer, origin, tree, self._clock.now_ms())
