from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding

from broker.core.errors import PeerIdentityMissing, PeerRevoked, RevocationListInvalid, RevocationUnavailable
from broker.core.identity import Principal
from broker.trust import revocation as module
from broker.trust.certificates import der
from broker.trust.revocation import PeerRevocation, RevocationLists
from broker.trust.revocation_files import RevocationFiles
from certs import profiles
from certs.authority import Authority
from certs.storage import write_public
from tests.support.pki import ManualClock, SamplePki, milliseconds

if TYPE_CHECKING:
    from pathlib import Path

WEEK = timedelta(days=7)
HOUR_MS = 3_600_000


def peers(pki: SamplePki, lists: RevocationLists | None = None, *, at_ms: int | None = None) -> PeerRevocation:
    clock = ManualClock(pki.now_ms if at_ms is None else at_ms)
    return PeerRevocation(lists or pki.revocation_lists("tls"), [der(pki.authority("tls").certificate)], clock)


def pem(crl: x509.CertificateRevocationList) -> bytes:
    return crl.public_bytes(Encoding.PEM)


def test_a_list_of_which_any_bit_was_flipped_is_refused_by_name(pki: SamplePki) -> None:
    (good,) = pki.revocation_lists().documents()
    authorities = [der(pki.authority("signing").certificate)]
    accepted = 0
    for at in range(len(good)):
        for bit in range(8):
            flipped = good[:at] + bytes([good[at] ^ (1 << bit)]) + good[at + 1 :]
            try:
                RevocationLists([flipped], authorities, grace_ms=0)
                accepted += 1
            except RevocationListInvalid:
                continue
    # The signature's own encoding says how many of its last bits are unused. No check covers these three bits.
    assert accepted <= 3


def test_a_peer_that_is_not_listed_is_welcome(pki: SamplePki) -> None:
    peers(pki).check(der(pki.tls_certificate()))


def test_a_revoked_peer_is_refused_every_time(pki: SamplePki) -> None:
    check = peers(pki)
    revoked = pki.revoked["tls"]
    for _ in range(2):
        with pytest.raises(PeerRevoked) as caught:
            check.check(revoked.der)
        assert caught.value.details == {"serial": f"{revoked.certificate.serial_number:x}"}


def test_a_list_says_when_each_certificate_was_revoked(pki: SamplePki) -> None:
    listed = pki.revocation_lists("tls").listing(pki.authority("tls").certificate)
    assert listed is not None
    serial = pki.revoked["tls"].certificate.serial_number
    assert listed.revoked_at(serial, pki.now_ms) == pki.now_ms
    assert listed.revoked_at(serial + 1, pki.now_ms) is None


