"""Compare two Kafka clients on one cluster in one run: kafka-python, which the log uses, and confluent-kafka.

Both do the same: mutual TLS, acks=all, idempotence, no lingering, checksums checked, records with headers like ours.
The processor time of a record matters more than the rate, because the client shares its process with the broker's other
work.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections import deque
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bare
import confluent_kafka
from bare import Bare, bare_records, make_topic
from onkafka import BATCHES, missing
from processes import Rate, Stopwatch

from certs import development
from certs.kafka import BROKER
from deploy.kafka.cluster import KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.messagelog.kafka.connection import KafkaConnection
    from certs.kafka import KafkaFiles

VALUE_BYTES = 1700
"""An envelope around 1 KiB of content."""
HEADER_BYTES = (16, 13, 21, 32, 350)
"""Record id, kind, recipients, digest and the seal of one in a batch of 100."""
UNDER_WAY = 16
RDKAFKA_IN_FLIGHT = 1
"""Requests that librdkafka has under way. With its default of five it spins while all are, at eight times the cost."""
CLIENTS = ("kafka-python", "confluent-kafka")


def settings(cluster: KafkaCluster, keys: KafkaFiles) -> dict[str, Any]:
    """The settings of librdkafka for the connection of a broker."""
    certificate, key = keys.client(BROKER)
    return {
        "bootstrap.servers": cluster.bootstrap,
        "security.protocol": "ssl",
        "ssl.ca.location": str(keys.authority),
        "ssl.certificate.location": str(certificate),
        "ssl.key.location": str(key),
    }


def produce(common: dict[str, Any], topic: str, records: Sequence[Bare], batch: int, under_way: int) -> Rate:
    """As ``bare.produce``."""
    producer = confluent_kafka.Producer(
        common
        | {
            "acks": "all",
            "enable.idempotence": True,
            "linger.ms": 0,
            "batch.size": bare.BATCH_BYTES,
            "max.in.flight.requests.per.connection": RDKAFKA_IN_FLIGHT,
        }
    )
    producer.list_topics(topic)
    failures: list[Any] = []
    waiting: deque[list[int]] = deque()

    def settle() -> None:
        missing_of = waiting.popleft()
        while missing_of[0]:
            producer.poll(1)

    watch = Stopwatch()
    for at in range(0, len(records), batch):
        if len(waiting) == under_way:
            settle()
        part = records[at : at + batch]
        left = [len(part)]
        waiting.append(left)

        def acknowledged(error: Any, _: Any, left: list[int] = left) -> None:
            left[0] -= 1
            if error is not None:
                failures.append(error)

        for each in part:
            producer.produce(
                topic, each.value, each.key, partition=each.partition, headers=each.headers, on_delivery=acknowledged
            )
        producer.poll(0)
    while waiting:
        settle()
    spent = watch.rate(len(records))
    assert not failures, failures[0]
    return spent


def consume(common: dict[str, Any], topic: str, count: int) -> Rate:
    """As ``bare.consume``."""
    consumer = confluent_kafka.Consumer(
        common
        | {
            "group.id": topic,
            "enable.auto.commit": False,
            "check.crcs": True,
            "fetch.max.bytes": bare.FETCH_BYTES,
            "max.partition.fetch.bytes": bare.FETCH_BYTES,
            "fetch.wait.max.ms": 500,
        }
    )
    beginning = confluent_kafka.OFFSET_BEGINNING
    consumer.assign([confluent_kafka.TopicPartition(topic, at, beginning) for at in range(bare.PARTITIONS)])
    taken, watch = 0, Stopwatch()
    while taken < count:
        for message in consumer.consume(2000, 0.5):
            assert message.error() is None, message.error()
            # The other client has already decoded these.
            taken += bool(message.headers() and message.key() and message.value())
    spent = watch.rate(taken)
    consumer.close()
    return spent


def measure(
    connection: KafkaConnection, common: dict[str, Any], records: Sequence[Bare], rounds: int
) -> dict[tuple[str, str], list[Rate]]:
    """Measure both clients in turn, so that other load on the machine is the same for both."""
    found: dict[tuple[str, str], list[Rate]] = {}
    produces = dict(zip(CLIENTS, (partial(bare.produce, connection), partial(produce, common)), strict=True))
    consumes = dict(zip(CLIENTS, (partial(bare.consume, connection), partial(consume, common)), strict=True))
    for number in range(rounds):
        for client in CLIENTS:
            for batch in BATCHES:
                topic = make_topic(connection, f"clients-{client}-{batch}-{number}", 1)
                part = records if batch > 1 else records[: len(records) // 10]
                spent = produces[client](topic, part, batch, UNDER_WAY)
                found.setdefault((f"produce, batches of {batch}", client), []).append(spent)
        for client in CLIENTS:
            # What the other client produced.
            other = next(each for each in CLIENTS if each != client)
            topic = connection.topic(f"clients-{other}-{BATCHES[-1]}-{number}")
            found.setdefault(("consume", client), []).append(consumes[client](topic, len(records)))
    return found


def table(found: dict[tuple[str, str], list[Rate]]) -> None:
    """Print the medians over the rounds."""
    print(f"{'':24} {'kafka-python':>22} {'confluent-kafka':>22} {'ratio':>14}")
    for name in dict.fromkeys(name for name, _ in found):
        rates = [statistics.median(each.per_second for each in found[name, client]) for client in CLIENTS]
        costs = [statistics.median(each.cpu["client"] for each in found[name, client]) for client in CLIENTS]
        columns = "".join(f"{rate:11,.0f}/s {cost:6.0f} us" for rate, cost in zip(rates, costs, strict=True))
        rate, cpu = rates[1] / rates[0], costs[0] / costs[1]
        print(f"{name:24} {columns}  {rate:4.1f}x {cpu:4.1f}x CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="?", default=20_000, help="records a row")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if lacking := missing():
        print(f"the clients were not measured: {lacking} cannot be found")
        return
    with tempfile.TemporaryDirectory(prefix="case-exchange-clients-") as folder:
        pki = development.create(Path(folder) / "pki", datetime.now(UTC))
        cluster = KafkaCluster(Path(folder) / "kafka", pki.kafka)
        try:
            cluster.start()
            cluster.wait_ready()
            cluster.apply_access()
            records = bare_records(arguments.records, VALUE_BYTES, HEADER_BYTES)
            common = settings(cluster, pki.kafka)
            table(measure(cluster.connection(BROKER), common, records, arguments.rounds))
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
