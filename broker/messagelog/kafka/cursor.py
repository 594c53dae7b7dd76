"""A durable subscription's reader on Kafka: a member of the consumer group that all broker processes share for it.

The group says which process reads which partition (cooperatively, so that a rebalance stops only what moves), and keeps
where the subscription stands: the floor as the committed offset, the rest of the ack state in the commit's metadata.
The entries themselves come from the log that the process reads anyway, so each is fetched once, not once for every
subscription.

What is committed under an earlier generation of the group is refused by Kafka. So a process that was paused while
another took its partitions over cannot put the subscription back.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError
from kafka.structs import OffsetAndMetadata

from broker.core.ackstate import AckState
from broker.core.errors import CaseExchangeError, LogUnavailable
from broker.core.streams import StreamPartition
from broker.messagelog.kafka.connection import translate
from broker.messagelog.kafka.thread import ClientThread
from broker.ports import Assigned, Revoked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kafka import KafkaConsumer

    from broker.core.entry import LogEntry
    from broker.messagelog.kafka.connection import KafkaConnection
    from broker.ports import AssignmentChange, SubscriptionKey

SESSION_MS: Final = 10_000
"""A process that is silent for longer loses its partitions to the others."""
_HEARTBEAT_MS: Final = 1000
"""A rebalance is noticed with a heartbeat, and takes two or three of them."""
_LONGEST_POLL_GAP_MS: Final = 30_000
_JOINING_MS: Final = 50
_SETTLED_MS: Final = 5
_LOOK_SECONDS: Final = 0.25
"""How often a settled member looks for a rebalance."""
_JOINING_LOOKS: Final = 20
"""Looks without news after which a member counts as settled."""
_RETRY_SECONDS: Final = 0.5
_NO_EPOCH: Final = -1


class _Log(Protocol):
    """What a cursor needs of its log."""

    async def read_unchanged(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int
    ) -> list[LogEntry]: ...

    async def wait_beyond(self, partitions: Mapping[StreamPartition, int]) -> None: ...


class KafkaCursor:
    """See the module and ``LogCursor``. Made by ``open``."""

    def __init__(
        self, connection: KafkaConnection, log: _Log, subscription: SubscriptionKey, streams: Sequence[str]
    ) -> None:
        self._connection = connection
        self._log = log
        self._streams = {connection.topic(stream): stream for stream in streams}
        self._member = _Member(connection, f"{connection.prefix}.{subscription.agency}.{subscription.name}")
        self._thread = ClientThread(f"kafka-cursor-{subscription.agency}-{subscription.name}")
        self._next: dict[StreamPartition, int] = {}
        # Assignments are numbered, because one may end and begin again before the caller has heard of it: then nothing
        # is read or committed for the old one.
        self._assignments = 0
        self._held: dict[StreamPartition, int] = {}
        self._told: dict[StreamPartition, int] = {}
        self._changes: list[AssignmentChange] = []
        self._changed = asyncio.Event()
        self._failure: CaseExchangeError | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, connection: KafkaConnection, log: _Log, subscription: SubscriptionKey, streams: Sequence[str]
    ) -> KafkaCursor:
        """Join the subscription's group. Partitions are assigned later.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        cursor = cls(connection, log, subscription, streams)
        try:
            await cursor._thread.call(cursor._member.join, list(cursor._streams))
        except KafkaError as error:
            await cursor.close()
            raise translate(error) from error
        cursor._task = asyncio.create_task(cursor._follow_group(), name="kafka cursor")
        return cursor

    def assignment_changes(self) -> list[AssignmentChange]:
        """See ``LogCursor``."""
        changes, self._changes = self._changes, []
        self._changed.clear()
        self._told = dict(self._held)
        return changes

    async def wait(self) -> None:
        """See ``LogCursor``."""
        changed = asyncio.ensure_future(self._changed.wait())
        waiting: set[asyncio.Future[Any]] = {changed}
        if self._next:
            waiting.add(asyncio.ensure_future(self._log.wait_beyond(dict(self._next))))
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for future in waiting:
                future.cancel()
        if self._failure is not None:
            raise self._failure

    async def read(self, partition: StreamPartition, max_records: int, max_bytes: int) -> list[LogEntry]:
        """See ``LogCursor``."""
        if not self._holds(partition):
            # The change is on its way to the caller.
            return []
        entries = await self._log.read_unchanged(partition, self._next[partition], max_records, max_bytes)
        if not entries or not self._holds(partition):
            return []
        self._next[partition] = entries[-1].position.offset + 1
        return entries

    async def commit(self, states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
        """See ``LogCursor``."""
        try:
            async with asyncio.timeout(self._connection.timeout_seconds):
                while True:
                    held = {partition: state for partition, state in states.items() if self._holds(partition)}
                    if await self._thread.call(self._commit, held):
                        return frozenset(held)
                    # A rebalance is under way; once it is over, what is still held can be committed.
                    await asyncio.sleep(_JOINING_MS / 1000)
        except TimeoutError:
            message = "Kafka did not confirm where the subscription stands"
            raise LogUnavailable(message) from None

    async def close(self) -> None:
        """See ``LogCursor``."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        # In the background: leaving the group may wait for a rebalance, and nobody has to wait for that.
        closing = self._thread.call(self._member.leave)
        with contextlib.suppress(RuntimeError):
            await asyncio.shield(closing)
            self._thread.close()

    async def _follow_group(self) -> None:
        quiet = 0
        while True:
            settled = quiet >= _JOINING_LOOKS
            try:
                changes = await self._thread.call(self._look, _SETTLED_MS if settled else _JOINING_MS)
            except LogUnavailable:
                # The client goes on by itself when Kafka answers again.
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            except CaseExchangeError as error:
                self._failure = error
                self._changed.set()
                return
            self._take(changes)
            quiet = 0 if changes else quiet + 1
            if settled:
                await asyncio.sleep(_LOOK_SECONDS)

    def _holds(self, partition: StreamPartition) -> bool:
        """Whether the assignment that the caller knows of is still the one in force."""
        held = self._held.get(partition)
        return held is not None and held == self._told.get(partition)

    def _take(self, changes: Sequence[AssignmentChange]) -> None:
        for change in changes:
            if isinstance(change, Assigned):
                self._assignments += 1
                self._held[change.partition] = self._assignments
                self._next[change.partition] = change.state.floor
            else:
                self._held.pop(change.partition, None)
                self._next.pop(change.partition, None)
            self._changes.append(change)
        if changes:
            self._changed.set()

    # --- in the thread ---

    def _look(self, timeout_ms: int) -> list[AssignmentChange]:
        try:
            found = self._member.look(timeout_ms)
        except KafkaError as error:
            raise translate(error) from error
        changes: list[AssignmentChange] = []
        for topic, state in found:
            partition = StreamPartition(self._streams[topic.topic], topic.partition)
            changes.append(Revoked(partition) if state is None else Assigned(partition, state))
        return changes

    def _commit(self, states: Mapping[StreamPartition, AckState]) -> bool:
        """Whether it is done; False where the group has to settle first."""
        offsets = {
            TopicPartition(self._connection.topic(partition.stream), partition.partition): OffsetAndMetadata(
                state.floor, state.encode(), _NO_EPOCH
            )
            for partition, state in states.items()
        }
        try:
            return self._member.commit(offsets)
        except KafkaError as error:
            raise translate(error) from error


class _Member(ConsumerRebalanceListener):  # type: ignore[misc] # the library has no types
    """One member of a consumer group. All in one thread, but for the listener's methods, which only take notes."""

    def __init__(self, connection: KafkaConnection, group: str) -> None:
        self._connection = connection
        self._group = group
        self._consumer: KafkaConsumer | None = None
        self._moves: deque[tuple[TopicPartition, bool]] = deque()

    def join(self, topics: Sequence[str]) -> None:
        self._consumer = self._connection.consumer(
            group_id=self._group,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            max_poll_interval_ms=_LONGEST_POLL_GAP_MS,
            partition_assignment_strategy=[CooperativeStickyAssignor],
        )
        self._consumer.subscribe(list(topics), listener=self)

    def look(self, timeout_ms: int) -> list[tuple[TopicPartition, AckState | None]]:
        """Take part in the group's life; return what was assigned, with where it stands, and what was taken away."""
        consumer = self._joined()
        consumer.poll(timeout_ms)
        found: list[tuple[TopicPartition, AckState | None]] = []
        while self._moves:
            topic, assigned = self._moves[0]
            try:
                state = self._state(consumer, topic) if assigned and topic in consumer.assignment() else None
            except KafkaError:
                # This move stays first in turn; what was found before it is not lost.
                if found:
                    break
                raise
            self._moves.popleft()
            if assigned is (state is not None):
                found.append((topic, state))
        return found

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> bool:
        if not offsets:
            return True
        try:
            self._joined().commit(dict(offsets), timeout_ms=int(self._connection.timeout_seconds * 1000))
        except (CommitFailedError, RebalanceInProgressError):
            return False
        return True

    def leave(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            with contextlib.suppress(KafkaError):
                consumer.close(autocommit=False, timeout_ms=1000)

    # --- called by the client's own thread, within a poll ---

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        if self._consumer is not None:
            # Nothing is fetched through a member.
            self._consumer.pause(*assigned)
        self._moves.extend((topic, True) for topic in assigned)

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        self._moves.extend((topic, False) for topic in revoked)

    def on_partitions_lost(self, lost: Sequence[TopicPartition]) -> None:
        self._moves.extend((topic, False) for topic in lost)

    def _joined(self) -> KafkaConsumer:
        if self._consumer is None:
            message = "the cursor is closed"
            raise LogUnavailable(message)
        return self._consumer

    def _state(self, consumer: KafkaConsumer, topic: TopicPartition) -> AckState:
        timeout_ms = int(self._connection.timeout_seconds * 1000)
        committed = consumer.committed(topic, metadata=True, timeout_ms=timeout_ms)
        if committed is None or committed.offset < 0:
            return AckState()
        return AckState.decode(committed.metadata) if committed.metadata else AckState(committed.offset)
