"""Somebody with access to the log's disk changes the embedded log: verify names the first bad position."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from broker.bootstrap import judges
from broker.cli.verify import verify
from broker.core.bundle import BundleEnd, BundleHeader, BundleSource, StrayRecord
from broker.core.streams import AUDIT, DNA, Position, partition_of
from broker.messagelog.sqlite import SqliteCheckpointStore, SqliteLog
from broker.services import bundling
from broker.trust.system import SystemClock
from tests.support.exchange import running_exchange
from tests.support.replays import Bundle, bundle_maker, made, order, replayed
from tests.support.rows import Rows, damage, flip, set_to

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.support.pki import SamplePki
    from tests.support.rows import Do

    Read = Callable[[SamplePki, Path, Path], Awaitable[Bundle]]
CASE_IDS = [f"01990000-0000-4000-8000-0000000000{number:02x}" for number in range(24)]


@pytest.fixture(scope="module")
def sound(pki: SamplePki, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a log that a broker has written, covered with checkpoints, and closed in good order."""
    folder = tmp_path_factory.mktemp("damaged") / "log"

    async def make() -> None:
        async with running_exchange(pki, folder) as exchange:
            maker, publisher = exchange.maker(), await exchange.publisher()
            for case in CASE_IDS:
                await publisher.publish(maker.make(case=case))
                record = maker.make("CaseRecord", "cases", to=("child-aid-ngo",), case=case, purpose="child-rescue")
                await publisher.publish(record)
            await replayed(exchange, folder.parent / "sound.bundle")

    asyncio.run(make())
    return folder


@pytest.fixture
def damaged(sound: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "log"
    shutil.copytree(sound, copy)
    return copy


async def from_broker(pki: SamplePki, folder: Path, path: Path) -> Bundle:
    async with running_exchange(pki, folder) as exchange:
        return await replayed(exchange, path)


async def from_log(pki: SamplePki, folder: Path, path: Path) -> Bundle:
    """Read the log as an auditor does: no broker, no signer."""
    log, store = (
        await SqliteLog.open(folder / "log.db", SystemClock()),
        SqliteCheckpointStore(folder / "checkpoints.db"),
    )
    try:
        return await made(bundle_maker(pki, log, store), order(), path, pki)
    finally:
        await log.close()
        await store.close()


def delete(*places: int) -> Do:
    def do(found: Rows) -> list[Position]:
        found.delete(*places)
        return [found.at(place) for place in places]

    return do


def swap(found: Rows) -> list[Position]:
    columns = "record_id, kind, ordering_key, recipients, record_sha256, accepted_at_ms, value"
    query = f"SELECT {columns} FROM entries WHERE position = ?"  # noqa: S608 - constants
    one, other = (found.file.execute(query, (found.keys[place],)).fetchone() for place in (1, 3))
    found.delete(1, 3)
    for place, row in ((1, other), (3, one)):
        found.file.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (found.keys[place], *row))
    return [found.at(1), found.at(3)]


DAMAGE = [
    pytest.param(delete(0), "RECORD_MISSING", id="the first record deleted"),
    pytest.param(delete(2), "RECORD_MISSING", id="a record deleted"),
    pytest.param(delete(1, 2, 3), "RECORD_MISSING", id="a run of records deleted"),
    pytest.param(set_to(2, "value", b""), "RECORD_MISSING", id="a record emptied"),
    pytest.param(flip(2, b"dna-matching", 0), "RECORD_CHANGED", id="a byte of a body"),
    pytest.param(flip(2, b"ecdsa-p256-sha256", 2), "RECORD_CHANGED", id="the body's structure"),
    pytest.param(flip(2, b"synthetic", -3), "RECORD_CHANGED", id="a byte of a section"),
    pytest.param(set_to(2, "value", b"\xff rubbish"), "RECORD_CHANGED", id="rubbish"),
    pytest.param(set_to(2, "value", "text"), "RECORD_CHANGED", id="text"),
    pytest.param(set_to(2, "value", 7), "RECORD_CHANGED", id="a number"),
    pytest.param(set_to(2, "accepted_at_ms", 1), "RECORD_CHANGED", id="another time"),
    pytest.param(set_to(2, "accepted_at_ms", 1 << 61), "RECORD_CHANGED", id="no time"),
    pytest.param(set_to(2, "accepted_at_ms", "soon"), "RECORD_CHANGED", id="a time in words"),
    pytest.param(swap, "RECORD_CHANGED", id="two records swapped"),
]


