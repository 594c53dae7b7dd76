"""What is laid beside the files in use takes their place, whole, in every order of steps."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from broker.bootstrap.httptls import ready_https
from broker.core.errors import CertificateInvalid, KeyInvalid
from broker.trust.certificates import der, load_certificates
from broker.trust.expiries import AUTHORITY, TLS, Expiry, ExpiryWatch, certificate_expiries, list_expiries, own_expiries
from broker.trust.keys import load_signing_key
from broker.trust.renewal import pending, put_in_place, request_of
from broker.trust.signers import Renewal, WatchedSigner
from broker.trust.signing import EcdsaSigner
from broker.trust.tls import WatchedTls
from broker.web.tls import ServerContext
from broker.wire.tls import TlsFiles
from certs.profiles import SIGNING, TLS_CLIENT
from certs.rights import HEBEI, SHANXI
from tests.support.pki import ManualClock

if TYPE_CHECKING:
    from pathlib import Path

    from certs.profiles import Profile
    from tests.support.pki import Credential, SamplePki

DAY_MS = 24 * 3_600_000


def files(pki: SamplePki, folder: Path, stem: str = "tls") -> TlsFiles:
    """Copies of shanxi-police's files, which a test renews."""
    for suffix in (".pem", ".key"):
        shutil.copy(pki.folder.member(SHANXI) / f"{stem}{suffix}", folder)
    return TlsFiles(folder / f"{stem}.pem", folder / f"{stem}.key", pki.folder.trust / "tls-ca.pem")


def lay(used: TlsFiles, renewed: Credential) -> None:
    certificate, key = renewed.write(used.certificate.parent, "new")
    key.replace(pending(used.key))
    certificate.replace(pending(used.certificate))


def renewed(pki: SamplePki, profile: Profile = TLS_CLIENT) -> Credential:
    return pki.credential(profile)


def test_tls_files_that_are_laid_there_are_used_and_the_former_are_gone(pki: SamplePki, tmp_path: Path) -> None:
    used, new = files(pki, tmp_path), renewed(pki)
    tls = WatchedTls(used, ManualClock(pki.now_ms))
    assert not tls.reload()
    lay(used, new)
    assert tls.reload()
    material = tls.newest()
    assert material is not None
    assert load_certificates(used.certificate)[0] == new.certificate
    EcdsaSigner.load(used.key, used.certificate)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tls.key", "tls.pem"]


def test_a_start_uses_them_and_finishes_what_a_killed_process_began(pki: SamplePki, tmp_path: Path) -> None:
    used, new = files(pki, tmp_path), renewed(pki)
    lay(used, new)
    # The key is in its place, and the certificate is not.
    pending(used.key).replace(used.key)
    WatchedTls(used, ManualClock(pki.now_ms))
    assert load_certificates(used.certificate)[0] == new.certificate
    again = renewed(pki)
    lay(used, again)
    WatchedTls(used, ManualClock(pki.now_ms))
    assert load_certificates(used.certificate)[0] == again.certificate


def test_another_authority_s_certificate_stays_where_it_was_laid(pki: SamplePki, tmp_path: Path) -> None:
    used = files(pki, tmp_path)
    tls = WatchedTls(used, ManualClock(pki.now_ms))
    lay(used, pki.of_another_authority(TLS_CLIENT))
    with capture_logs() as logs:
        assert not any(tls.reload() for _ in range(3))
    # Told once.
    assert [line["cause"] for line in logs] == ["tls.next.pem is of another authority than tls.pem"]
    # A start goes on with what is in use.
    with capture_logs() as logs:
        assert WatchedTls(used, ManualClock(pki.now_ms)).newest() is None
    assert [line["event"] for line in logs] == ["a renewed certificate is not used"]
    assert pending(used.certificate).exists()


def test_a_certificate_without_its_key_is_not_used(pki: SamplePki, tmp_path: Path) -> None:
    used = files(pki, tmp_path)
    tls = WatchedTls(used, ManualClock(pki.now_ms))
    lay(used, renewed(pki))
    pending(used.key).unlink()
    with capture_logs() as logs:
        assert not tls.reload()
    assert [line["cause"] for line in logs] == ["tls.key is not the key of tls.next.pem"]


