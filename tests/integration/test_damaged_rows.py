"""One row of the embedded log is damaged: its own record is set aside and told, and everything else goes on."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from click.testing import CliRunner

from broker.cli.verify import verify
from broker.core.audit.findings import Unprocessed
from tests.support.exchange import running_exchange
from tests.support.honest import SAMPLES, taken
from tests.support.kafkaexchange import run
from tests.support.process import edge_tables, write_toml
from tests.support.replays import replayed
from tests.support.rows import damage, flip, set_to

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.envelope import Envelope
    from broker.core.streams import Position
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki
    from tests.support.rows import Do, Rows

CASES = [f"01990000-0000-4000-8000-0000000000{number:02x}" for number in range(8)]
LAB = "national-dna-database"
DAMAGED = 2
"""The place of the row that is damaged: the first record of its case. The second one is at this place + 8."""
ONE_PARTITION = {"dna_partitions": 1}


class Sound(NamedTuple):
    """The folder of a log with two records of each of eight cases, and these records in the order of their rows."""

    folder: Path
    envelopes: list[Envelope]

    def copy(self, path: Path) -> Sound:
        shutil.copytree(self.folder, path)
        return self._replace(folder=path)


@pytest.fixture(scope="module")
def sound(pki: SamplePki, tmp_path_factory: pytest.TempPathFactory) -> Sound:
    folder = tmp_path_factory.mktemp("rows") / "log"
    envelopes: list[Envelope] = []

    async def make() -> None:
        async with running_exchange(pki, folder, log=ONE_PARTITION) as exchange:
            maker, publisher = exchange.maker(), await exchange.publisher()
            for case in CASES * 2:
                envelopes.append(maker.make(case=case))
                await publisher.publish(envelopes[-1])
            await replayed(exchange, folder.parent / "sound.bundle")

    asyncio.run(make())
    return Sound(folder, envelopes)


@pytest.fixture
def log(sound: Sound, tmp_path: Path) -> Sound:
    return sound.copy(tmp_path / "log")


def deleted(found: Rows) -> list[Position]:
    found.delete(DAMAGED)
    return [found.at(DAMAGED)]


def hidden(found: Rows) -> list[Position]:
    """No subscription would find it, and none would be told."""
    found.file.execute("DELETE FROM destinations WHERE position = ?", (found.keys[DAMAGED],))
    return [found.set(DAMAGED, "recipients", "ministry")]


async def received(exchange: Exchange, count: int) -> list[bytes]:
    """The digests of the next records, each acknowledged."""
    async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
        return [each.envelope.record_sha256 for each in await taken(stream, count)]


@pytest.mark.parametrize(
    "do",
    [
        pytest.param(flip(DAMAGED, b"dna-matching", 0), id="a bit of a body"),
        pytest.param(flip(DAMAGED, b"synthetic", -3), id="a bit of a section"),
        pytest.param(set_to(DAMAGED, "value", b""), id="emptied"),
        pytest.param(set_to(DAMAGED, "value", 7), id="a number"),
        pytest.param(set_to(DAMAGED, "record_sha256", bytes(32)), id="another digest"),
        pytest.param(set_to(DAMAGED, "kind", "SampleRequesu"), id="a bit of its kind"),
        pytest.param(set_to(DAMAGED, "kind", b"\xd3ampleRequest"), id="a kind that is no text"),
        pytest.param(set_to(DAMAGED, "recipients", "national-dna-databasd"), id="a bit of its recipients"),
        pytest.param(set_to(DAMAGED, "ordering_key", CASES[5]), id="another case"),
        pytest.param(deleted, id="deleted"),
    ],
)
async def test_a_damaged_row_stops_its_own_record_only_and_auditors_see_it_set_aside(
    pki: SamplePki, log: Sound, tmp_path: Path, do: Do
) -> None:
    (position,) = damage(log.folder, do)
    rest = [each.record_sha256 for each in log.envelopes if each is not log.envelopes[DAMAGED]]
    async with running_exchange(pki, log.folder) as exchange:
        assert set(await received(exchange, len(rest))) == set(rest)
        # A reconnect does not meet it again.
        new = exchange.maker().make(case=CASES[DAMAGED])
        await (await exchange.publisher()).publish(new)
        assert await received(exchange, 1) == [new.record_sha256]
        profile = write_toml(tmp_path / "lab.toml", edge_tables(pki, LAB, exchange.target))
        listed = await run("deadletter", "list", "--profile", profile)
        assert f"{LAB}/{SAMPLES.subscription} {position}: case " in listed.output
        assert ", LOG_CORRUPT, 0 records parked behind it, since " in listed.output
        bundle = await replayed(exchange, tmp_path / "damaged.bundle")
    assert bundle.report().unprocessed == (Unprocessed(LAB, SAMPLES.subscription, position, "", "LOG_CORRUPT"),)
    said = CliRunner().invoke(verify, [str(bundle.path), "--root", str(bundle.root)]).stdout
    assert f"not processed: {position} was set aside as LOG_CORRUPT, and not delivered, by {LAB} (samples)" in said


@pytest.mark.parametrize("is_open", [True, False])
async def test_a_record_that_is_put_back_also_goes_to_a_subscription_whose_kinds_were_changed_meanwhile(
    pki: SamplePki, log: Sound, tmp_path: Path, *, is_open: bool
) -> None:
    damage(log.folder, flip(DAMAGED, b"dna-matching", 0))
    damaged = log.envelopes[DAMAGED]
    more = replace(SAMPLES, kinds=SAMPLES.kinds | {"Correction"})
    async with running_exchange(pki, log.folder) as exchange:
        await received(exchange, 15)
        async with (await exchange.subscriber()).subscribe(more) as stream:
            if is_open:
                await (await exchange.publisher()).publish(damaged)
                assert [each.envelope for each in await taken(stream, 1)] == [damaged]
        if not is_open:
            await (await exchange.publisher()).publish(damaged)
            async with (await exchange.subscriber()).subscribe(more) as stream:
                assert [each.envelope for each in await taken(stream, 1)] == [damaged]
        # It comes once, and the case goes on.
        await (await exchange.publisher()).publish(damaged)
        new = exchange.maker().make(case=CASES[DAMAGED])
        await (await exchange.publisher()).publish(new)
        async with (await exchange.subscriber()).subscribe(more) as stream:
            assert [each.envelope for each in await taken(stream, 1)] == [new]
        profile = write_toml(tmp_path / "lab.toml", edge_tables(pki, LAB, exchange.target))
        listed = await run("deadletter", "list", "--profile", profile)
        assert "0 dead letters" in listed.output


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize(
    "do",
    [
        pytest.param(flip(DAMAGED, b"dna-matching", 0), id="a bit of a body"),
        pytest.param(set_to(DAMAGED, "kind", "SampleRequesu"), id="a bit of its kind"),
        pytest.param(set_to(DAMAGED, "ordering_key", CASES[5]), id="another case"),
        pytest.param(hidden, id="recipients and index"),
    ],
)
async def test_a_damaged_record_that_is_published_again_is_put_back_with_its_receipt_and_goes_out(
    pki: SamplePki, log: Sound, tmp_path: Path, do: Do, *, is_open: bool
) -> None:
    (position,) = damage(log.folder, do)
    damaged = log.envelopes[DAMAGED]
    async with running_exchange(pki, log.folder) as exchange:
        options = SAMPLES if is_open else replace(SAMPLES, subscription="closed-meanwhile")
        if not is_open:
            async with (await exchange.subscriber()).subscribe(options) as stream:
                assert len(await taken(stream, 15)) == 15
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            await taken(stream, 15)
            receipt = await (await exchange.publisher()).publish(damaged)
            assert exchange.receipts().verify(receipt).position == position
            (again,) = await taken(stream, 1)
        if not is_open:
            async with (await exchange.subscriber()).subscribe(options) as stream:
                (again,) = await taken(stream, 1)
        assert (again.position, again.envelope) == (position, damaged)
        # Once more is no repair.
        await (await exchange.publisher()).publish(damaged)
        new = exchange.maker().make(case=CASES[7])
        await (await exchange.publisher()).publish(new)
        async with (await exchange.subscriber()).subscribe(options) as stream:
            assert [each.envelope for each in await taken(stream, 1)] == [new]
        bundle = await replayed(exchange, tmp_path / "repaired.bundle")
    assert not {code for code, _ in bundle.named()} & {"RECORD_CHANGED", "RECORD_MISSING", "SECTION_MISMATCH"}
