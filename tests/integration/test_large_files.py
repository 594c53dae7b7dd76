"""While a large file is taken in, all else uses the spool, and a killed process leaves nothing half published."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
import io
import json
import sqlite3
import subprocess
import sys
from random import Random
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from adapters.base import DecodedRecord, Limits
from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.edge.signing import sign_and_spool
from adapters.edge.spool import Spool
from adapters.edge.staging import DRAFTS_AT_ONCE
from adapters.gateway.inbound import Inbound
from adapters.gateway.intake import StoppedError
from adapters.gateway.outbound import Outbound
from adapters.gateway.process import _send
from adapters.records.sections import section_type, split
from broker.client.composing import SectionDraft
from caseexchange.records.v1 import dna_pb2
from synthetic.police import COLUMNS, police_row
from tests.support.gateways import CASES, SAMPLES, police_profile
from tests.support.halting import REACHED, HaltingSpool
from tests.support.process import edge_tables, write_toml
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

RECORDS = 20_000
PART = 1_000
BOUND_SECONDS = 300


def police_file(rows: int) -> bytes:
    random, text = Random(1), io.StringIO(newline="")  # noqa: S311 - synthetic
    csv.writer(text).writerows([list(COLUMNS), *(police_row(number, random) for number in range(1, rows + 1))])
    return text.getvalue().encode("gb18030")


class Transactions:
    """Counts the drafts that go in or out of the spool in each transaction."""

    def __init__(self, spool: Spool) -> None:
        self.staged: list[int] = []
        self.signed: list[int] = []
        spool._connection.set_trace_callback(self._see)

    def _see(self, statement: str) -> None:
        if statement.startswith("BEGIN"):
            self.staged.append(0)
            self.signed.append(0)
        elif statement.startswith("INSERT INTO drafts"):
            self.staged[-1] += 1
        elif statement.startswith("INSERT INTO outgoing"):
            self.signed[-1] += 1


async def no_match(exchange: Exchange) -> None:
    """The laboratory sends the police a result."""
    record = dna_pb2.NoMatchResult(barcode="SYN-1", reason=dna_pb2.NO_MATCH_REASON_NO_CANDIDATE)
    sections = [SectionDraft(name, section_type("NoMatchResult"), data) for name, data in split(record).items()]
    lab = "national-dna-database"
    made = exchange.maker(lab).make("NoMatchResult", to=("shanxi-police",), sections=sections)
    await (await exchange.publisher(lab)).publish(made)


async def test_while_a_large_file_is_taken_in_another_record_is_published_and_a_delivery_is_taken(
    exchange: Exchange, tmp_path: Path
) -> None:
    profile, routes = police_profile(exchange, tmp_path, CaseRecord=CASES, SampleRequest=SAMPLES)
    profile = structs.replace(profile, gateway=structs.replace(profile.gateway, subscribe=("NoMatchResult",)))
    async with open_edge(profile) as opened, asyncio.timeout(BOUND_SECONDS):
        spool = HaltingSpool(tmp_path / "halting.db", RECORDS // 2)
        counted = Transactions(spool)
        edge = opened._replace(spool=spool)
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        inbound = Inbound(edge, profile.gateway, Limits())
        taking = asyncio.create_task(asyncio.to_thread(outbound.take, police_file(RECORDS), {}))
        tasks = [asyncio.create_task(work) for work in (_send(outbound, 0.05), inbound.receive())]

        def publish_another() -> str:
            record = dna_pb2.SampleRequest(barcode="SYN-BLD-1", role=dna_pb2.SAMPLE_ROLE_CHILD)
            with spool.transaction():
                return sign_and_spool(DecodedRecord(record, "SYN-OTHER", "record"), routes, edge).record_id

        try:
            assert await asyncio.to_thread(spool.reached.wait, BOUND_SECONDS)
            another = await asyncio.to_thread(publish_another)
            await no_match(exchange)
            while not (list(inbound.folders.outbox.glob("NoMatchResult-*")) and spool.receipt(another)):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            assert not taking.done()
            assert spool.outgoing_count() == 0
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            spool.go_on.set()
        taken = await taking
        assert (taken.records, spool.outgoing_count()) == (RECORDS, RECORDS)
        assert sum(counted.staged) == RECORDS
        assert 0 < max(counted.staged) <= DRAFTS_AT_ONCE
        assert 0 < max(counted.signed) <= DRAFTS_AT_ONCE
        spool.close()


def profile_of(pki: SamplePki, folder: Path) -> Path:
    tables = edge_tables(pki, "shanxi-police", "localhost:1")
    tables["gateway"] = {
        "folder": str(folder / "police"),
        "formats": ["provincial-police-csv"],
        "outbox_format": "provincial-police-csv",
    }
    tables["routes"] = {"CaseRecord": CASES}
    return write_toml(folder / "police.toml", tables)


def killed_at(profile: Path, spool: Path, source: Path, at: int) -> None:
    """Take a file in, in another process, and kill that when it looks at its record of this number."""
    command = [sys.executable, "-m", "tests.support.halting", str(profile), str(spool), str(source), str(at)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert REACHED in iter(lambda: process.stdout.readline().strip(), "")  # type: ignore[union-attr]
        finally:
            process.kill()


def counts(spool: Path) -> tuple[int, int, int]:
    """How many drafts, signed records and used numbers a killed process left."""
    query = (
        "SELECT (SELECT count(*) FROM drafts), (SELECT count(*) FROM outgoing),"
        " (SELECT ifnull(sum(last), 0) FROM sequences)"
    )
    with contextlib.closing(sqlite3.connect(spool)) as connection:
        drafts, signed, used = connection.execute(query).fetchone()
    return drafts, signed, used


@contextlib.contextmanager
def reopened(path: Path) -> Iterator[Spool]:
    spool = Spool(path)
    try:
        yield spool
    finally:
        spool.close()


def numbers(spool: Spool) -> list[int]:
    bodies = [CODEC.parse_body(CODEC.decode_envelope(item.envelope).body) for item in spool.outgoing(2 * PART)]
    return [body.recipients[0].sequence for body in bodies]


@pytest.fixture
def killed(pki: SamplePki, tmp_path: Path) -> tuple[Path, Path, Path]:
    (source := tmp_path / "export.csv").write_bytes(police_file(PART))
    return profile_of(pki, tmp_path), tmp_path / "spool.db", source


async def test_of_a_file_whose_reading_was_killed_nothing_is_published_and_it_is_taken_in_again(
    killed: tuple[Path, Path, Path],
) -> None:
    profile_path, path, source = killed
    killed_at(profile_path, path, source, PART // 2)
    drafts, signed, used = counts(path)
    assert (0 < drafts < PART, signed, used) == (True, 0, 0)
    with reopened(path) as spool:
        assert spool.staging.whole() == []
        assert spool._one("SELECT count(*) FROM drafts") == (0,)
        taken = await _take_again(profile_path, spool, source.read_bytes())
        assert (taken, numbers(spool)) == ((PART, False), list(range(1, PART + 1)))


async def test_of_a_file_whose_signing_was_killed_the_rest_is_taken_in_without_the_file(
    killed: tuple[Path, Path, Path],
) -> None:
    profile_path, path, source = killed
    killed_at(profile_path, path, source, PART + PART // 2)
    drafts, signed, used = counts(path)
    assert (drafts > 0, 0 < signed == used, drafts + signed) == (True, True, PART)
    with reopened(path) as spool:
        assert await _take_again(profile_path, spool, source.read_bytes()) == (0, False)
        assert numbers(spool) == list(range(1, PART + 1))
        assert spool.staging.whole() == []


async def test_what_is_refused_of_a_file_whose_signing_was_killed_is_reported(killed: tuple[Path, Path, Path]) -> None:
    profile_path, path, source = killed
    killed_at(profile_path, path, source, PART + PART // 2)
    _, signed, _ = counts(path)
    profile, _ = load_profile(profile_path)
    async with open_edge(profile) as edge:
        with reopened(path) as spool:
            # Meanwhile somebody took the route out of the profile.
            outbound = Outbound(edge._replace(spool=spool), profile.gateway, {}, Limits())
            assert outbound.take_inbox() == 0
            assert (spool.outgoing_count(), spool.staging.whole()) == (signed, [])
            (reason,) = outbound.folders.quarantine.iterdir()
            assert {issue["code"] for issue in json.loads(reason.read_text())["issues"]} == {"INPUT_REFUSED"}
            assert not spool.seen_source(hashlib.sha256(source.read_bytes()).digest())


async def test_a_file_whose_reading_is_stopped_leaves_no_drafts_behind(killed: tuple[Path, Path, Path]) -> None:
    profile_path, path, source = killed
    profile, routes = load_profile(profile_path)
    async with open_edge(profile) as edge:
        spool = HaltingSpool(path, PART // 2)
        with contextlib.closing(spool):
            outbound = Outbound(edge._replace(spool=spool), profile.gateway, routes, Limits())
            taking = asyncio.create_task(asyncio.to_thread(outbound.take, source.read_bytes(), {}))
            assert await asyncio.to_thread(spool.reached.wait, BOUND_SECONDS)
            assert spool._one("SELECT count(*) > 0 FROM drafts") == (1,)
            outbound.stop()
            spool.go_on.set()
            with pytest.raises(StoppedError):
                await taking
            assert spool._one("SELECT (SELECT count(*) FROM drafts), (SELECT count(*) FROM staged_files)") == (0, 0)
            wal = path.with_name(f"{path.name}-wal")
            assert wal.stat().st_size == 0


async def _take_again(profile_path: Path, spool: Spool, content: bytes) -> tuple[int, bool]:
    profile, routes = load_profile(profile_path)
    async with open_edge(profile) as edge:
        outbound = Outbound(edge._replace(spool=spool), profile.gateway, routes, Limits())
        taken = outbound.take(content, {})
    return taken.records, taken.refused
