"""Fetch the streams' partitions from the nodes that lead them, over shared connections.

Each node has one request under way. Kafka holds it until there is something to read, or for half a second. A node keeps
a fetch session (KIP-227): a request names only the partitions whose place has changed, and an answer only those with
news. With every place goes the leader epoch of the record before it. So Kafka itself says if the log went back
(KIP-595).

A follower answers too (KIP-392), but learns late what is safe to read. So a request also names the epoch of the node
that is asked. A node that no longer leads, or does not know yet that it leads, refuses (KIP-320).

A partition whose node fails or refuses waits until its leader is known again. The others go on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka import TopicPartition
from kafka.errors import (
    CorruptRecordError,
    FetchSessionIdNotFoundError,
    InvalidFetchSessionEpochError,
    KafkaError,
    LogTruncationError,
    NoError,
    for_code,
)
from kafka.protocol.consumer import FetchRequest
from kafka.record.memory_records import MemoryRecords

from broker.messagelog.kafka.connection import pause
from broker.messagelog.kafka.lenient import install
from broker.messagelog.kafka.offsets import by_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.leaders import Leaders
    from broker.messagelog.kafka.links import Address

_LANE: Final = 2
_VERSION: Final = 12
_WAIT_MS: Final = 500
_BYTES: Final = 8 << 20
"""Of one answer. A larger Kafka record comes alone."""
_NO_EPOCH: Final = -1
_LAST_SESSION_EPOCH: Final = (1 << 31) - 1


class Record(NamedTuple):
    """A Kafka record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    leader_epoch: int


class Fetched(NamedTuple):
    """What follows in a partition: record batches as Kafka has them, and the offset after them."""

    partition: StreamPartition
    batches: list[Any]
    size: int
    next_offset: int

    def records(self) -> Iterator[Record]:
        """The records, without transaction markers.

        Raises:
            kafka.errors.CorruptRecordError: the node's disk gave other bytes than were written to it.
        """
        for batch in self.batches:
            if not batch.validate_crc():
                raise CorruptRecordError
            if not batch.is_control_batch:
                for each in batch:
                    yield Record(each.offset, each.timestamp, each.key, each.value, each.headers, batch.leader_epoch)


class _Place(NamedTuple):
    """Where a partition is read next.

    Attributes:
        offset: of the next record.
        read_epoch: the leader epoch of what was read before, if anything was.
        epoch: that of the node that is asked.
    """

    offset: int
    read_epoch: int = _NO_EPOCH
    epoch: int = _NO_EPOCH