@pytest.mark.parametrize("read", [from_broker, from_log])
@pytest.mark.parametrize(("do", "code"), DAMAGE)
async def test_what_was_done_to_a_record_is_named_at_exactly_its_position(
    pki: SamplePki, damaged: Path, tmp_path: Path, *, do: Do, code: str, read: Read
) -> None:
    positions = damage(damaged, do)
    bundle = await read(pki, damaged, tmp_path / "damaged.bundle")
    named = bundle.named()
    assert [position for found, position in named if found == code] == positions
    assert named[0][1] == positions[0]
    # Near a changed time the next entry is out of order too. Nothing else is blamed.
    assert {position for found, position in named if found != "OUT_OF_ORDER"} == set(positions)


async def test_the_last_record_deleted_is_named_by_who_reads_the_log_for_no_broker_starts_on_it(
    pki: SamplePki, damaged: Path, tmp_path: Path
) -> None:
    (position,) = damage(damaged, delete(-1))
    bundle = await from_log(pki, damaged, tmp_path / "damaged.bundle")
    assert bundle.named() == [("RECORD_MISSING", position)]


async def test_processes_that_judge_in_parallel_find_the_same_in_the_same_order(
    pki: SamplePki, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundling, "_LEAVES", 3)
    monkeypatch.setattr(bundling, "_BATCH_RECORDS", 1)
    damage(damaged, delete(0, 3))
    damage(damaged, set_to(2, "value", b"rubbish"))
    bundle = await from_log(pki, damaged, tmp_path / "damaged.bundle")
    alone = bundle.report()
    assert len(bundle.named()) == 3
    monkeypatch.setattr(judges, "_ONE_PROCESS_BYTES", 0)
    assert bundle.report() == alone


async def test_a_log_deleted_whole_is_named_from_its_first_position(
    pki: SamplePki, damaged: Path, tmp_path: Path
) -> None:
    positions = damage(damaged, lambda found: delete(*range(len(found.keys)))(found))
    bundle = await from_log(pki, damaged, tmp_path / "damaged.bundle")
    assert bundle.named() == [("RECORD_MISSING", position) for position in positions]


@pytest.mark.parametrize("read", [from_broker, from_log])
async def test_a_record_put_between_others_is_named(pki: SamplePki, damaged: Path, tmp_path: Path, read: Read) -> None:
    def add(found: Rows) -> list[Position]:
        # The record is genuine, but in the wrong place: a copy of another with its own id.
        found.file.execute(
            "INSERT INTO entries SELECT ?, randomblob(16), kind, ordering_key, recipients, record_sha256, "
            "accepted_at_ms, value FROM entries WHERE position = ?",
            (found.keys[-1] + 1, found.keys[-1]),
        )
        return [found.at(-1)._replace(offset=found.at(-1).offset + 1)]

    async with running_exchange(pki, damaged) as exchange:
        maker, publisher = exchange.maker("hebei-police"), await exchange.publisher("hebei-police")
        for case in CASE_IDS:
            await publisher.publish(maker.make(case=case))
        await replayed(exchange, tmp_path / "before.bundle")
        (added,) = damage(damaged, add)
        partitions = exchange.broker.log.partitions(DNA)
        # The next record of that partition comes after it. The checkpoints follow what the broker appended.
        await publisher.publish(
            maker.make(case=next(case for case in CASE_IDS if partition_of(case, partitions) == added.partition))
        )
        await replayed(exchange, tmp_path / "after.bundle")
    bundle = await read(pki, damaged, tmp_path / "damaged.bundle")
    assert bundle.named() == [("RECORD_INSERTED", added)]
    (stray,) = (frame for frame in bundle.frames() if isinstance(frame, StrayRecord))
    # The broker's auditor may not have every section. So only the digest names what cannot be redacted.
    assert bool(stray.value) == (read is from_log)
    assert stray.value_size > 100


