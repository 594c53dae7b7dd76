"""Somebody restores an old copy of Kafka's own files. An edge remembers more, so every broker stops."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.gateway.outbound import Outbound
from broker.client.checkpoints import present_checkpoints
from broker.client.publisher import Published
from broker.core.errors import LogRolledBack
from broker.trust.directory import open_directory
from tests.integration.test_edge import INPUT
from tests.integration.test_rolled_back_log import present, publish, refused_for_all
from tests.support.exchange import broker_tables
from tests.support.gateways import CASES, SAMPLES, police_profile
from tests.support.incarnations import declare
from tests.support.kafka import running_cluster
from tests.support.kafkaexchange import SERVING, OnKafka, health_becomes, run
from tests.support.pki import SamplePki
from tests.support.replays import covered

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.edge.edge import Edge
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.exchange import Exchange

pytestmark = pytest.mark.kafka


async def test_an_old_copy_of_kafka_stops_publishing_for_all_and_what_it_lost_is_published_again(  # noqa: PLR0915 - one cluster
    kafka_keys: PkiFolder, tmp_path: Path
) -> None:
    pki = SamplePki.build(tmp_path / "pki")

    def police(exchange: Exchange) -> Any:
        return police_profile(exchange, tmp_path, CaseRecord=CASES, SampleRequest=SAMPLES)

    with running_cluster(tmp_path / "kafka", kafka_keys, nodes=1) as cluster:
        kafka = OnKafka(cluster, kafka_keys, pki, tmp_path)
        async with kafka.broker("one") as exchange:
            await publish(exchange, agency="hebei-police")
            await covered(exchange)
            # As a snapshot of the disk has it.
            cluster.pause(1)
            shutil.copytree(cluster.data(1), tmp_path / "old")
            cluster.resume(1)
            profile, routes = police(exchange)
            async with open_edge(profile) as edge:
                outbound = Outbound(edge, profile.gateway, routes, Limits())
                outbound.take((INPUT / "rescued-children.csv").read_bytes(), {})
                results = await outbound.publish_spooled()
                lost = [result.statement.record_id for result in results if isinstance(result, Published)]
                assert len(lost) == len(results) > 1
                await covered(exchange)
                await present(edge)
                seen = list(edge.spool.notes.newest().values())
        restored(cluster, tmp_path / "old")
        # A broker that has lost its folder knows no more than Kafka does.
        bound = {"evidence_bound_seconds": 10.0}
        async with kafka.broker("two", checkpoints=bound) as exchange:
            await health_becomes(exchange, SERVING)
            with pytest.raises(LogRolledBack):
                await present_checkpoints(await exchange.channel("shanxi-police"), seen)
            await refused_for_all(exchange)
        # No newer copy is there, so governance declares that the topics go on as new logs.
        tables = broker_tables(pki, kafka.folder("two"), **kafka.sections())
        await declare(pki, tmp_path / "declaring", tables)
        async with kafka.broker("two", checkpoints=bound) as exchange:
            profile, _ = police(exchange)
            again = await run("publish", "--profile", tmp_path / "police.toml", "--again")
            assert again.code == 0, again
            assert f"{len(lost)} records are not in the log any more" in again.output
            assert [line.split()[0] for line in again.output.splitlines() if ", before at " in line] == lost
            await covered(exchange)
            async with open_edge(profile) as edge:
                await quietly(edge)
                seen = list(edge.spool.notes.newest().values())
        assert await kafka.audited() == []
        # That is lost, too, and only the copy from before the first loss is left.
        restored(cluster, tmp_path / "old")
        async with kafka.broker("three", checkpoints=bound) as exchange:
            with pytest.raises(LogRolledBack):
                await present_checkpoints(await exchange.channel("shanxi-police"), seen)
        await declare(pki, tmp_path / "again", broker_tables(pki, kafka.folder("three"), **kafka.sections()))
        declared = open_directory(pki.folder.directory.read_bytes(), pki.governance).incarnations
        formers = {each.former_log_id for each in declared}
        newest = [each for each in declared if each.log_id not in formers]
        # What the copy has survives both.
        assert "dna" in {each.partition.stream for each in newest if each.survives}
        async with kafka.broker("three", checkpoints=bound) as exchange:
            profile, _ = police(exchange)
            async with open_edge(profile) as edge:
                await quietly(edge)
        assert await kafka.audited() == []


def restored(cluster: KafkaCluster, copy: Path) -> None:
    """The only node of the cluster has a copy of its files again."""
    cluster.kill(1)
    shutil.rmtree(cluster.data(1))
    shutil.copytree(copy, cluster.data(1))
    cluster.restart(1)
    cluster.wait_ready()


async def quietly(edge: Edge) -> None:
    """The edge compares checkpoints, and nothing alarms it."""
    with capture_logs() as lines:
        await present(edge)
    assert [line for line in lines if line["log_level"] in {"error", "critical"}] == []
