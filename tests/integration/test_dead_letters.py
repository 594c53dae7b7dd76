"""Dead letters on the wire, in the commands, after a restart, and in the gateway's log."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from adapters.gateway.deadletters import watch_dead_letters
from broker.client.deadletters import DeadLettersClient, Tally
from broker.client.subscriber import SubscribeOptions
from broker.core.audit.findings import Unprocessed
from broker.core.errors import DeadLetterUnknown, RightDenied
from broker.ports import SubscriptionKey
from tests.support.exchange import Exchange, running_exchange
from tests.support.kafkaexchange import run
from tests.support.pki import ManualClock
from tests.support.process import edge_tables, write_toml
from tests.support.records import CASE, OTHER_CASE
from tests.support.replays import replayed

if TYPE_CHECKING:
    from pathlib import Path

    from structlog.typing import EventDict

    from broker.core.streams import Position
    from tests.support.pki import SamplePki
    from tests.support.records import RecordMaker

LAB = "national-dna-database"
AUDITOR = "national-audit"
ATTEMPTS = 2
LIMITS = {"max_attempts": ATTEMPTS}
SAMPLES = SubscribeOptions("samples", frozenset({"SampleRequest"}))


async def given_up(exchange: Exchange, case: str = CASE, *, maker: RecordMaker | None = None) -> Position:
    """Publish a record that its subscriber gives back until it is a dead letter. Returns when it is listed."""
    receipt = await (await exchange.publisher()).publish((maker or exchange.maker()).make(case=case))
    position = exchange.receipts().verify(receipt).position
    async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
        attempts = 0
        async for batch in stream:
            for delivered in batch:
                assert delivered.position == position
                await stream.nack(delivered.delivery_id, 0)
                attempts += 1
            if attempts == ATTEMPTS:
                break
        await listed(exchange, position)
    return position


async def client(exchange: Exchange, agency: str = LAB) -> DeadLettersClient:
    return DeadLettersClient(await exchange.channel(agency))


async def listed(exchange: Exchange, position: Position) -> None:
    """Return when this broker knows of the dead letter."""
    asking = await client(exchange)
    async with asyncio.timeout(30):
        while True:
            if position in [state.position async for state in asking.listed()]:
                return
            await asyncio.sleep(0.02)


async def test_an_agency_and_an_auditor_see_a_dead_letter_and_nobody_else(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log", subscriptions=LIMITS) as exchange:
        position = await given_up(exchange)
        own = await client(exchange)
        (state,) = [state async for state in own.listed()]
        assert (state.subscription, state.position) == (SubscriptionKey(LAB, "samples"), position)
        assert (state.case_id, state.attempts) == (CASE, ATTEMPTS)
        assert state.principal.endswith(f"/agency/{LAB}/gateway")
        assert await own.count() == Tally(1, 0, state.since_ms)
        shown = await own.shown(SubscriptionKey("", "samples"), position)
        assert (shown.state, shown.kind) == (state, "SampleRequest")
        assert shown.accepted_at_ms is not None
        auditor = await client(exchange, AUDITOR)
        assert [each async for each in auditor.listed()] == [state]
        assert (await auditor.shown(state.subscription, position)).record_id == shown.record_id
        stranger = await client(exchange, "shanxi-police")
        assert [each async for each in stranger.listed()] == []
        for refused in (stranger.count(LAB), stranger.shown(state.subscription, position)):
            with pytest.raises(RightDenied):
                await refused
        with pytest.raises(DeadLetterUnknown):
            await stranger.shown(SubscriptionKey("", "samples"), position)


@pytest.mark.parametrize("lost", [False, True], ids=["index kept", "index lost"])
async def test_dead_letters_are_known_after_a_restart(pki: SamplePki, tmp_path: Path, *, lost: bool) -> None:
    async with running_exchange(pki, tmp_path / "log", subscriptions=LIMITS) as exchange:
        position = await given_up(exchange)
    if lost:
        (tmp_path / "log" / "audit-index.db").unlink()
    async with running_exchange(pki, tmp_path / "log", subscriptions=LIMITS) as exchange:
        assert [state.position async for state in (await client(exchange)).listed()] == [position]


async def test_the_commands_show_them(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log", subscriptions=LIMITS) as exchange:
        profile = write_toml(tmp_path / "lab.toml", edge_tables(pki, LAB, exchange.target))
        before = await run("status", "--profile", profile)
        assert "dead letters: 0\n" in before.output
        position = await given_up(exchange)
        status = await run("status", "--profile", profile, "--json")
        letters = json.loads(status.output)["dead_letters"]
        assert letters["count"] == 1
        (since,) = [state.since_ms async for state in (await client(exchange)).listed()]
        assert datetime.fromisoformat(letters["oldest"]).timestamp() == pytest.approx(since / 1000, abs=1)
        said = (await run("status", "--profile", profile)).output
        assert f"dead letters: 1, 0 records parked behind them, the oldest since {letters['oldest']}" in said
        plain = await run("deadletter", "list", "--profile", profile)
        assert (plain.code, plain.output.splitlines()[-1]) == (0, "1 dead letters")
        assert f"{LAB}/samples {position}: case {CASE}, {ATTEMPTS} attempts" in plain.output
        found = await run("deadletter", "list", "--profile", profile, "--json")
        (facts,) = json.loads(found.output)
        assert facts["position"] == str(position)
        shown = await run("deadletter", "show", "--profile", profile, "--json", "samples", position)
        more = json.loads(shown.output)
        assert {name: more[name] for name in facts} == facts
        assert more["kind"] == "SampleRequest"
        unknown = await run("deadletter", "show", "--profile", profile, "others", position)
        assert unknown.code == 1
        assert unknown.lines()[0].startswith("case-exchange: DEAD_LETTER_UNKNOWN")
        wrong = await run("deadletter", "show", "--profile", profile, "samples", "somewhere")
        assert wrong.code == 2


async def counted(lines: list[EventDict], counts: list[int]) -> None:
    """Return when the log's errors have these numbers."""
    async with asyncio.timeout(30):
        while True:
            if [line["count"] for line in lines if line["log_level"] == "error"] == counts:
                return
            await asyncio.sleep(0.02)


