"""A broker on Kafka ends in bounded time after SIGTERM in each of its states, and its health tells the truth there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from kafka.admin import ResourceType

from broker.bootstrap.serving import CLOSING_SECONDS
from broker.client.connection import ConnectionSettings, open_channel
from broker.client.publisher import Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.subscriber import Subscriber
from broker.core.errors import CaseExchangeError
from broker.core.streams import StreamPartition
from broker.trust.system import SystemClock
from broker.wire.tls import TlsFiles
from certs.kafka import BROKER
from tests.integration.test_ending import handles_signals, wait_for
from tests.support.exchange import broker_tables
from tests.support.fakes import FixedDirectory
from tests.support.honest import SAMPLES, taken
from tests.support.kafka import running_cluster
from tests.support.kafkaexchange import NOT_SERVING, SERVING, OnKafka, health_on
from tests.support.process import COMMAND, BrokerProcess, write_toml
from tests.support.records import CODEC, RecordMaker
from tests.support.tampering import Administrator, Raw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    import grpc

    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.pki import SamplePki

pytestmark = pytest.mark.kafka
DRAIN_SECONDS = 1.0
ENDS_SECONDS = DRAIN_SECONDS + CLOSING_SECONDS + 20  # for a busy machine
EVIDENCE_SECONDS = 5.0
QUICK: dict[str, Any] = {"timeout_seconds": 4.0}
"""For what is tried again for ever: it must be noticed soon."""
SLOW: dict[str, Any] = {"timeout_seconds": 60.0}
"""For what ends by itself after a while: not before the signal."""
DNA = StreamPartition("dna", 0)


class States(OnKafka):
    """Brokers on Kafka in processes of their own."""

    def process(self, name: str = "one", **kafka: Any) -> BrokerProcess:
        self.folder(name).mkdir(exist_ok=True)
        return BrokerProcess(self._pki, self.folder(name), **self._tables(**kafka))

    def _tables(self, **kafka: Any) -> dict[str, dict[str, Any]]:
        return {
            **self.sections(**kafka),
            "server": {"drain_seconds": DRAIN_SECONDS},
            "checkpoints": {"evidence_bound_seconds": EVIDENCE_SECONDS},
        }

    @contextlib.contextmanager
    def starting(self, **kafka: Any) -> Iterator[subprocess.Popen[str]]:
        """A process that is not waited for."""
        tables = broker_tables(self._pki, self.folder("starting"), **self._tables(**kafka))
        config = write_toml(self._root / "starting.toml", tables)
        process = subprocess.Popen(
            [COMMAND, "serve", "--config", config], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    @contextlib.asynccontextmanager
    async def channel(self, process: BrokerProcess, agency: str = "shanxi-police") -> AsyncIterator[grpc.aio.Channel]:
        files = TlsFiles(*self._pki.tls_paths(agency), self._pki.folder.trust / "tls-ca.pem").read()
        async with open_channel(ConnectionSettings(process.target), files) as channel:
            yield channel

    async def publish(self, channel: grpc.aio.Channel) -> None:
        verifier = ReceiptVerifier(FixedDirectory(self._pki.directory), self._pki.keyring())
        record = RecordMaker(self._pki, SystemClock()).make()
        await Publisher(channel, CODEC, verifier).publish(record, timeout_seconds=10)


@pytest.fixture
def kafka(kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> States:
    return States(kafka_cluster, kafka_keys, pki, tmp_path)


def ends(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=ENDS_SECONDS)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert "INTERNAL" not in errors


# --- while it starts ---


@pytest.mark.parametrize("kafka_is", ["not there", "silent"])
def test_a_broker_that_starts_without_kafka_ends(kafka: States, kafka_is: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if kafka_is == "silent" else 1
        with kafka.starting(servers=[f"127.0.0.1:{port}"], **SLOW) as process:
            wait_for(process, lambda: handles_signals(process))
            ends(process)


async def test_a_broker_whose_topics_cannot_be_read_ends_with_a_reason_or_by_a_signal(kafka: States) -> None:
    async with kafka.broker():
        pass
    admin = Administrator(kafka)
    # More than an answer of Kafka has.
    await admin.put(DNA, *(Raw(bytes(900_000)) for _ in range(12)))
    # Enough for what is read before the topics.
    async with admin.starving(BROKER, 10_000):
        with kafka.starting(**SLOW) as process:
            # From here on it reads.
            await asyncio.to_thread(wait_for, process, (kafka.folder("starting") / "kafka-index.db").exists)
            await asyncio.to_thread(ends, process)
        with kafka.starting(**QUICK) as process:
            _, errors = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 1
        assert "case-exchange: LOG_UNAVAILABLE: " in errors


# --- while it serves ---


class State(NamedTuple):
    """A state of a broker: how to get it into it, and the reason and the cause that its health then gives."""

    within: Callable[[Administrator], contextlib.AbstractAsyncContextManager[None]]
    reason: str
    cause: str
    publish: bool = False
    """Whether this broker must publish something until it shows."""


@contextlib.asynccontextmanager
async def not_read(admin: Administrator) -> AsyncIterator[None]:
    """There is something in a topic that this broker cannot fetch. It does not publish anything itself."""
    async with admin.starving(BROKER):
        await admin.put(DNA, Raw(b"garbage"))
        yield


@contextlib.asynccontextmanager
async def wrong_setting(admin: Administrator) -> AsyncIterator[None]:
    await admin.set_topic("dna", "retention.ms", "86400000")
    yield


STATES = {
    "the intake only tries again": State(not_read, "LOG_UNAVAILABLE", "Kafka holds more than can be read of it"),
    "the follower stands still": State(
        lambda admin: admin.denying(BROKER, ResourceType.TRANSACTIONAL_ID),
        "EVIDENCE_UNAVAILABLE",
        "do not keep up",
        publish=True,
    ),
    "a setting stops publishing": State(wrong_setting, "LOG_SETTINGS_REFUSED", "retention.ms"),
}


@pytest.mark.parametrize("name", STATES)
async def test_health_tells_in_which_state_a_broker_is_and_it_ends(kafka: States, name: str) -> None:
    state, admin = STATES[name], Administrator(kafka)
    process = kafka.process(**QUICK)
    await asyncio.to_thread(process.start)
    try:
        async with kafka.channel(process) as channel:
            await health_on(channel, SERVING)
            await kafka.publish(channel)
            async with state.within(admin):
                if state.publish:
                    await kafka.publish(channel)
                await health_on(channel, NOT_SERVING, within=EVIDENCE_SECONDS + 30)
                with pytest.raises(CaseExchangeError):
                    await kafka.publish(channel)
                assert await asyncio.to_thread(process.stop) == 0
        lines = [json.loads(line) for line in process.errors.read_text().splitlines()]
        told = [line for line in lines if line["event"] == "cannot accept records"]
        assert any(line["reason"] == state.reason and state.cause in line["cause"] for line in told), told
    finally:
        process.end()


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory, kafka_keys: PkiFolder) -> Iterator[KafkaCluster]:
    """A node that tests of this module may kill and pause."""
    with running_cluster(tmp_path_factory.mktemp("kafka-own"), kafka_keys, nodes=1) as cluster:
        yield cluster


@pytest.fixture
def own_kafka(own_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> States:
    return States(own_cluster, kafka_keys, pki, tmp_path)


@contextlib.contextmanager
def gone(cluster: KafkaCluster, how: str) -> Iterator[None]:
    """Within the block no node answers: it is killed, or its connections stay open and it says nothing."""
    (number,) = cluster.numbers
    if how == "stopped":
        cluster.kill(number)
    else:
        cluster.pause(number)
    try:
        yield
    finally:
        cluster.heal()


@pytest.mark.parametrize("signal_comes", ["at once", "when it is noticed"])
@pytest.mark.parametrize("kafka_is", ["stopped", "silent"])
async def test_a_broker_whose_kafka_goes_away_while_it_serves_ends(
    own_kafka: States, kafka_is: str, signal_comes: str
) -> None:
    """A publisher waits for its receipt, and a subscriber has a record that it has not answered."""
    process = own_kafka.process(**QUICK)
    await asyncio.to_thread(process.start)
    try:
        async with own_kafka.channel(process) as channel, own_kafka.channel(process, "national-dna-database") as other:
            await health_on(channel, SERVING)
            async with Subscriber(other).subscribe(SAMPLES) as stream:
                await own_kafka.publish(channel)
                await taken(stream, 1)
                with gone(own_kafka.cluster, kafka_is):
                    publishing = asyncio.create_task(own_kafka.publish(channel))
                    if signal_comes == "when it is noticed":
                        await health_on(channel, NOT_SERVING)
                    began = time.monotonic()
                    code = await asyncio.to_thread(process.stop)
                    seconds = time.monotonic() - began
                    (refused,) = await asyncio.gather(publishing, return_exceptions=True)
        assert seconds < ENDS_SECONDS
        assert isinstance(refused, CaseExchangeError)
        errors = process.errors.read_text()
        assert code == 0, errors
        assert "Traceback" not in errors
        assert "INTERNAL" not in errors
    finally:
        process.end()


async def test_a_broker_that_takes_over_from_another_one_ends(kafka: States) -> None:
    one, two = kafka.process("one", **QUICK), kafka.process("two", **QUICK)
    try:
        await asyncio.to_thread(one.start)
        async with kafka.channel(one, "national-dna-database") as first, Subscriber(first).subscribe(SAMPLES):
            await asyncio.to_thread(two.start)
            async with (
                kafka.channel(two, "national-dna-database") as second,
                Subscriber(second).subscribe(SAMPLES),
            ):
                # Kafka notices it after six seconds.
                one.kill()
                assert await asyncio.to_thread(two.stop) == 0
    finally:
        one.end()
        two.end()
