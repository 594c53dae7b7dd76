from __future__ import annotations

import hashlib
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from broker.core.errors import CertificateInvalid, PeerIdentityMissing, SignerCertificateInvalid
from broker.core.identity import Principal
from broker.trust.certificates import (
    DOCUMENT_SIGNING,
    MAX_CERTIFICATE_FILE_BYTES,
    der,
    fingerprint,
    load_certificates,
    p256_public_key,
    parse_certificate,
    principal_of,
    signing_validity,
    validity,
)
from certs import profiles
from certs.authority import Authority
from tests.support.pki import Credential, SamplePki, milliseconds

if TYPE_CHECKING:
    from pathlib import Path

SHANXI_GATEWAY = "spiffe://case-exchange.example/agency/shanxi-police/gateway"


def check(pki: SamplePki, credential: Credential) -> None:
    signing_validity(credential.certificate, [pki.authority("signing").certificate])


def test_the_one_uri_name_is_the_principal_and_dns_names_beside_it_are_not(pki: SamplePki) -> None:
    credential = pki.credential(profiles.TLS_SERVER, agency="exchange", system="broker")
    assert principal_of(credential.certificate) == Principal("case-exchange.example", "exchange", "broker")


@pytest.mark.filterwarnings("ignore")  # the library warns of what it still accepts
def test_a_certificate_of_which_any_bit_was_flipped_is_read_or_refused_by_name(pki: SamplePki) -> None:
    good = pki.credential(profiles.SIGNING).der
    for at in range(len(good)):
        for bit in range(8):
            try:
                parse_certificate(good[:at] + bytes([good[at] ^ (1 << bit)]) + good[at + 1 :])
            except CertificateInvalid:
                continue


@pytest.mark.parametrize(
    "uris",
    [
        (),
        (SHANXI_GATEWAY, SHANXI_GATEWAY.replace("shanxi", "hebei")),
        (SHANXI_GATEWAY, SHANXI_GATEWAY),
        ("https://case-exchange.example/agency/shanxi-police/gateway",),
        (SHANXI_GATEWAY + "/more",),
    ],
)
def test_a_certificate_without_exactly_one_name_of_the_right_form_names_nobody(
    pki: SamplePki, uris: tuple[str, ...]
) -> None:
    with pytest.raises(PeerIdentityMissing):
        principal_of(pki.with_uris(*uris).certificate)


def test_a_certificate_without_alternative_names_names_nobody(pki: SamplePki) -> None:
    with pytest.raises(PeerIdentityMissing, match="no subject alternative name"):
        principal_of(pki.authority("tls").certificate)


def test_the_fingerprint_is_the_sha256_of_the_bytes(pki: SamplePki) -> None:
    credential = pki.credential()
    assert fingerprint(credential.certificate) == hashlib.sha256(credential.der).digest()


def test_a_signing_certificate_is_usable_where_its_own_period_and_its_authority_s_overlap(pki: SamplePki) -> None:
    credential, authority = pki.credential(), pki.authority("signing").certificate
    usable = signing_validity(credential.certificate, [authority])
    assert usable == validity(credential.certificate)
    assert usable.first_ms == milliseconds(credential.certificate.not_valid_before_utc)
    assert usable.last_ms == milliseconds(credential.certificate.not_valid_after_utc)
    outliving = pki.credential(lifetime=profiles.AUTHORITY_LIFETIME + timedelta(days=1))
    assert signing_validity(outliving.certificate, [authority]).last_ms == validity(authority).last_ms


def test_a_certificate_that_precedes_its_authority_altogether_is_refused(pki: SamplePki) -> None:
    early = pki.credential(issued=pki.now - timedelta(days=9), lifetime=timedelta(days=1))
    with pytest.raises(SignerCertificateInvalid, match="never valid"):
        check(pki, early)


def test_a_certificate_that_ends_when_its_authority_begins_is_valid_for_that_moment(pki: SamplePki) -> None:
    begin = validity(pki.authority("signing").certificate).first_ms
    ending = pki.now + timedelta(milliseconds=begin - pki.now_ms)
    early = pki.credential(issued=ending - timedelta(days=1), lifetime=timedelta(days=1))
    usable = signing_validity(early.certificate, [pki.authority("signing").certificate])
    assert usable == (begin, begin)


