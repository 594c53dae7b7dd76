"""Several brokers on one log ask the same witnesses. Any of them may, and one that is gone is not missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.kafka.ports import free_ports
from tests.support.kafkaexchange import OnKafka
from tests.support.pki import SamplePki
from tests.support.witnessing import ALPHA, BETA, QUICK, everything, govern, publish, until, witnessing

if TYPE_CHECKING:
    from pathlib import Path

    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster

pytestmark = pytest.mark.kafka


async def test_two_brokers_get_cosignatures_of_the_same_checkpoints_and_one_goes_on_alone(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, tmp_path: Path
) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    first, second = free_ports(2)
    policy = govern(pki, (ALPHA, f"https://localhost:{first}"), (BETA, f"https://localhost:{second}"))
    on_kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)
    async with (
        on_kafka.broker("two", witnesses=QUICK) as two,
        witnessing(two, tmp_path / "alpha", ALPHA, first),
        witnessing(two, tmp_path / "beta", BETA, second),
    ):
        async with on_kafka.broker("one", witnesses=QUICK) as one:
            maker = one.maker()
            for exchange in (one, two, one):
                await publish(exchange, 3, maker)
                # The audit stream grows while one looks, so a round later.
                await until(one, policy, everything)
                await until(two, policy, everything)
        await publish(two, 3, maker)
        await until(two, policy, everything)
