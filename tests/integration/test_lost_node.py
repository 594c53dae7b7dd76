"""A broker's log opens while any one of the cluster's nodes is lost."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from broker.core.errors import LogUnavailable
from broker.trust.system import SystemClock
from tests.support.kafkalog import LogOnKafka
from tests.support.pki import SamplePki

if TYPE_CHECKING:
    from pathlib import Path

    from broker.messagelog.kafka.log import KafkaLog
    from deploy.kafka.cluster import KafkaCluster


async def opened(on_kafka: LogOnKafka) -> KafkaLog:
    """Try again and again until it succeeds, as a supervisor does."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await on_kafka.open()
            except LogUnavailable:
                await asyncio.sleep(0.5)


@pytest.mark.kafka
@pytest.mark.parametrize("number", [1, 3])
async def test_a_log_opens_while_a_node_is_gone(three_kafka_nodes: KafkaCluster, tmp_path: Path, number: int) -> None:
    signer = SamplePki.build(tmp_path / "pki").note_signer
    on_kafka = LogOnKafka(three_kafka_nodes, signer, SystemClock(), copies=3)
    await (await on_kafka.open()).close()
    three_kafka_nodes.kill(number)
    await (await opened(on_kafka)).close()
    # Collect the sockets of refused connections while this test's marks allow them.
    gc.collect()
