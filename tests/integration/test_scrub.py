"""The scrub finds every row that is not what was accepted, also one that no subscription would ever meet."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from broker.messagelog.sqlite import SqliteCheckpointStore, SqliteLog
from broker.services import scrub
from broker.services.erasureorders import ErasureOrders
from broker.services.scrub import Scrub, ScrubSettings
from broker.telemetry import allow_fields
from broker.trust.system import SystemClock
from tests.support.exchange import running_exchange
from tests.support.honest import SAMPLES, taken
from tests.support.kafkaexchange import SERVING, health_becomes
from tests.support.operatorlog import told
from tests.support.records import CODEC
from tests.support.replays import replayed
from tests.support.rows import damage, flip, set_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.core.errors import CaseExchangeError
    from broker.core.streams import Position
    from broker.services.soundness import Damage
    from tests.support.pki import SamplePki
    from tests.support.rows import Do, Rows

CASES = [f"01990000-0000-4000-8000-0000000000{number:02x}" for number in range(8)]
PLACE = 2
LAB = ("national-dna-database",)
FAST = ScrubSettings(bytes_per_second=1e12, new_bytes_per_second=1e12)


@pytest.fixture(scope="module")
def sound(pki: SamplePki, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a log that no scrub has read."""
    folder = tmp_path_factory.mktemp("scrub") / "log"

    async def make() -> None:
        async with running_exchange(pki, folder, log={"dna_partitions": 1}) as exchange:
            maker, publisher = exchange.maker(), await exchange.publisher()
            for case in CASES:
                await publisher.publish(maker.make(case=case))
            await replayed(exchange, folder.parent / "sound.bundle")

    asyncio.run(make())
    with closing(sqlite3.connect(folder / "checkpoints.db")) as file, file:
        file.execute("DELETE FROM scrubs")
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "log")


class Scrubbed:
    """A scrub of a folder that no broker has open, and what it found."""

    def __init__(self, scrub: Scrub, found: list[Damage]) -> None:
        self.scrub = scrub
        self.found = found


@contextlib.asynccontextmanager
async def scrubbing(folder: Path, settings: ScrubSettings = FAST) -> AsyncIterator[Scrubbed]:
    clock = SystemClock()
    log, store = await SqliteLog.open(folder / "log.db", clock), SqliteCheckpointStore(folder / "checkpoints.db")
    errors: list[CaseExchangeError] = []
    found: list[Damage] = []
    made = Scrub(
        log=log,
        store=store,
        codec=CODEC,
        orders=ErasureOrders(),
        clock=clock,
        settings=settings,
        alarm=found.append,
        report=errors.append,
    )
    try:
        yield Scrubbed(made, found)
    finally:
        await log.close()
        await store.close()
    assert errors == []


def deleted(found: Rows) -> list[Position]:
    found.delete(PLACE)
    return [found.at(PLACE)]


def unindexed(found: Rows) -> list[Position]:
    found.file.execute("DELETE FROM destinations WHERE position = ?", (found.keys[PLACE],))
    return [found.at(PLACE)]


@pytest.mark.parametrize(
    ("do", "recipients"),
    [
        pytest.param(set_to(PLACE, "kind", "SampleRequesu"), LAB, id="kind"),
        pytest.param(set_to(PLACE, "recipients", "national-dna-databasd"), LAB, id="recipients"),
        pytest.param(set_to(PLACE, "recipients", ""), LAB, id="no recipients"),
        pytest.param(set_to(PLACE, "ordering_key", CASES[5]), LAB, id="case"),
        pytest.param(unindexed, LAB, id="index"),
        pytest.param(flip(PLACE, b"dna-matching", 0), None, id="body"),
        pytest.param(set_to(PLACE, "value", b""), None, id="value"),
        pytest.param(set_to(PLACE, "record_id", bytes(16)), None, id="record id"),
        pytest.param(set_to(PLACE, "accepted_at_ms", 1), None, id="time"),
        pytest.param(deleted, None, id="deleted"),
    ],
)
async def test_a_damaged_row_is_found_by_position_with_whom_it_concerns(
    folder: Path, do: Do, recipients: tuple[str, ...] | None
) -> None:
    (position,) = damage(folder, do)
    async with scrubbing(folder) as scrubbed:
        await scrubbed.scrub.new()
        assert [(each.position, each.recipients) for each in scrubbed.found] == [(position, recipients)]


async def test_what_may_have_expired_is_not_missed_and_what_is_there_is_still_compared(folder: Path) -> None:
    def do(found: Rows) -> list[Position]:
        found.delete(PLACE)
        return [found.set(PLACE + 1, "kind", "Tip")]

    (position,) = damage(folder, do)
    async with scrubbing(folder, replace(FAST, expire_seconds=-60.0)) as scrubbed:
        await scrubbed.scrub.new()
        assert [each.position for each in scrubbed.found] == [position]


async def test_a_log_in_which_much_is_damaged_is_told_of_a_bounded_number(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub, "MOST_ALARMS", 3)
    damage(folder, lambda found: [found.set(place, "value", b"") for place in range(len(CASES))])
    async with scrubbing(folder) as scrubbed:
        await scrubbed.scrub.new()
        assert len(scrubbed.found) == 3


async def test_a_start_reads_what_is_new_and_the_background_everything(folder: Path) -> None:
    async with scrubbing(folder) as scrubbed:
        await scrubbed.scrub.new()
        assert scrubbed.found == []
    (position,) = damage(folder, set_to(PLACE, "kind", "Tip"))
    async with scrubbing(folder) as scrubbed:
        await scrubbed.scrub.new()
        assert scrubbed.found == []
        for _ in range(2):
            await scrubbed.scrub.everything()
        assert [each.position for each in scrubbed.found] == [position, position]


async def test_a_broker_alarms_its_operator_of_every_subscription_if_nobody_knows_whose_record_is_lost_and_goes_on(
    pki: SamplePki, folder: Path
) -> None:
    (position,) = damage(folder, deleted)
    found, missed = "a record is damaged in the log", "a damaged record may have been for this subscription"
    with capture_logs(processors=[allow_fields]) as lines:
        async with running_exchange(pki, folder) as exchange:
            await told(lines, found)
            async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
                await taken(stream, len(CASES) - 1)
            by_event = await told(lines, found, missed)
            await health_becomes(exchange, SERVING)
    assert {line["position"] for line in by_event.values()} == {str(position)}
    assert {line["log_level"] for line in by_event.values()} == {"error"}
    assert (by_event[found]["agency"], by_event[found]["cause"]) == ("every agency", "the log has lost the entry")
    assert (by_event[missed]["agency"], by_event[missed]["subscription"]) == (*LAB, SAMPLES.subscription)


async def test_a_hidden_record_is_named_with_its_recipients(pki: SamplePki, folder: Path) -> None:
    def hidden(found: Rows) -> list[Position]:
        unindexed(found)
        return [found.set(PLACE, "recipients", "ministry")]

    (position,) = damage(folder, hidden)
    event = "a record is damaged in the log"
    with capture_logs(processors=[allow_fields]) as lines:
        async with running_exchange(pki, folder):
            line = (await told(lines, event))[event]
    assert (line["position"], line["agency"]) == (str(position), *LAB)
    assert "other recipients" in line["cause"]
