"""An idempotent producer over shared connections: all in-sync replicas have what was sent, once and in order.

Kafka gives the producer an id, and the producer gives the batches of each partition their numbers. So a batch whose
answer was lost can be sent again: Kafka stores it once.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka import TopicPartition
from kafka.errors import DuplicateSequenceNumberError, KafkaError, LeaderNotAvailableError, NoError, for_code
from kafka.protocol.producer import InitProducerIdRequest, ProduceRequest
from kafka.record.default_records import DefaultRecordBatchBuilder

from broker.messagelog.kafka.offsets import by_name, check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.leaders import Leaders
    from broker.messagelog.kafka.links import Address

_LANE: Final = 1
_INIT_VERSION: Final = 4
_PRODUCE_VERSION: Final = 9
_ALL_IN_SYNC: Final = -1
_PAUSE_SECONDS: Final = 0.1
_MAGIC: Final = 2
_HALF_IN_MS: Final = 500


class _Identity(NamedTuple):
    """What Kafka knows the producer by."""

    producer_id: int
    epoch: int


class Producer:
    """See the module. For one event loop, and one caller at a time.

    Args:
        leaders: the nodes that lead the partitions.
    """

    def __init__(self, leaders: Leaders) -> None:
        self._leaders = leaders
        self._identity: _Identity | None = None
        self._numbers: dict[TopicPartition, int] = {}

    async def send(self, values: Sequence[tuple[StreamPartition, bytes]], at_ms: int) -> None:
        """Append values to their partitions, in order within a partition, each as a Kafka record of this time.

        Raises:
            kafka.errors.KafkaError: it is unknown which of them were stored. The next call has a new identity, so that
                what was under way cannot affect it.
        """
        deadline = time.monotonic() + self._leaders.seconds
        waiting: dict[TopicPartition, deque[bytes]] = {}
        for partition, value in values:
            waiting.setdefault(self._leaders.names[partition], deque()).append(value)
        try:
            while waiting:
                await self._append(
                    {partition: queue.popleft() for partition, queue in waiting.items()}, at_ms, deadline
                )
                waiting = {partition: queue for partition, queue in waiting.items() if queue}
        except BaseException:
            self._identity = None
            raise

    async def _append(self, values: Mapping[TopicPartition, bytes], at_ms: int, deadline: float) -> None:
        """Append one value to each of these partitions."""
        identity = self._identity or await self._begin(deadline)
        batches = {each: self._batch(identity, each, value, at_ms) for each, value in values.items()}
        while batches:
            led = self._leaders.by_leader(batches)
            answers = [
                self._produce(address, {each: batches[each] for each in named}) for address, named in led.items()
            ]
            failed: KafkaError | None = None
            for refusals in await asyncio.gather(*answers):
                for partition, refusal in refusals.items():
                    if refusal is None:
                        del batches[partition]
                        self._numbers[partition] = self._numbers.get(partition, 0) + 1
                    elif not refusal.retriable or time.monotonic() > deadline:
                        raise refusal
                    else:
                        failed = refusal
            if failed is not None:
                await asyncio.sleep(_PAUSE_SECONDS)
                with contextlib.suppress(KafkaError):
                    await self._leaders.refresh()

    async def _begin(self, deadline: float) -> _Identity:
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=0)
        answer: Any = None
        while answer is None:
            try:
                answer = await self._leaders.links.ask_any(_LANE, request, _INIT_VERSION)
                check([answer.error_code])
                await self._leaders.refresh()
            except KafkaError as error:
                if not error.retriable or time.monotonic() > deadline:
                    raise
                answer = None
                await asyncio.sleep(_PAUSE_SECONDS)
        self._numbers.clear()
        self._identity = _Identity(answer.producer_id, answer.producer_epoch)
        return self._identity

    def _batch(self, identity: _Identity, partition: TopicPartition, value: bytes, at_ms: int) -> bytes:
        batch = DefaultRecordBatchBuilder(
            magic=_MAGIC,
            compression_type=0,
            is_transactional=False,
            producer_id=identity.producer_id,
            producer_epoch=identity.epoch,
            base_sequence=self._numbers.get(partition, 0),
            batch_size=0,
        )
        batch.append(0, timestamp=at_ms, key=None, value=value, headers=[])
        return bytes(batch.build())

    async def _produce(
        self, address: Address | None, batches: Mapping[TopicPartition, bytes]
    ) -> dict[TopicPartition, KafkaError | None]:
        """Send batches to the node that leads their partitions. The answer says why each was refused, if it was."""
        if address is None:
            return dict.fromkeys(batches, LeaderNotAvailableError())
        topic: Any = ProduceRequest.TopicProduceData
        data = [
            topic(
                name=name,
                partition_data=[
                    topic.PartitionProduceData(index=each.partition, records=batches[each]) for each in named
                ],
            )
            for name, named in by_name(batches)
        ]
        timeout_ms = int(self._leaders.seconds * _HALF_IN_MS)
        request = ProduceRequest(transactional_id=None, acks=_ALL_IN_SYNC, timeout_ms=timeout_ms, topic_data=data)
        try:
            answer = await self._leaders.links.ask_in_time(address, _LANE, request, _PRODUCE_VERSION)
        except KafkaError as error:
            return dict.fromkeys(batches, error)
        return {
            TopicPartition(topic.name, each.index): _refusal(each.error_code)
            for topic in answer.responses
            for each in topic.partition_responses
        }


def _refusal(code: int) -> KafkaError | None:
    kind = for_code(code)
    return None if kind in (NoError, DuplicateSequenceNumberError) else kind()
