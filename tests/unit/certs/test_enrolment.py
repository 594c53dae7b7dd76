"""An agency asks, an authority signs, and what lies in a key folder is renewed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from broker.core.errors import CertificateInvalid, KeyInvalid, RequestInvalid
from broker.core.identity import Principal
from broker.trust.certificates import load_certificates, pem, principal_of, server_names_of
from broker.trust.keys import load_signing_key
from broker.trust.requests import read_request
from broker.trust.signing import EcdsaSigner
from certs import enrolment
from certs.authority import Authority
from certs.enrolment import Order
from certs.kafka import keystore_of, node
from certs.profiles import KAFKA_NODE, SIGNING, SIGNING_ML_DSA_65, TLS_CLIENT, TLS_PEER, TLS_SERVER, profile_of
from certs.renewing import prepare
from tests.support.pki import SamplePki

if TYPE_CHECKING:
    from pathlib import Path

    from certs.profiles import Profile

GANSU = Principal("case-exchange.example", "gansu-police", "gateway")
AS_AGENCY = (TLS_CLIENT, SIGNING)


@pytest.fixture
def own(tmp_path: Path) -> SamplePki:
    """A PKI of the test's own, whose authorities remember what they sign."""
    return SamplePki.build(tmp_path / "pki")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The folder in which an agency makes its keys."""
    return tmp_path / "keys"


def order(request: Path, profiles: tuple[Profile, ...] = AS_AGENCY) -> Order:
    return Order(request, GANSU, profiles)


def enrolled(own: SamplePki, keys: Path, profile: Profile = TLS_CLIENT) -> Path:
    """A certificate of gansu-police in its folder."""
    return enrolment.sign(own.folder, order(enrolment.make(keys, profile, GANSU).request), own.now).path


def request_with(path: Path, *extensions: x509.ExtensionType, key: ec.EllipticCurvePrivateKey | None = None) -> Path:
    """A request with exactly these extensions."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    signed = builder.sign(key or ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    path.write_bytes(signed.public_bytes(Encoding.PEM))
    return path


def names(*uris: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])


USAGE = x509.ExtendedKeyUsage([*TLS_CLIENT.usages])


@pytest.mark.parametrize("profile", AS_AGENCY, ids=lambda profile: profile.name)
def test_a_request_becomes_a_certificate_of_the_key_that_stayed(own: SamplePki, keys: Path, profile: Profile) -> None:
    made = enrolment.make(keys, profile, GANSU)
    assert made.key.stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in made.request.read_bytes()
    signed = enrolment.sign(own.folder, order(made.request), own.now)
    EcdsaSigner.load(made.key, signed.path)
    assert (principal_of(signed.certificate), profile_of(signed.certificate)) == (GANSU, profile)
    assert signed.key_sha256 == made.key_sha256
    assert own.authority(profile.authority).certified(made.key_sha256) is not None


def test_a_server_s_certificate_has_exactly_the_names_that_both_say(own: SamplePki, keys: Path) -> None:
    wanted = ("broker.case-exchange.example", "192.0.2.7")
    made = enrolment.make(keys, TLS_PEER, GANSU, wanted)
    for said in (wanted[:1], (*wanted, "other.case-exchange.example"), ()):
        with pytest.raises(RequestInvalid, match="names the servers"):
            enrolment.check(own.folder, Order(made.request, GANSU, [TLS_PEER], said))
    signed = enrolment.sign(own.folder, Order(made.request, GANSU, [TLS_PEER], wanted), own.now)
    assert server_names_of(signed.certificate) == list(wanted)


def test_what_the_authority_was_not_asked_for_is_refused(own: SamplePki, keys: Path) -> None:
    request = enrolment.make(keys, TLS_CLIENT, GANSU).request
    for principal in (
        Principal("case-exchange.example", "shanxi-police", "gateway"),
        Principal("case-exchange.example", "gansu-police", "archive"),
        Principal("other.example", "gansu-police", "gateway"),
    ):
        with pytest.raises(RequestInvalid, match="not asked to sign"):
            enrolment.check(own.folder, Order(request, principal, AS_AGENCY))
    with pytest.raises(RequestInvalid, match="asks for tls-client, which you did not name"):
        enrolment.check(own.folder, order(request, (SIGNING,)))
    assert not request.with_suffix(".pem").exists()


