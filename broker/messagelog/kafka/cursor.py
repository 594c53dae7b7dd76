"""The reader of a durable subscription on Kafka. It is a member of a consumer group that all broker processes share.

The group says which process reads which partition. It is cooperative, so a rebalance stops only the partitions that
move. It also stores how far the subscription is: the floor as the committed offset, and the rest of the ack state in
the commit's metadata. The entries come from the log that the process reads anyway. So each is fetched once, and not
once for every subscription.

Kafka refuses a commit under an earlier generation of the group. So a process that was paused while another took over
its partitions cannot move the subscription back.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata
from tenacity import retry, retry_if_exception_type

from broker.core.ackstate import AckState
from broker.core.entry import Interest, Page
from broker.core.errors import CaseExchangeError, LogUnavailable
from broker.core.streams import StreamPartition, streams_of
from broker.messagelog.kafka.connection import RETRY_WAIT, translate
from broker.messagelog.kafka.group import LOOK_SECONDS, GroupMember
from broker.messagelog.kafka.positions import offset_of, position_of
from broker.messagelog.kafka.thread import ClientThread
from broker.ports import Assigned, Revoked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.messagelog.kafka.connection import KafkaConnection
    from broker.messagelog.tail import Watch
    from broker.ports import AssignmentChange, SubscriptionKey

_SETTLE_SECONDS: Final = 0.05
_NO_EPOCH: Final = -1


class _Log(Protocol):
    """The part of the log that a cursor needs."""

    def end(self, partition: StreamPartition) -> int: ...

    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page: ...

    def watch(self, interest: Interest) -> Watch: ...


class _Change(NamedTuple):
    """A change of assignment, and the number of the assignment that begins or ends."""

    change: AssignmentChange
    number: int


class _Held(NamedTuple):
    """How far the subscription is in a partition, and under which assignment."""

    state: AckState
    number: int


class KafkaCursor:
    """See the module and ``LogCursor``. Made by ``open``."""

    def __init__(
        self, connection: KafkaConnection, log: _Log, subscription: SubscriptionKey, kinds: frozenset[str]
    ) -> None:
        self._connection = connection
        self._log = log
        self._interest = Interest(subscription.agency, kinds)
        self._watch = log.watch(self._interest)
        self._streams = {connection.topic(stream): stream for stream in streams_of(kinds)}
        self._member = GroupMember(connection, f"{subscription.agency}.{subscription.name}")
        self._thread = ClientThread(f"kafka-cursor-{subscription.agency}-{subscription.name}")
        self._next: dict[StreamPartition, int] = {}
        # Assignments have numbers, because one may end and begin again before the caller has seen the change. Then
        # nothing is read or committed for the old one. The thread knows first which assignments are in force.
        self._assignments = 0
        self._in_force: dict[StreamPartition, int] = {}
        self._held: dict[StreamPartition, int] = {}
        self._seen: dict[StreamPartition, int] = {}
        self._changes: list[AssignmentChange] = []
        self._changed = asyncio.Event()
        self._failure: CaseExchangeError | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls, connection: KafkaConnection, log: _Log, subscription: SubscriptionKey, kinds: frozenset[str]
    ) -> KafkaCursor:
        """Join the subscription's group. The group assigns partitions later.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        cursor = cls(connection, log, subscription, kinds)
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
        self._seen = dict(self._held)
        return changes

    async def wait(self) -> None:
        """See ``LogCursor``."""
        # Wait even if nothing is assigned: a log that has failed ends every subscription.
        waiting: tuple[asyncio.Future[Any], ...] = (
            asyncio.ensure_future(self._changed.wait()),
            asyncio.ensure_future(self._watch.wait()),
        )
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                future.result()
        finally:
            for future in waiting:
                future.cancel()
        if self._failure is not None:
            raise self._failure

    async def read(self, partition: StreamPartition, max_records: int, max_bytes: int) -> Page:
        """See ``LogCursor``."""
        if not self._holds(partition):
            # The caller has not seen the change yet.
            return Page([], 0)
        page = await self._log.read_wanted(partition, self._next[partition], self._interest, max_records, max_bytes)
        if not self._holds(partition):
            return Page([], 0)
        self._next[partition] = page.next_offset
        return page

    async def commit(self, states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
        """See ``LogCursor``."""
        try:
            async with asyncio.timeout(self._connection.timeout_seconds):
                while True:
                    held = {
                        partition: _Held(state, self._held[partition])
                        for partition, state in states.items()
                        if self._holds(partition)
                    }
                    committed = await self._thread.call(self._commit, held)
                    if committed is not None:
                        return committed
                    # A rebalance is under way. When it is over, the partitions that are still held can be committed.
                    await asyncio.sleep(_SETTLE_SECONDS)
        except TimeoutError:
            message = "Kafka did not confirm where the subscription stands"
            raise LogUnavailable(message) from None

    async def close(self) -> None:
        """See ``LogCursor``."""
        self._watch.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        # In the background: leaving the group may wait for a rebalance, and no caller needs to wait for that.
        closing = self._thread.call(self._member.leave)
        with contextlib.suppress(RuntimeError):
            await asyncio.shield(closing)
            self._thread.close()

    async def _follow_group(self) -> None:
        try:
            await self._look_for_ever()
        except CaseExchangeError as error:
            self._failure = error
            self._changed.set()

    # The client goes on by itself when Kafka answers again.
    @retry(retry=retry_if_exception_type(LogUnavailable), wait=RETRY_WAIT)
    async def _look_for_ever(self) -> None:
        while True:
            self._take(await self._thread.call(self._look))
            if self._member.settled:
                await asyncio.sleep(LOOK_SECONDS)

    def _holds(self, partition: StreamPartition) -> bool:
        """Whether the assignment that the caller has seen is still in force."""
        held = self._held.get(partition)
        return held is not None and held == self._seen.get(partition)

    def _take(self, changes: Sequence[_Change]) -> None:
        for change, number in changes:
            if isinstance(change, Assigned):
                self._held[change.partition] = number
                self._next[change.partition] = change.state.floor
            else:
                self._held.pop(change.partition, None)
                self._next.pop(change.partition, None)
            self._changes.append(change)
        if changes:
            self._changed.set()

    # --- in the thread ---

    def _look(self) -> list[_Change]:
        try:
            moves = self._member.look()
        except KafkaError as error:
            raise translate(error) from error
        changes: list[_Change] = []
        for move in moves:
            partition = StreamPartition(self._streams[move.topic.topic], move.topic.partition)
            ended = self._in_force.pop(partition, None)
            if ended is not None:
                changes.append(_Change(Revoked(partition), ended))
            if move.assigned:
                self._assignments += 1
                self._in_force[partition] = self._assignments
                changes.append(_Change(Assigned(partition, _state(move.committed)), self._assignments))
        return changes

    def _commit(self, states: Mapping[StreamPartition, _Held]) -> frozenset[StreamPartition] | None:
        """The partitions that were committed, or None if the group must settle first.

        Kafka takes a commit from every member of the present generation, for any partition. This thread becomes that
        member. So this thread must make sure that no state is committed under a later assignment than its own.
        """
        if self._member.moving:
            return None
        held = {partition: state for partition, (state, number) in states.items() if self._in(partition, number)}
        offsets = {
            TopicPartition(self._connection.topic(partition.stream), partition.partition): OffsetAndMetadata(
                self._offset(partition, state.floor), state.encode(), _NO_EPOCH
            )
            for partition, state in held.items()
        }
        try:
            return frozenset(held) if self._member.commit(offsets) else None
        except KafkaError as error:
            raise translate(error) from error

    def _in(self, partition: StreamPartition, number: int) -> bool:
        return self._in_force.get(partition) == number

    def _offset(self, partition: StreamPartition, floor: int) -> int:
        """The offset of Kafka to commit: of the pack that has the floor, or of the next one if nothing of it is left.

        The true floor is in the metadata. Kafka's own tools show the lag by the offset.
        """
        return offset_of(floor - 1) + 1 if 0 < floor == self._log.end(partition) else offset_of(floor)


def _state(committed: OffsetAndMetadata | None) -> AckState:
    if committed is None or committed.offset < 0:
        return AckState()
    return AckState.decode(committed.metadata) if committed.metadata else AckState(position_of(committed.offset))
