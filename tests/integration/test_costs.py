"""What a record costs a broker process, in counts: it does not grow back unnoticed. Times would depend on the machine.

The bounds are about twice what was measured. A test publishes the same records in the same pattern each time.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from bench.processes import usage
from tests.support.costs import QUIET, Load
from tests.support.kafkaexchange import OnKafka
from tests.support.process import BrokerProcess
from tests.support.tracing import kafka_requests, system_calls

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.pki import SamplePki

WARM_UP = 100
RECORDS = 400
SUBSCRIPTIONS = 200
UNWANTED_FACTOR = 1.3


@contextlib.contextmanager
def running(pki: SamplePki, folder: Path, **sections: dict[str, Any]) -> Iterator[BrokerProcess]:
    broker = BrokerProcess(pki, folder, **QUIET, **sections)
    broker.start()
    try:
        yield broker
    finally:
        broker.end()


async def test_the_embedded_log_takes_waiting_records_together(pki: SamplePki, tmp_path: Path) -> None:
    with running(pki, tmp_path) as broker:
        load = Load(pki, broker)
        await load.cost(WARM_UP)
        cost = await load.cost(RECORDS)
    # Measured: 8 to 9, 10 to 12, and 12,000. While each record was appended alone: 20, unknown, and 26,700.
    assert cost.waits < 17
    assert cost.calls < 24
    assert cost.written < 21_000


async def test_a_record_takes_few_system_calls(pki: SamplePki, tmp_path: Path) -> None:
    with running(pki, tmp_path) as broker:
        load = Load(pki, broker)
        await load.cost(WARM_UP)
        with system_calls(broker.pid, tmp_path / "together") as together:
            await load.cost(RECORDS)
        with system_calls(broker.pid, tmp_path / "alone") as alone:
            await load.cost(RECORDS, under_way=1)
    # Measured: 38 with 16 under way, of these 12 futexes; 63 with one, of these 13 pwrite64 and one fdatasync.
    assert together.total() / RECORDS < 80, together.most_common(5)
    assert alone.total() / RECORDS < 130, alone.most_common(5)
    # A receipt means that the record is durable: with one under way, each has its own fsync.
    assert alone["fdatasync"] / RECORDS >= 1
    assert together["fdatasync"] / RECORDS < 0.9


async def test_a_delivery_alone_costs_little(pki: SamplePki, tmp_path: Path) -> None:
    with running(pki, tmp_path) as broker:
        load = Load(pki, broker)
        await load.cost(RECORDS)
        # All belong to one case, so that each is delivered when the one before it is acknowledged: the worst case.
        cost = await load.delivery_cost(RECORDS)
    # Measured: 26 to 27, 22, and 19,500.
    assert cost.waits < 54
    assert cost.calls < 44
    assert cost.written < 39_000


async def test_subscriptions_that_want_none_of_the_records_cost_a_record_nothing(
    pki: SamplePki, tmp_path: Path
) -> None:
    with running(pki, tmp_path) as broker:
        load = Load(pki, broker)
        # One at a time, so that each record costs the same, however busy the machine is.
        await load.cost(WARM_UP, under_way=1)
        alone = await load.cost(RECORDS, under_way=1)
        async with load.subscriptions(SUBSCRIPTIONS):
            await load.cost(WARM_UP, under_way=1)
            among_many = await load.cost(RECORDS, under_way=1)
    assert among_many.waits < UNWANTED_FACTOR * alone.waits
    assert among_many.written < UNWANTED_FACTOR * alone.written


@pytest.mark.kafka
async def test_the_log_on_kafka_takes_waiting_records_together(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path
) -> None:
    kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)
    with running(pki, tmp_path, **kafka.sections()) as broker:
        load = Load(pki, broker)
        await load.cost(WARM_UP)
        before = usage(kafka_cluster.pid(1))
        cost = await load.cost(RECORDS)
        node = usage(kafka_cluster.pid(1)).since(before)
    # Measured: 14 to 17, 12, and 6,700. While each record was appended alone: 58, 42, and 21,100.
    assert cost.waits < 35
    assert cost.calls < 25
    assert cost.written < 13_000
    # Measured: 2.4 and 1,780; the record itself has 1,300. While each was appended alone: 10 and 1,990.
    assert node.waits / RECORDS < 6
    assert node.files.written / RECORDS < 3_600


@pytest.mark.kafka
async def test_a_record_takes_few_requests_and_system_calls_on_kafka(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path
) -> None:
    kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)
    with running(pki, tmp_path, **kafka.sections()) as broker:
        load = Load(pki, broker)
        await load.cost(WARM_UP)
        with kafka_requests(kafka_cluster) as together:
            await load.cost(RECORDS)
        with kafka_requests(kafka_cluster) as alone:
            await load.cost(RECORDS, under_way=1)
        with system_calls(broker.pid, tmp_path / "calls") as calls:
            await load.cost(RECORDS)
    # Measured: 0.25 and 0.22 with 16 under way. With one: 1.00 and 1.05, once to store it and once to read it back.
    assert together["PRODUCE"] / RECORDS < 0.5
    assert together["FETCH"] / RECORDS < 0.5
    assert 1 <= alone["PRODUCE"] / RECORDS < 1.2
    assert alone["FETCH"] / RECORDS < 1.6
    # What does not come from records: heartbeats, looks at the topics' ends, and what the counting itself asks.
    assert (together.total() - together["PRODUCE"] - together["FETCH"]) / RECORDS < 0.2
    # Measured: 99, of these 61 futexes.
    assert calls.total() / RECORDS < 200, calls.most_common(5)


@pytest.mark.kafka
async def test_a_delivery_alone_costs_little_on_kafka(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path
) -> None:
    kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)
    with running(pki, tmp_path, **kafka.sections()) as broker:
        load = Load(pki, broker)
        await load.cost(RECORDS)
        with kafka_requests(kafka_cluster) as requests:
            cost = await load.delivery_cost(RECORDS)
    # Measured: 58 to 59, 52, and 20,300.
    assert cost.waits < 118
    assert cost.calls < 104
    assert cost.written < 40_600
    # Measured: 1.01 for the audit stream, 1.22 with what reads it back, and 1.00.
    assert requests["PRODUCE"] / RECORDS < 2
    assert requests["FETCH"] / RECORDS < 2.4
    assert requests["OFFSET_COMMIT"] / RECORDS < 2
