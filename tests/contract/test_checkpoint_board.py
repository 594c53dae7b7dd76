"""What every backend of the checkpoint board promises (broker/ports/checkpoints.py)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.core.streams import StreamPartition
from broker.messagelog.sqlite import SoleFollower
from broker.trust.signing import Ed25519NoteSigner
from tests.support.checkpoints import followed, signed_extension
from tests.support.kafkalog import LogOnKafka
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.ports import CheckpointBoard

DNA_0 = StreamPartition("dna", 0)
DNA_1 = StreamPartition("dna", 1)
SIGNER = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


@pytest.fixture(params=["sole", pytest.param("kafka", marks=pytest.mark.kafka)])
async def board(request: pytest.FixtureRequest) -> AsyncIterator[CheckpointBoard]:
    if request.param == "sole":
        yield SoleFollower()
        return
    on_kafka = LogOnKafka(request.getfixturevalue("kafka_cluster"), SIGNER, ManualClock(1_790_000_000_000))
    log = await on_kafka.open()
    opened = on_kafka.board(log)
    await opened.open()
    opened.follow()
    yield opened
    await opened.close()
    await log.close()


async def test_a_process_that_is_alone_follows_every_partition(board: CheckpointBoard) -> None:
    await followed(board, DNA_0, DNA_1)


async def test_nothing_is_published_before_somebody_publishes(board: CheckpointBoard) -> None:
    assert await board.published(DNA_0, 0) is None
    assert await board.published(DNA_0, 7) is None


async def test_what_is_published_is_all_that_anybody_is_ever_given(board: CheckpointBoard) -> None:
    await followed(board, DNA_0, DNA_1)
    empty, three, five = (signed_extension(SIGNER, DNA_0, *sizes) for sizes in ((0, 0), (0, 3), (3, 5)))
    for size, extension in ((0, empty), (0, three), (3, five)):
        await board.publish(DNA_0, size, extension)
    await board.publish(DNA_1, 0, signed_extension(SIGNER, DNA_1, 0, 1))
    # Visible to every process, also this one. Without another process, nothing needs to be published.
    if not isinstance(board, SoleFollower):
        async with asyncio.timeout(60):
            while await board.published(DNA_0, 3) is None:  # noqa: ASYNC110 - the port has no event for it
                await asyncio.sleep(0.02)
        # The checkpoint of the empty tree has given way to the larger one, and earlier ones are dropped.
        assert await board.published(DNA_0, 3) == five._replace(nodes=())
    assert await board.published(DNA_0, 5) is None


async def test_closing_twice_is_closing_once(board: CheckpointBoard) -> None:
    await board.close()
    await board.close()
