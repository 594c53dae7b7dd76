"""The reader of a durable subscription on Kafka. It is a member of a consumer group that all broker processes share.

The group says which process reads which partition. It is cooperative, so a rebalance stops only the partitions that
move. It also stores how far the subscription is: the sealed ack state, in the commit's metadata (places.py). If that
has no seal, the partition is read only after its place was found out from the audit stream; the others go on. The
entries come from the log that the process reads anyway. So each is fetched once, and not once for every subscription.

Kafka refuses a commit under an earlier generation of the group. So a process that was paused while another took over
its partitions cannot move the subscription back.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from kafka import TopicPartition
from kafka.errors import KafkaError

from broker.core.entry import Interest, Page
from broker.core.errors import LogUnavailable
from broker.core.streams import StreamPartition, streams_of
from broker.messagelog.kafka.connection import pause, translate
from broker.messagelog.kafka.group import GroupMember
from broker.messagelog.stages import read_staged
from broker.ports import Assigned, Revoked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kafka.structs import OffsetAndMetadata

    from broker.core.errors import CaseExchangeError
    from broker.core.leasing.ackstate import AckState
    from broker.core.subscriptions import Generation, KindStart
    from broker.messagelog.kafka.group import Move
    from broker.messagelog.kafka.groups import Groups
    from broker.messagelog.kafka.places import Places
    from broker.messagelog.tail import Watch
    from broker.ports import AssignmentChange, SubscriptionKey

_SETTLE_SECONDS: Final = 0.05


class WantedLog(Protocol):
    """The part of the log that a cursor needs."""

    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page:
        """See ``MessageLog``."""

    def watch(self, interest: Interest) -> Watch:
        """Wake a reader when an entry arrives that concerns it."""


def group_of(subscription: SubscriptionKey) -> str:
    """The name of a subscription's group, without the exchange's prefix."""
    return f"{subscription.agency}.{subscription.name}"


class KafkaCursor:
    """See the module and ``LogCursor``. Made by ``open``."""

    def __init__(
        self,
        groups: Groups,
        log: WantedLog,
        places: Places,
        subscription: SubscriptionKey,
        kinds: frozenset[str],
        *,
        generation: Generation,
    ) -> None:
        self._connection = groups.connection
        self._log = log
        self._places = places
        self._subscription = subscription
        self._generation = generation
        self._starts: dict[StreamPartition, list[KindStart]] = {}
        self._interest = Interest(subscription.agency, kinds)
        self._watch = log.watch(self._interest)
        self._streams = {self._connection.topic(stream): stream for stream in streams_of(kinds)}
        self._member = GroupMember(
            groups,
            group_of(subscription),
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
        # The numbers of the assignments whose place is found out from the audit stream. The caller does not know them.
        self._lost: dict[StreamPartition, int] = {}
        self._finding: asyncio.Task[None] | None = None
        self._failure: CaseExchangeError | None = None

    @classmethod
    async def open(
        cls,
        groups: Groups,
        log: WantedLog,
        places: Places,
        subscription: SubscriptionKey,
        kinds: frozenset[str],
        *,
        generation: Generation,
    ) -> KafkaCursor:
        """Join the subscription's group. The group assigns partitions later.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        cursor = cls(groups, log, places, subscription, kinds, generation=generation)
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
        page = await read_staged(
            self._log,
            partition,
            self._next[partition],
            self._interest,
            self._starts[partition],
            max_records=max_records,
            max_bytes=max_bytes,
        )
        if not self._holds(partition):
            return Page([], 0)
        self._next[partition] = page.next_offset
        return page

    async def commit(self, states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
        """See ``LogCursor``."""
        unknown: frozenset[TopicPartition] = frozenset()
        try:
            async with asyncio.timeout(self._connection.timeout_seconds):
                while True:
                    held = {self._topic(each): each for each in states if self._holds(each)}
                    outcome = await self._member.commit(
                        {topic: (self._held[each], self._stored(each, states[each])) for topic, each in held.items()}
                    )
                    # What Kafka did with an earlier attempt stays unknown, until a later one is stored.
                    unknown = (unknown | outcome.unknown) - outcome.stored
                    if not outcome.again:
                        break
                    # What is still held when the member has heard from the coordinator can be committed.
                    await asyncio.sleep(_SETTLE_SECONDS)
        except KafkaError as error:
            raise translate(error) from error
        except TimeoutError:
            message = "Kafka did not confirm where the subscription stands"
            raise LogUnavailable(message) from None
        if unknown:
            message = (
                "a partition moved before Kafka said whether it has stored what was acknowledged: it may come again"
            )
            raise LogUnavailable(message)
        return frozenset(held[topic] for topic in outcome.stored)

    async def close(self) -> None:
        """See ``LogCursor``."""
        self._watch.close()
        if self._finding is not None:
            self._finding.cancel()
            await asyncio.gather(self._finding, return_exceptions=True)
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
                try:
                    state = self._places.opened(
                        self._subscription, self._interest, self._generation, partition, move.committed
                    )
                except Exception as error:  # noqa: BLE001 - a partition that is silently read by nobody is worse
                    self._fail(translate(error))
                    return
                if state is None:
                    self._lost[partition] = move.number
                else:
                    self._begin(partition, move.number, state)
            elif self._lost.pop(partition, None) is None:
                self._held.pop(partition, None)
                self._next.pop(partition, None)
                self._changes.append(Revoked(partition))
        if self._lost and (self._finding is None or self._finding.done()):
            self._finding = asyncio.create_task(self._find(), name=f"kafka places {self._member.group}")
        self._watch.event.set()

    def _begin(self, partition: StreamPartition, number: int, state: AckState) -> None:
        self._held[partition] = number
        self._next[partition] = state.floor
        self._starts[partition] = self._generation.starts_in(partition, self._interest.kinds)
        self._changes.append(Assigned(partition, state, shared=True))
        self._watch.event.set()

    async def _find(self) -> None:
        """Find out the places that nobody sealed. Begin with each when it is committed with a seal."""
        while lost := dict(self._lost):
            try:
                states = await self._places.rebuilt(self._subscription, self._interest, self._generation, lost)
                outcome = await self._member.commit(
                    {self._topic(each): (number, self._stored(each, states[each])) for each, number in lost.items()}
                )
            except Exception as error:  # noqa: BLE001 - the subscriber must learn of any error
                self._fail(translate(error))
                await asyncio.sleep(pause())
                continue
            for partition, number in lost.items():
                if self._topic(partition) in outcome.stored and self._lost.get(partition) == number:
                    del self._lost[partition]
                    self._begin(partition, number, states[partition])
            if outcome.again:
                await asyncio.sleep(pause())

    def _fail(self, error: CaseExchangeError) -> None:
        # The member goes on by itself when Kafka answers again.
        if not isinstance(error, LogUnavailable):
            self._failure = error
            self._watch.event.set()

    def _stored(self, partition: StreamPartition, state: AckState) -> OffsetAndMetadata:
        return self._places.stored(self._subscription, self._generation, partition, state)
