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
from typing import TYPE_CHECKING, Final, Protocol

from kafka import TopicPartition
from kafka.errors import KafkaError
from kafka.structs import OffsetAndMetadata

from broker.core.ackstate import AckState
from broker.core.entry import Interest, Page
from broker.core.errors import LogUnavailable
from broker.core.streams import StreamPartition, streams_of
from broker.messagelog.kafka.connection import translate
from broker.messagelog.kafka.group import GroupMember
from broker.messagelog.kafka.positions import offset_of, position_of
from broker.ports import Assigned, Revoked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.errors import CaseExchangeError
    from broker.messagelog.kafka.group import Move
    from broker.messagelog.kafka.groups import Groups
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


class KafkaCursor:
    """See the module and ``LogCursor``. Made by ``open``."""

    def __init__(self, groups: Groups, log: _Log, subscription: SubscriptionKey, kinds: frozenset[str]) -> None:
        self._connection = groups.connection
        self._log = log
        self._interest = Interest(subscription.agency, kinds)
        self._watch = log.watch(self._interest)
        self._streams = {self._connection.topic(stream): stream for stream in streams_of(kinds)}
        self._member = GroupMember(
            groups,
            f"{subscription.agency}.{subscription.name}",
            list(self._streams),
            moved=self._take,
            failed=self._fail,
        )
        self._next: dict[StreamPartition, int] = {}
        # The numbers of the assignments. One may end and begin again before the caller has seen the change. Then
        # nothing is read or committed for the old one.
        self._held: dict[StreamPartition, int] = {}
        self._seen: dict[StreamPartition, int] = {}
        self._changes: list[AssignmentChange] = []
        self._failure: CaseExchangeError | None = None

    @classmethod
    async def open(cls, groups: Groups, log: _Log, subscription: SubscriptionKey, kinds: frozenset[str]) -> KafkaCursor:
        """Join the subscription's group. The group assigns partitions later.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        cursor = cls(groups, log, subscription, kinds)
        try:
            await cursor._member.join()
        except BaseException:
            await cursor.close()
            raise
        return cursor

    def assignment_changes(self) -> list[AssignmentChange]:
        """See ``LogCursor``."""
        changes, self._changes = self._changes, []
        self._seen = dict(self._held)
        return changes

    async def wait(self) -> None:
        """See ``LogCursor``."""
        await self._watch.wait()
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
                    held = {self._topic(each): each for each in states if self._holds(each)}
                    committed = await self._member.commit(
                        {topic: (self._held[each], self._stored(each, states[each])) for topic, each in held.items()}
                    )
                    if committed is not None:
                        return frozenset(held[topic] for topic in committed)
                    # What is still held when the member has heard from the coordinator can be committed.
                    await asyncio.sleep(_SETTLE_SECONDS)
        except KafkaError as error:
            raise translate(error) from error
        except TimeoutError:
            message = "Kafka did not confirm where the subscription stands"
            raise LogUnavailable(message) from None

    async def close(self) -> None:
        """See ``LogCursor``."""
        self._watch.close()
        await self._member.leave()

    def _holds(self, partition: StreamPartition) -> bool:
        """Whether the assignment that the caller has seen is still in force."""
        held = self._held.get(partition)
        return held is not None and held == self._seen.get(partition)

    def _topic(self, partition: StreamPartition) -> TopicPartition:
        return TopicPartition(self._connection.topic(partition.stream), partition.partition)

    def _take(self, moves: Sequence[Move]) -> None:
        for move in moves:
            partition = StreamPartition(self._streams[move.topic.topic], move.topic.partition)
            if move.assigned:
                state = _state(move.committed)
                self._held[partition] = move.number
                self._next[partition] = state.floor
                self._changes.append(Assigned(partition, state))
            else:
                del self._held[partition]
                del self._next[partition]
                self._changes.append(Revoked(partition))
        self._watch.event.set()

    def _fail(self, error: CaseExchangeError) -> None:
        # The member goes on by itself when Kafka answers again.
        if not isinstance(error, LogUnavailable):
            self._failure = error
            self._watch.event.set()

    def _stored(self, partition: StreamPartition, state: AckState) -> OffsetAndMetadata:
        """What Kafka stores of a state: the pack that has the floor, or the next one if nothing of it is left.

        The true floor is in the metadata. Kafka's own tools show the lag by the offset.
        """
        floor = state.floor
        offset = offset_of(floor - 1) + 1 if 0 < floor == self._log.end(partition) else offset_of(floor)
        return OffsetAndMetadata(offset, state.encode(), _NO_EPOCH)


def _state(stored: OffsetAndMetadata | None) -> AckState:
    if stored is None:
        return AckState()
    return AckState.decode(stored.metadata) if stored.metadata else AckState(position_of(stored.offset))
