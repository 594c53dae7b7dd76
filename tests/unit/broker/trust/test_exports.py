"""What our own check of an export demands. tests/integration/test_exports.py compares it with other programs."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from broker.core.dsse import DsseEnvelope, DsseSignature
from broker.core.envelope import BODY_TYPE, DIRECTORY_TYPE, Envelope, Signature
from broker.core.errors import ExportInvalid, SignatureInvalid, SignerCertificateInvalid, TimestampInvalid
from broker.core.sigstore import NamedKey, SigstoreBundle, marshal_sigstore, parse_sigstore
from broker.core.strict import NotStrict
from broker.trust.certificates import der, fingerprint
from broker.trust.cms import DetachedSignature, marshal_cms, parse_cms
from broker.trust.exports import (
    SignedRecord,
    check_cms,
    check_dsse,
    check_sigstore,
    cms_of,
    dsse_of,
    sigstore_of,
    sigstore_root,
)
from broker.trust.timestamps import TimestampAuthority
from tests.support.tsa import OpensslTsa

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography import x509

    from tests.support.pki import SamplePki

BODY = b"a body of nobody"


@pytest.fixture(scope="module")
def record(pki: SamplePki) -> SignedRecord:
    return signed(pki)


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> OpensslTsa:
    return OpensslTsa.build(tmp_path_factory.mktemp("tsa") / "tsa")


def signed(pki: SamplePki, agency: str = "shanxi-police", body: bytes = BODY, kind: str = BODY_TYPE) -> SignedRecord:
    signer, unsigned = pki.signer(agency), Envelope(kind, body, (), ())
    signature = Signature(signer.certificate_sha256, signer.sign(unsigned.signed_bytes))
    authority = pki.authority("signing").certificate
    return SignedRecord(replace(unsigned, signatures=(signature,)), signer.certificate, authority, pki.now_ms + 1000)


def changed(document: bytes, change: Callable[[Any], object]) -> bytes:
    parsed = json.loads(document)
    change(parsed)
    return json.dumps(parsed).encode() + b"\n"


def test_a_signature_is_the_same_in_every_form(record: SignedRecord) -> None:
    found = parse_cms(cms_of(record))
    assert (found.value, found.certificate) == (record.signature, record.certificate)
    bundle = parse_sigstore(sigstore_of(record), record.envelope.signed_bytes)
    assert bundle == SigstoreBundle(record.signature, NamedKey(fingerprint(record.certificate).hex()))
    document = DsseEnvelope.from_json(json.loads(dsse_of(record)))
    expected = DsseSignature(fingerprint(record.certificate).hex(), record.signature)
    assert document == DsseEnvelope(BODY_TYPE, BODY, (expected,))


def test_each_form_holds(record: SignedRecord) -> None:
    check_cms(cms_of(record), record.envelope.signed_bytes, record.signer)
    check_sigstore(sigstore_of(record), record.envelope.signed_bytes, record.signer)
    assert check_dsse(dsse_of(record), record.signer) == BODY


def test_each_form_is_over_its_own_record(pki: SamplePki, record: SignedRecord) -> None:
    other = signed(pki, body=b"another body")
    with pytest.raises(SignatureInvalid):
        check_cms(cms_of(record), other.envelope.signed_bytes, record.signer)
    with pytest.raises(ExportInvalid):
        check_sigstore(sigstore_of(record), other.envelope.signed_bytes, record.signer)
    forged = sigstore_of(SignedRecord(other.envelope, *record[1:])._replace(envelope=_with(other, record.signature)))
    with pytest.raises(SignatureInvalid):
        check_sigstore(forged, other.envelope.signed_bytes, record.signer)
    with pytest.raises(SignatureInvalid):
        check_dsse(dsse_of(other._replace(envelope=_with(other, record.signature))), record.signer)


def _with(record: SignedRecord, signature: bytes) -> Envelope:
    return replace(record.envelope, signatures=(Signature(fingerprint(record.certificate), signature),))


def test_each_form_is_by_its_own_signer(pki: SamplePki, record: SignedRecord) -> None:
    other = signed(pki, "hebei-police").signer
    with pytest.raises(ExportInvalid, match="another signer"):
        check_cms(cms_of(record), record.envelope.signed_bytes, other)
    with pytest.raises(ExportInvalid, match="another key"):
        check_sigstore(sigstore_of(record), record.envelope.signed_bytes, other)
    with pytest.raises(ExportInvalid, match="the one signature of this signer"):
        check_dsse(dsse_of(record), other)


@pytest.mark.parametrize(("of", "seconds"), [("not_valid_before_utc", -1), ("not_valid_after_utc", 1)])
def test_each_form_counts_only_while_the_certificate_is_valid(record: SignedRecord, of: str, seconds: int) -> None:
    end_ms = round(getattr(record.certificate, of).timestamp() * 1000)
    message, within = record.envelope.signed_bytes, record.signer._replace(at_ms=end_ms)
    outside = record.signer._replace(at_ms=end_ms + seconds)
    check_cms(cms_of(record), message, within)
    for check in (
        lambda: check_cms(cms_of(record), message, outside),
        lambda: check_sigstore(sigstore_of(record), message, outside),
        lambda: check_dsse(dsse_of(record), outside),
    ):
        with pytest.raises(SignerCertificateInvalid, match="not valid at the time"):
            check()


def test_each_form_needs_a_certificate_of_the_authority(pki: SamplePki, record: SignedRecord) -> None:
    stranger = record.signer._replace(authority=pki.authority("tls").certificate)
    for check in (
        lambda: check_cms(cms_of(record), record.envelope.signed_bytes, stranger),
        lambda: check_sigstore(sigstore_of(record), record.envelope.signed_bytes, stranger),
        lambda: check_dsse(dsse_of(record), stranger),
    ):
        with pytest.raises(SignerCertificateInvalid, match="not issued by"):
            check()


def test_a_tls_certificate_of_the_agency_signs_no_record(pki: SamplePki, record: SignedRecord) -> None:
    tls = pki.tls_certificate()
    signer = record.signer._replace(certificate=tls, authority=pki.authority("tls").certificate)
    document = marshal_cms(DetachedSignature(record.signature, tls))
    with pytest.raises(SignerCertificateInvalid):
        check_cms(document, record.envelope.signed_bytes, signer)


@pytest.mark.parametrize("document", [b"", b"\x30\x00", b"no signature"])
def test_what_is_no_cms_is_said_to_be_none(document: bytes) -> None:
    with pytest.raises(ExportInvalid, match="with one signer"):
        parse_cms(document)


def test_cms_is_taken_byte_for_byte(record: SignedRecord) -> None:
    document = cms_of(record)
    with pytest.raises(ExportInvalid):
        parse_cms(document + b"\0")
    # The version of SignedData: nothing signs it.
    at = document.index(bytes.fromhex("020101310d"))
    with pytest.raises(ExportInvalid, match="byte for byte"):
        parse_cms(document[: at + 2] + b"\3" + document[at + 3 :])


def test_dsse_is_taken_byte_for_byte_and_only_of_a_record(pki: SamplePki, record: SignedRecord) -> None:
    with pytest.raises(ExportInvalid, match="byte for byte"):
        check_dsse(dsse_of(record) + b"\n", record.signer)
    for wrong in (
        changed(dsse_of(record), lambda document: document["signatures"].append(document["signatures"][0])),
        changed(dsse_of(record), lambda document: document["signatures"].clear()),
        dsse_of(signed(pki, kind=DIRECTORY_TYPE)),
    ):
        with pytest.raises(ExportInvalid, match="the one signature"):
            check_dsse(wrong, record.signer)
    for wrong in (b"{}", b"[]", b"no json", changed(dsse_of(record), lambda document: document.update(more=1))):
        with pytest.raises(ExportInvalid, match=r"not strict JSON|not a DSSE envelope"):
            check_dsse(wrong, record.signer)
    with pytest.raises(NotStrict):
        DsseEnvelope.from_json({"payloadType": "x", "payload": "", "signatures": [{"keyid": "", "sig": "", "more": 1}]})


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle: bundle.update(mediaType="application/vnd.dev.sigstore.bundle.v0.2+json"),
        lambda bundle: bundle.update(more=1),
        lambda bundle: bundle.pop("messageSignature"),
        lambda bundle: bundle.update(verificationMaterial=[]),
        lambda bundle: bundle["verificationMaterial"]["tlogEntries"].append({}),
        lambda bundle: bundle["messageSignature"]["messageDigest"].update(algorithm="SHA2_512"),
        lambda bundle: bundle["messageSignature"]["messageDigest"].update(digest=b64encode(bytes(32)).decode()),
        lambda bundle: bundle["messageSignature"].update(signature="no base64"),
    ],
    ids=["version", "key", "no signature", "material", "log", "algorithm", "digest", "base64"],
)
def test_a_sigstore_bundle_is_taken_byte_for_byte(record: SignedRecord, change: Callable[[Any], object]) -> None:
    with pytest.raises(ExportInvalid, match="not the sigstore bundle"):
        parse_sigstore(changed(sigstore_of(record), change), record.envelope.signed_bytes)


def test_a_sigstore_bundle_has_the_parts_that_its_format_names(record: SignedRecord) -> None:
    bundle = json.loads(sigstore_of(record, b"a timestamp"))
    assert bundle["mediaType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle["verificationMaterial"]["certificate"] == {"rawBytes": b64encode(der(record.certificate)).decode()}
    stamps = bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    assert stamps == [{"signedTimestamp": b64encode(b"a timestamp").decode()}]
    assert bundle["messageSignature"]["messageDigest"] == {
        "algorithm": "SHA2_256",
        "digest": b64encode(record.envelope.record_sha256).decode(),
    }


def test_a_timestamp_decides_about_the_time(record: SignedRecord, tsa: OpensslTsa) -> None:
    document, authority = sigstore_of(record, tsa.stamp(record.signature)), TimestampAuthority(tsa.chain)
    message = record.envelope.signed_bytes
    # The time of the record does not count then.
    check_sigstore(document, message, record.signer._replace(at_ms=0), authority)
    with pytest.raises(ExportInvalid, match="no authority is pinned"):
        check_sigstore(document, message, record.signer)
    with pytest.raises(TimestampInvalid):
        check_sigstore(sigstore_of(record, tsa.stamp(message)), message, record.signer, authority)


def test_a_timestamped_bundle_is_by_its_own_signer(pki: SamplePki, record: SignedRecord, tsa: OpensslTsa) -> None:
    other = signed(pki, "hebei-police")
    document = sigstore_of(record, tsa.stamp(record.signature))
    with pytest.raises(ExportInvalid, match="another key"):
        check_sigstore(document, record.envelope.signed_bytes, other.signer, TimestampAuthority(tsa.chain))


def test_a_trusted_root_lists_each_chain_with_the_time_in_which_all_of_it_is_valid(
    record: SignedRecord, tsa: OpensslTsa
) -> None:
    alone = json.loads(sigstore_root(record.authority))
    assert alone["mediaType"] == "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
    assert (alone["tlogs"], alone["ctlogs"], alone["timestampAuthorities"]) == ([], [], [])
    (authority,) = alone["certificateAuthorities"]
    assert authority == {
        "certChain": {"certificates": [{"rawBytes": b64encode(der(record.authority)).decode()}]},
        "validFor": {
            "start": _text(record.authority, "not_valid_before_utc"),
            "end": _text(record.authority, "not_valid_after_utc"),
        },
    }
    (stamper,) = json.loads(sigstore_root(record.authority, tsa.chain))["timestampAuthorities"]
    assert [item["rawBytes"] for item in stamper["certChain"]["certificates"]] == [
        b64encode(der(certificate)).decode() for certificate in (tsa.signer, tsa.root)
    ]
    # The signer's certificate begins later and ends earlier than that of its root.
    assert stamper["validFor"] == {
        "start": _text(tsa.signer, "not_valid_before_utc"),
        "end": _text(tsa.signer, "not_valid_after_utc"),
    }


def _text(certificate: x509.Certificate, end: str) -> str:
    return f"{getattr(certificate, end):%Y-%m-%dT%H:%M:%SZ}"


def test_two_bundles_of_one_record_are_the_same_bytes(record: SignedRecord) -> None:
    bundle = SigstoreBundle(record.signature, NamedKey("00"))
    assert marshal_sigstore(b"x", bundle) == marshal_sigstore(b"x", bundle)
    assert marshal_sigstore(b"x", bundle).endswith(b"}\n")
