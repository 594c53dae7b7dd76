"""The Kafka client library alone, with the settings of the exchange: the floor of a log on Kafka.

All in-sync replicas acknowledge what is produced. It is idempotent and goes over mutual TLS, as in the exchange.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from kafka import TopicPartition
from processes import Rate, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.messagelog.kafka.connection import KafkaConnection

PARTITIONS = 4
"""The same number as in the stream that the exchange is measured with."""
FETCH_BYTES = 16 << 20
BATCH_BYTES = 256 << 10


class Bare(NamedTuple):
    """One record as it is on the topic."""

    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def bare_records(count: int, value_bytes: int, header_bytes: Sequence[int] = ()) -> list[Bare]:
    """Records that compression does not shrink, over all partitions."""
    return [
        Bare(
            number % PARTITIONS,
            b"01990000-0000-4000-8000-%012d" % number,
            os.urandom(value_bytes),
            [(f"header-{at}", os.urandom(size)) for at, size in enumerate(header_bytes)],
        )
        for number in range(count)
    ]


def make_topic(connection: KafkaConnection, name: str, replication: int) -> str:
    """Make a topic for the bare client alone."""
    topic = connection.topic(name)
    wanted = {
        "num_partitions": PARTITIONS,
        "replication_factor": replication,
        "configs": {"min.insync.replicas": str(max(1, replication - 1))},
    }
    with connection.admin() as admin:
        admin.create_topics({topic: wanted}, wait_for_metadata=True)
    return topic


def produce(
    connection: KafkaConnection,
    topic: str,
    records: Sequence[Bare],
    batch: int,
    under_way: int,
    *,
    others: Mapping[str, Sequence[int]] | None = None,
) -> Rate:
    """Produce batches of this size. ``under_way`` batches wait for their acknowledgement at the same time.

    ``others`` are processes to measure too, by name.
    """
    producer = connection.producer(batch_size=BATCH_BYTES)
    try:
        producer.partitions_for(topic)
        waiting: deque[list] = deque()
        watch = Stopwatch(others)
        for at in range(0, len(records), batch):
            if len(waiting) == under_way:
                for sent in waiting.popleft():
                    sent.get(connection.timeout_seconds)
            waiting.append(
                [
                    producer.send(topic, partition=each.partition, key=each.key, value=each.value, headers=each.headers)
                    for each in records[at : at + batch]
                ]
            )
        for sent in [each for sents in waiting for each in sents]:
            sent.get(connection.timeout_seconds)
        return watch.rate(len(records))
    finally:
        producer.close()


def consume(
    connection: KafkaConnection,
    topic: str,
    count: int,
    check: Callable[[bytes], None] | None = None,
    *,
    others: Mapping[str, Sequence[int]] | None = None,
) -> Rate:
    """Consume everything in a topic, once, from the beginning. ``check`` gets the value of each record."""
    consumer = connection.consumer(
        fetch_max_bytes=FETCH_BYTES, max_partition_fetch_bytes=FETCH_BYTES, fetch_max_wait_ms=500
    )
    try:
        topics = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(topics)
        for each, offset in consumer.beginning_offsets(topics).items():
            consumer.seek(each, offset)
        taken, watch = 0, Stopwatch(others)
        while taken < count:
            for records in consumer.poll(500, max_records=2000).values():
                taken += len(records)
                if check is not None:
                    for record in records:
                        check(record.value)
        return watch.rate(taken)
    finally:
        consumer.close(autocommit=False)
