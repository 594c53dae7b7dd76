"""A former receipt counts only if the exchange gave it for these very bytes, with a key that is good."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from broker.core.envelope import Signature
from broker.core.errors import CaseExchangeError, DirectoryVersionMissing, FormerReceiptInvalid, RevocationUnavailable
from broker.core.former import MAX_RECEIPT_BYTES, check_former, stated
from broker.core.inforce import DirectoryVersion
from broker.core.policy import RetiredCertificate
from broker.core.receipt import Receipt, ReceiptStatement, SignedReceipts, portable_receipt, receipts_message
from broker.core.streams import Position
from broker.wire.receipts import receipt_bytes
from tests.support.pki import ManualClock, SamplePki, milliseconds
from tests.support.records import CODEC, RecordMaker

if TYPE_CHECKING:
    from broker.core.envelope import Envelope
    from broker.ports import Signer

EXCHANGE = "exchange"
DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture(scope="module")
def record(pki: SamplePki) -> Envelope:
    return RecordMaker(pki, ManualClock(pki.now_ms)).make()


def statement(record: Envelope, at_ms: int) -> ReceiptStatement:
    body = CODEC.parse_body(record.body)
    position = Position("dna", 0, 7)
    return ReceiptStatement(body.record_id, record.record_sha256, position, "f" * 32, 0, at_ms, body.publisher)


def receipt(signer: Signer, *statements: ReceiptStatement) -> Receipt:
    """The receipt of the first statement."""
    encoded = tuple(map(CODEC.encode_statement, statements))
    signature = Signature(signer.certificate_sha256, signer.sign(receipts_message(encoded)))
    return portable_receipt(SignedReceipts(encoded, signature), 0)


def check(
    record: Envelope, version: DirectoryVersion, former: Receipt | bytes, again_ms: int
) -> ReceiptStatement | CaseExchangeError:
    data = former if isinstance(former, bytes) else receipt_bytes(former)
    body = CODEC.parse_body(record.body)
    try:
        return check_former(record.with_former_receipt(data), body, CODEC, [version], again_ms)
    except CaseExchangeError as error:
        return error


def test_a_receipt_of_the_exchange_for_these_bytes_counts_alone_and_among_others(
    pki: SamplePki, record: Envelope
) -> None:
    said, signer = statement(record, pki.now_ms), pki.signer(EXCHANGE)
    others = [said._replace(accepted_at_ms=pki.now_ms + each) for each in range(1, 6)]
    for former in (receipt(signer, said), receipt(signer, said, *others)):
        assert check(record, pki.version(), former, pki.now_ms + DAY_MS) == said
        assert stated(record.with_former_receipt(receipt_bytes(former)), CODEC) == said


def test_the_former_receipt_travels_with_every_copy(record: Envelope) -> None:
    again = record.with_former_receipt(b"receipt")
    copies = (again, again.with_sections(frozenset()), CODEC.decode_envelope(CODEC.encode_envelope(again)))
    assert [copy.former_receipt for copy in copies] == [b"receipt"] * 3
    assert {copy.record_sha256 for copy in copies} == {record.record_sha256}
    assert CODEC.encode_envelope(again.with_former_receipt(b"")) == CODEC.encode_envelope(record)


def test_a_receipt_says_nothing_of_another_record(pki: SamplePki, record: Envelope) -> None:
    said = statement(record, pki.now_ms)
    for other in (
        said._replace(record_sha256=bytes(32)),
        said._replace(record_id="01990000-0000-7000-8000-000000000009"),
        said._replace(publisher="hebei-police"),
    ):
        refused = check(record, pki.version(), receipt(pki.signer(EXCHANGE), other), pki.now_ms)
        assert isinstance(refused, FormerReceiptInvalid)
        assert "another record" in refused.message
        assert refused.details == {"record_id": said.record_id}


def test_only_the_exchange_gives_receipts(pki: SamplePki, record: Envelope) -> None:
    said = statement(record, pki.now_ms)
    good = receipt(pki.signer(EXCHANGE), said)
    later = CODEC.encode_statement(said._replace(accepted_at_ms=said.accepted_at_ms - 1))
    forged: dict[str, Receipt | bytes] = {
        "not the exchange": receipt(pki.signer("shanxi-police"), said),
        "does not list": receipt(pki.credential(agency=EXCHANGE).signer, said),
        "not by this key": replace(good, statement=later),
        "not well formed": replace(good, leaf_count=2),
        "cannot be read": b"\xff",
        "than a receipt": receipt_bytes(good) + b"\x7a\x06hidden",
        "larger than": bytes(MAX_RECEIPT_BYTES + 1),
        ": the receipt cannot be read": bytes(MAX_RECEIPT_BYTES),
    }
    for reason, former in forged.items():
        refused = check(record, pki.version(), former, pki.now_ms)
        assert isinstance(refused, FormerReceiptInvalid)
        assert reason in refused.message
        # What cannot be read names no record.
        assert refused.details == ({} if isinstance(former, bytes) else {"record_id": said.record_id})
    assert check(record, pki.version(), good, pki.now_ms) == said


def test_a_key_of_the_exchange_counts_up_to_its_end(pki: SamplePki, record: Envelope) -> None:
    own = pki.signer(EXCHANGE)
    end_ms = pki.now_ms + DAY_MS
    former = replace(
        pki.directory.agencies[EXCHANGE],
        signing_certificates=(),
        retired_certificates=(RetiredCertificate(pki.directory.agencies[EXCHANGE].signing_certificates[0], end_ms),),
    )
    retired = pki.version(replace(pki.directory, agencies={**pki.directory.agencies, EXCHANGE: former}))
    said = statement(record, end_ms - 1)
    assert check(record, retired, receipt(own, said), end_ms + DAY_MS) == said
    late = receipt(own, said._replace(accepted_at_ms=end_ms))
    assert isinstance(check(record, retired, late, end_ms + DAY_MS), FormerReceiptInvalid)
    # Its certificate's own end, and its beginning: what it signs may be older than it.
    short = pki.credential(agency=EXCHANGE, lifetime=timedelta(hours=1))
    version = pki.version(pki.directory_with(EXCHANGE, [short.der]))
    last_ms = milliseconds(short.certificate.not_valid_after_utc)
    for at_ms in (last_ms, milliseconds(short.certificate.not_valid_before_utc) - DAY_MS):
        said = statement(record, at_ms)
        assert check(record, version, receipt(short.signer, said), pki.now_ms + DAY_MS) == said
    late = receipt(short.signer, statement(record, last_ms + 1))
    assert isinstance(check(record, version, late, pki.now_ms + DAY_MS), FormerReceiptInvalid)


def test_whoever_has_a_revoked_key_of_the_exchange_can_bring_nothing_back(pki: SamplePki, record: Envelope) -> None:
    revoked_ms = pki.now_ms + 3_600_000
    stolen, lists = pki.revoked_from(pki.now + timedelta(hours=1), agency=EXCHANGE)
    directory = pki.directory_with(EXCHANGE, [stolen.der])
    version = DirectoryVersion(0, directory, pki.keyring(directory, lists))
    said = statement(record, pki.now_ms)
    former = receipt(stolen.signer, said)
    # It says a time before the revocation, and so could the thief.
    assert isinstance(check(record, version, former, revoked_ms), FormerReceiptInvalid)
    assert check(record, version, former, revoked_ms - 1) == said
    # A list that is too old to say.
    assert isinstance(check(record, version, former, pki.now_ms + 10 * 365 * DAY_MS), RevocationUnavailable)


def test_without_a_directory_version_there_is_no_verdict(pki: SamplePki, record: Envelope) -> None:
    former = receipt_bytes(receipt(pki.signer(EXCHANGE), statement(record, pki.now_ms)))
    with pytest.raises(DirectoryVersionMissing):
        check_former(record.with_former_receipt(former), CODEC.parse_body(record.body), CODEC, [], pki.now_ms)
