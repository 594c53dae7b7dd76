"""What a revoked or ended key of the exchange signs counts for nobody: no receipt, no checkpoint, no bundle."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from broker.client.receipts import ReceiptVerifier
from broker.core.audit.findings import Severity
from broker.core.errors import ReceiptInvalid
from broker.core.logkeyends import EndedLogKey, LastPosition
from broker.core.receipt import portable_receipt
from broker.core.streams import StreamPartition
from broker.trust.certificates import der, load_certificates
from broker.trust.revocation import RevocationLists
from certs.operations import LIST_LIFETIME
from tests.support.bundles import LOG_ID, LyingExchange
from tests.support.fakes import FixedDirectory
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import RecordMaker

DNA_0 = StreamPartition("dna", 0)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture(scope="module")
def revoked(pki: SamplePki) -> RevocationLists:
    """Lists that say that the exchange's signing certificate is revoked."""
    authority = pki.authority("signing")
    (certificate,) = load_certificates(pki.folder.member("exchange") / "signing.pem")
    authority.revoke(certificate.serial_number, pki.now, "keyCompromise")
    listed = authority.revocation_list(pki.now, LIST_LIFETIME)
    return RevocationLists([listed.public_bytes(Encoding.DER)], [der(authority.certificate)], grace_ms=0)


def test_an_edge_takes_no_receipt_of_a_revoked_key(pki: SamplePki, revoked: RevocationLists) -> None:
    clock = ManualClock(pki.now_ms)
    exchange = LyingExchange(pki)
    signed = exchange.receipts(exchange.add(DNA_0, [RecordMaker(pki, clock).make()], clock.value_ms))
    assert signed is not None
    receipt, directory = portable_receipt(signed, 0), FixedDirectory(pki.directory)
    assert ReceiptVerifier(directory, pki.keyring()).verify(receipt).position.stream_partition == DNA_0
    with pytest.raises(ReceiptInvalid, match="revoked"):
        ReceiptVerifier(directory, pki.keyring(revocations=revoked)).verify(receipt)


def test_a_bundle_that_a_revoked_key_signed_is_nobodys(pki: SamplePki, revoked: RevocationLists) -> None:
    clock = ManualClock(pki.now_ms)
    found = []
    for lists in (None, revoked):
        exchange = LyingExchange(pki, keyring=pki.keyring(revocations=lists))
        exchange.add(DNA_0, [RecordMaker(pki, clock).make()], clock.value_ms)
        report = exchange.audit()
        found.append({item.code for item in report.findings if item.severity is Severity.ERROR})
    assert found == [set(), {"RECEIPT_INVALID", "BUNDLE_ALTERED"}]


def test_a_checkpoint_beyond_the_end_of_its_log_key_makes_a_bundle_worthless(pki: SamplePki) -> None:
    clock = ManualClock(pki.now_ms)
    maker = RecordMaker(pki, clock)
    envelopes = [maker.make() for _ in range(3)]
    codes = []
    for size in (3, 2):
        ended = EndedLogKey(pki.note_signer.vkey, pki.now_ms, (LastPosition(DNA_0, LOG_ID, size, size),))
        exchange = LyingExchange(pki, replace(pki.directory, ended_log_keys=(ended,)), pki.keyring())
        exchange.add(DNA_0, envelopes, clock.value_ms)
        report = exchange.audit()
        codes.append([item.code for item in report.findings if item.severity is Severity.ERROR])
    # Two records are all that the key may speak of. Its thief added one.
    assert codes[0] == []
    assert codes[1][0] == "CHECKPOINT_INVALID"