def test_whoever_has_not_the_key_gets_no_certificate(own: SamplePki, keys: Path, tmp_path: Path) -> None:
    made = enrolment.make(keys, TLS_CLIENT, GANSU)
    asked = bytearray(x509.load_pem_x509_csr(made.request.read_bytes()).public_bytes(Encoding.DER))
    # Another key in the place of the one that signed.
    point = load_signing_key(made.key).public_key().public_numbers().x.to_bytes(32, "big")
    other = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    at = asked.index(point)
    asked[at : at + 64] = other.x.to_bytes(32, "big") + other.y.to_bytes(32, "big")
    stolen = tmp_path / "stolen.csr"
    stolen.write_bytes(asked)
    with pytest.raises(RequestInvalid, match="nobody has shown to have this key"):
        enrolment.check(own.folder, order(stolen))


def test_a_key_is_certified_once_and_for_one_purpose(own: SamplePki, keys: Path, tmp_path: Path) -> None:
    made = enrolment.make(keys, TLS_CLIENT, GANSU)
    enrolment.sign(own.folder, order(made.request), own.now)
    again = tmp_path / "again.csr"
    again.write_bytes(made.request.read_bytes())
    with pytest.raises(RequestInvalid, match="certified before"):
        enrolment.sign(own.folder, order(again), own.now)
    usages = x509.ExtendedKeyUsage([*SIGNING.usages])
    signing = request_with(tmp_path / "signing.csr", names(GANSU.spiffe_id), usages, key=load_signing_key(made.key))
    with pytest.raises(RequestInvalid, match=r"certified before, as serial number .*\(tls-client\)"):
        enrolment.sign(own.folder, order(signing), own.now)


@pytest.mark.parametrize(
    ("extensions", "match"),
    [
        ((names(GANSU.spiffe_id),), "something else than names and usages"),
        ((USAGE,), "something else than names and usages"),
        ((names(GANSU.spiffe_id), USAGE, x509.BasicConstraints(ca=True, path_length=0)), "something else"),
        ((names(GANSU.spiffe_id, "spiffe://case-exchange.example/agency/ministry/gateway"), USAGE), "exactly one"),
        ((names("https://case-exchange.example"), USAGE), "names no principal"),
        ((x509.SubjectAlternativeName([x509.DNSName("localhost")]), USAGE), "exactly one"),
        (
            (
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier(GANSU.spiffe_id), x509.RFC822Name("a@case-exchange.example")]
                ),
                USAGE,
            ),
            "exactly one",
        ),
        ((names(GANSU.spiffe_id), x509.ExtendedKeyUsage([*TLS_CLIENT.usages, *SIGNING.usages])), "no profile"),
    ],
)
def test_a_request_for_more_than_names_and_usages_is_refused(
    own: SamplePki, tmp_path: Path, extensions: tuple[x509.ExtensionType, ...], match: str
) -> None:
    path = request_with(tmp_path / "odd.csr", *extensions)
    with pytest.raises(RequestInvalid, match=match):
        enrolment.check(own.folder, order(path))


def test_a_key_of_another_kind_and_what_is_no_request_are_refused(own: SamplePki, tmp_path: Path) -> None:
    path = tmp_path / "odd.csr"
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    for data in (
        builder.sign(ed25519.Ed25519PrivateKey.generate(), None).public_bytes(Encoding.PEM),
        builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()).public_bytes(Encoding.DER),
    ):
        path.write_bytes(data)
        with pytest.raises(RequestInvalid, match="neither on P-256 nor of ML-DSA-65"):
            enrolment.check(own.folder, order(path))
    for data in (
        b"",
        b"-----BEGIN CERTIFICATE REQUEST-----",
        own.tls_paths("ministry")[0].read_bytes(),
        b"\0" * 70_000,
    ):
        path.write_bytes(data)
        with pytest.raises(RequestInvalid, match="cannot be read"):
            enrolment.check(own.folder, order(path))


def test_no_key_and_no_certificate_is_overwritten(own: SamplePki, keys: Path) -> None:
    made = enrolment.make(keys, TLS_CLIENT, GANSU)
    key = made.key.read_bytes()
    with pytest.raises(CertificateInvalid, match="certs renew"):
        enrolment.make(keys, TLS_CLIENT, GANSU)
    made.request.with_suffix(".pem").write_bytes(b"sample")
    with pytest.raises(CertificateInvalid, match="exists already"):
        enrolment.sign(own.folder, order(made.request), own.now)
    assert made.key.read_bytes() == key


