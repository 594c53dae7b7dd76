"""Measure the exchange beside other servers, in one run: Kafka, nats-server and RabbitMQ, each with its own client.

All get the same kind of signed records over mutual TLS on this machine. All readers check the signature of each record
with ECDSA P-256, because a user of those servers who wants what the exchange gives has to do that himself. They take
turns, so that other work on the machine is the same for all.

What the exchange does and the others do not: it checks records before it stores them, knows repeated ones, signs
receipts and checkpoints, asks the policy, leases, and writes the audit stream.

A server that is absent is left out, and the first lines say what to install.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import platform
import ssl
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import kafka
import onnats
import onrabbit
from bare import BATCH_BYTES, FETCH_BYTES, PARTITIONS, Bare, consume, make_topic, produce
from exchange import IN_FLIGHT, Bench
from onkafka import OnKafka, missing
from peer import Absent

from broker.wire.codec import ProtobufCodec
from certs.kafka import BROKER
from deploy.kafka import distribution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from peer import Check, Peer
    from processes import Rate

    from broker.core.envelope import Envelope
    from broker.messagelog.kafka.connection import KafkaConnection

BATCHES = (1, 100)
STREAMS = 4
SINGLE_SHARE = 4
"""Batches of one record take longer, so they have this part of the records."""


class Exchange:
    """The exchange on one of its logs. It publishes envelopes, where a ``Peer`` publishes bytes."""

    def __init__(self, bench: Bench, name: str, target: str, nodes: tuple[int, ...], settings: str) -> None:
        self._bench, self._target, self._nodes = bench, target, nodes
        self.name, self.settings = name, settings

    def publish(self, count: int, batch: int) -> Rate:
        self._bench.kafka = self._nodes
        return asyncio.run(self._bench.publish(self._target, batch, STREAMS, count))

    def read(self, count: int, check: Callable[[Envelope], None]) -> Rate:
        """The subscription goes on where it ended in the last round."""
        self._bench.kafka = self._nodes
        return asyncio.run(self._bench.subscribe(self._target, count, check))


class PlainKafka:
    """As ``Peer``: kafka-python alone, on the node that the exchange uses too."""

    name = "Kafka, own check"
    settings = (
        f"kafka-python {kafka.__version__}: acks=all, idempotent, linger 0, batches to {BATCH_BYTES:,} bytes, fetches "
        f"to {FETCH_BYTES:,}; as many batches under way as the others have in all their streams; no offset commits"
    )

    def __init__(self, connection: KafkaConnection, nodes: tuple[int, ...]) -> None:
        self._connection, self._others, self._topic = connection, {"server": nodes}, ""

    def begin(self, number: int) -> None:
        self._topic = make_topic(self._connection, f"peers-{number}", 1)

    def publish(self, values: Sequence[bytes], batch: int) -> Rate:
        records = [Bare(number % PARTITIONS, b"%016d" % number, value, []) for number, value in enumerate(values)]
        return produce(self._connection, self._topic, records, batch, STREAMS * IN_FLIGHT, others=self._others)

    def read(self, count: int, check: Check) -> Rate:
        return consume(self._connection, self._topic, count, check, others=self._others)


class Peers:
    """All of them. ``found`` has the result of each round: by row, by peer."""

    def __init__(self, bench: Bench, exchanges: Sequence[Exchange], peers: Sequence[Peer]) -> None:
        self._bench, self._exchanges, self._peers = bench, exchanges, peers
        self._codec = ProtobufCodec()
        self.found: dict[str, dict[str, list[Rate]]] = {}

    def round(self, number: int) -> None:
        """Publish and read everything, with each of them."""
        # Whoever comes first finds the machine in another state. So the order changes.
        order = (self._peers, self._peers[::-1])[number % 2]
        for peer in order:
            peer.begin(number)
        for batch in BATCHES:
            count, name = self._count(batch), f"publish, batches of {batch}, {STREAMS} x {IN_FLIGHT}"
            for exchange in self._exchanges:
                self._note(name, exchange.name, exchange.publish(count, batch))
            for peer in order:
                values = [self._codec.encode_envelope(each) for each in self._bench.records_signed(count)]
                self._note(name, peer.name, peer.publish(values, batch))
        written, name = sum(map(self._count, BATCHES)), "read and check each signature"
        for exchange in self._exchanges:
            self._note(name, exchange.name, exchange.read(written, self._check))
        for peer in order:
            self._note(name, peer.name, peer.read(written, self._check_bytes))

    def _count(self, batch: int) -> int:
        return self._bench.records if batch > 1 else self._bench.records // SINGLE_SHARE

    def _note(self, row: str, peer: str, rate: Rate) -> None:
        self.found.setdefault(row, {}).setdefault(peer, []).append(rate)

    def _check_bytes(self, value: bytes) -> None:
        self._check(self._codec.decode_envelope(value))

    def _check(self, envelope: Envelope) -> None:
        (signature,) = envelope.signatures
        self._bench.world.keyring.signer(signature.certificate_sha256).verify(envelope.signed_bytes, signature.value)


def table(found: dict[str, dict[str, list[Rate]]]) -> None:
    """Print the medians over the rounds."""
    print("\nmedians; at the end of a line: microseconds of processor time a record, by process")
    for row, peers in found.items():
        print(row)
        for peer, rates in peers.items():
            per_second = statistics.median(each.per_second for each in rates)
            costs = {name: statistics.median(each.cpu[name] for each in rates) for name in rates[0].cpu}
            total = ", ".join(f"{name} {cost:,.0f}" for name, cost in costs.items())
            print(f"  {peer:30} {per_second:10,.0f}/s   {total}; together {sum(costs.values()):,.0f}")


@contextlib.contextmanager
def everything(bench: Bench) -> Iterator[Peers]:
    """All servers that this machine has, running at the same time."""
    exchanges: list[Exchange] = []
    peers: list[Peer] = []
    fsync = "SQLite in one file, fsync before each receipt, shared by those that wait"
    target = bench.world.start_broker("embedded")
    exchanges.append(Exchange(bench, "case-exchange, embedded log", target, (), fsync))
    with contextlib.ExitStack() as stack:
        if lacking := missing():
            print(f"Kafka is left out: {lacking} cannot be found. apt install openjdk-17-jre-headless maven")
        else:
            on_kafka = OnKafka(bench, 1, in_flight=IN_FLIGHT)
            cluster = stack.enter_context(on_kafka.running())
            nodes = tuple(map(cluster.pid, cluster.numbers))
            node = (
                f"Kafka {distribution.version()}: 1 node, replication 1, no fsync for each record; its JVM as in the "
                "tests (320 MB, quick compiler only), which costs it more than a node tuned for load"
            )
            target = bench.world.start_broker("on-kafka", **on_kafka.tables())
            exchanges.append(Exchange(bench, "case-exchange on Kafka", target, nodes, node))
            peers.append(PlainKafka(cluster.connection(BROKER), nodes))
        for module in (onnats, onrabbit):
            try:
                peers.append(stack.enter_context(module.running(bench.world, STREAMS, IN_FLIGHT)))
            except Absent as absent:
                print(f"left out: {absent}")
        try:
            print(f"TLS 1.3, mutual, ECDSA P-256 certificates, everywhere; clients: {ssl.OPENSSL_VERSION}, gRPC's own")
            for each in (*exchanges, *peers):
                print(f"{each.name}: {each.settings}", flush=True)
            yield Peers(bench, exchanges, peers)
        finally:
            bench.world.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="?", default=5_000, help="records a row and round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns of how these clients' connections end
    with tempfile.TemporaryDirectory(prefix="case-exchange-peers-") as folder:
        bench = Bench(Path(folder), arguments.records)
        print(f"peers: {os.cpu_count()} cores, Python {platform.python_version()}, {arguments.records} records")
        print(f"{STREAMS} streams with {IN_FLIGHT} batches under way in each; all servers run all the time")
        try:
            with everything(bench) as peers:
                for number in range(arguments.rounds):
                    peers.round(number)
                table(peers.found)
        finally:
            bench.world.stop()


if __name__ == "__main__":
    main()
