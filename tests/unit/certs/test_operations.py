from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from broker.core.errors import CertificateInvalid, PeerRevoked, PeerUnknown, SetupInvalid, SignerRevoked
from broker.core.identity import Principal
from broker.files import exclusive
from broker.trust.certificates import der, fingerprint, load_certificates
from broker.trust.revocation import PeerRevocation
from broker.trust.signing import EcdsaSigner
from certs import operations
from certs.profiles import SIGNING, TLS_CLIENT, TLS_SERVER
from tests.support.pki import ManualClock, SamplePki

if TYPE_CHECKING:
    from pathlib import Path

    from broker.trust.keyring import DirectoryKeyring
    from certs.profiles import AuthorityKind

HEBEI = Principal("case-exchange.example", "hebei-police", "archive")


@pytest.fixture
def own(tmp_path: Path) -> SamplePki:
    """A PKI of the test's own, in which it may revoke."""
    return SamplePki.build(tmp_path / "pki")


def keyring(own: SamplePki) -> DirectoryKeyring:
    fresh = SamplePki(own.folder, own.now, own.revoked)
    return fresh.keyring()


def test_a_new_certificate_is_written_with_its_key_beside_it(own: SamplePki) -> None:
    folder = own.folder.member("hebei-police") / "archive"
    issued = operations.issue(own.folder, TLS_CLIENT, HEBEI, own.now, folder=folder)
    assert (issued.certificate_path, issued.key_path) == (folder / "tls.pem", folder / "tls.key")
    EcdsaSigner.load(issued.key_path, issued.certificate_path)
    assert fingerprint(issued.certificate).hex() in {entry.sha256 for entry in own.authority("tls").issued.values()}


def test_issuing_never_replaces_what_is_there(own: SamplePki) -> None:
    path = own.tls_paths("hebei-police")[0]
    before = path.read_bytes()
    with pytest.raises(CertificateInvalid, match="exists already"):
        operations.issue(own.folder, TLS_CLIENT, HEBEI, own.now)
    assert path.read_bytes() == before


def test_a_signing_certificate_is_issued_only_to_an_agency_that_the_directory_lists(own: SamplePki) -> None:
    stranger = Principal("case-exchange.example", "stranger", "gateway")
    with pytest.raises(PeerUnknown):
        operations.issue(own.folder, SIGNING, stranger, own.now)
    assert not (own.folder.member("stranger") / "signing.key").exists()


def test_a_new_signing_certificate_is_listed_in_the_next_directory_version(own: SamplePki, tmp_path: Path) -> None:
    before = own.directory.version
    issued = operations.issue(own.folder, SIGNING, HEBEI, own.now, folder=tmp_path)
    assert keyring(own).directory.version == before + 1
    keyring(own).signer(fingerprint(issued.certificate)).check_valid(own.now_ms)


def test_only_a_development_pki_makes_the_keys_of_agencies(own: SamplePki, tmp_path: Path) -> None:
    own.folder.governance_key.unlink()
    with pytest.raises(SetupInvalid, match="certs request"):
        operations.issue(own.folder, TLS_CLIENT, HEBEI, own.now, folder=tmp_path)
    with pytest.raises(SetupInvalid, match="certs request"):
        operations.renew(own.folder, own.tls_paths("hebei-police")[0], own.now)
    assert not list(tmp_path.glob("*.key"))


def test_renewing_a_signing_key_leaves_what_the_old_one_signed_valid(own: SamplePki) -> None:
    old = own.signer("hebei-police")
    signature = old.sign(b"sample")
    path = own.folder.member("hebei-police") / "signing.pem"
    operations.renew(own.folder, path, own.now)
    new = own.signer("hebei-police")
    assert new.certificate_sha256 != old.certificate_sha256
    for signer, value in ((old, signature), (new, new.sign(b"sample"))):
        listed = keyring(own).signer(signer.certificate_sha256)
        listed.check_valid(own.now_ms)
        listed.verify(b"sample", value)


