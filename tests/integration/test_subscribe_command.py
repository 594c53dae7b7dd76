"""``case-exchange subscribe`` against a real broker: what it can use, what it can never use, and faults of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.client.composing import SectionDraft
from broker.core.audit.findings import Unprocessed
from broker.core.streams import StreamPartition
from broker.wire.receipts import statement_from
from certs.rights import HEBEI, LAB, SHANXI
from tests.integration.test_edge import sample_section
from tests.support.exchange import running_exchange
from tests.support.process import COMMAND, edge_tables, write_toml
from tests.support.replays import replayed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

AUDIT = StreamPartition("audit", 0)
POISON = SectionDraft("sample", "T", b"\xff not a sample")


@contextlib.asynccontextmanager
async def subscribing(
    exchange: Exchange, folder: Path, *more: str, out: int = asyncio.subprocess.PIPE, **trust: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    tables = edge_tables(exchange.pki, LAB, exchange.target)
    tables["trust"].update(trust)
    tables["gateway"] = {
        "folder": str(folder / "lab"),
        "formats": ["record-json"],
        "outbox_format": "record-json",
        "retry_seconds": 0.1,
    }
    profile = write_toml(folder / "lab.toml", tables)
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        *("subscribe", "--profile", str(profile), "--kind", "SampleRequest", *more),
        stdout=out,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def publish(exchange: Exchange, agency: str, section: SectionDraft) -> Unprocessed:
    """Publish a sample request. Returns how an auditor sees it if it is refused."""
    receipt = await (await exchange.publisher(agency)).publish(exchange.maker(agency).make(sections=[section]))
    return Unprocessed(LAB, "terminal", statement_from(receipt.statement).position, "ENVELOPE_MALFORMED")


def kept_aside(folder: Path) -> list[str]:
    found = (folder / "lab" / "quarantine").glob("*")
    return sorted(path.suffixes[-1] for path in found)


@contextlib.contextmanager
def full_disk(process: asyncio.subprocess.Process) -> Iterator[None]:
    """The process can write to no file."""
    _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, most))
    yield
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))


async def test_a_record_that_it_can_never_use_is_kept_and_refused_and_the_next_is_printed(
    exchange: Exchange, tmp_path: Path
) -> None:
    refused = await publish(exchange, SHANXI, POISON)
    await publish(exchange, SHANXI, sample_section("SYN-2"))
    async with subscribing(exchange, tmp_path, "--count", "2") as process:
        out, errors = await process.communicate()
    assert process.returncode == 1, errors
    assert [json.loads(line)["record"]["barcode"] for line in out.splitlines()] == ["SYN-2"]
    assert b"ENVELOPE_MALFORMED" in errors
    assert kept_aside(tmp_path) == [".envelope", ".json"]
    assert (await replayed(exchange, tmp_path / "whole.bundle")).report().unprocessed == (refused,)


@pytest.mark.parametrize("section", [sample_section("SYN-2"), POISON], ids=["its spool", "its quarantine"])
async def test_while_its_disk_is_full_every_record_waits_and_none_is_lost(
    pki: SamplePki, tmp_path: Path, section: SectionDraft
) -> None:
    # The directory in which the second publisher has its right comes from the broker, and then has to be stored.
    newer = tmp_path / "directory.json"
    newer.write_bytes(pki.sign(replace(pki.directory_with(SHANXI, []), version=2)))
    async with (
        running_exchange(pki, tmp_path / "log", subscriptions={"max_attempts": 2}) as exchange,
        subscribing(exchange, tmp_path, "--count", "2", directory=str(newer)) as process,
    ):
        await publish(exchange, HEBEI, sample_section("SYN-1"))
        assert process.stdout is not None
        assert b"SYN-1" in await process.stdout.readline()
        with full_disk(process):
            log = exchange.broker.log
            first = await log.end_offset(AUDIT)
            refused = await publish(exchange, HEBEI if section is POISON else SHANXI, section)
            ended = asyncio.create_task(process.wait())
            # Each attempt is an entry of the audit stream.
            while (end := await log.end_offset(AUDIT)) < first + 6 and not ended.done():
                more = asyncio.create_task(log.wait_beyond({AUDIT: end}))
                await asyncio.wait((ended, more), return_when=asyncio.FIRST_COMPLETED)
                more.cancel()
            assert not ended.done(), await process.communicate()
            assert not kept_aside(tmp_path)
        out, errors = await process.communicate()
        report = (await replayed(exchange, tmp_path / "whole.bundle")).report()
    if section is POISON:
        assert (process.returncode, out, report.unprocessed) == (1, b"", (refused,)), errors
        assert kept_aside(tmp_path) == [".envelope", ".json"]
    else:
        assert (process.returncode, report.unprocessed) == (0, ()), errors
        assert json.loads(out)["record"]["barcode"] == "SYN-2"


async def test_a_record_that_could_not_be_printed_comes_again(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log", subscriptions={"lease_seconds": 1.0}) as exchange:
        await publish(exchange, SHANXI, sample_section("SYN-1"))
        full = os.open("/dev/full", os.O_WRONLY)
        async with subscribing(exchange, tmp_path, "--count", "1", out=full) as process:
            _, errors = await process.communicate()
        os.close(full)
        assert process.returncode == 2, errors
        async with subscribing(exchange, tmp_path, "--count", "1") as process:
            out, errors = await process.communicate()
        # Whether that was a failed attempt depends on how the stream ended: closed in time, or with the process.
        assert (process.returncode, json.loads(out)["record"]["barcode"]) == (0, "SYN-1"), errors
