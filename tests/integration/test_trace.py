"""What became of a record, on the wire, in the commands and in the gateway's log: each agency learns its own part."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from adapters.gateway.deadletters import watch_published
from broker.client.subscriber import SubscribeOptions
from broker.client.trace import TraceClient, UnprocessedTally
from broker.core.errors import InputRefused, RecordNotWaiting, RecordUnknown
from broker.core.subscriptions import StartPoint
from broker.core.trace import Step, TracedRecipient
from broker.services.tracereading import TraceLimits
from broker.services.tracing import Tracer
from tests.integration.test_dead_letters import LIMITS, SAMPLES, client, given_up, listed
from tests.support.exchange import Exchange, running_exchange
from tests.support.kafkaexchange import run
from tests.support.process import edge_tables, write_toml
from tests.support.records import CASE, CODEC, OTHER_CASE

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from structlog.typing import EventDict

    from broker.client.deadletters import DeadLettersClient
    from broker.client.trace import Trace
    from broker.core.envelope import Envelope
    from broker.core.streams import Position
    from tests.support.pki import SamplePki

SHANXI, HEBEI, MINISTRY, LAB = "shanxi-police", "hebei-police", "ministry", "national-dna-database"
NGO, AUDITOR = "child-aid-ngo", "national-audit"
CASES = SubscribeOptions("cases", frozenset({"CaseRecord"}))


async def tracing(exchange: Exchange, agency: str) -> TraceClient:
    return TraceClient(await exchange.channel(agency))


def record_id(envelope: Envelope) -> str:
    return CODEC.parse_body(envelope.body).record_id


async def published(exchange: Exchange, envelope: Envelope) -> Position:
    receipt = await (await exchange.publisher()).publish(envelope)
    return exchange.receipts().verify(receipt).position


async def answered(exchange: Exchange, agency: str, options: SubscribeOptions, code: str = "") -> None:
    """An agency processes its next record, or refuses it with a code. Returns when this is durable."""
    async with (await exchange.subscriber(agency)).subscribe(options) as stream, asyncio.timeout(60):
        async for (delivered,) in stream:
            if code:
                await stream.refuse(delivered.delivery_id, code)
            else:
                await stream.ack([delivered.delivery_id])
            break


async def counted(exchange: Exchange, agency: str, refused: int) -> UnprocessedTally:
    """The agency's numbers when so many of its records were refused."""
    asking = await tracing(exchange, agency)
    async with asyncio.timeout(60):
        while True:
            tally = await asking.count_unprocessed()
            if tally.refused == refused:
                return tally
            await asyncio.sleep(0.02)


async def parked_behind(letters: DeadLettersClient) -> None:
    """Return when one record is parked."""
    async with asyncio.timeout(60):
        while True:
            if (await letters.count()).parked == 1:
                return
            await asyncio.sleep(0.02)


async def logged_counts(lines: list[EventDict], counts: list[int]) -> None:
    """Return when the log's errors have these numbers."""
    async with asyncio.timeout(60):
        while True:
            if [line["count"] for line in lines if line["log_level"] == "error"] == counts:
                return
            await asyncio.sleep(0.02)


def steps(trace: Trace) -> list[tuple[str, str, Step]]:
    return [(event.agency, event.subscription, event.step) for event in trace.events]


