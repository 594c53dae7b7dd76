"""Measure the exchange on Kafka beside a plain Kafka client whose user checks signatures himself, in one run.

Both get the same kind of signed records, over mutual TLS, on the same node. Both readers check the signature of each
record with ECDSA P-256. They take turns, so that other work on the machine is the same for both.

What the exchange does and the plain client does not: it checks records before it stores them, knows repeated ones,
signs receipts and checkpoints, asks the policy, leases, and writes the audit stream.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bare import BATCH_BYTES, FETCH_BYTES, PARTITIONS, Bare, consume, make_topic, produce
from exchange import IN_FLIGHT, Bench
from onkafka import OnKafka, missing

from broker.wire.codec import ProtobufCodec
from certs.kafka import BROKER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from processes import Rate

    from broker.core.envelope import Envelope
    from broker.messagelog.kafka.connection import KafkaConnection

BATCHES = (1, 100)
STREAMS = 4
EXCHANGE, PLAIN = "case-exchange on Kafka", "kafka-python, own check"
LEFT_OUT = "not measured here: nats-server (JetStream), RabbitMQ (quorum queues)"


class Peers:
    """Both, on one running cluster. ``found`` has the result of each round: by row, by peer."""

    def __init__(self, bench: Bench, connection: KafkaConnection) -> None:
        self._bench = bench
        self._connection = connection
        self._others = {"Kafka": bench.kafka}
        self._codec = ProtobufCodec()
        self.found: dict[str, dict[str, list[Rate]]] = {}

    def round(self, number: int, target: str) -> None:
        """Publish and read everything, with both."""
        written = 0
        topic = make_topic(self._connection, f"peers-{number}", 1)
        for batch in BATCHES:
            count = self._bench.count(batch)
            name = f"publish, batches of {batch}, {STREAMS} x {IN_FLIGHT}"
            self._note(name, EXCHANGE, asyncio.run(self._bench.publish(target, batch, STREAMS, count)))
            records = [self._plain(*each) for each in enumerate(self._bench.records_signed(count))]
            rate = produce(self._connection, topic, records, batch, STREAMS * IN_FLIGHT, others=self._others)
            self._note(name, PLAIN, rate)
            written += count
        name = "read and check each signature"
        # The subscription goes on where it ended in the last round.
        self._note(name, EXCHANGE, asyncio.run(self._bench.subscribe(target, written, self._check)))
        rate = consume(self._connection, topic, written, self._check_plain, others=self._others)
        self._note(name, PLAIN, rate)

    def _note(self, row: str, peer: str, rate: Rate) -> None:
        self.found.setdefault(row, {}).setdefault(peer, []).append(rate)

    def _plain(self, number: int, envelope: Envelope) -> Bare:
        return Bare(number % PARTITIONS, b"%016d" % number, self._codec.encode_envelope(envelope), [])

    def _check_plain(self, value: bytes) -> None:
        self._check(self._codec.decode_envelope(value))

    def _check(self, envelope: Envelope) -> None:
        (signature,) = envelope.signatures
        self._bench.world.keyring.signer(signature.certificate_sha256).verify(envelope.signed_bytes, signature.value)


def settings(connection: KafkaConnection) -> Sequence[str]:
    """The settings that change the figures, as this run has them."""
    assert connection.tls is not None
    least = connection.tls.context.minimum_version.name
    return (
        f"TLS: mutual, everywhere, {least} or newer ({ssl.OPENSSL_VERSION}); ECDSA P-256 certificates",
        "Kafka: 1 node, replication 1, no fsync for each record (a record counts as stored when the node has it)",
        f"kafka-python: acks=all, idempotent, linger 0, batches to {BATCH_BYTES:,} bytes, fetches to {FETCH_BYTES:,}",
        f"{STREAMS} streams with {IN_FLIGHT} batches under way in each; the plain client has as many under way in all",
        LEFT_OUT,
    )


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=int, nargs="?", default=5_000, help="records a row and round")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    if lacking := missing():
        print(f"the peers were not measured: {lacking} cannot be found")
        return
    with tempfile.TemporaryDirectory(prefix="case-exchange-peers-") as folder:
        bench = Bench(Path(folder), arguments.records)
        kafka = OnKafka(bench, 1, in_flight=IN_FLIGHT)
        try:
            with kafka.running() as cluster:
                connection = cluster.connection(BROKER)
                print("\n".join(settings(connection)), flush=True)
                target = bench.world.start_broker("peers", **kafka.tables())
                peers = Peers(bench, connection)
                for number in range(arguments.rounds):
                    peers.round(number, target)
                table(peers.found)
                bench.world.stop()
        finally:
            bench.world.stop()


if __name__ == "__main__":
    main()
