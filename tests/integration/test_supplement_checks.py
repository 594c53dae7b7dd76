"""The broker compares a supplement with the record that it names, on both logs, over gRPC with mutual TLS."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from adapters.records.sections import section_type, split
from broker.client.composing import SectionDraft
from broker.client.erasing import erase_sections
from broker.core.body import Recipient, RecordReference
from broker.core.entry import NewEntry
from broker.core.envelope import BODY_TYPE, Envelope, Signature, pae
from broker.core.errors import SupplementInvalid
from broker.core.streams import StreamPartition, partition_of
from caseexchange.records.v1 import dna_pb2
from certs.rights import HEBEI, LAB, SHANXI
from tests.support.exchange import running_exchange
from tests.support.gateways import lab_profile, receiving
from tests.support.kafkaexchange import OnKafka
from tests.support.records import CODEC
from tests.support.replays import replayed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from broker.core.body import Body
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def exchange(pki: SamplePki, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Exchange]:
    if request.param == "kafka":
        cluster, keys = (request.getfixturevalue(name) for name in ("kafka_cluster", "kafka_keys"))
        running = OnKafka(cluster, keys, pki, tmp_path).broker()
    else:
        running = running_exchange(pki, tmp_path / "log")
    async with running as opened:
        yield opened


def body_of(envelope: Envelope) -> Body:
    return CODEC.parse_body(envelope.body)


def signed(pki: SamplePki, body: Body, envelope: Envelope) -> Envelope:
    """A body that Shanxi signed, whatever stands in it, with the sections of a record."""
    data, signer = CODEC.encode_body(body), pki.signer(SHANXI)
    signature = Signature(signer.certificate_sha256, signer.sign(pae(BODY_TYPE, data)))
    return Envelope(BODY_TYPE, data, (signature,), envelope.sections)


LIES: dict[str, Callable[[Body, Envelope], Body]] = {
    "other signed bytes": lambda body, other: replace(
        body, supplements=RecordReference(body.original_id, other.record_sha256)
    ),
    "another record": lambda body, other: replace(
        body, supplements=RecordReference(body_of(other).record_id, other.record_sha256)
    ),
    "no record": lambda body, other: replace(
        body, supplements=RecordReference("01990000-0000-7000-8000-00000000dead", other.record_sha256)
    ),
    "another purpose": lambda body, _: replace(body, purpose="child-rescue"),
    "another case": lambda body, other: replace(body, case_id=body_of(other).case_id),
}


async def test_a_supplement_is_taken_if_it_fits_its_original_and_refused_if_not(
    exchange: Exchange, tmp_path: Path
) -> None:
    pki, maker, publisher = exchange.pki, exchange.maker(), await exchange.publisher()
    original = maker.make(to=[LAB])
    other = maker.make(to=[LAB], case="01990000-0000-4000-8000-0000000000ff")
    theirs = exchange.maker(HEBEI).make(to=[LAB])
    for each in (original, other):
        await publisher.publish(each)
    await (await exchange.publisher(HEBEI)).publish(theirs)
    named = RecordReference(body_of(original).record_id, original.record_sha256)
    numbers = iter(range(3, 99))

    def supplement(named: RecordReference) -> Body:
        fresh = body_of(maker.make(to=[LAB]))
        return replace(
            body_of(original),
            record_id=fresh.record_id,
            issued_at_ms=fresh.issued_at_ms,
            recipients=(Recipient(LAB, next(numbers)),),
            supplements=named,
        )

    honest = signed(pki, supplement(named), original)
    accepted = await publisher.publish(honest)
    # The same bytes again are the same record.
    assert (await publisher.publish(honest)).statement == accepted.statement
    for lie in LIES.values():
        with pytest.raises(SupplementInvalid):
            await publisher.publish(signed(pki, lie(supplement(named), other), original))
    of_theirs = RecordReference(body_of(theirs).record_id, theirs.record_sha256)
    of_itself = RecordReference(body_of(honest).record_id, honest.record_sha256)
    for reference in (of_theirs, of_itself):
        with pytest.raises(SupplementInvalid):
            await publisher.publish(signed(pki, supplement(reference), original))
    # Other content under the same names.
    changed = maker.make(to=[LAB])
    body = replace(supplement(named), sections=body_of(changed).sections)
    with pytest.raises(SupplementInvalid):
        await publisher.publish(signed(pki, body, changed))
    errors = (await replayed(exchange, tmp_path / "whole.bundle")).codes()
    assert errors == set()


async def test_one_that_slipped_into_the_log_is_refused_by_who_read_the_original_and_named_by_auditors(
    exchange: Exchange, tmp_path: Path
) -> None:
    """A publisher that lies, and somebody who has the log and asks no broker."""
    maker, publisher = exchange.maker(), await exchange.publisher()
    original, other = (maker.make(to=[LAB], sections=[sample(barcode)]) for barcode in ("SYN-1", "SYN-2"))
    await publisher.publish(original)
    async with receiving(lab_profile(exchange, tmp_path)) as (_, inbound):
        # The record's own file comes after the one about it.
        await until(inbound.folders.outbox, f"SampleRequest-{'?' * 36}.json")
        outbox = {path.name: path.read_bytes() for path in inbound.folders.outbox.iterdir()}
        lie = replace(body_of(other), supplements=RecordReference(body_of(original).record_id, original.record_sha256))
        envelope = signed(exchange.pki, lie, other)
        place = StreamPartition(lie.stream, partition_of(lie.case_id, exchange.broker.log.partitions(lie.stream)))
        entry = (lie.record_id_bytes, lie.kind, lie.case_id, (LAB,), envelope.record_sha256)
        await exchange.broker.log.append([NewEntry(place, *entry, CODEC.encode_envelope(envelope))])
        reason = await until(inbound.folders.quarantine, "*.reason.json")
    assert json.loads(reason.read_text())["reason"] == "SUPPLEMENT_INVALID"
    assert {path.name: path.read_bytes() for path in inbound.folders.outbox.iterdir()} == outbox
    bundle = await replayed(exchange, tmp_path / "whole.bundle")
    assert bundle.codes() == {"SUPPLEMENT_INVALID"}


async def until(folder: Path, pattern: str) -> Path:
    async with asyncio.timeout(60):
        while not (found := list(folder.glob(pattern))):  # noqa: ASYNC110, ASYNC240 - a folder has no event
            await asyncio.sleep(0.02)
    return found[0]


def sample(barcode: str) -> SectionDraft:
    record = dna_pb2.SampleRequest(barcode=barcode, role=dna_pb2.SAMPLE_ROLE_CHILD)
    return SectionDraft("sample", section_type("SampleRequest"), split(record)["sample"])


async def test_what_was_erased_does_not_come_back_in_a_supplement(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        maker, publisher = exchange.maker(), await exchange.publisher()
        original = maker.make(to=[LAB])
        await publisher.publish(original)
        body = body_of(original)
        await erase_sections(await exchange.channel(SHANXI), body.record_id, ["case"], "COURT_ORDER")
        fresh = body_of(maker.make(to=[LAB]))
        named = RecordReference(body.record_id, original.record_sha256)
        supplement = replace(body, record_id=fresh.record_id, recipients=fresh.recipients, supplements=named)
        with pytest.raises(SupplementInvalid, match="not whole"):
            await publisher.publish(signed(pki, supplement, original))