async def test_a_publisher_sees_who_refused_its_records_a_recipient_its_own_and_a_third_agency_nothing(
    pki: SamplePki, tmp_path: Path
) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        record = exchange.maker().make("CaseRecord", "cases", to=(HEBEI, MINISTRY))
        position = await published(exchange, record)
        assert await counted(exchange, SHANXI, 0) == UnprocessedTally(0, None, 0)
        await answered(exchange, HEBEI, CASES, "PHOTO_UNREADABLE")
        await answered(exchange, MINISTRY, CASES, "CASE_CLOSED")
        tally = await counted(exchange, SHANXI, 2)
        listed = [each async for each in (await tracing(exchange, SHANXI)).unprocessed()]
        assert [
            (each.subscription, each.code, each.record_id, each.position, each.publisher, each.dead_letter)
            for each in listed
        ] == [
            ((agency, "cases"), code, record_id(record), position, SHANXI, False)
            for agency, code in ((HEBEI, "PHOTO_UNREADABLE"), (MINISTRY, "CASE_CLOSED"))
        ]
        assert tally == UnprocessedTally(2, listed[0].at_ms, 0)
        for agency, seen in ((HEBEI, listed[:1]), (MINISTRY, listed[1:]), (AUDITOR, listed), (NGO, []), (LAB, [])):
            assert [each async for each in (await tracing(exchange, agency)).unprocessed()] == seen
        assert (await counted(exchange, AUDITOR, 2)).refused == 2
        for agency in (HEBEI, NGO):
            assert (await counted(exchange, agency, 0)).refused == 0


@pytest.mark.parametrize("lost", [False, True], ids=["index kept", "index lost"])
async def test_refusals_are_known_after_a_restart(pki: SamplePki, tmp_path: Path, *, lost: bool) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        position = await published(exchange, exchange.maker().make())
        await answered(exchange, LAB, SAMPLES, "KIT_UNKNOWN")
    if lost:
        (tmp_path / "log" / "audit-index.db").unlink()
    async with running_exchange(pki, tmp_path / "log") as exchange:
        (found,) = [each async for each in (await tracing(exchange, SHANXI)).unprocessed()]
        assert (found.position, found.code) == (position, "KIT_UNKNOWN")