@pytest.mark.parametrize("read", [from_broker, from_log])
@pytest.mark.parametrize(
    ("do", "code"),
    [
        pytest.param(delete(0), "RECORD_MISSING", id="deleted"),
        pytest.param(set_to(0, "value", b"\xff rubbish"), "RECORD_CHANGED", id="rubbish"),
    ],
)
async def test_a_directory_version_lost_from_the_log_is_named_and_the_rest_is_judged_all_the_same(
    pki: SamplePki, damaged: Path, tmp_path: Path, *, do: Do, code: str, read: Read
) -> None:
    positions = damage(damaged, do, AUDIT)
    assert positions == [Position(AUDIT, 0, 0)]
    bundle = await read(pki, damaged, tmp_path / "damaged.bundle")
    assert bundle.named() == [(code, positions[0])]


async def test_a_log_that_was_restored_under_another_name_is_named_from_its_first_entries(
    pki: SamplePki, damaged: Path, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(damaged / "log.db")) as file, file:
        file.execute("UPDATE facts SET value = ? WHERE name = 'log_id'", ("e" * 32,))
    bundle = await from_log(pki, damaged, tmp_path / "damaged.bundle")
    named = bundle.named()
    assert {code for code, _ in named} == {"RECORD_CHANGED", "LOG_CHANGED"}
    for partition in {position.stream_partition for _, position in named}:
        assert next(position.offset for _, position in named if position.stream_partition == partition) == 0


# --- who made a bundle ---


def run(bundle: Bundle, *options: str) -> tuple[int, str]:
    result = CliRunner().invoke(verify, [str(bundle.path), "--root", str(bundle.root), *options])
    return result.exit_code, result.stdout


async def test_a_bundle_read_from_a_sound_log_is_clean_without_the_exchanges_signature_and_says_so(
    pki: SamplePki, damaged: Path, tmp_path: Path
) -> None:
    bundle = await from_log(pki, damaged, tmp_path / "own.bundle")
    code, text = run(bundle)
    assert code == 0, text
    assert "source: read from the message log without a broker" in text
    code, text = run(bundle, "--json")
    assert (code, json.loads(text)["source"]) == (0, "message_log")
    frames = bundle.frames()
    assert isinstance(frames[-1], BundleEnd)
    assert frames[-1].signature is None


async def test_a_broker_says_that_it_made_a_bundle_and_signs_it(pki: SamplePki, damaged: Path, tmp_path: Path) -> None:
    bundle = await from_broker(pki, damaged, tmp_path / "theirs.bundle")
    code, text = run(bundle)
    assert code == 0, text
    assert "source: made by a broker" in text
    assert json.loads(run(bundle, "--json")[1])["source"] == "broker"
    frames = bundle.frames()
    end = frames[-1]
    assert isinstance(end, BundleEnd)
    unsigned = bundle.altered(tmp_path, [*frames[:-1], replace(end, signature=None)])
    assert unsigned.codes() == {"BUNDLE_ALTERED"}


async def test_a_brokers_bundle_that_is_passed_off_as_read_from_the_log_is_altered(
    pki: SamplePki, damaged: Path, tmp_path: Path
) -> None:
    bundle = await from_broker(pki, damaged, tmp_path / "theirs.bundle")
    header, *rest = bundle.frames()
    assert isinstance(header, BundleHeader)
    passed_off = replace(header, source=BundleSource.MESSAGE_LOG)
    assert bundle.altered(tmp_path, [passed_off, *rest]).codes() == {"BUNDLE_DAMAGED"}


async def test_sections_that_may_not_be_had_are_in_no_stray_of_a_brokers_bundle(
    pki: SamplePki, damaged: Path, tmp_path: Path
) -> None:
    damage(damaged, lambda found: [found.set(2, "value", b"\xff withheld-canary" + found.value(2))])
    bundle = await from_broker(pki, damaged, tmp_path / "damaged.bundle")
    (stray,) = (frame for frame in bundle.frames() if isinstance(frame, StrayRecord))
    assert (stray.reason, stray.value) == ("unreadable", b"")
    assert b"canary" not in bundle.path.read_bytes()
    own = await from_log(pki, damaged, tmp_path / "own.bundle")
    (stray,) = (frame for frame in own.frames() if isinstance(frame, StrayRecord))
    assert b"canary" in stray.value