def test_a_signing_certificate_is_used_when_the_directory_lists_it(pki: SamplePki, tmp_path: Path) -> None:
    used, new = files(pki, tmp_path, "signing"), renewed(pki, SIGNING)
    signer = WatchedSigner(used.key, used.certificate, ManualClock(pki.now_ms))
    former = signer.current
    assert signer.renewed(pki.directory) is None
    lay(used, new)
    assert signer.renewed(pki.directory) is None
    # Another agency's entry does not count.
    assert signer.renewed(pki.directory_with(HEBEI, [new.der])) is None
    found = signer.renewed(pki.directory_with(SHANXI, [new.der]))
    assert found == Renewal(new.certificate, laid=True)
    assert signer.certificate_sha256 == former.certificate_sha256
    assert signer.use(found).certificate == new.certificate
    assert signer.certificate_sha256 != former.certificate_sha256
    pki.keyring_with(new).signer(signer.certificate_sha256).verify(b"sample", signer.sign(b"sample"))
    assert signer.renewed(pki.directory_with(SHANXI, [new.der])) is None


def test_a_signing_certificate_that_is_replaced_in_its_place_is_used_too(pki: SamplePki, tmp_path: Path) -> None:
    used, new = files(pki, tmp_path, "signing"), renewed(pki, SIGNING)
    signer = WatchedSigner(used.key, used.certificate, ManualClock(pki.now_ms))
    certificate, key = new.write(tmp_path, "new")
    key.replace(used.key)
    with pytest.raises(KeyInvalid):
        signer.use(Renewal(new.certificate, laid=False))
    certificate.replace(used.certificate)
    found = signer.renewed(pki.directory_with(SHANXI, [new.der]))
    assert found == Renewal(new.certificate, laid=False)
    signer.use(found)
    assert signer.current.certificate == new.certificate
    other, _ = pki.credential(SIGNING, agency=HEBEI).write(tmp_path, "other")
    other.replace(used.certificate)
    with pytest.raises(CertificateInvalid, match="another agency"):
        signer.renewed(pki.directory)


def test_a_touch_of_the_files_in_use_destroys_no_key_while_a_request_waits(pki: SamplePki, tmp_path: Path) -> None:
    used, new = files(pki, tmp_path, "signing"), renewed(pki, SIGNING)
    signer = WatchedSigner(used.key, used.certificate, ManualClock(pki.now_ms))
    former = used.key.read_bytes()
    _, key = new.write(tmp_path, "new")
    key.replace(pending(used.key))
    request = request_of(pending(used.certificate))
    request.write_bytes(b"sample")
    waiting = pending(used.key).read_bytes()
    os.utime(used.certificate)
    used.key.chmod(0o400)
    os.link(used.key, tmp_path / "backup.key")
    # The directory lists what is in use, as always.
    assert signer.renewed(pki.directory) is None
    assert (used.key.read_bytes(), pending(used.key).read_bytes()) == (former, waiting)
    assert request.exists()
    # It is noticed once: nothing is read again.
    assert signer.renewed(pki.directory) is None


def test_a_file_replaced_in_its_place_leaves_the_waiting_request_alone(pki: SamplePki, tmp_path: Path) -> None:
    used, new, waiting = files(pki, tmp_path, "signing"), renewed(pki, SIGNING), renewed(pki, SIGNING)
    signer = WatchedSigner(used.key, used.certificate, ManualClock(pki.now_ms))
    _, key = waiting.write(tmp_path, "waiting")
    key.replace(pending(used.key))
    request_of(pending(used.certificate)).write_bytes(b"sample")
    certificate, key = new.write(tmp_path, "new")
    key.replace(used.key)
    certificate.replace(used.certificate)
    found = signer.renewed(pki.directory_with(SHANXI, [new.der]))
    assert found is not None
    assert not found.laid
    assert signer.use(found).certificate == new.certificate
    assert load_signing_key(pending(used.key)).public_key() == waiting.key.public_key()
    assert request_of(pending(used.certificate)).exists()


def test_a_key_is_put_in_place_only_with_its_own_certificate(pki: SamplePki, tmp_path: Path) -> None:
    used, new, other = files(pki, tmp_path), renewed(pki), renewed(pki)
    lay(used, new)
    _, key = other.write(tmp_path, "other")
    key.replace(pending(used.key))
    former = used.key.read_bytes()
    with pytest.raises(KeyInvalid, match=r"tls\.next\.key is not the key of tls\.next\.pem"):
        put_in_place(used.certificate, used.key, new.certificate)
    assert used.key.read_bytes() == former
    # Nor is what was laid there since it was checked.
    lay(used, other)
    with pytest.raises(CertificateInvalid, match="was replaced meanwhile"):
        put_in_place(used.certificate, used.key, new.certificate)
    assert used.key.read_bytes() == former