def test_a_renewed_server_certificate_has_the_same_names_and_another_key(own: SamplePki, tmp_path: Path) -> None:
    broker = Principal("case-exchange.example", "exchange", "broker")
    names = ("broker.case-exchange.example", "192.0.2.7")
    old = operations.issue(own.folder, TLS_SERVER, broker, own.now, folder=tmp_path, server_names=names)
    new = operations.renew(own.folder, old.certificate_path, own.now)
    kind = x509.SubjectAlternativeName
    assert (
        new.certificate.extensions.get_extension_for_class(kind).value
        == old.certificate.extensions.get_extension_for_class(kind).value
    )
    assert new.certificate.public_key() != old.certificate.public_key()
    assert load_certificates(old.certificate_path)[0] == new.certificate


def test_what_another_pki_issued_is_neither_renewed_nor_revoked(own: SamplePki, tmp_path: Path) -> None:
    certificate_path, _ = own.of_another_authority(TLS_CLIENT).write(tmp_path, "tls")
    for path in (certificate_path, own.folder.trust / "tls-ca.pem"):
        with pytest.raises(CertificateInvalid):
            operations.renew(own.folder, path, own.now)
    with pytest.raises(CertificateInvalid, match="not issued by"):
        operations.by_file(own.folder, certificate_path)


def test_a_revoked_tls_certificate_is_on_the_published_list(own: SamplePki) -> None:
    certificate = der(own.tls_certificate("hebei-police"))
    found = operations.by_file(own.folder, own.tls_paths("hebei-police")[0])
    operations.revoke(own.folder, lambda: found, own.now, "keyCompromise", since=own.now)
    check = PeerRevocation(
        own.revocation_lists("tls"), [der(own.authority("tls").certificate)], ManualClock(own.now_ms)
    )
    with pytest.raises(PeerRevoked):
        check.check(certificate)
    check.check(der(own.tls_certificate("shanxi-police")))


def test_a_signing_certificate_can_be_revoked_from_a_time_in_the_past(own: SamplePki) -> None:
    signer, since = own.signer("hebei-police"), own.now - timedelta(minutes=1)
    found = operations.by_file(own.folder, own.folder.member("hebei-police") / "signing.pem")
    operations.revoke(own.folder, lambda: found, own.now, "keyCompromise", since=since)
    listed = keyring(own).signer(signer.certificate_sha256)
    listed.check_valid(own.now_ms - 60_001)
    with pytest.raises(SignerRevoked):
        listed.check_valid(own.now_ms - 60_000)


def test_an_agency_that_leaves_loses_every_certificate_that_is_still_good(own: SamplePki) -> None:
    # Of each authority one was revoked before.
    found = operations.by_agency(own.folder, "hebei-police", own.now)
    assert {kind: len(serials) for kind, serials in found.items()} == {"tls": 1, "signing": 1, "kafka": 0}
    revoked = operations.revoke(own.folder, lambda: found, own.now, "cessationOfOperation", since=own.now)
    assert {one.entry.principal.split("/")[4] for one in revoked} == {"hebei-police"}
    listed = own.revocation_lists("tls").listing(own.authority("tls").certificate)
    assert listed is not None
    assert own.tls_certificate("hebei-police").serial_number in listed.revoked
    with pytest.raises(SetupInvalid, match="still good"):
        operations.by_agency(own.folder, "hebei-police", own.now)
    with pytest.raises(SetupInvalid, match="still good"):
        operations.by_agency(own.folder, "nobody-police", own.now)


def test_what_is_revoked_is_looked_up_while_nobody_else_can_sign(own: SamplePki) -> None:
    """Otherwise an agency that leaves could have a certificate signed in between, which nobody revokes."""

    def found() -> dict[AuthorityKind, list[int]]:
        with pytest.raises(BlockingIOError), exclusive(own.folder.root / "authorities", wait_seconds=0):
            pass
        return operations.by_agency(own.folder, "hebei-police", own.now)

    assert len(operations.revoke(own.folder, found, own.now, "cessationOfOperation", since=own.now)) == 2