async def test_a_publisher_sees_the_dead_letters_of_its_records(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log", subscriptions=LIMITS) as exchange:
        position = await given_up(exchange)
        (found,) = [each async for each in (await tracing(exchange, SHANXI)).unprocessed()]
        assert (found.position, found.subscription.agency, found.dead_letter) == (position, LAB, True)
        assert found.attempts == LIMITS["max_attempts"]
        assert (await (await tracing(exchange, SHANXI)).count_unprocessed()).dead_letters == 1
        assert [each async for each in (await tracing(exchange, HEBEI)).unprocessed()] == []


async def test_a_trace_says_what_became_of_a_record_to_each_its_part(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        record = exchange.maker().make("CaseRecord", "cases", to=(HEBEI, MINISTRY))
        position = await published(exchange, record)
        await answered(exchange, HEBEI, CASES, "PHOTO_UNREADABLE")
        hebei = [(HEBEI, "cases", Step.DELIVERED), (HEBEI, "cases", Step.REFUSED)]
        whole = await (await tracing(exchange, SHANXI)).of_record(record_id(record))
        (facts,) = whole.records
        assert (facts.record_id, facts.kind, facts.case_id) == (record_id(record), "CaseRecord", CASE)
        assert (facts.publisher, facts.position) == (SHANXI, position)
        assert facts.recipients == (TracedRecipient(HEBEI, allowed=True), TracedRecipient(MINISTRY, allowed=True))
        assert (steps(whole), whole.complete) == (hebei, True)
        assert [event.code for event in whole.events] == ["", "PHOTO_UNREADABLE"]
        await answered(exchange, MINISTRY, CASES)
        ministry = [(MINISTRY, "cases", Step.DELIVERED), (MINISTRY, "cases", Step.PROCESSED)]
        for agency, told, recipients in (
            (SHANXI, hebei + ministry, (HEBEI, MINISTRY)),
            (AUDITOR, hebei + ministry, (HEBEI, MINISTRY)),
            (HEBEI, hebei, (HEBEI,)),
            (MINISTRY, ministry, (MINISTRY,)),
        ):
            part = await (await tracing(exchange, agency)).of_record(record_id(record))
            assert steps(part) == told
            assert [recipient.agency for recipient in part.records[0].recipients] == list(recipients)


async def test_what_is_unknown_and_what_does_not_concern_an_agency_cannot_be_told_apart(
    pki: SamplePki, tmp_path: Path
) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        record = exchange.maker().make("CaseRecord", "cases", to=(HEBEI,))
        await published(exchange, record)
        stranger = await tracing(exchange, LAB)
        unknown = "01990000-0000-7000-8000-000000000001"
        refusals = [
            await refusal(asked)
            for asked in (
                stranger.of_record(record_id(record)),
                stranger.of_record(unknown),
                stranger.of_case(CASE),
                stranger.of_case(str(uuid4())),
            )
        ]
        assert len({(type(each), each.message, tuple(each.details.items())) for each in refusals}) == 1
        with pytest.raises(InputRefused, match="by its id"):
            await stranger.of_record("somewhere")


async def refusal(asked: Coroutine[None, None, Trace]) -> RecordUnknown:
    with pytest.raises(RecordUnknown) as refused:
        await asked
    return refused.value


async def test_a_trace_of_a_case_has_the_records_that_concern_the_agency(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        maker = exchange.maker()
        for_hebei = maker.make("CaseRecord", "cases", to=(HEBEI,))
        for_lab = maker.make()
        other = maker.make("CaseRecord", "cases", to=(HEBEI,), case=OTHER_CASE)
        for record in (for_hebei, for_lab, other):
            await published(exchange, record)
        await answered(exchange, LAB, SAMPLES)
        own = await (await tracing(exchange, SHANXI)).of_case(CASE)
        assert {each.record_id for each in own.records} == {record_id(for_hebei), record_id(for_lab)}
        assert steps(own) == [(LAB, "samples", Step.DELIVERED), (LAB, "samples", Step.PROCESSED)]
        part = await (await tracing(exchange, HEBEI)).of_case(CASE)
        assert [each.record_id for each in part.records] == [record_id(for_hebei)]
        assert steps(part) == []


async def test_a_trace_follows_a_dead_letter_and_what_is_parked_behind_it(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log", subscriptions=LIMITS) as exchange:
        maker = exchange.maker()
        dead = await given_up(exchange, maker=maker)
        parked = await published(exchange, maker.make())
        letters, tracer = await client(exchange), await tracing(exchange, SHANXI)
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream, asyncio.timeout(60):
            await parked_behind(letters)
            await letters.redrive("samples", dead)
            taken = 0
            async for batch in stream:
                for delivered in batch:
                    await stream.ack([delivered.delivery_id])
                    taken += 1
                if taken == 2:
                    break
        trace = await tracer.of_case(CASE)
        told = {at: [each.step for each in trace.events if each.position == at] for at in (dead, parked)}
        first = [Step.DELIVERED, Step.DELIVERED, Step.DEAD_LETTER, Step.REDRIVEN, Step.DELIVERED]
        assert [step for step in told[dead] if step is not Step.ENDED] == [*first, Step.PROCESSED]
        assert [step for step in told[parked] if step is not Step.ENDED] == [
            Step.PARKED,
            Step.DELIVERED,
            Step.PROCESSED,
        ]


async def test_a_record_that_waits_is_made_a_dead_letter_its_case_is_parked_and_redrive_brings_both_back(
    pki: SamplePki, tmp_path: Path
) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        maker, letters = exchange.maker(), await client(exchange)
        waits = await published(exchange, maker.make())
        later = await published(exchange, maker.make())
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream, asyncio.timeout(60):
            async for (delivered,) in stream:
                assert delivered.position == waits
                await letters.make("samples", waits, "SPOOL_BROKEN")
                # While somebody holds it, nothing happens.
                assert (await letters.count()).dead_letters == 0
                await stream.nack(delivered.delivery_id, 600, transient=True)
                break
            await listed(exchange, waits)
            (state,) = [state async for state in letters.listed()]
            assert (state.code, state.attempts, state.reason) == ("SPOOL_BROKEN", 0, "")
            await parked_behind(letters)
            await letters.redrive("samples", waits)
            taken = []
            async for (delivered,) in stream:
                taken.append(delivered.position)
                await stream.ack([delivered.delivery_id])
                if len(taken) == 2:
                    break
            assert taken == [waits, later]


async def test_an_order_for_a_subscription_that_is_not_open_is_carried_out_when_it_opens(
    pki: SamplePki, tmp_path: Path
) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        waits = await published(exchange, exchange.maker().make())
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            async for (delivered,) in stream:
                await stream.nack(delivered.delivery_id, 0, transient=True)
                break
    async with running_exchange(pki, tmp_path / "log") as exchange:
        await (await client(exchange)).make("samples", waits, "SPOOL_BROKEN")
    async with running_exchange(pki, tmp_path / "log") as exchange:
        other = await published(exchange, exchange.maker().make(case=OTHER_CASE))
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream, asyncio.timeout(60):
            async for batch in stream:
                assert [delivered.position for delivered in batch] == [other]
                break
            await listed(exchange, waits)


async def test_no_dead_letter_is_made_of_what_is_finished_unknown_or_not_the_subscriptions(
    pki: SamplePki, tmp_path: Path
) -> None:
    async with running_exchange(pki, tmp_path / "log", subscriptions=LIMITS) as exchange:
        letters = await client(exchange)
        dead = await given_up(exchange, OTHER_CASE)
        finished = await published(exchange, exchange.maker().make())
        with pytest.raises(RecordUnknown, match="never handed"):
            await letters.make("samples", finished, "SPOOL_BROKEN")
        await answered(exchange, LAB, SAMPLES)
        of_others = await published(exchange, exchange.maker().make("CaseRecord", "cases", to=(HEBEI,)))
        await answered(exchange, HEBEI, CASES)
        for position, error in (
            (finished, RecordNotWaiting),
            (dead, RecordNotWaiting),
            (of_others, RecordUnknown),
            (finished._replace(offset=10_000), RecordUnknown),
        ):
            with pytest.raises(error):
                await letters.make("samples", position, "SPOOL_BROKEN")
        with pytest.raises(RecordUnknown, match="never handed"):
            await letters.make("others", finished, "SPOOL_BROKEN")
        with pytest.raises(InputRefused, match="code"):
            await letters.make("samples", finished, "no code")
        with pytest.raises(RecordUnknown):
            await (await client(exchange, HEBEI)).make("samples", finished, "SPOOL_BROKEN")


async def test_the_commands_say_it(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        shanxi = write_toml(tmp_path / "shanxi.toml", edge_tables(pki, SHANXI, exchange.target))
        hebei = write_toml(tmp_path / "hebei.toml", edge_tables(pki, HEBEI, exchange.target))
        record = exchange.maker().make("CaseRecord", "cases", to=(HEBEI, MINISTRY))
        position = await published(exchange, record)
        before = await run("status", "--profile", shanxi)
        assert "of what was published: 0 dead letters, 0 refused\n" in before.output
        await answered(exchange, HEBEI, CASES, "PHOTO_UNREADABLE")
        await counted(exchange, SHANXI, 1)
        status = await run("status", "--profile", shanxi)
        assert "of what was published: 0 dead letters, 1 refused since 2" in status.output
        facts = json.loads((await run("status", "--profile", shanxi, "--json")).output)
        assert facts["unprocessed"]["refused"] == 1
        plain = await run("trace", "--profile", shanxi, record_id(record))
        assert plain.code == 0
        assert f"{record_id(record)} CaseRecord {position}, case {CASE}" in plain.output
        assert f"  {HEBEI}/cases: refused (PHOTO_UNREADABLE)\n" in plain.output
        assert f"  {MINISTRY}: waiting: no subscription of this agency was handed it\n" in plain.output
        part = json.loads((await run("trace", "--profile", hebei, "--case", CASE, "--json")).output)
        ((found,),) = [each["subscriptions"] for each in part["records"]]
        assert (found["agency"], found["standing"]) == (HEBEI, "refused (PHOTO_UNREADABLE)")
        assert [event["step"] for event in found["events"]] == ["DELIVERED", "REFUSED"]
        unprocessed = await run("trace", "--profile", shanxi, "--unprocessed")
        assert f"{record_id(record)} {position}: refused (PHOTO_UNREADABLE) by {HEBEI}/cases" in unprocessed.output
        assert unprocessed.output.splitlines()[-1] == "1 not processed"
        (line,) = json.loads((await run("trace", "--profile", shanxi, "--unprocessed", "--json")).output)
        assert (line["code"], line["record_id"]) == ("PHOTO_UNREADABLE", record_id(record))
        unknown = await run("trace", "--profile", shanxi, "01990000-0000-7000-8000-000000000001")
        assert (unknown.code, unknown.lines()[0].split()[1]) == (1, "RECORD_UNKNOWN:")
        assert (await run("trace", "--profile", shanxi)).code == 2
        late = await run("deadletter", "make", "--profile", hebei, "--code", "TOO_LATE", "cases", position)
        assert (late.code, late.lines()[0].split()[1]) == (1, "RECORD_NOT_WAITING:")


async def test_the_gateways_log_says_that_records_were_refused(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        with capture_logs() as lines:
            watching = asyncio.create_task(watch_published(await exchange.channel(SHANXI), 0.02))
            try:
                for number, case in enumerate((CASE, OTHER_CASE), start=1):
                    await published(exchange, exchange.maker().make(case=case))
                    await answered(exchange, LAB, SAMPLES, "KIT_UNKNOWN")
                    await logged_counts(lines, list(range(1, number + 1)))
            finally:
                watching.cancel()
        assert {line["event"] for line in lines if line["log_level"] == "error"} == {
            "recipients refused published records"
        }


async def test_a_trace_that_the_broker_stops_goes_on_to_the_end_if_asked(
    pki: SamplePki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each trace stops after one record of the audit stream.
    monkeypatch.setattr("broker.services.tracereading._PAGE_RECORDS", 1)
    defaults = Tracer.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "limits", TraceLimits(60, 1))
    latest = replace(CASES, subscription="later", start=StartPoint(latest=True))
    async with running_exchange(pki, tmp_path / "log") as exchange:
        record = exchange.maker().make("CaseRecord", "cases", to=(HEBEI, MINISTRY))
        await published(exchange, record)
        await answered(exchange, HEBEI, CASES)
        await answered(exchange, MINISTRY, CASES)
        async with (await exchange.subscriber(HEBEI)).subscribe(latest):
            pass
        asking = await tracing(exchange, SHANXI)
        found = await asking.of_record(record_id(record))
        assert (steps(found), found.complete, found.go_on_at > 0) == ([(HEBEI, "cases", Step.DELIVERED)], False, True)
        found = await asking.of_record(record_id(record), to_the_end=True)
        assert (found.complete, found.go_on_at) == (True, 0)
        assert steps(found) == [
            (HEBEI, "cases", Step.DELIVERED),
            (HEBEI, "cases", Step.PROCESSED),
            (MINISTRY, "cases", Step.DELIVERED),
            (MINISTRY, "cases", Step.PROCESSED),
            (HEBEI, "later", Step.SKIPPED),
        ]
        profile = write_toml(tmp_path / "shanxi.toml", edge_tables(pki, SHANXI, exchange.target))
        said = (await run("trace", "--profile", profile, record_id(record))).output
        assert "With --to-the-end it goes on." in said
        said = (await run("trace", "--profile", profile, "--to-the-end", record_id(record))).output
        assert f"{HEBEI}/later: skipped: the subscription begins after it now, by its start latest" in said
        assert "This is not all" not in said
