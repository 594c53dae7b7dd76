"""Gateways of an exchange in which everything is sealed. Nobody sets anything for it but the key folder."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.gateway.outbound import Outbound
from adapters.records.sections import split
from broker.client.composing import SectionDraft
from broker.client.publisher import Published
from broker.client.sealing import Sealing
from broker.client.subscriber import SubscribeOptions
from broker.core.encryptionkeys import MLKEM768_X25519
from broker.core.envelope import BODY_TYPE, Envelope, Signature, pae
from broker.core.errors import EncryptionKeyNotInForce, RightDenied, SealingRequired
from broker.core.streams import StreamPartition
from broker.trust.hpke import HpkeWrapper, PrivateEncryptionKey
from broker.trust.keystatements import state_key
from broker.trust.sealing import AesGcmCipher
from caseexchange.records.v1 import common_pb2, dna_pb2
from certs.development import KEY_FOLDER
from certs.rights import LAB
from tests.support.canaries import found_in_files
from tests.support.exchange import running_exchange
from tests.support.gateways import SAMPLES, lab_profile, police_profile, receiving
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC, RecordMaker
from tests.support.replays import replayed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.core.policy import Agency, Directory
    from tests.support.exchange import Exchange

BARCODE, CANARY = "SYN-1", "CANARY-7f3a (synthetic)"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki", plain=False)


@pytest.fixture
async def exchange(pki: SamplePki, tmp_path: Path) -> AsyncIterator[Exchange]:
    async with running_exchange(pki, tmp_path / "log", subscriptions={"max_attempts": 2}) as running:
        yield running


def found(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


async def until(folder: Path, pattern: str) -> Path:
    async with asyncio.timeout(60):
        while not found(folder, pattern):  # noqa: ASYNC110 - a folder has no event to wait on
            await asyncio.sleep(0.02)
    return found(folder, pattern)[0]


def request_file(barcode: str = BARCODE) -> bytes:
    specimen = {"display": CANARY}
    record = {"barcode": barcode, "role": "SAMPLE_ROLE_CHILD", "specimen": specimen}
    records = [{"kind": "SampleRequest", "caseReference": "SYN-1", "record": record}]
    return json.dumps({"records": records}).encode()


def sample(barcode: str = BARCODE) -> SectionDraft:
    record = dna_pb2.SampleRequest(
        barcode=barcode, role=dna_pb2.SAMPLE_ROLE_CHILD, specimen=common_pb2.Code(display=CANARY)
    )
    return SectionDraft("sample", "caseexchange.records.v1.SampleRequest", split(record)["sample"])


def sealed_maker(exchange: Exchange) -> RecordMaker:
    sealing = Sealing(lambda: exchange.pki.directory, AesGcmCipher(), HpkeWrapper())
    return RecordMaker(exchange.pki, exchange.clock, sealing=sealing)


async def test_what_one_gateway_seals_another_opens_and_between_them_it_is_ciphertext(
    exchange: Exchange, tmp_path: Path
) -> None:
    profile, routes = police_profile(exchange, tmp_path, SampleRequest=SAMPLES)
    planted = {"content": CANARY.encode()}
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        taken = outbound.take(request_file(), {})
        assert (taken.records, taken.refused) == (1, False)
        assert [type(result) for result in await outbound.publish_spooled()] == [Published]
        # Neither the spool's file nor its write-ahead log, in which drafts were until they were signed.
        assert found_in_files(profile.folder, planted) == set()
    async with receiving(lab_profile(exchange, tmp_path)) as (_, inbound):
        # The record's own file. The one about it, SampleRequest-….about.json, comes first.
        written = await until(inbound.folders.outbox, f"SampleRequest-{'?' * 36}.json")
        assert CANARY in written.read_text()
    assert found_in_files(exchange.log_folder, planted) == set()
    # The audit needs no key.
    assert (await replayed(exchange, tmp_path / "whole.bundle")).report().clean


async def test_without_the_key_file_a_record_waits_and_comes_when_the_file_is_back(
    exchange: Exchange, tmp_path: Path
) -> None:
    await (await exchange.publisher()).publish(sealed_maker(exchange).make(sections=[sample()]))
    keys, away = tmp_path / "keys", tmp_path / "away"
    keys.mkdir(mode=0o700)
    shutil.copytree(exchange.pki.folder.member(LAB) / KEY_FOLDER, away)
    profile = lab_profile(exchange, tmp_path)
    profile = structs.replace(profile, agency=structs.replace(profile.agency, encryption_keys=keys))
    audit = StreamPartition("audit", 0)
    with capture_logs() as logs:
        async with receiving(profile) as (_, inbound):
            async with asyncio.timeout(60):
                # Each attempt is an entry of the audit stream: more of them than a failing record would get.
                while (end := await exchange.broker.log.end_offset(audit)) < 6:
                    await exchange.broker.log.wait_beyond({audit: end})
            assert not list(inbound.folders.quarantine.iterdir())
            for file in away.iterdir():
                shutil.copy(file, keys)
            await until(inbound.folders.outbox, "SampleRequest-*.json")
    assert {each["cause"] for each in logs if each["event"] == "a delivery has to wait"} == {"SealKeyMissing"}
    assert (await replayed(exchange, tmp_path / "whole.bundle")).report().unprocessed == ()


async def test_a_record_whose_seal_is_broken_goes_to_quarantine_as_ciphertext_and_the_next_is_delivered(
    exchange: Exchange, tmp_path: Path
) -> None:
    maker, publisher = sealed_maker(exchange), await exchange.publisher()
    good, other = maker.make(sections=[sample()]), maker.make(sections=[sample("SYN-2")])
    await publisher.publish(wraps_of_another(exchange, good))
    await publisher.publish(other)
    async with receiving(lab_profile(exchange, tmp_path)) as (_, inbound):
        await until(inbound.folders.outbox, "SampleRequest-*.about.json")
        facts = json.loads((await until(inbound.folders.quarantine, "*.reason.json")).read_text())
        assert facts["reason"] == "SEAL_INVALID"
        assert found_in_files(inbound.folders.quarantine, {"content": CANARY.encode()}) == set()
    (unprocessed,) = (await replayed(exchange, tmp_path / "whole.bundle")).report().unprocessed
    assert unprocessed.refused == "SEAL_INVALID"


def wraps_of_another(exchange: Exchange, record: Envelope) -> Envelope:
    """The record with wraps that were made for another one, signed by its publisher."""
    body = CODEC.parse_body(record.body)
    other = CODEC.parse_body(sealed_maker(exchange).make(sections=[sample()]).body)
    data, signer = CODEC.encode_body(replace(body, key_wraps=other.key_wraps)), exchange.pki.signer()
    signature = Signature(signer.certificate_sha256, signer.sign(pae(BODY_TYPE, data)))
    return Envelope(BODY_TYPE, data, (signature,), record.sections)


async def test_a_file_for_an_agency_without_a_key_is_refused_with_what_to_do_and_takes_no_number(
    exchange: Exchange, tmp_path: Path
) -> None:
    pki = exchange.pki
    keyless = replace(pki.directory.agencies[LAB], encryption_keys=())
    directory = tmp_path / "directory.json"
    directory.write_bytes(pki.sign(replace(pki.directory, agencies={**pki.directory.agencies, LAB: keyless})))
    profile, routes = police_profile(exchange, tmp_path, SampleRequest=SAMPLES)
    profile = structs.replace(profile, trust=structs.replace(profile.trust, directory=directory))
    async with open_edge(profile) as edge:
        taken = Outbound(edge, profile.gateway, routes, Limits()).take(request_file(), {})
        assert (taken.records, [issue.code for issue in taken.issues]) == (0, ["ENCRYPTION_KEY_MISSING"])
        assert f"{LAB} has no encryption key in force" in taken.issues[0].message
        assert edge.spool.next_sequence(LAB) == 1


async def test_what_spool_and_quarantine_have_plain_is_what_the_docs_say(exchange: Exchange, tmp_path: Path) -> None:
    profile, routes = police_profile(exchange, tmp_path, SampleRequest=SAMPLES)
    case = {"number": b"SYN-CASE-9"}
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        outbound.take(request_file().replace(b'"caseReference": "SYN-1"', b'"caseReference": "SYN-CASE-9"'), {})
        edge.spool.staging.forget()
        assert found_in_files(profile.folder, case | {"content": CANARY.encode()}) == {"number"}
        refused = outbound.folders.inbox / "a.json"
        refused.write_bytes(request_file().replace(b"SAMPLE_ROLE_CHILD", b"SAMPLE_ROLE_OTHER"))
        assert [outbound.take_inbox(), outbound.take_inbox()] == [0, 1]
        # The agency's own file, for somebody to mend. Its reason does not quote it.
        assert found_in_files(outbound.folders.quarantine, {"content": CANARY.encode()}) == {"content"}
        (reason,) = outbound.folders.quarantine.glob("*.reason.json")
        assert CANARY.encode() not in reason.read_bytes()


async def test_a_program_that_publishes_plain_is_refused(exchange: Exchange) -> None:
    publisher = await exchange.publisher()
    with pytest.raises(SealingRequired):
        await publisher.publish(exchange.maker().make(sections=[sample()]))


async def test_records_to_a_key_that_ended_and_is_gone_do_not_keep_good_ones_from_coming(
    pki: SamplePki, tmp_path: Path
) -> None:
    """A publisher dates records back into the life of a key that its recipient has destroyed: more than a window."""
    hour_ms = 3_600_000
    gone, ended_ms = PrivateEncryptionKey.generate(MLKEM768_X25519), pki.now_ms - hour_ms
    stated = gone.stated_as(LAB, "records", ended_ms - 30 * 24 * hour_ms, ended_ms)
    former = state_key(stated, pki.directory.trust_domain, pki.now_ms, pki.signer(LAB))
    lab = pki.directory.agencies[LAB]
    directory = with_member(pki.directory, replace(lab, encryption_keys=(*lab.encryption_keys, former)))
    file = tmp_path / "directory.json"
    file.write_bytes(pki.sign(directory))
    then = Sealing(
        lambda: with_member(directory, replace(lab, encryption_keys=(former,))), AesGcmCipher(), HpkeWrapper()
    )
    async with running_exchange(pki, tmp_path / "log", trust={"directory": str(file)}) as exchange:
        back = RecordMaker(pki, ManualClock(ended_ms - hour_ms), sealing=then)
        publisher = await exchange.publisher()
        window = SubscribeOptions("gateway", frozenset({"SampleRequest"})).max_outstanding_records
        bad = [back.make(sections=[sample()]) for _ in range(window + 1)]
        async with publisher.stream() as stream:
            assert {type(each) for each in await stream.publish(bad)} == {Published}
        await publisher.publish(sealed_maker(exchange).make(sections=[sample("SYN-2")]))
        with capture_logs() as logs:
            async with receiving(lab_profile(exchange, tmp_path, directory=str(file))) as (_, inbound):
                await until(inbound.folders.outbox, "SampleRequest-*.about.json")
                facts = json.loads((await until(inbound.folders.quarantine, "*.reason.json")).read_text())
                assert facts["reason"] == "SEAL_KEY_MISSING"
                assert found(inbound.folders.quarantine, "*.envelope")
        told = next(each for each in logs if each["event"] == "a delivery was refused")
        assert gone.key_id.hex().startswith(told["key_id"])
        assert told["remedy"]


def with_member(directory: Directory, member: Agency) -> Directory:
    return replace(directory, version=directory.version + 1, agencies={**directory.agencies, member.id: member})


async def test_a_sealed_record_that_is_refused_for_good_stays_in_quarantine_as_ciphertext(
    exchange: Exchange, tmp_path: Path
) -> None:
    # Governance allowed a purpose that the broker does not know yet.
    directory, pki = tmp_path / "directory.json", exchange.pki
    purposes = pki.directory.purposes | {"new-purpose"}
    directory.write_bytes(pki.sign(replace(pki.directory, version=pki.directory.version + 1, purposes=purposes)))
    profile, routes = police_profile(exchange, tmp_path, SampleRequest={**SAMPLES, "purpose": "new-purpose"})
    profile = structs.replace(profile, trust=structs.replace(profile.trust, directory=directory))
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        assert outbound.take(request_file(), {}).records == 1
        (envelope,) = [item.envelope for item in edge.spool.outgoing(10)]
        (refused,) = await outbound.publish_spooled()
        assert isinstance(refused, RightDenied)
        (kept,) = found(outbound.folders.quarantine, "*.envelope")
        assert kept.read_bytes() == envelope
        assert found_in_files(profile.folder, {"content": CANARY.encode()}) == set()


async def test_a_record_to_a_key_that_the_broker_does_not_know_yet_goes_when_it_has_the_newer_directory(
    pki: SamplePki, tmp_path: Path
) -> None:
    new = PrivateEncryptionKey.generate(MLKEM768_X25519)
    stated = new.stated_as(LAB, "records", pki.now_ms, pki.now_ms + 24 * 3_600_000)
    lab = pki.directory.agencies[LAB]
    key = state_key(stated, pki.directory.trust_domain, pki.now_ms, pki.signer(LAB))
    ours, theirs = tmp_path / "ours.json", tmp_path / "theirs.json"
    archive = lab.encryption_keys[1:]
    bare = with_member(pki.directory, replace(lab, encryption_keys=archive))
    ours.write_bytes(pki.sign(with_member(bare, replace(lab, encryption_keys=(key, *archive)))))
    theirs.write_bytes(pki.sign(bare))
    async with running_exchange(pki, tmp_path / "log", trust={"directory": str(theirs)}) as exchange:
        profile, routes = police_profile(exchange, tmp_path, SampleRequest=SAMPLES)
        profile = structs.replace(profile, trust=structs.replace(profile.trust, directory=ours))
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            assert outbound.take(request_file(), {}).records == 1
            assert [type(result) for result in await outbound.publish_spooled()] == [EncryptionKeyNotInForce]
            assert len(edge.spool.outgoing(10)) == 1
    theirs.write_bytes(ours.read_bytes())
    async with running_exchange(pki, tmp_path / "log", trust={"directory": str(theirs)}) as exchange:
        profile, routes = police_profile(exchange, tmp_path, SampleRequest=SAMPLES)
        profile = structs.replace(profile, trust=structs.replace(profile.trust, directory=ours))
        # What is held is tried again at every start.
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            assert [type(result) for result in await outbound.publish_spooled()] == [Published]


async def test_a_record_that_cannot_be_issued_again_as_it_is_sealed_goes_to_quarantine_and_stops_no_other(
    exchange: Exchange, tmp_path: Path
) -> None:
    """A clock was two days ahead, and the record was sealed to a key that begins only tomorrow."""
    pki, file, day_ms = exchange.pki, tmp_path / "directory.json", 24 * 3_600_000
    lab, next_key = pki.directory.agencies[LAB], PrivateEncryptionKey.generate(MLKEM768_X25519)
    stated = next_key.stated_as(LAB, "records", pki.now_ms + day_ms, pki.now_ms + 30 * day_ms)
    key = state_key(stated, pki.directory.trust_domain, pki.now_ms, pki.signer(LAB))
    file.write_bytes(pki.sign(with_member(pki.directory, replace(lab, encryption_keys=(*lab.encryption_keys, key)))))
    profile, routes = police_profile(exchange, tmp_path, SampleRequest=SAMPLES)
    profile = structs.replace(profile, trust=structs.replace(profile.trust, directory=file))
    async with open_edge(profile) as edge:
        edge.composer._clock = ahead = ManualClock(edge.clock.now_ms() + 2 * day_ms)
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        assert outbound.take(request_file(), {}).records == 1
        (early,) = edge.spool.outgoing(10)
        # What the broker says of such a record: it was issued in the future.
        edge.spool.holds.hold(early.record_id, 0, ahead.value_ms)
        edge.composer._clock = edge.clock
        (settled,) = [each async for each in outbound.publishing()]
        assert isinstance(settled.result, EncryptionKeyNotInForce)
        (kept,) = found(outbound.folders.quarantine, "*.envelope")
        assert kept.read_bytes() == early.envelope
        assert edge.spool.outgoing(10) == []
        assert outbound.take(request_file("SYN-2"), {}).records == 1
        assert [type(result) for result in await outbound.publish_spooled()] == [Published]