def test_a_certificate_is_found_by_its_serial_number_with_each_authority(own: SamplePki) -> None:
    for kind in ("tls", "signing", "kafka"):
        serial = next(iter(own.authority(kind).issued))
        assert operations.by_serial(own.folder, serial) == {kind: [serial]}
    with pytest.raises(SetupInvalid, match="serial number"):
        operations.by_serial(own.folder, 7)


def test_if_one_of_several_is_revoked_already_none_is(own: SamplePki) -> None:
    serials = list(own.authority("tls").issued)
    with pytest.raises(CertificateInvalid, match="revoked already"):
        operations.revoke(own.folder, lambda: {"tls": serials}, own.now, "superseded", since=own.now)
    assert sum(entry.revoked_at is not None for entry in own.authority("tls").issued.values()) == 1


def test_lists_are_published_under_growing_numbers(own: SamplePki) -> None:
    before = {kind: own.authority(kind).crl_number for kind in ("tls", "signing")}
    operations.publish_lists(own.folder, ["tls"], own.now)
    assert own.authority("tls").crl_number == before["tls"] + 1
    assert own.authority("signing").crl_number == before["signing"]


def test_an_authority_whose_memory_is_lost_does_not_go_on(own: SamplePki) -> None:
    (own.folder.authority("tls") / "issued.json").write_text("{}")
    with pytest.raises(SetupInvalid, match="no usable tls authority"):
        operations.publish_lists(own.folder, ["tls"], own.now)


def test_two_commands_at_once_lose_no_certificate_and_undo_no_revocation(own: SamplePki, tmp_path: Path) -> None:
    authority = own.authority("tls")
    before = {serial for serial, entry in authority.issued.items() if entry.revoked_at}
    serials = [serial for serial in authority.issued if serial not in before][:4]
    barrier = threading.Barrier(2)

    def issue() -> None:
        barrier.wait(30)
        for number in range(6):
            principal = Principal("case-exchange.example", "hebei-police", f"archive-{number}")
            operations.issue(own.folder, TLS_CLIENT, principal, own.now, folder=tmp_path / f"archive-{number}")

    def revoke() -> None:
        barrier.wait(30)
        for serial in serials:
            operations.revoke(
                own.folder, partial(operations.by_serial, own.folder, serial), own.now, "superseded", since=own.now
            )

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(issue), pool.submit(revoke)]:
            done.result(60)
    after = own.folder.load_authority("tls")
    assert len(after.issued) == len(authority.issued) + 6
    assert {serial for serial, entry in after.issued.items() if entry.revoked_at} == before | {*serials}
    document = own.folder.revocation_list("tls").read_bytes()
    assert {entry.serial_number for entry in x509.load_pem_x509_crl(document)} == before | {*serials}


def test_a_list_that_takes_a_revocation_back_is_not_published(own: SamplePki) -> None:
    state = own.folder.authority("tls") / "issued.json"
    before = state.read_bytes()
    serial = own.tls_certificate("hebei-police").serial_number
    operations.revoke(own.folder, lambda: {"tls": [serial]}, own.now, "keyCompromise", since=own.now)
    published = own.folder.revocation_list("tls").read_bytes()
    # As after a copy of the folder was put back.
    state.write_bytes(before)
    with pytest.raises(SetupInvalid, match=f"{serial:x}"):
        operations.publish_lists(own.folder, ["tls"], own.now)
    (own.folder.authority("tls") / "crl.pem").unlink()
    with pytest.raises(SetupInvalid, match=f"{serial:x}"):
        operations.publish_lists(own.folder, ["tls"], own.now)
    assert own.folder.revocation_list("tls").read_bytes() == published
    assert state.read_bytes() == before


def test_what_has_ended_since_the_time_of_the_revocation_is_revoked_too(own: SamplePki, tmp_path: Path) -> None:
    short = operations.issue(own.folder, SIGNING, HEBEI, own.now, folder=tmp_path / "x", lifetime=timedelta(days=1))
    since, serial = own.now + timedelta(hours=1), short.certificate.serial_number
    assert serial in operations.by_agency(own.folder, "hebei-police", since)["signing"]
    assert serial not in operations.by_agency(own.folder, "hebei-police", own.now + timedelta(days=2))["signing"]