class _Session:
    """What a node knows of our places. A new one begins with all of them."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._id = 0
        self._epoch = 0
        self._told: dict[TopicPartition, _Place] = {}

    def request(self, places: Mapping[TopicPartition, _Place]) -> Any:
        news = {each: place for each, place in places.items() if self._told.get(each) != place}
        gone = self._told.keys() - places.keys()
        topic: Any = FetchRequest.FetchTopic
        topics = [
            topic(
                topic=name,
                partitions=[
                    topic.FetchPartition(
                        partition=each.partition,
                        current_leader_epoch=news[each].epoch,
                        fetch_offset=news[each].offset,
                        last_fetched_epoch=news[each].read_epoch,
                        partition_max_bytes=_BYTES,
                    )
                    for each in named
                ],
            )
            for name, named in by_name(news)
        ]
        forgotten: Any = FetchRequest.ForgottenTopic
        self._told = dict(places)
        return FetchRequest(
            max_wait_ms=_WAIT_MS,
            min_bytes=1,
            max_bytes=_BYTES,
            isolation_level=0,
            session_id=self._id,
            session_epoch=self._epoch,
            topics=topics,
            forgotten_topics_data=[
                forgotten(topic=name, partitions=[each.partition for each in named]) for name, named in by_name(gone)
            ],
        )

    def answered(self, answer: Any) -> bool:
        """Whether the answer belongs to the session. If not, a new session begins with the next request.

        Raises:
            kafka.errors.KafkaError: the node refuses for another reason.
        """
        error = for_code(answer.error_code)
        if error in (FetchSessionIdNotFoundError, InvalidFetchSessionEpochError):
            self._begin()
            return False
        if error is not NoError:
            raise error
        if answer.session_id == 0:
            # The node keeps no more sessions.
            self._begin()
        else:
            self._id = answer.session_id
            self._epoch = self._epoch % _LAST_SESSION_EPOCH + 1
        return True


class Fetcher:
    """See the module. For one event loop. ``close`` must be called.

    Args:
        leaders: the nodes that lead the partitions.
        offsets: where each partition is read next.
    """

    def __init__(self, leaders: Leaders, offsets: Mapping[StreamPartition, int]) -> None:
        install()
        self._leaders = leaders
        self._places = {leaders.names[partition]: _Place(offset) for partition, offset in offsets.items()}
        self._of: dict[Address, set[TopicPartition]] = {}
        self._homeless = set(self._places)
        self._doubtful: set[TopicPartition] = set()
        self._trouble: KafkaError | None = None
        self._lost = asyncio.Event()
        self._answers: asyncio.Queue[list[Fetched] | Exception] = asyncio.Queue(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._run(self._find_leaders())

    @property
    def trouble(self) -> KafkaError | None:
        """Why a partition cannot be read now, or None if all can."""
        return self._trouble if self._doubtful else None

    async def next(self) -> list[Fetched]:
        """What came. Nothing is fetched ahead but one answer of each node.

        Raises:
            kafka.errors.OffsetOutOfRangeError, kafka.errors.LogTruncationError: a partition is not what it was.
            kafka.errors.KafkaError: a refusal that does not pass by itself.
        """
        answer = await self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        """Stop. Idempotent."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, work: Any) -> None:
        task = asyncio.create_task(work, name="kafka fetch")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _find_leaders(self) -> None:
        """Give each partition that has no node to the one that leads it."""
        while True:
            try:
                await self._leaders.refresh()
            except Exception as error:  # noqa: BLE001 - the reader must learn of any error; it raises it
                if not isinstance(error, KafkaError) or not error.retriable:
                    await self._answers.put(error)
                    return
                self._doubt(self._homeless, error)
            for address, led in self._leaders.by_leader(self._homeless).items():
                if address is not None:
                    self._home(address, led)
            if not self._homeless:
                self._lost.clear()
                await self._lost.wait()
            await asyncio.sleep(pause())

    def _home(self, address: Address, led: Mapping[TopicPartition, int]) -> None:
        self._homeless.difference_update(led)
        for partition, epoch in led.items():
            self._places[partition] = self._places[partition]._replace(epoch=epoch)
        known = self._of.get(address)
        if known is None:
            self._of[address] = set(led)
            self._run(self._follow(address))
        else:
            known.update(led)

    def _lose(self, address: Address, partitions: Collection[TopicPartition], error: KafkaError) -> None:
        self._of[address] -= set(partitions)
        self._homeless |= set(partitions)
        self._doubt(partitions, error)
        self._lost.set()

    def _doubt(self, partitions: Collection[TopicPartition], error: KafkaError) -> None:
        self._doubtful |= set(partitions)
        self._trouble = error

    async def _follow(self, address: Address) -> None:
        session = _Session()
        mine = self._of[address]
        try:
            while mine:
                request = session.request({each: self._places[each] for each in mine})
                answer = await self._leaders.links.ask_in_time(address, _LANE, request, _VERSION)
                if session.answered(answer):
                    self._doubtful -= mine
                    if fetched := self._read(address, answer):
                        await self._answers.put(fetched)
        except KafkaError as error:
            if error.retriable:
                self._lose(address, set(mine), error)
            else:
                await self._answers.put(error)
        except Exception as error:  # noqa: BLE001 - the reader must learn of any error; it raises it
            await self._answers.put(error)
        finally:
            del self._of[address]

    def _read(self, address: Address, answer: Any) -> list[Fetched]:
        fetched = []
        for topic in answer.responses:
            for each in topic.partitions:
                partition = TopicPartition(topic.topic, each.partition_index)
                error = for_code(each.error_code)
                if error is not NoError:
                    if not error.retriable:
                        raise error(partition)
                    self._lose(address, [partition], error())
                elif each.diverging_epoch is not None and each.diverging_epoch.end_offset >= 0:
                    raise LogTruncationError({partition: None})
                elif each.records:
                    fetched.append(self._fetched(partition, each.records))
        return fetched

    def _fetched(self, partition: TopicPartition, data: bytes) -> Fetched:
        batches = list(MemoryRecords(data))
        place = self._places[partition]
        if batches:
            last = batches[-1]
            place = place._replace(offset=last.next_offset, read_epoch=last.leader_epoch)
            self._places[partition] = place
        return Fetched(self._leaders.partitions[partition], batches, len(data), place.offset)
