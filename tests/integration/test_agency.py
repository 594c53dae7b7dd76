"""An agency's own program against a real broker: the promises that it can rely on."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest

from adapters.agency import Accepted, Agency, Delivery, ToPublish, open_agency
from broker.core.audit.findings import Unprocessed
from broker.core.errors import ConfigInvalid, InputRefused, RecordInvalid, RecordUnknown, RightDenied
from broker.core.trace import Step
from caseexchange.records.v1 import case_pb2, dna_pb2
from tests.support.programs import program
from tests.support.replays import replayed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.exchange import Exchange

LAB, POLICE = "national-dna-database", "shanxi-police"
SAMPLES = {"recipients": [LAB], "purpose": "dna-matching"}


def request(number: int = 1) -> dna_pb2.SampleRequest:
    return dna_pb2.SampleRequest(barcode=f"SYN-B-{number}", role=dna_pb2.SAMPLE_ROLE_CHILD)


def no_match(number: int = 1) -> dna_pb2.NoMatchResult:
    return dna_pb2.NoMatchResult(barcode=f"SYN-B-{number}", reason=dna_pb2.NO_MATCH_REASON_NO_CANDIDATE)


@contextlib.asynccontextmanager
async def running(exchange: Exchange, folder: Path, agency: str, system: str) -> AsyncIterator[Agency]:
    routes = {"SampleRequest": SAMPLES} if agency == POLICE else {}
    profile = program(exchange.pki, folder, agency, system, exchange.target, **routes)
    async with asyncio.timeout(30), open_agency(profile) as opened:
        yield opened


async def first(agency: Agency, name: str, kind: str) -> tuple[Delivery, object]:
    """The first delivery, and its subscription, which the caller must keep."""
    deliveries = agency.subscribe(name, kinds=[kind])
    return await anext(deliveries), deliveries


async def test_what_is_not_what_its_kind_must_be_is_refused_and_nothing_of_it_is_kept(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with running(exchange, tmp_path, POLICE, "samples") as police:
        with pytest.raises(RecordInvalid, match="FIELD_MISSING at barcode"):
            await police.publish_many([ToPublish(request(), "SYN-1"), ToPublish(dna_pb2.SampleRequest(), "SYN-2")])
        with pytest.raises(InputRefused, match=r"\[routes\.CaseRecord\]"):
            await police.publish(
                case_pb2.CaseRecord(local_id="SYN-3", kind=case_pb2.CASE_KIND_SEEKING_PARENT), case="SYN-3"
            )
        with pytest.raises(InputRefused, match="names no case"):
            await police.publish(request(), case="")
        assert (await police.status()).spooled == 0
        accepted = await police.publish(request(), case="SYN-1")
        assert police.receipt(accepted.record_id) == accepted.receipt
        assert police.former_receipts(accepted.record_id) == []


async def test_a_refusal_for_good_is_raised_and_its_reason_is_kept(exchange: Exchange, tmp_path: Path) -> None:
    async with running(exchange, tmp_path, POLICE, "samples") as police:
        with pytest.raises(RightDenied):
            await police.publish(request(), case="SYN-1", recipients=["child-aid-ngo"])
        (reason,) = (tmp_path / "samples" / "quarantine").glob("*.reason.json")
        assert json.loads(reason.read_text())["reason"] == "RIGHT_DENIED"
        assert (await police.status()).spooled == 0


async def test_a_reply_is_of_the_case_and_is_published_once_however_often_it_is_made(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with (
        running(exchange, tmp_path, POLICE, "samples") as police,
        running(exchange, tmp_path, LAB, "typing") as lab,
    ):
        asked = await police.publish(request(), case="SYN-1")
        delivery, _kept = await first(lab, "typing", "SampleRequest")
        answered = await delivery.reply(no_match())
        assert await delivery.reply(no_match()) == answered
        other = await delivery.reply(no_match(2))
        assert other.record_id != answered.record_id
        assert await delivery.ack()
        answer, _kept_too = await first(police, "results", "NoMatchResult")
        assert answer.body.record_id == answered.record_id
        assert (answer.body.in_reply_to, answer.body.case_id) == (asked.record_id, delivery.body.case_id)
        assert (answer.body.purpose, answer.body.publisher) == ("dna-matching", LAB)


async def test_what_is_given_back_comes_again(exchange: Exchange, tmp_path: Path) -> None:
    async with (
        running(exchange, tmp_path, POLICE, "samples") as police,
        running(exchange, tmp_path, LAB, "typing") as lab,
    ):
        await police.publish(request(), case="SYN-1")
        deliveries = lab.subscribe("typing", kinds=["SampleRequest"])
        for attempt in range(1, 12):
            delivery = await anext(deliveries)
            assert delivery.attempt == attempt
            await delivery.extend(20)
            await delivery.nack(transient=True)
        assert await (await anext(deliveries)).ack()


async def test_what_a_program_refuses_does_not_come_again_and_the_next_of_its_case_comes(
    exchange: Exchange, tmp_path: Path
) -> None:
    async with (
        running(exchange, tmp_path, POLICE, "samples") as police,
        running(exchange, tmp_path, LAB, "typing") as lab,
    ):
        first_sent = await police.publish(request(1), case="SYN-1")
        second_sent = await police.publish(request(2), case="SYN-1")
        deliveries = lab.subscribe("typing", kinds=["SampleRequest"])
        delivery = await anext(deliveries)
        assert delivery.position == first_sent.position
        with pytest.raises(InputRefused, match="code"):
            await delivery.refuse("kit is not known")
        assert await delivery.refuse("KIT_UNKNOWN")
        assert (await anext(deliveries)).position == second_sent.position
        assert not await delivery.refuse("KIT_UNKNOWN")
    report = (await replayed(exchange, tmp_path / "whole.bundle")).report()
    assert report.unprocessed == (Unprocessed(LAB, "typing", first_sent.position, "KIT_UNKNOWN"),)


async def test_many_are_accepted_in_order_and_a_restart_goes_on_with_what_is_spooled(
    exchange: Exchange, tmp_path: Path
) -> None:
    profile = program(exchange.pki, tmp_path, POLICE, "samples", exchange.target, SampleRequest=SAMPLES)
    async with asyncio.timeout(30), open_agency(profile) as police:
        results = await police.publish_many(ToPublish(request(number), "SYN-1") for number in range(250))
        offsets = [result.position.offset for result in results if isinstance(result, Accepted)]
        assert offsets == sorted(offsets)
        assert len(offsets) == 250
    async with asyncio.timeout(30), open_agency(profile) as again:
        assert (await again.status()).serving
        assert isinstance(results[0], Accepted)
        assert again.receipt(results[0].record_id) == results[0].receipt


async def test_a_profile_that_names_no_folder_is_refused(exchange: Exchange, tmp_path: Path) -> None:
    profile = program(exchange.pki, tmp_path, POLICE, "samples", exchange.target)
    profile.write_text(profile.read_text().replace("folder", "folders"))
    with pytest.raises(ConfigInvalid, match="folders"):
        async with open_agency(profile):
            raise AssertionError


async def test_a_program_learns_what_became_of_its_record(exchange: Exchange, tmp_path: Path) -> None:
    async with (
        running(exchange, tmp_path, POLICE, "samples") as police,
        running(exchange, tmp_path, LAB, "desk") as lab,
    ):
        accepted = await police.publish(request(), case="SYN-1")
        delivery, _ = await first(lab, "desk", "SampleRequest")
        await delivery.ack()
        trace = await police.trace(accepted.record_id)
        assert [(event.agency, event.step) for event in trace.events] == [(LAB, Step.DELIVERED), (LAB, Step.PROCESSED)]
        with pytest.raises(RecordUnknown):
            await police.trace("01990000-0000-7000-8000-000000000001")
