"""Tiles of a log on Kafka: each broker serves them, and fsck reads the topics beside the brokers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.exchange import broker_tables
from tests.support.kafkaexchange import OnKafka
from tests.support.process import write_toml
from tests.support.tiles import AUDITOR, MEMBER, TILES, address, check, covered, profile
from tests.support.witnessing import publish

if TYPE_CHECKING:
    from pathlib import Path

    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.pki import SamplePki

pytestmark = pytest.mark.kafka


async def test_every_broker_serves_the_same_tiles_and_fsck_accepts_them_and_the_topics(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path
) -> None:
    on_kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)
    async with on_kafka.broker("one", tiles=TILES) as one, on_kafka.broker("two", tiles=TILES) as two:
        await publish(one, 5)
        await publish(two, 5, two.maker())
        found, path = [], await covered(one)
        for exchange in (one, two):
            assert await covered(exchange) == path
            for agency in (MEMBER, AUDITOR):
                url = f"https://localhost:{address(exchange).port}/{path}"
                options = ("--from", url, "--profile", profile(pki, tmp_path, agency), "--json")
                result = await asyncio.to_thread(check, pki, *options)
                assert result.exit_code == 0, result.output
                (facts,) = json.loads(result.output)
                assert facts["entries"] is (agency == AUDITOR)
                found.append((facts["name"], facts["size"], facts["root"]))
        assert len(set(found)) == 1
        assert found[0][1] == 10
        config = write_toml(tmp_path / "own.toml", broker_tables(pki, tmp_path / "own", **on_kafka.sections()))
        result = await asyncio.to_thread(check, pki, "--config", config, "--json")
        assert result.exit_code == 0, result.output
        own = {facts["name"]: facts for facts in json.loads(result.output)}
        assert (own[path]["size"], own[path]["root"], own[path]["entries"]) == (10, found[0][2], True)