def test_an_authority_signs_nothing_that_outlives_it(own: SamplePki, keys: Path) -> None:
    request = enrolment.make(keys, TLS_CLIENT, GANSU).request
    end = own.authority("tls").certificate.not_valid_after_utc
    for late, match in (
        (end - timedelta(days=3, hours=1), "3 days at most"),
        (end + timedelta(seconds=1), "has ended"),
    ):
        with pytest.raises(CertificateInvalid, match=match):
            enrolment.sign(own.folder, order(request), late)
    assert not request.with_suffix(".pem").exists()
    short = order(request)._replace(lifetime=timedelta(days=3))
    assert enrolment.sign(own.folder, short, end - timedelta(days=3, hours=1)).certificate.not_valid_after_utc < end


def test_nothing_is_prepared_before_two_thirds_of_the_life_are_over(own: SamplePki, keys: Path) -> None:
    certificate = enrolled(own, keys)
    life = timedelta(days=7) + timedelta(minutes=5)
    begins = own.now - timedelta(minutes=5)
    assert prepare(certificate, begins + life * 2 / 3 - timedelta(seconds=1)).requested is None
    assert sorted(path.name for path in keys.iterdir()) == ["tls.csr", "tls.key", "tls.pem"]
    prepared = prepare(certificate, begins + life * 2 / 3)
    assert prepared.requested is not None
    assert prepared.requested.request == keys / "tls.next.csr"
    key = prepared.requested.key.read_bytes()
    # It does nothing twice.
    assert prepare(certificate, own.now, early=True).requested == prepared.requested
    assert prepared.requested.key.read_bytes() == key


def test_what_is_laid_into_the_folder_takes_the_place_of_the_former_one(own: SamplePki, keys: Path) -> None:
    certificate = enrolled(own, keys)
    former = load_certificates(certificate)[0]
    asked = prepare(certificate, own.now, early=True).requested
    assert asked is not None
    signed = enrolment.sign(own.folder, order(asked.request), own.now)
    assert signed.path == keys / "tls.next.pem"
    assert "renewed until" in prepare(certificate, own.now).done
    assert load_certificates(certificate)[0] == signed.certificate != former
    EcdsaSigner.load(keys / "tls.key", certificate)
    assert sorted(path.name for path in keys.iterdir()) == ["tls.csr", "tls.key", "tls.pem"]


def test_a_signing_certificate_waits_until_the_directory_lists_it(own: SamplePki, keys: Path) -> None:
    certificate = enrolled(own, keys, SIGNING)
    former = certificate.read_bytes()
    asked = prepare(certificate, own.now, early=True).requested
    assert asked is not None
    enrolment.sign(own.folder, order(asked.request), own.now)
    assert "directory add-certificate" in prepare(certificate, own.now).next
    assert certificate.read_bytes() == former


def test_a_kafka_node_gets_its_keystore_too(own: SamplePki, keys: Path) -> None:
    names = ("kafka-1", "192.0.2.7")
    as_node = Order(enrolment.make(keys, KAFKA_NODE, node(1), names).request, node(1), [KAFKA_NODE], names)
    certificate = enrolment.sign(own.folder, as_node, own.now).path
    asked = prepare(certificate, own.now, early=True).requested
    assert asked is not None
    renewed = enrolment.sign(own.folder, as_node._replace(request=asked.request), own.now).certificate
    prepare(certificate, own.now)
    store = keystore_of(certificate).read_bytes()
    assert load_certificates(certificate)[0] == renewed
    assert store == (keys / "kafka.key").read_bytes() + certificate.read_bytes()
    assert keystore_of(certificate).stat().st_mode & 0o777 == 0o600


def test_what_does_not_belong_there_takes_nobody_s_place(own: SamplePki, keys: Path, tmp_path: Path) -> None:
    certificate = enrolled(own, keys)
    former = certificate.read_bytes(), (keys / "tls.key").read_bytes()
    asked = prepare(certificate, own.now, early=True).requested
    assert asked is not None
    laid = keys / "tls.next.pem"
    strangers = own.credential(TLS_CLIENT, agency="hebei-police", key=load_signing_key(asked.key))
    server = own.credential(TLS_SERVER, agency="gansu-police", key=load_signing_key(asked.key))
    for wrong, error, match in (
        (own.credential(TLS_CLIENT, agency="gansu-police"), KeyInvalid, r"tls\.next\.key is not the key of"),
        (strangers, CertificateInvalid, "same principal and usages"),
        (server, CertificateInvalid, "same principal and usages"),
    ):
        source, _ = wrong.write(tmp_path, "wrong")
        laid.write_bytes(source.read_bytes())
        with pytest.raises(error, match=match):
            prepare(certificate, own.now)
    laid.write_bytes(b"sample")
    with pytest.raises(CertificateInvalid, match="cannot be read"):
        prepare(certificate, own.now)
    assert (certificate.read_bytes(), (keys / "tls.key").read_bytes()) == former


