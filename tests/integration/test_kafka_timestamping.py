"""On Kafka too, checkpoints are stamped, bundles carry that, and whoever holds back an answer delays no receipt."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from deploy.kafka.ports import free_ports
from tests.integration.test_cosigning import saying_nothing
from tests.integration.test_honest_log import witnessed
from tests.integration.test_timestamping import QUICK as STAMPED
from tests.integration.test_timestamping import all_stamped, facts, stamped, stamps
from tests.support.kafkaexchange import OnKafka
from tests.support.pki import SamplePki
from tests.support.replays import replayed
from tests.support.tsa import OpensslTsa
from tests.support.tsaserver import served
from tests.support.witnessing import ALPHA, QUICK, cosigned_sizes, everything, publish, until, witnessing

if TYPE_CHECKING:
    from pathlib import Path

    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster

pytestmark = pytest.mark.kafka


async def test_an_authority_and_a_witness_that_hold_their_answers_delay_no_receipt_and_are_asked_again(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, tmp_path: Path
) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    tsa, (port,), goes_on = OpensslTsa.build(tmp_path / "tsa"), free_ports(1), threading.Event()
    policy = witnessed(pki, tsa, port)
    on_kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)

    def held(request: bytes) -> bytes:
        assert goes_on.wait(120)
        return tsa.answer(request)

    async with served(held) as authority:
        waiting = {"timeout_seconds": 300.0}
        asking: dict[str, dict[str, Any]] = {
            "witnesses": QUICK | waiting,
            "timestamps": STAMPED | waiting | {"urls": [authority.url]},
        }
        try:
            async with on_kafka.broker("one", **asking) as exchange:
                async with saying_nothing(port) as asked, asyncio.timeout(60):
                    maker = exchange.maker()
                    await publish(exchange, 1, maker)
                    await authority.asked.wait()
                    await asked.wait()
                    # Both hold their answers, and every record gets its receipt.
                    await publish(exchange, 20, maker)
                    assert not goes_on.is_set()
                    assert not await stamped(exchange)
                    assert {cosigned for cosigned, _ in (await cosigned_sizes(exchange, policy)).values()} == {-1}
                goes_on.set()
                async with witnessing(exchange, tmp_path / "alpha", ALPHA, port):
                    await all_stamped(exchange)
                    await until(exchange, policy, everything)
                    bundle = await replayed(exchange, tmp_path / "whole.bundle")
        finally:
            # No thread waits on if something failed.
            goes_on.set()
    report = facts(bundle)
    assert (report["clean"], report["findings"]) == (True, [])
    assert report["times"]["timestamps"] == stamps(bundle) >= 1
    by_authority = [one["size"] for one in report["times"]["proven"] if one["partition"].startswith("dna/")]
    assert max(by_authority) >= 21
    assert report["witnesses"]["missing"] == []
