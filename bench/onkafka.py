"""Measure the exchange with its log on a real Kafka (mutual TLS, access rules), and the bare client on that cluster."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

from bare import bare_records, consume, make_topic, produce
from latency import latencies
from world import MANY

from certs.kafka import BROKER
from deploy.kafka.cluster import PREFIX, KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exchange import Bench

    from broker.messagelog.kafka.connection import KafkaConnection

BATCHES = (1, 10, 100)
STREAMS = (1, 4)


def missing() -> str:
    """What a Kafka node needs and this machine does not have, or an empty text."""
    return " and ".join(name for program, name in (("java", "Java"), ("mvn", "Maven")) if shutil.which(program) is None)


def where(nodes: int) -> str:
    """The end of the names of a cluster's rows."""
    return f", Kafka x {nodes}"


class OnKafka:
    """One cluster of one or three nodes. With three, two must have a record before it is acknowledged."""

    def __init__(self, bench: Bench, nodes: int, *, in_flight: int) -> None:
        self._bench = bench
        self._nodes = nodes
        self._in_flight = in_flight
        self._where = where(nodes)
        keys = bench.world.pki.kafka
        self._cluster = KafkaCluster(bench.root / f"kafka-{nodes}", keys, nodes=nodes)
        self._keys = keys

    @contextlib.contextmanager
    def running(self) -> Iterator[KafkaCluster]:
        """The cluster, ready and with its access rules. At the end it is stopped."""
        try:
            self._cluster.start()
            self._cluster.wait_ready()
            self._cluster.apply_access()
            self._bench.kafka = tuple(map(self._cluster.pid, self._cluster.numbers))
            yield self._cluster
        finally:
            self._bench.kafka = ()
            self._cluster.stop()

    def run(self) -> None:
        """Measure all of it."""
        with self.running():
            print(f"bare client{self._where}")
            self._floors(self._cluster.connection(BROKER))
            print(f"exchange{self._where}")
            target = self._bench.world.start_broker(f"broker-kafka-{self._nodes}", **self.tables())
            self._bench.exchange(target, self._where)
            self._bench.world.stop()
            if self._nodes == 1:
                self._latencies()
        self._ratios()

    def _latencies(self) -> None:
        for idle in (0, 1000):
            # Topics of their own: a new subscription begins with the first record of a log.
            prefix = f"{PREFIX}.latency-{idle}"
            target = self._bench.world.start_broker(f"latency-kafka-{idle}", **self.tables(prefix=prefix), quotas=MANY)
            latencies(self._bench, target, self._where, idle)
            self._bench.world.stop()

    def tables(self, **keys: str) -> dict[str, dict]:
        """The tables of a broker's configuration for this cluster."""
        certificate, key = self._keys.client(BROKER)
        return {
            "log": {"backend": "kafka"},
            "kafka": {
                "servers": self._cluster.bootstrap.split(","),
                "certificate": str(certificate),
                "key": str(key),
                "authorities": str(self._keys.authority),
                "replication": self._nodes,
                "min_in_sync": max(1, self._nodes - 1),
                **keys,
            },
        }

    def _floors(self, connection: KafkaConnection) -> None:
        records = bare_records(self._bench.records, self._bench.record_bytes)
        nodes, taken = {"Kafka": self._bench.kafka}, 0
        for batch in BATCHES:
            topic = make_topic(connection, f"bare-{batch}", self._nodes)
            part = records[: self._bench.count(batch)]
            for streams in STREAMS:
                spent = produce(connection, topic, part, batch, streams * self._in_flight, others=nodes)
                name = f"produce, batches of {batch}, {streams} x {self._in_flight}{self._where}"
                self._bench.cost_row(name, spent)
                taken += len(part) if batch == BATCHES[-1] else 0
        self._bench.cost_row(f"consume{self._where}", consume(connection, topic, taken, others=nodes))

    def _ratios(self) -> None:
        rows = self._bench.rows
        print(f"ratios{self._where}")
        for batch in BATCHES:
            for streams in STREAMS:
                rate = rows[f"publish, batches of {batch}, {streams} streams{self._where}"]
                bare = rows[f"produce, batches of {batch}, {streams} x {self._in_flight}{self._where}"]
                embedded = rows[f"publish, batches of {batch}, {streams} streams"]
                text = f"{rate / bare:.0%} of the bare client, {rate / embedded:.0%} of the embedded log"
                print(f"  publish {batch:3} x {streams}: {text}")
        consumed = rows[f"consume{self._where}"]
        for name in ("subscribe and acknowledge", "replay"):
            rate = rows[f"{name}{self._where}"]
            text = f"{rate / consumed:.0%} of the bare client, {rate / rows[name]:.0%} of the embedded log"
            print(f"  {name}: {text}")