def test_what_is_remembered_of_peers_is_bounded(pki: SamplePki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_REMEMBERED_PEERS", 2)
    check = peers(pki)
    certificates = [pki.credential(profiles.TLS_CLIENT).der for _ in range(3)]
    remembered = []
    for certificate in (certificates[0], certificates[1], certificates[0], certificates[2]):
        check.check(certificate)
        remembered.append(len(check._issued))
    assert remembered == [1, 2, 2, 1]


def test_a_list_past_its_next_update_and_grace_admits_nobody(pki: SamplePki) -> None:
    due_ms = milliseconds(pki.now + WEEK)
    lists = pki.revocation_lists("tls", grace_ms=HOUR_MS)
    peers(pki, lists, at_ms=due_ms + HOUR_MS).check(der(pki.tls_certificate()))
    for certificate in (der(pki.tls_certificate()), pki.revoked["tls"].der):
        with pytest.raises(RevocationUnavailable) as caught:
            peers(pki, lists, at_ms=due_ms + HOUR_MS + 1).check(certificate)
        listed = lists.listing(pki.authority("tls").certificate)
        assert listed is not None
        assert caught.value.details == {"crl_number": str(listed.number)}


def test_a_peer_of_an_authority_without_a_list_is_not_admitted(pki: SamplePki) -> None:
    with pytest.raises(RevocationUnavailable):
        peers(pki).check(pki.of_another_authority(profiles.TLS_CLIENT).der)
    with pytest.raises(RevocationUnavailable):
        peers(pki, RevocationLists([], [], grace_ms=0)).check(der(pki.tls_certificate()))


def test_what_is_no_certificate_is_refused(pki: SamplePki) -> None:
    with pytest.raises(PeerIdentityMissing):
        peers(pki).check(b"sample")


def test_a_list_counts_only_with_its_authority_s_signature(pki: SamplePki) -> None:
    authority = pki.authority("tls")
    impostor = Authority.create("case-exchange development tls authority", pki.now)
    for documents in (
        [pem(impostor.revocation_list(pki.now, WEEK))],
        [pem(pki.authority("signing").revocation_list(pki.now, WEEK))],
    ):
        with pytest.raises(RevocationListInvalid, match="not signed by a trusted authority"):
            RevocationLists(documents, [der(authority.certificate)], grace_ms=0)
    good = authority.revocation_list(pki.now, WEEK).public_bytes(Encoding.DER)
    mutant = bytearray(good)
    mutant[len(good) // 2] ^= 1
    with pytest.raises(RevocationListInvalid):
        RevocationLists([bytes(mutant)], [der(authority.certificate)], grace_ms=0)
    with pytest.raises(RevocationListInvalid, match="cannot be read"):
        RevocationLists([b"sample"], [der(authority.certificate)], grace_ms=0)


def test_a_key_that_cannot_sign_has_signed_no_list(pki: SamplePki) -> None:
    authority = pki.authority("tls")
    cannot_sign = (
        x509.CertificateBuilder()
        .subject_name(authority.certificate.subject)
        .issuer_name(authority.certificate.subject)
        .public_key(x25519.X25519PrivateKey.generate().public_key())
        .serial_number(1)
        .not_valid_before(pki.now)
        .not_valid_after(pki.now + WEEK)
        .sign(authority.key, hashes.SHA256())
    )
    with pytest.raises(RevocationListInvalid, match="not signed by a trusted authority"):
        RevocationLists([pem(authority.revocation_list(pki.now, WEEK))], [der(cannot_sign)], grace_ms=0)


def test_lists_of_two_authorities_may_share_a_file_and_one_authority_has_one_list(pki: SamplePki) -> None:
    both = [pki.authority("tls"), pki.authority("signing")]
    certificates = [der(authority.certificate) for authority in both]
    document = b"".join(pem(authority.revocation_list(pki.now, WEEK)) for authority in both)
    lists = RevocationLists([document], certificates, grace_ms=0)
    assert len(lists.documents()) == 2
    assert all(lists.listing(authority.certificate) for authority in both)
    with pytest.raises(RevocationListInvalid, match="two revocation lists of one authority"):
        RevocationLists([document, pem(both[0].revocation_list(pki.now, WEEK))], certificates, grace_ms=0)


def list_with(pki: SamplePki, *extensions: tuple[x509.ExtensionType, bool]) -> bytes:
    authority = pki.authority("tls")
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(pki.now)
        .next_update(pki.now + WEEK)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return pem(builder.sign(authority.key, hashes.SHA256()))


def test_a_list_without_number_or_for_a_part_of_the_certificates_is_refused(pki: SamplePki) -> None:
    authorities = [der(pki.authority("tls").certificate)]
    with pytest.raises(RevocationListInvalid, match="no CRL number"):
        RevocationLists([list_with(pki)], authorities, grace_ms=0)
    delta = list_with(pki, (x509.CRLNumber(9), False), (x509.DeltaCRLIndicator(8), True))
    with pytest.raises(RevocationListInvalid, match="not a complete list"):
        RevocationLists([delta], authorities, grace_ms=0)


def test_a_list_that_does_not_say_when_the_next_is_due_is_refused(pki: SamplePki) -> None:
    authority = pki.authority("tls")
    document = without_next_update(authority.revocation_list(pki.now, WEEK), authority)
    with pytest.raises(RevocationListInvalid, match="next update"):
        RevocationLists([document], [der(authority.certificate)], grace_ms=0)


def without_next_update(crl: x509.CertificateRevocationList, authority: Authority) -> bytes:
    """The same list without its next update, signed again. The library makes none, so its DER is built here."""
    signed = parts_of(crl.tbs_certlist_bytes)
    # RFC 5280 section 5.1.2: version, signature, issuer, thisUpdate, nextUpdate, ...
    body = tagged(0x30, b"".join(signed[:4] + signed[5:]))
    signature = authority.key.sign(body, ec.ECDSA(hashes.SHA256()))
    return tagged(0x30, body + signed[1] + tagged(0x03, b"\0" + signature))


def parts_of(sequence: bytes) -> list[bytes]:
    parts, at = [], header_of(sequence)[0]
    while at < len(sequence):
        begin, size = header_of(sequence[at:])
        parts.append(sequence[at : at + begin + size])
        at += begin + size
    return parts


def header_of(data: bytes) -> tuple[int, int]:
    """The length of an element's tag and length field, and the length of its content."""
    if data[1] < 0x80:
        return 2, data[1]
    octets = data[1] & 0x7F
    return 2 + octets, int.from_bytes(data[2 : 2 + octets])


def tagged(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    octets = (size.bit_length() + 7) // 8
    return bytes([tag, 0x80 | octets]) + size.to_bytes(octets) + content


class Published:
    """A published list of a separate authority, in a file."""

    def __init__(self, pki: SamplePki, folder: Path) -> None:
        self.pki = pki
        self.authority = pki.authority("tls")
        self.path = folder / "tls.crl"
        self.publish()
        self.files = RevocationFiles([self.path], lambda: [der(self.authority.certificate)], grace_ms=0)

    def publish(self, *, number: int | None = None, age: timedelta = timedelta(0)) -> None:
        write_public(self.path, pem(self.authority.revocation_list(self.pki.now - age, WEEK, number=number)))

    def number(self) -> int:
        listed = self.files.listing(self.authority.certificate)
        assert listed is not None
        return listed.number


@pytest.fixture
def published(pki: SamplePki, tmp_path: Path) -> Published:
    return Published(pki, tmp_path)


def test_a_newer_list_takes_effect_and_revokes_a_peer_that_was_seen_before(published: Published) -> None:
    peer = published.pki.credential(profiles.TLS_CLIENT)
    now = published.pki.now
    gateway = Principal("case-exchange.example", "hebei-police", "gateway")
    issued = published.authority.issue(profiles.TLS_CLIENT, gateway, peer.key.public_key(), now)
    check = PeerRevocation(published.files, [der(published.authority.certificate)], ManualClock(published.pki.now_ms))
    check.check(der(issued))
    published.authority.revoke(issued.serial_number, now, "keyCompromise")
    published.publish()
    assert published.files.reload()
    with pytest.raises(PeerRevoked):
        check.check(der(issued))


def test_an_unchanged_file_is_not_read_again(published: Published) -> None:
    assert not published.files.reload()
    os.utime(published.path)
    assert not published.files.reload()


@pytest.mark.parametrize("step", [0, -1])
def test_an_older_list_or_another_of_the_same_number_is_refused_and_the_newer_stays(
    published: Published, step: int
) -> None:
    published.publish()
    published.files.reload()
    number = published.number()
    published.publish(number=number + step, age=timedelta(hours=1))
    for _ in range(2):
        with pytest.raises(RevocationListInvalid, match="older than one already seen") as caught:
            published.files.reload()
        assert caught.value.details == {"crl_number": str(number + step), "seen": str(number)}
    assert published.number() == number


def test_a_list_that_disappears_and_comes_back_older_is_refused(published: Published) -> None:
    published.publish()
    published.files.reload()
    newest = published.path.read_bytes()
    published.path.unlink()
    with pytest.raises(RevocationListInvalid, match="cannot be read"):
        published.files.reload()
    published.publish(number=1)
    with pytest.raises(RevocationListInvalid, match="older"):
        published.files.reload()
    write_public(published.path, newest)
    assert not published.files.reload()


def test_an_offered_list_counts_only_if_it_is_newer_and_of_a_trusted_authority(
    published: Published, tmp_path: Path
) -> None:
    kept = tmp_path / "state" / "lists.pem"
    trusted = [der(published.authority.certificate)]
    files = RevocationFiles([published.path], lambda: trusted, grace_ms=0, kept=kept)
    before = files.pem()
    published.publish()
    newer = published.path.read_bytes()
    strange = pem(published.pki.authority("signing").revocation_list(published.pki.now, WEEK, number=99))
    assert not files.offer(before)
    assert not files.offer(strange)
    assert not files.offer(b"-----BEGIN X509 CRL-----\ngarbage")
    assert files.pem() == kept.read_bytes() == before
    assert files.offer(strange + newer)
    assert files.pem() == kept.read_bytes() == newer
    write_public(published.path, before)
    with pytest.raises(RevocationListInvalid, match="older"):
        files.reload()
    assert files.pem() == newer


def test_no_restart_goes_back_to_an_older_list(published: Published, tmp_path: Path) -> None:
    trusted, kept = [der(published.authority.certificate)], tmp_path / "state" / "lists.pem"

    def restarted() -> RevocationFiles:
        return RevocationFiles([published.path], lambda: list(trusted), grace_ms=0, kept=kept)

    def number(files: RevocationFiles) -> int | None:
        listed = files.listing(published.authority.certificate)
        return None if listed is None else listed.number

    published.publish(number=7)
    assert number(restarted()) == 7
    published.publish(number=6)
    again = restarted()
    assert number(again) == 7
    with pytest.raises(RevocationListInvalid, match="older"):
        again.reload()
    published.publish(number=8)
    assert again.reload()
    published.publish(number=7)
    assert number(restarted()) == 8
    # A copy that is gone, damaged, or of an authority that is no longer trusted stops no start.
    for copy in (b"", b"-----BEGIN X509 CRL-----\ndamaged\n", b"\xff"):
        kept.write_bytes(copy)
        assert number(restarted()) == 7
    published.path.write_bytes(b"")
    other = published.pki.authority("signing")
    trusted[:] = [der(other.certificate)]
    write_public(published.path, pem(other.revocation_list(published.pki.now, WEEK)))
    assert restarted().listing(other.certificate) is not None
    # A file that cannot be read is the operator's to mend, as at the first start.
    published.path.unlink()
    with pytest.raises(RevocationListInvalid, match="cannot be read"):
        restarted()


def test_when_the_authorities_change_the_lists_are_judged_again(published: Published) -> None:
    trusted = [der(published.authority.certificate)]
    files = RevocationFiles([published.path], lambda: list(trusted), grace_ms=0)
    trusted[:] = [der(published.pki.authority("signing").certificate)]
    with pytest.raises(RevocationListInvalid, match="not signed by a trusted authority"):
        files.reload()
