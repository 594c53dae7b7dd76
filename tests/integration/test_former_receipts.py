"""What the log has lost comes back with its former receipt, also if it has expired since, or its certificate ended."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.edge.restoring import former_positions, spool_missing
from adapters.gateway.inbound import Inbound
from adapters.gateway.outbound import Outbound
from broker.cli.verify import verify
from broker.client.checkpoints import find_missing
from broker.client.composing import Draft
from broker.client.publisher import Published, Publisher, came_before
from broker.client.receipts import ReceiptVerifier
from broker.client.subscriber import SubscribeOptions
from broker.core.audit.findings import Severity
from broker.core.body import Recipient
from broker.core.envelope import Envelope, Signature
from broker.core.errors import (
    BodyTypeUnsupported,
    CaseExchangeError,
    FormerReceiptInvalid,
    RecordExpired,
    SignerCertificateInvalid,
    SignerUnknown,
)
from broker.core.former import MAX_RECEIPT_BYTES
from broker.core.policy import RetiredCertificate
from broker.core.receipt import SignedReceipts, portable_receipt, receipts_message
from broker.trust.keystatements import state_key
from broker.wire.receipts import receipt_bytes
from certs.rights import TRUST_DOMAIN
from tests.integration.test_agency import request, running
from tests.integration.test_edge import sample_section, until
from tests.integration.test_rolled_back_log import Copies, receiving, seen_by
from tests.support.exchange import running_exchange
from tests.support.fakes import FixedDirectory
from tests.support.gateways import lab_profile, police_profile
from tests.support.kafkaexchange import OnKafka
from tests.support.pki import SamplePki
from tests.support.records import CASE, CODEC, OTHER_CASE
from tests.support.replays import covered, replayed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from broker.core.receipt import Receipt, ReceiptStatement
    from broker.core.streams import Position
    from broker.ports import Signer
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.exchange import Exchange
    from tests.support.replays import Bundle

POLICE = "shanxi-police"
SHORT_MS = 10_000
"""How long the record that expires is good. Only its first publishing has to be within this time."""


def record(exchange: Exchange, number: int, case: str, expires_at_ms: int | None = None) -> tuple[str, Envelope]:
    draft = Draft(
        "SampleRequest",
        "dna",
        case,
        (Recipient("national-dna-database", number),),
        "dna-matching",
        (sample_section(f"SYN-{number}"),),
        expires_at_ms=expires_at_ms,
    )
    composed = exchange.maker().composer.compose(draft)
    return composed.body.record_id, composed.envelope


async def publish_with_an_edge(
    exchange: Exchange, folder: Path, *records: tuple[str, str, Envelope]
) -> list[Published]:
    """Put records into the spool of the police's gateway, and send what is there."""
    profile, routes = police_profile(exchange, folder)
    async with open_edge(profile) as edge:
        with edge.spool.transaction():
            for record_id, case, envelope in records:
                edge.spool.add_outgoing(record_id, case, CODEC.encode_envelope(envelope))
        results = await Outbound(edge, profile.gateway, routes, Limits()).publish_spooled()
        published = [result for result in results if isinstance(result, Published)]
        assert len(published) == len(results) == len(records)
        return published


def replace_certificate(pki: SamplePki, at_ms: int, *, retired: bool) -> None:
    """Governance replaces the police's signing certificate: the former one ended at this time, or is listed no more."""
    police = pki.directory.agencies[POLICE]
    former = (RetiredCertificate(police.signing_certificates[0], at_ms),) if retired else ()
    fresh, now_ms = pki.credential(), pki.now_ms
    # It states its encryption keys again: what the former one signed counts as long as that is listed.
    stated = tuple(state_key(key, TRUST_DOMAIN, now_ms, fresh.signer) for key in police.encryption_keys)
    changed = replace(police, signing_certificates=(fresh.der,), retired_certificates=former, encryption_keys=stated)
    newer = replace(pki.directory, version=2, agencies={**pki.directory.agencies, POLICE: changed})
    pki.folder.directory.write_bytes(pki.sign(newer))


async def passed(exchange: Exchange, at_ms: int) -> None:
    """Wait until the record has expired."""
    async with asyncio.timeout(60):
        while exchange.clock.now_ms() <= at_ms:  # noqa: ASYNC110 - a clock has no event to wait on
            await asyncio.sleep(0.05)


async def refusal(publisher: Publisher, envelope: Envelope, former: Receipt | None = None) -> CaseExchangeError:
    with pytest.raises(CaseExchangeError) as refused:
        await publisher.publish(envelope, former_receipt=former)
    return refused.value