async def test_the_gateways_log_says_it_at_its_start_and_when_the_number_grows(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log", subscriptions=LIMITS) as exchange:
        await given_up(exchange)
        with capture_logs() as lines:
            later = ManualClock(exchange.clock.now_ms() + 90 * 60_000)
            watching = asyncio.create_task(watch_dead_letters(await exchange.channel(LAB), later, 0.02))
            try:
                await counted(lines, [1])
                await given_up(exchange, OTHER_CASE)
                await counted(lines, [1, 2])
            finally:
                watching.cancel()
        errors = [(line["event"], line["hours"]) for line in lines if line["log_level"] == "error"]
        assert errors == [("records are dead letters", 1.5)] * 2


async def test_the_commands_redrive_and_discard(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log", subscriptions=LIMITS) as exchange:
        profile = write_toml(tmp_path / "lab.toml", edge_tables(pki, LAB, exchange.target))
        first, second = await given_up(exchange), await given_up(exchange, OTHER_CASE)
        wrong = await run("deadletter", "discard", "--profile", profile, "--code", "no code", "samples", second)
        assert (wrong.code, wrong.lines()[0].split()[1]) == (1, "INPUT_REFUSED:")
        discard = await run("deadletter", "discard", "--profile", profile, "--code", "DUPLICATE", "samples", second)
        assert discard.code == 0
        redrive = await run("deadletter", "redrive", "--profile", profile, "samples", first)
        assert redrive.code == 0
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream, asyncio.timeout(30):
            async for (delivered,) in stream:
                assert (delivered.position, delivered.attempt) == (first, 1)
                await stream.ack([delivered.delivery_id])
                break
        report = (await replayed(exchange, tmp_path / "whole.bundle")).report()
        assert report.unprocessed == (Unprocessed(LAB, "samples", second, "", discarded="DUPLICATE"),)