def test_a_certificate_is_validated_at_the_same_time_wherever_the_machine_stands(
    pki: SamplePki, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        check(pki, pki.credential(lifetime=timedelta(hours=1)))
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_tls_certificate_is_never_a_signing_certificate(pki: SamplePki) -> None:
    tls = pki.credential(profiles.TLS_CLIENT)
    with pytest.raises(SignerCertificateInvalid, match="not issued by a signing authority"):
        check(pki, tls)
    for usage in (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH):
        for usages in ([usage], [DOCUMENT_SIGNING, usage], [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]):
            with pytest.raises(SignerCertificateInvalid, match="not a signing certificate"):
                check(pki, pki.with_extensions(x509.ExtendedKeyUsage(usages)))


def test_a_signing_certificate_without_extended_key_usage_is_accepted(pki: SamplePki) -> None:
    good = pki.credential()
    builder = (
        x509.CertificateBuilder()
        .subject_name(good.certificate.subject)
        .public_key(good.key.public_key())
        .serial_number(1)
        .not_valid_before(good.certificate.not_valid_before_utc)
        .not_valid_after(good.certificate.not_valid_after_utc)
    )
    for extension in good.certificate.extensions:
        if not isinstance(extension.value, x509.ExtendedKeyUsage | x509.AuthorityKeyIdentifier):
            builder = builder.add_extension(extension.value, critical=extension.critical)
    check(pki, Credential(good.key, pki.authority("signing").sign(builder)))


def test_an_authority_of_the_same_name_with_another_key_is_another_authority(pki: SamplePki) -> None:
    with pytest.raises(SignerCertificateInvalid, match="not issued by"):
        check(pki, pki.of_another_authority())


def test_of_two_authorities_of_one_name_the_one_that_signed_is_found(pki: SamplePki) -> None:
    ours = pki.authority("signing").certificate
    other = Authority.create("case-exchange development signing authority", pki.now).certificate
    assert other.subject == ours.subject
    signing_validity(pki.credential().certificate, [pki.authority("tls").certificate, other, ours])


def test_an_authority_s_certificate_signs_no_record(pki: SamplePki) -> None:
    flags = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    nothing_else = dict.fromkeys((*flags, "encipher_only", "decipher_only"), False)
    for signs, certifies, revokes in ((True, True, False), (True, False, True), (False, False, False)):
        usage = x509.KeyUsage(digital_signature=signs, key_cert_sign=certifies, crl_sign=revokes, **nothing_else)
        with pytest.raises(SignerCertificateInvalid, match="key usage"):
            check(pki, pki.with_extensions(usage, critical=True))
    with pytest.raises(SignerCertificateInvalid, match="authority's certificate"):
        check(pki, pki.with_extensions(x509.BasicConstraints(ca=True, path_length=None), critical=True))


def test_an_unknown_critical_extension_is_refused(pki: SamplePki) -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    with pytest.raises(SignerCertificateInvalid, match="unaccounted-for critical") as caught:
        check(pki, pki.with_extensions(unknown, critical=True))
    assert "subject" not in caught.value.message
    check(pki, pki.with_extensions(unknown))


def test_only_p256_keys_sign(pki: SamplePki) -> None:
    other_curve = pki.credential(key=ec.generate_private_key(ec.SECP384R1()))
    with pytest.raises(CertificateInvalid, match="not on P-256"):
        p256_public_key(other_curve.certificate)


def test_a_flipped_byte_in_a_certificate_is_refused(pki: SamplePki) -> None:
    credential = pki.credential()
    tbs = credential.certificate.tbs_certificate_bytes
    at = credential.der.index(tbs) + tbs.index(b"shanxi-police/gateway")
    mutant = bytearray(credential.der)
    mutant[at] ^= 1
    with pytest.raises(SignerCertificateInvalid):
        check(pki, Credential(credential.key, parse_certificate(bytes(mutant))))


def test_what_is_not_a_certificate_is_refused(pki: SamplePki, tmp_path: Path) -> None:
    for data in (b"", b"-----BEGIN CERTIFICATE-----\n", pki.credential().der[:-1], pki.credential().der + b"\0"):
        with pytest.raises(CertificateInvalid):
            parse_certificate(data)
        path = tmp_path / "a.pem"
        path.write_bytes(data)
        with pytest.raises(CertificateInvalid, match=r"a\.pem"):
            load_certificates(path)
    with pytest.raises(CertificateInvalid, match=r"missing\.pem"):
        load_certificates(tmp_path / "missing.pem")


def test_of_a_certificate_file_no_more_is_read_than_its_bound(pki: SamplePki, tmp_path: Path) -> None:
    path, _ = pki.credential().write(tmp_path, "leaf")
    pem = path.read_bytes()
    path.write_bytes(b"\n" + pem)
    (certificate,) = load_certificates(path)
    path.write_bytes(der(certificate))
    assert load_certificates(path) == (certificate,)
    assert parse_certificate(pem) == parse_certificate(der(certificate)) == certificate
    path.write_bytes(b"\n" * MAX_CERTIFICATE_FILE_BYTES + pem)
    with pytest.raises(CertificateInvalid, match=r"leaf\.pem cannot be read"):
        load_certificates(path)


def test_a_file_may_hold_a_chain_and_the_first_is_the_leaf(pki: SamplePki, tmp_path: Path) -> None:
    path = tmp_path / "chain.pem"
    leaf, above = pki.tls_paths("exchange")[0].read_bytes(), (pki.folder.trust / "tls-ca.pem").read_bytes()
    path.write_bytes(leaf + above)
    certificates = load_certificates(path)
    assert len(certificates) == 2
    assert certificates[0] == pki.tls_certificate("exchange")
    assert milliseconds(certificates[0].not_valid_after_utc) == validity(certificates[0]).last_ms


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        # The library reads these two only when they are used.
        pytest.param(bytes.fromhex("0603551d11"), bytes.fromhex("0603551d0f"), id="an extension twice"),
        pytest.param(bytes.fromhex("03420004"), bytes.fromhex("03420005"), id="a key that is no point"),
    ],
)
def test_a_certificate_is_read_throughout_before_it_is_taken(pki: SamplePki, part: bytes, instead: bytes) -> None:
    good = pki.credential().der
    assert good.count(part) == 1
    with pytest.raises(CertificateInvalid, match="cannot be read"):
        parse_certificate(good.replace(part, instead))
