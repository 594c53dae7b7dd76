"""On Kafka, an honest log has no finding, not even a warning, when another broker goes on with it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from broker.bootstrap.verify import verify_bundle
from certs.rights import HEBEI
from deploy.kafka.ports import free_ports
from tests.integration.test_governance_key import in_force
from tests.integration.test_honest_log import Governing, hebei, processed, refused, services, witnessed
from tests.integration.test_timestamping import all_stamped
from tests.support.kafkaexchange import OnKafka
from tests.support.pki import SamplePki
from tests.support.replays import replayed
from tests.support.tsa import OpensslTsa
from tests.support.tsaserver import served
from tests.support.witnessing import ALPHA, everything, publish, until, witnessing

if TYPE_CHECKING:
    from pathlib import Path

    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster

pytestmark = pytest.mark.kafka


async def test_after_renewals_refusals_and_a_change_of_follower_nothing_is_found(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, tmp_path: Path
) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    tsa, (port,) = OpensslTsa.build(tmp_path / "tsa"), free_ports(1)
    policy, governing = witnessed(pki, tsa, port), Governing(pki, tmp_path)
    on_kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)
    async with served(tsa.answer) as authority:
        # Two brokers ask, and the authority is a program that starts for each answer.
        asking = services(authority.url, every_seconds=0.5)
        async with contextlib.AsyncExitStack() as first:
            one = await first.enter_async_context(on_kafka.broker("one", **asking))
            maker = one.maker(HEBEI)
            await (await hebei(one)).publish(maker.make())
            await refused(one, maker)
            async with on_kafka.broker("two", **asking) as two, witnessing(two, tmp_path / "alpha", ALPHA, port):
                await publish(two, 2)
                await (await hebei(one)).publish(maker.make())
                await processed(two)
                await all_stamped(one)
                await until(one, policy, everything)
                # The one that has followed the log so far is gone.
                await first.aclose()
                await governing.renews(HEBEI)
                await in_force(two, governing.document)
                maker.composer._signer = pki.signer(HEBEI)
                await (await hebei(two)).publish(maker.make())
                await governing.lets_it_nearly_end()
                await in_force(two, governing.document)
                await processed(two)
                await (await hebei(two)).publish(maker.make())
                await all_stamped(two)
                await until(two, policy, everything)
                bundle = await replayed(two, tmp_path / "whole.bundle")
    own = tmp_path / "own.policy"
    own.write_text(policy)
    report = verify_bundle(bundle.path, (bundle.root,), lambda _: None, witness_policy=own)
    assert (report.clean, report.findings, report.refused_numbers) == (True, (), 2)
    assert report.times is not None
    assert min(report.times.timestamps, report.times.records) > 0
    # Nor is there one for an auditor who reads Kafka without a broker.
    assert (await on_kafka.verified())["findings"] == []
