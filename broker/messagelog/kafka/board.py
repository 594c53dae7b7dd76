"""The checkpoint board on Kafka: a topic with one partition, and at most one writer, for each partition of a stream.

- Who follows: the followers' consumer group assigns the topic's partitions to the broker processes.
- Fencing: a follower publishes in transactions, under an id that names the partition. It begins by taking over the id,
  which raises the id's epoch. From then on Kafka refuses everything from an earlier holder, however long that was
  paused. Only then the follower reads to the end. So it has everything that earlier followers published.
- Readers see only committed transactions, and only notes for this partition that a listed key has signed.

After any failure to publish, the follower gives up the seat and takes it again. Only this shows what was published.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from tenacity import retry

from broker.core.errors import CaseExchangeError, FollowerFenced, LogCorrupt, LogUnavailable
from broker.core.incarnations import NONE_DECLARED
from broker.messagelog.kafka.checkpointreader import CheckpointReader
from broker.messagelog.kafka.connection import CHECKPOINTS, RETRY_WAIT, translate
from broker.messagelog.kafka.extensions import encode_extension
from broker.messagelog.kafka.group import GroupMember
from broker.messagelog.kafka.seat import Seat
from broker.messagelog.kafka.thread import ClientThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.incarnations import Incarnations
    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.group import Move
    from broker.messagelog.kafka.groups import Groups
    from broker.ports import LogKeys, TreeExtension

_GROUP: Final = "checkpoint-followers"
_LOOK_SECONDS: Final = 0.1
_TAKEN_AT_ONCE: Final = 16
_again: Final = retry(wait=RETRY_WAIT)
"""After any error: nobody waits for these tasks, so none may end by one."""


class _HeldSeat(NamedTuple):
    """A seat that this process holds, and the seat's own thread."""

    seat: Seat
    thread: ClientThread

    def close(self) -> None:
        self.seat.close()
        self.thread.close()


class KafkaBoard:
    """A ``CheckpointBoard`` on Kafka. Made by ``open``. For one event loop.

    Args:
        groups: what the members of the process share.
        partitions: the partitions of all streams, in the order of the topic's partitions.
        trust_domain: the beginning of the checkpoints' origins.
        keys: the checkpoint keys that the directory lists.
        declared: gives the declared incarnations. What was published of a former one is passed over.
        report: called with every error after which the board tries again.
    """

    def __init__(
        self,
        groups: Groups,
        partitions: Sequence[StreamPartition],
        *,
        trust_domain: str,
        keys: LogKeys,
        declared: Callable[[], Incarnations] = lambda: NONE_DECLARED,
        report: Callable[[CaseExchangeError], None],
    ) -> None:
        self._connection = connection = groups.connection
        self._partitions = tuple(partitions)
        self._report = report
        self._reader = CheckpointReader(
            connection, partitions, trust_domain=trust_domain, keys=keys, declared=declared, report=report
        )
        self._member = GroupMember(groups, _GROUP, [connection.topic(CHECKPOINTS)], moved=self._move, failed=report)
        self._assigned: set[StreamPartition] = set()
        self._seats: dict[StreamPartition, _HeldSeat] = {}
        # One seat that cannot be taken, because its coordinator does not answer, must not hold up the others.
        self._taking: dict[StreamPartition, asyncio.Task[None]] = {}
        self._at_once = asyncio.Semaphore(_TAKEN_AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Read what was published before.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        await self._reader.open()

    def follow(self) -> None:
        """Ask for partitions to follow. Call it once, after ``open``. A process that only reads does not call it."""
        self._tasks.append(asyncio.create_task(self._join(), name="kafka followers"))
        self._tasks.append(asyncio.create_task(self._take_seats(), name="kafka seats"))

    def check(self, partition: StreamPartition, size: int) -> None:
        """Check that a tree of this size, which this process has, was published. Call it after ``open``.

        Raises:
            LogCorrupt: it was not. The topic of the checkpoints was cut or made anew.
        """
        if self._reader.largest[partition] < size:
            message = "the topic of the checkpoints lacks some that this broker has: it was deleted, cut or made anew"
            raise LogCorrupt(message, partition=str(partition))

    def follows(self, partition: StreamPartition) -> bool:
        """See ``CheckpointBoard``."""
        return partition in self._seats and partition in self._assigned

    async def publish(self, partition: StreamPartition, size: int, extension: TreeExtension) -> None:
        """See ``CheckpointBoard``."""
        held = self._seats.get(partition)
        if held is None or partition not in self._assigned:
            message = "another process follows this partition now"
            raise FollowerFenced(message, partition=str(partition))
        try:
            # The transaction ends even if the caller is cancelled. Half a transaction would block the readers.
            await held.thread.call_to_its_end(held.seat.publish, encode_extension(size, extension))
        except CaseExchangeError:
            self._leave(partition)
            raise

    async def published(self, partition: StreamPartition, size: int) -> TreeExtension | None:
        """See ``CheckpointBoard``."""
        return self._reader.after(partition, size)

    async def close(self) -> None:
        """See ``CheckpointBoard``."""
        tasks = [*self._tasks, *self._taking.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()
        for partition in list(self._seats):
            self._leave(partition)
        await self._member.leave()
        await self._reader.close()

    @_again
    async def _join(self) -> None:
        try:
            await self._member.join()
        except Exception as error:
            self._report(translate(error))
            raise

    def _move(self, moves: Sequence[Move]) -> None:
        for move in moves:
            partition = self._partitions[move.topic.partition]
            if move.assigned:
                self._assigned.add(partition)
            else:
                self._assigned.discard(partition)
                self._leave(partition)

    def _leave(self, partition: StreamPartition) -> None:
        held = self._seats.pop(partition, None)
        if held is not None:
            held.close()

    async def _take_seats(self) -> None:
        """Take the seats of assigned partitions. Take a seat again after a failure."""
        while True:
            self._taking = {partition: task for partition, task in self._taking.items() if not task.done()}
            for partition in self._assigned - self._seats.keys() - self._taking.keys():
                task = asyncio.create_task(self._take_seat(partition), name=f"kafka seat {partition}")
                self._taking[partition] = task
            await asyncio.sleep(_LOOK_SECONDS)

    @_again
    async def _take_seat(self, partition: StreamPartition) -> None:
        try:
            async with self._at_once:
                # By now the partition may be assigned to another process, which this seat would fence.
                if partition in self._assigned:
                    self._seats[partition] = await self._open_seat(partition)
        except Exception as error:
            self._report(translate(error))
            raise

    async def _open_seat(self, partition: StreamPartition) -> _HeldSeat:
        number = self._partitions.index(partition)
        held = _HeldSeat(Seat(self._connection, number), ClientThread(f"kafka-seat-{number}"))
        try:
            await held.thread.call(held.seat.take)
            async with asyncio.timeout(self._connection.timeout_seconds):
                await self._reader.to_the_end(partition)
        except TimeoutError:
            held.close()
            message = "published checkpoints could not be read to their end in time"
            raise LogUnavailable(message, partition=str(partition)) from None
        except BaseException:
            held.close()
            raise
        return held