def test_everything_that_ends_is_listed(pki: SamplePki, tmp_path: Path) -> None:
    folder, trust = pki.folder.member(SHANXI), pki.folder.trust
    found = own_expiries(folder / "tls.pem", folder / "signing.pem", trust / "tls-ca.pem", pki.directory)
    found += list_expiries([pki.revocation_lists(kind).documents()[0] for kind in ("tls", "signing")])
    assert [one.what for one in found] == [
        "TLS certificate",
        "signing certificate",
        "authority",
        "authority",
        "revocation list",
        "revocation list",
    ]
    assert found[1].last_ms == int(pki.signer().certificate.not_valid_after_utc.timestamp() * 1000)
    assert found[4].last_ms - found[4].first_ms == 7 * DAY_MS
    assert der(load_certificates(folder / "tls.pem")[0])
    assert certificate_expiries(TLS, tmp_path / "none.pem") == []


def test_what_is_due_is_told_once_a_day_and_what_ended_as_an_error() -> None:
    clock = ManualClock(0)
    watch = ExpiryWatch(lambda: [Expiry(TLS, "tls.pem", 0, 6 * DAY_MS)], clock)

    def told(at_ms: float) -> list[tuple[str, int]]:
        clock.value_ms = int(at_ms)
        with capture_logs() as logs:
            watch.look()
        return [(line["log_level"], line["hours"]) for line in logs]

    assert told(4 * DAY_MS - 1) == []
    # It looks once an hour.
    assert told(4 * DAY_MS) == []
    assert told(4 * DAY_MS + DAY_MS / 24) == [("warning", 47)]
    assert told(4 * DAY_MS + DAY_MS / 2) == []
    assert told(5 * DAY_MS + DAY_MS / 12) == [("warning", 22)]
    assert told(6 * DAY_MS + DAY_MS / 6) == [("error", -4)]


def test_a_clock_that_was_set_back_silences_nothing() -> None:
    clock = ManualClock(30 * DAY_MS)
    watch = ExpiryWatch(lambda: [Expiry(TLS, "tls.pem", 0, 6 * DAY_MS)], clock)
    watch.look()
    clock.value_ms = 5 * DAY_MS
    with capture_logs() as logs:
        watch.look()
    assert len(logs) == 1


def test_certificates_of_one_name_are_told_each_and_an_authority_in_good_english(
    pki: SamplePki, tmp_path: Path
) -> None:
    (tmp_path / "kafka").mkdir()
    paths = [tmp_path / "tls.pem", tmp_path / "kafka" / "tls.pem"]
    for path in paths:
        shutil.copy(pki.folder.member(SHANXI) / "tls.pem", path)
    found = certificate_expiries(TLS, *paths)
    watch = ExpiryWatch(lambda: [*found, Expiry(AUTHORITY, "CN=x", 0, 1)], ManualClock(found[0].last_ms + 1))
    with capture_logs() as logs:
        watch.look()
    told = "a TLS certificate has ended: renew it"
    assert [line["event"] for line in logs] == [told, told, "an authority has ended: renew it"]


def test_a_bad_file_laid_there_does_not_keep_a_good_one_in_its_place_from_use(pki: SamplePki, tmp_path: Path) -> None:
    tls, signing = files(pki, tmp_path), files(pki, tmp_path, "signing")
    watched = WatchedTls(tls, ManualClock(pki.now_ms))
    signer = WatchedSigner(signing.key, signing.certificate, ManualClock(pki.now_ms))
    new, new_signing = renewed(pki), renewed(pki, SIGNING)
    for used, credential in ((tls, new), (signing, new_signing)):
        pending(used.certificate).write_bytes(b"sample")
        certificate, key = credential.write(tmp_path, "new")
        key.replace(used.key)
        certificate.replace(used.certificate)
    with capture_logs() as logs:
        assert watched.reload()
        assert not watched.reload()
        found = signer.renewed(pki.directory_with(SHANXI, [new_signing.der]))
    assert found == Renewal(new_signing.certificate, laid=False)
    assert len(logs) == 2


def test_a_server_whose_renewal_was_killed_midway_starts(pki: SamplePki, tmp_path: Path) -> None:
    used, new = files(pki, tmp_path), renewed(pki)
    lay(used, new)
    pending(used.key).replace(used.key)
    ready_https(used.certificate, used.key)
    ServerContext(used.certificate, used.key)
    assert load_certificates(used.certificate)[0] == new.certificate