def check_named(bundle: Bundle, again: Sequence[ReceiptStatement], positions: Mapping[str, Position]) -> None:
    """Verify finds nothing wrong, and names what came again, with its former position."""
    report = bundle.report()
    assert [finding for finding in report.findings if finding.severity is Severity.ERROR] == []
    assert {(each.record_id, each.position, each.former_position) for each in report.republished} == {
        (each.record_id, each.position, positions[each.record_id]) for each in again
    }
    command = [str(bundle.path), "--root", str(bundle.root)]
    done = CliRunner().invoke(verify, command)
    assert done.exit_code == 0
    for each in again:
        assert f"published again: record {each.record_id} at {each.position}" in done.output
    done = CliRunner().invoke(verify, [*command, "--json"])
    named = {each["record_id"]: each["former_position"] for each in json.loads(done.output)["republished"]}
    assert named == {record_id: str(position) for record_id, position in positions.items()}


@pytest.mark.parametrize("retired", [True, False])
async def test_what_expired_and_whose_certificate_ended_comes_back_is_delivered_and_named(
    tmp_path: Path, *, retired: bool
) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    copies = Copies(pki, tmp_path)
    async with copies.exchange():
        pass
    copies.take("old")
    async with copies.exchange() as exchange:
        # The first connection may take long on a busy machine.
        await (await exchange.publisher("hebei-police")).publish(exchange.maker("hebei-police").make())
        expires_at_ms = exchange.clock.now_ms() + SHORT_MS
        short_id, short = record(exchange, 1, CASE, expires_at_ms)
        long_id, long = record(exchange, 2, OTHER_CASE)
        lost = await publish_with_an_edge(exchange, tmp_path, (short_id, CASE, short), (long_id, OTHER_CASE, long))
        await covered(exchange)
        await passed(exchange, expires_at_ms)
        replace_certificate(pki, exchange.clock.now_ms(), retired=retired)
    copies.restore("old")
    await copies.declare(*seen_by(tmp_path), more=["--restored"])
    async with copies.exchange() as exchange:
        channel = await exchange.channel(POLICE)
        police = Publisher(channel, CODEC, exchange.receipts())
        assert isinstance(await refusal(police, long), SignerCertificateInvalid if retired else SignerUnknown)
        profile, routes = police_profile(exchange, tmp_path)
        async with open_edge(profile) as edge:
            former = {each.statement.record_id: edge.spool.receipt(each.statement.record_id) for each in lost}
            assert await spool_missing(edge) == 2
            results = await Outbound(edge, profile.gateway, routes, Limits()).publish_spooled()
            again = [result.statement for result in results if isinstance(result, Published)]
            assert [each.record_id for each in again] == [short_id, long_id]
            for each in again:
                # Both receipts are there.
                assert edge.spool.sent.former_receipts(each.record_id) == [former[each.record_id]]
                assert edge.spool.receipt(each.record_id) != former[each.record_id]
            positions = {each.statement.record_id: each.statement.position for each in lost}
            assert former_positions(edge, short_id) == [positions[short_id]]
            assert await spool_missing(edge) == 0
        # The log has them: a second time changes nothing.
        for statement, envelope, before in zip(again, (short, long), lost, strict=True):
            repeated = await police.publish(envelope, former_receipt=before.receipt())
            assert repeated.statement == CODEC.encode_statement(statement)
        # Their recipient takes them. If its directory does not list the certificate, it asks for the former version.
        lab = lab_profile(exchange, tmp_path)
        async with open_edge(lab) as edge:
            inbound = Inbound(edge, lab.gateway, Limits())
            async with receiving(inbound):
                await until(inbound.folders.outbox, "SampleRequest-*", 2)
            assert list(inbound.folders.quarantine.iterdir()) == []
        await covered(exchange)
        bundle = await replayed(exchange, tmp_path / "again.bundle")
        # A bundle that begins long after the former version of the directory needs it all the same.
        since = await replayed(exchange, tmp_path / "since.bundle", accepted_from_ms=again[0].accepted_at_ms)
    assert since.codes() == set()
    assert len(since.report().republished) == 2
    check_named(bundle, again, positions)


async def test_a_program_brings_back_what_the_log_has_lost_and_has_both_receipts(tmp_path: Path) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    copies = Copies(pki, tmp_path)
    async with copies.exchange():
        pass
    copies.take("old")
    async with copies.exchange() as exchange, running(exchange, tmp_path, POLICE, "samples") as police:
        accepted = await police.publish(request(), case="SYN-1")
        assert await police.publish_lost() == 0
        assert police.former_receipts(accepted.record_id) == []
    replace_certificate(pki, exchange.clock.now_ms(), retired=True)
    copies.restore("old")
    # The operator knows what its edges saw, if they saw anything.
    await copies.declare(*seen_by(tmp_path, "samples"), more=["--restored"])
    async with (
        copies.exchange() as exchange,
        running(exchange, tmp_path, POLICE, "samples") as police,
    ):
        assert await police.publish_lost() == 1
        while police.receipt(accepted.record_id) == accepted.receipt:  # noqa: ASYNC110 - a spool has no event to wait on
            await asyncio.sleep(0.02)
        assert (await police.status()).spooled == 0
        assert police.former_receipts(accepted.record_id) == [accepted.receipt]
        assert await police.publish_lost() == 0