def test_only_a_leaf_of_the_exchange_is_renewed(own: SamplePki) -> None:
    with pytest.raises(CertificateInvalid, match="no certificate of an agency or a broker"):
        prepare(own.folder.trust / "tls-ca.pem", own.now)


def waiting(own: SamplePki, keys: Path) -> tuple[Path, enrolment.Requested]:
    """A certificate in use, and the request for the next one."""
    certificate = enrolled(own, keys)
    asked = prepare(certificate, own.now, early=True).requested
    assert asked is not None
    return certificate, asked


@pytest.mark.parametrize("there", [None, b"", b"sample", "another"], ids=["moved", "empty", "damaged", "another"])
def test_a_request_is_written_again_from_its_key(own: SamplePki, keys: Path, there: bytes | str | None) -> None:
    certificate, asked = waiting(own, keys)
    key = asked.key.read_bytes()
    if there is None:
        asked.request.unlink()
    else:
        asked.request.write_bytes((keys / "tls.csr").read_bytes() if isinstance(there, str) else there)
    prepared = prepare(certificate, own.now)
    assert prepared.requested is not None
    assert prepared.requested.key_sha256 == asked.key_sha256
    assert asked.key.read_bytes() == key
    signed = enrolment.sign(own.folder, order(asked.request), own.now)
    prepare(certificate, own.now)
    assert load_certificates(certificate)[0] == signed.certificate


def test_an_answer_that_has_expired_makes_place_for_a_new_request(own: SamplePki, keys: Path) -> None:
    certificate, asked = waiting(own, keys)
    enrolment.sign(own.folder, order(asked.request), own.now)
    again = prepare(certificate, own.now + timedelta(days=30)).requested
    assert again is not None
    assert again.key_sha256 != asked.key_sha256
    signed = enrolment.sign(own.folder, order(again.request), own.now + timedelta(days=30))
    prepare(certificate, own.now + timedelta(days=30))
    assert load_certificates(certificate)[0] == signed.certificate


def test_an_expired_answer_to_another_request_does_not_cost_the_key_that_waits(own: SamplePki, keys: Path) -> None:
    certificate, asked = waiting(own, keys)
    old, life = own.now - timedelta(days=2), timedelta(days=1)
    other = own.credential(TLS_CLIENT, agency="gansu-police", issued=old, lifetime=life)
    (keys / "tls.next.pem").write_bytes(pem(other.certificate))
    assert prepare(certificate, own.now).requested == asked
    assert not (keys / "tls.next.pem").exists()


def test_a_lost_answer_is_asked_for_anew(own: SamplePki, keys: Path) -> None:
    certificate, asked = waiting(own, keys)
    enrolment.sign(own.folder, order(asked.request), own.now).path.unlink()
    with pytest.raises(RequestInvalid, match="--anew"):
        enrolment.sign(own.folder, order(asked.request), own.now)
    again = prepare(certificate, own.now, anew=True).requested
    assert again is not None
    assert again.key_sha256 != asked.key_sha256
    enrolment.sign(own.folder, order(again.request), own.now)


def test_a_damaged_key_that_waits_is_replaced_only_when_that_is_said(own: SamplePki, keys: Path) -> None:
    certificate, asked = waiting(own, keys)
    asked.key.write_bytes(b"")
    with pytest.raises(KeyInvalid):
        prepare(certificate, own.now)
    assert asked.key.read_bytes() == b""
    assert prepare(certificate, own.now, anew=True).requested is not None


def test_two_renewals_at_once_make_one_request_of_one_key(own: SamplePki, keys: Path) -> None:
    certificate = enrolled(own, keys)
    barrier = threading.Barrier(4)

    def renew() -> str:
        barrier.wait(30)
        asked = prepare(certificate, own.now, early=True).requested
        assert asked is not None
        return asked.key_sha256

    with ThreadPoolExecutor(4) as pool:
        made = {each.result(60) for each in [pool.submit(renew) for _ in range(4)]}
    assert len(made) == 1
    assert read_request(keys / "tls.next.csr").key_sha256 in made


