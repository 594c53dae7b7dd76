"""A broker that asks witnesses of tests, and what it has of them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

from broker.bootstrap.witness import open_witness
from broker.config.loader import parse
from broker.config.witness import WitnessConfig
from broker.core.streams import StreamPartition, every_partition
from broker.core.tree.checkpoint import Checkpoint, VerifierKey, parse_note, verify_note
from broker.core.tree.cosignature import cosigners
from broker.core.tree.merkle import verify_consistency
from broker.core.tree.origin import checkpoint_origin
from broker.core.tree.witnesspolicy import parse_policy
from broker.trust.logkeys import log_verifiers
from broker.trust.witnesskeys import witness_checks
from tests.support.witnesses import SampleWitness, witness_tables

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki
    from tests.support.records import RecordMaker

ALPHA, BETA = SampleWitness("witness.example/alpha"), SampleWitness("witness.example/beta")
QUICK = {"interval_seconds": 0.05, "timeout_seconds": 2.0}


def govern(pki: SamplePki, *witnesses: tuple[SampleWitness, str], needed: str = "all") -> str:
    """Sign a directory that names these witnesses with their addresses. Return its policy."""
    lines = [f"witness w{number} {one.key} {url}" for number, (one, url) in enumerate(witnesses)]
    members = " ".join(f"w{number}" for number in range(len(witnesses)))
    policy = "\n".join([*lines, f"group enough {needed} {members}", "quorum enough", ""])
    directory = replace(pki.directory, version=pki.directory.version + 1, witness_policy=policy)
    pki.folder.directory.write_bytes(pki.sign(directory))
    return policy


def partitions(exchange: Exchange) -> dict[StreamPartition, str]:
    """The log's partitions, with their origins."""
    log, trust_domain = exchange.broker.log, exchange.pki.directory.trust_domain
    return {
        one: checkpoint_origin(trust_domain, one, log.log_id(one.stream)) for one in every_partition(log.partitions)
    }


def origins(exchange: Exchange) -> dict[str, VerifierKey]:
    """What a witness must know: each origin with its log's key."""
    return dict.fromkeys(partitions(exchange).values(), VerifierKey.parse(exchange.pki.directory.log_keys[0]))


def is_late(exchange: Exchange) -> bool:
    return exchange.broker._cosigning._bound.late() is not None


async def publish(exchange: Exchange, count: int, maker: RecordMaker | None = None) -> None:
    publisher, maker = await exchange.publisher(), maker or exchange.maker()
    for _ in range(count):
        await publisher.publish(maker.make())


@contextlib.asynccontextmanager
async def witnessing(exchange: Exchange, folder: Path, witness: SampleWitness, port: int) -> AsyncIterator[None]:
    tables = witness_tables(exchange.pki, folder, witness, origins(exchange))
    tables["server"]["address"] = f"127.0.0.1:{port}"
    async with open_witness(parse(WitnessConfig, tables, folder), new=not (folder / "witness.db").exists()):
        yield


async def cosigned_sizes(exchange: Exchange, policy: str) -> dict[StreamPartition, tuple[int, int]]:
    """The sizes of each partition's newest cosigned and newest checkpoint, by the call for clients, all checked."""
    auditor, parsed = await exchange.auditor(), parse_policy(policy.encode())
    logs = log_verifiers([exchange.pki.directory])
    sizes = {}
    for partition, origin in partitions(exchange).items():
        newest = await auditor.newest_checkpoint(partition)
        note = parse_note(newest.note)
        verify_note(note, logs)
        head = Checkpoint.parse(note.text)
        if newest.cosigned is None:
            sizes[partition] = (-1, head.size)
            continue
        cosigned = parse_note(newest.cosigned.note)
        verify_note(cosigned, logs)
        checkpoint = Checkpoint.parse(cosigned.text)
        assert checkpoint.origin == origin
        assert parsed.satisfied_by(list(cosigners(cosigned, witness_checks(parsed))))
        verify_consistency(checkpoint.size, head.size, checkpoint.root, head.root, newest.cosigned.path)
        sizes[partition] = (checkpoint.size, head.size)
    return sizes


async def eventually(done: Callable[[], bool | Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        # What is waited for has no event.
        while not (found if isinstance(found := done(), bool) else await found):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def until(
    exchange: Exchange, policy: str, done: Callable[[dict[StreamPartition, tuple[int, int]]], bool]
) -> None:
    async def look() -> bool:
        return done(await cosigned_sizes(exchange, policy))

    await eventually(look)


def everything(sizes: dict[StreamPartition, tuple[int, int]]) -> bool:
    return all(cosigned == newest for cosigned, newest in sizes.values())