def signed(signer: Signer, receipt: Receipt) -> Receipt:
    """The same statement, signed by somebody else."""
    signature = Signature(signer.certificate_sha256, signer.sign(receipts_message([receipt.statement])))
    return portable_receipt(SignedReceipts((receipt.statement,), signature), 0)


async def test_a_former_receipt_that_is_forged_foreign_or_of_another_record_brings_nothing_in(
    pki: SamplePki, tmp_path: Path
) -> None:
    """The second exchange has the same keys, and another log: it has lost everything."""
    async with running_exchange(pki, tmp_path / "first") as first:
        publisher = await first.publisher()
        expires_at_ms = first.clock.now_ms() + SHORT_MS
        record_id, envelope = record(first, 1, CASE, expires_at_ms)
        receipt = await publisher.publish(envelope)
        _, other = record(first, 2, CASE)
        of_another = await publisher.publish(other)
        await passed(first, expires_at_ms)
    async with running_exchange(pki, tmp_path / "second") as second:
        channel = await second.channel(POLICE)
        publisher = Publisher(channel, CODEC, ReceiptVerifier(FixedDirectory(pki.directory), pki.keyring()))
        assert isinstance(await refusal(publisher, envelope), RecordExpired)
        for false in (
            of_another,
            signed(pki.credential(agency="exchange").signer, receipt),
            signed(pki.signer("hebei-police"), receipt),
            replace(receipt, statement=receipt.statement[:-1]),
            replace(receipt, leaf_count=receipt.leaf_count + 1),
        ):
            assert isinstance(await refusal(publisher, envelope, false), FormerReceiptInvalid)
            async with publisher.stream() as stream:
                (result,) = await stream.publish([came_before(envelope, false)])
            assert isinstance(result, FormerReceiptInvalid)
        assert await find_missing(channel, [record_id]) == [record_id]
        # With its own it comes in, once.
        again = await publisher.publish(envelope, former_receipt=receipt)
        assert await find_missing(channel, [record_id]) == []
        assert (await publisher.publish(envelope, former_receipt=receipt)).statement == again.statement


async def test_what_is_larger_than_any_receipt_is_refused_before_the_record_is_looked_at(
    pki: SamplePki, tmp_path: Path
) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        channel = await exchange.channel(POLICE)
        # Nothing else in it is as it should be.
        envelope = Envelope("", b"", (), ()).with_former_receipt(bytes(MAX_RECEIPT_BYTES + 1))
        publisher = Publisher(channel, CODEC, ReceiptVerifier(FixedDirectory(pki.directory), pki.keyring()))
        with pytest.raises(FormerReceiptInvalid):
            await publisher.publish(envelope)
        async with publisher.stream() as stream:
            with pytest.raises(FormerReceiptInvalid):
                await stream.publish([record(exchange, 1, CASE)[1], envelope])
        # One byte less, and it waits for its checks, of which another is the first.
        smaller = envelope.with_former_receipt(bytes(MAX_RECEIPT_BYTES))
        assert isinstance(await refusal(publisher, smaller), BodyTypeUnsupported)


@pytest.mark.kafka
async def test_on_kafka_it_comes_in_once_for_all_brokers_and_an_auditor_finds_nothing_wrong(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path
) -> None:
    kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)
    async with running_exchange(pki, tmp_path / "first") as first:
        publisher = await first.publisher()
        expires_at_ms = first.clock.now_ms() + SHORT_MS
        _, envelope = record(first, 1, CASE, expires_at_ms)
        receipt = await publisher.publish(envelope)
        await passed(first, expires_at_ms)
    async with kafka.broker("one") as one, kafka.broker("two") as two:
        publishers = [await each.publisher() for each in (one, two)]
        assert isinstance(await refusal(publishers[0], envelope), RecordExpired)
        again = await publishers[0].publish(envelope, former_receipt=receipt)
        assert (await publishers[1].publish(envelope, former_receipt=receipt)).statement == again.statement
        options = SubscribeOptions("samples", frozenset({"SampleRequest"}))
        async with (await two.subscriber()).subscribe(options) as stream, asyncio.timeout(30):
            (delivered,) = await anext(aiter(stream))
            assert delivered.envelope.former_receipt == receipt_bytes(receipt)
            two.verify("national-dna-database", delivered)
            await stream.ack([delivered.delivery_id])
    assert await kafka.audited() == []