def test_a_renewal_that_was_killed_midway_is_finished(own: SamplePki, keys: Path) -> None:
    certificate, asked = waiting(own, keys)
    signed = enrolment.sign(own.folder, order(asked.request), own.now)
    asked.key.replace(keys / "tls.key")
    # Even if the answer has ended since: its key is in its place.
    prepare(certificate, own.now + timedelta(days=30))
    EcdsaSigner.load(keys / "tls.key", certificate)
    assert load_certificates(certificate)[0] == signed.certificate


def test_a_kafka_node_s_keystore_is_made_up_after_a_kill(own: SamplePki, keys: Path) -> None:
    names = ("kafka-1",)
    as_node = Order(enrolment.make(keys, KAFKA_NODE, node(1), names).request, node(1), [KAFKA_NODE], names)
    certificate = enrolment.sign(own.folder, as_node, own.now).path
    keystore_of(certificate).write_bytes(b"sample")
    prepare(certificate, own.now)
    assert keystore_of(certificate).read_bytes() == (keys / "kafka.key").read_bytes() + certificate.read_bytes()


def test_another_authority_s_certificate_takes_nobody_s_place(own: SamplePki, keys: Path) -> None:
    certificate, asked = waiting(own, keys)
    former = certificate.read_bytes()
    stranger = Authority.create("case-exchange development tls authority", own.now)
    other = own.credential(TLS_CLIENT, agency="gansu-police", key=load_signing_key(asked.key), authority=stranger)
    (keys / "tls.next.pem").write_bytes(pem(other.certificate))
    for authorities in (None, own.folder.trust / "tls-ca.pem"):
        with pytest.raises(CertificateInvalid, match="of another authority"):
            prepare(certificate, own.now, authorities=authorities)
    assert certificate.read_bytes() == former
    assert asked.key.exists()


def test_a_server_loses_none_of_its_names(own: SamplePki, keys: Path) -> None:
    names = ("broker.case-exchange.example", "192.0.2.7")
    first = Order(enrolment.make(keys, TLS_PEER, GANSU, names).request, GANSU, [TLS_PEER], names)
    certificate = enrolment.sign(own.folder, first, own.now).path
    former = certificate.read_bytes()
    asked = prepare(certificate, own.now, early=True).requested
    assert asked is not None
    fewer = own.authority("tls").issue(
        TLS_PEER, GANSU, load_signing_key(asked.key).public_key(), own.now, server_names=names[:1]
    )
    (keys / "tls.next.pem").write_bytes(pem(fewer))
    with pytest.raises(CertificateInvalid, match=r"lacks names of the server that tls\.pem has: 192\.0\.2\.7"):
        prepare(certificate, own.now)
    assert certificate.read_bytes() == former


def test_the_renewal_of_an_ml_dsa_65_certificate_is_refused_before_it_begins(own: SamplePki, keys: Path) -> None:
    asked = enrolment.make(keys, SIGNING_ML_DSA_65, GANSU).request
    certificate = enrolment.sign(own.folder, order(asked, (SIGNING_ML_DSA_65,)), own.now).path
    before = sorted(keys.iterdir())
    with pytest.raises(CertificateInvalid, match="request another one in another folder"):
        prepare(certificate, own.now, early=True)
    assert sorted(keys.iterdir()) == before


@pytest.mark.parametrize("mode", [None, 0o640])
def test_a_renewal_needs_no_former_key(own: SamplePki, keys: Path, mode: int | None) -> None:
    certificate = enrolled(own, keys)
    former = certificate.with_suffix(".key")
    if mode is None:
        former.unlink()
    else:
        former.chmod(mode)
    asked = prepare(certificate, own.now, early=True).requested
    assert asked is not None
    assert asked.key == keys / "tls.next.key"


def test_a_renewal_that_cannot_tell_whether_the_former_key_was_in_a_token_makes_none(
    own: SamplePki, keys: Path
) -> None:
    certificate = enrolled(own, keys)
    former = certificate.with_suffix(".key")
    former.unlink()
    former.mkdir()
    with pytest.raises(KeyInvalid, match="cannot be read"):
        prepare(certificate, own.now, early=True)
    assert not (keys / "tls.next.key").exists()
