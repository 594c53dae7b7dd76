"""How a recipient judges a record when the directory changes between its acceptance and its delivery."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.client.composing import SectionDraft
from broker.client.publisher import came_before
from broker.client.verifying import InForce, RecordVerifier
from broker.core.envelope import Signature
from broker.core.errors import (
    DirectoryVersionMissing,
    FormerReceiptInvalid,
    RightDenied,
    SectionNotAllowed,
    SignerCertificateInvalid,
)
from broker.core.policy import RetiredCertificate
from broker.core.receipt import ReceiptStatement, SignedReceipts, portable_receipt, receipts_message
from broker.core.streams import Position
from certs.rights import LAB
from tests.support.bundles import without_right
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from broker.client.verifying import VerifiedRecord
    from broker.core.envelope import Envelope
    from broker.core.policy import Directory

SECTIONS = [SectionDraft("case", "synthetic", b"synthetic"), SectionDraft("sample", "synthetic", b"synthetic")]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture(scope="module")
def record(pki: SamplePki) -> Envelope:
    return RecordMaker(pki, ManualClock(pki.now_ms)).make(sections=SECTIONS)


def only_the_case(directory: Directory) -> Directory:
    """The directory in which the laboratory may have one section less."""
    lab = directory.agencies[LAB]
    right = replace(lab.receive["SampleRequest"], sections=frozenset({"case"}))
    lab = replace(lab, receive={**lab.receive, "SampleRequest": right})
    return replace(directory, agencies={**directory.agencies, LAB: lab})


def verified(pki: SamplePki, record: Envelope, accepted: list[Directory], delivered: list[Directory]) -> VerifiedRecord:
    in_force = InForce(list(map(pki.version, accepted)), list(map(pki.version, delivered)))
    return RecordVerifier(LAB, CODEC).verify(record, pki.now_ms + 1000, in_force)


def test_a_right_counts_by_the_directory_of_the_acceptance_not_of_the_delivery(
    pki: SamplePki, record: Envelope
) -> None:
    without = without_right(pki.directory, "shanxi-police", "SampleRequest")
    assert verified(pki, record, [pki.directory], [without]).withheld_sections == ()
    with pytest.raises(RightDenied):
        verified(pki, record, [without], [pki.directory])


def test_near_a_change_either_directory_may_allow(pki: SamplePki, record: Envelope) -> None:
    without = without_right(pki.directory, "shanxi-police", "SampleRequest")
    assert verified(pki, record, [without, pki.directory], [pki.directory]).withheld_sections == ()


def test_a_section_counts_by_either_for_the_broker_looks_again_before_it_delivers(
    pki: SamplePki, record: Envelope
) -> None:
    narrow = only_the_case(pki.directory)
    assert set(verified(pki, record, [pki.directory], [narrow]).sections) == {"case", "sample"}
    assert set(verified(pki, record, [narrow], [pki.directory]).sections) == {"case", "sample"}
    with pytest.raises(SectionNotAllowed):
        verified(pki, record, [narrow], [narrow])
    copy = record.with_sections(frozenset({"case"}))
    assert verified(pki, copy, [narrow], [narrow]).withheld_sections == ("sample",)


def test_what_came_again_counts_by_the_directory_and_the_certificate_of_its_former_receipt(
    pki: SamplePki, record: Envelope
) -> None:
    body, signer = CODEC.parse_body(record.body), pki.signer("exchange")
    place = (Position("dna", 0, 7), "f" * 32, 0, pki.now_ms + 1000, body.publisher)
    statements = (CODEC.encode_statement(ReceiptStatement(body.record_id, record.record_sha256, *place)),)
    signature = Signature(signer.certificate_sha256, signer.sign(receipts_message(statements)))
    again = came_before(record, portable_receipt(SignedReceipts(statements, signature), 0))
    # A minute later the signer's certificate has ended, and the right is gone.
    later_ms = pki.now_ms + 60_000
    police = pki.directory.agencies["shanxi-police"]
    retired = RetiredCertificate(police.signing_certificates[0], pki.now_ms + 2000)
    police = replace(police, signing_certificates=(), retired_certificates=(retired,), publish={})
    now = replace(pki.directory, version=9, agencies={**pki.directory.agencies, "shanxi-police": police})
    verifier = RecordVerifier(LAB, CODEC)
    in_force = InForce([pki.version(now)], [pki.version()], [pki.version()])
    assert set(verifier.verify(again, later_ms, in_force).sections) == {"case", "sample"}
    with pytest.raises(RightDenied):
        verifier.verify(again, later_ms, in_force._replace(former=[]))
    with pytest.raises(SignerCertificateInvalid):
        verifier.verify(record, later_ms, in_force)
    with pytest.raises(FormerReceiptInvalid):
        verifier.verify(record.with_former_receipt(b"none"), pki.now_ms + 1000, in_force)


def test_without_a_directory_to_judge_by_there_is_no_verdict(pki: SamplePki, record: Envelope) -> None:
    with pytest.raises(DirectoryVersionMissing):
        verified(pki, record, [], [pki.directory])
