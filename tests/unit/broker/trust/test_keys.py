from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from broker.core.errors import KeyInvalid
from broker.trust.keys import (
    load_checkpoint_key,
    load_signing_key,
    load_verification_keys,
    private_key_pem,
    public_key_pem,
)
from broker.trust.privatefiles import MAX_KEY_FILE_BYTES

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


@pytest.fixture(scope="module")
def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_a_key_that_only_its_owner_reads_is_loaded(tmp_path: Path, p256: ec.EllipticCurvePrivateKey) -> None:
    loaded = load_signing_key(write(tmp_path / "a.key", private_key_pem(p256)))
    assert loaded.private_numbers() == p256.private_numbers()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_key_file_that_others_can_reach_is_refused(
    tmp_path: Path, p256: ec.EllipticCurvePrivateKey, mode: int
) -> None:
    path = write(tmp_path / "a.key", private_key_pem(p256), mode)
    with pytest.raises(KeyInvalid, match=r"a\.key is accessible to others"):
        load_signing_key(path)


def test_the_link_to_a_key_does_not_hide_the_mode_of_the_key(tmp_path: Path, p256: ec.EllipticCurvePrivateKey) -> None:
    (tmp_path / "link.key").symlink_to(write(tmp_path / "a.key", private_key_pem(p256), 0o644))
    with pytest.raises(KeyInvalid, match="accessible to others"):
        load_signing_key(tmp_path / "link.key")


def test_records_are_signed_on_p256_only(tmp_path: Path) -> None:
    other_curve = write(tmp_path / "p384.key", private_key_pem(ec.generate_private_key(ec.SECP384R1())))
    other_type = write(tmp_path / "ed.key", private_key_pem(ed25519.Ed25519PrivateKey.generate()))
    for path in (other_curve, other_type):
        with pytest.raises(KeyInvalid, match="not a P-256 private key"):
            load_signing_key(path)


def test_checkpoints_are_signed_with_ed25519_only(tmp_path: Path, p256: ec.EllipticCurvePrivateKey) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    assert load_checkpoint_key(write(tmp_path / "c.key", private_key_pem(key))).public_key() == key.public_key()
    with pytest.raises(KeyInvalid, match="not an Ed25519"):
        load_checkpoint_key(write(tmp_path / "a.key", private_key_pem(p256)))


def test_a_governance_key_is_p256(tmp_path: Path, p256: ec.EllipticCurvePrivateKey) -> None:
    path = write(tmp_path / "g.pem", public_key_pem(p256.public_key()), 0o644)
    assert load_verification_keys(path) == [p256.public_key()]
    second = ec.generate_private_key(ec.SECP256R1()).public_key()
    both = write(tmp_path / "both.pem", public_key_pem(p256.public_key()) + public_key_pem(second), 0o644)
    assert load_verification_keys(both) == [p256.public_key(), second]
    other = write(tmp_path / "e.pem", public_key_pem(ed25519.Ed25519PrivateKey.generate().public_key()), 0o644)
    with pytest.raises(KeyInvalid, match="not a P-256 public key"):
        load_verification_keys(other)
    with pytest.raises(KeyInvalid, match="cannot be read"):
        load_verification_keys(tmp_path / "missing.pem")


def test_of_a_key_file_no_more_is_read_than_a_key_can_have(tmp_path: Path, p256: ec.EllipticCurvePrivateKey) -> None:
    blank_lines = b"\n" * MAX_KEY_FILE_BYTES
    for file, load, pem in (
        ("public.pem", load_verification_keys, public_key_pem(p256.public_key())),
        ("private.key", load_signing_key, private_key_pem(p256)),
    ):
        load(write(tmp_path / file, b"\n" + pem))
        with pytest.raises(KeyInvalid, match="cannot be read"):
            load(write(tmp_path / file, blank_lines + pem))


def test_an_encrypted_missing_or_broken_key_is_refused_without_a_word_of_its_content(
    tmp_path: Path, p256: ec.EllipticCurvePrivateKey
) -> None:
    encrypted = p256.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"sample"))
    pem = private_key_pem(p256)
    broken = pem.replace(pem.splitlines()[1][:20], b"SAMPLESECRETSAMPLES!")
    for data in (encrypted, broken, b""):
        with pytest.raises(KeyInvalid, match="cannot be read") as caught:
            load_signing_key(write(tmp_path / "a.key", data))
        assert caught.value.__suppress_context__
        assert "SAMPLESECRET" not in str(caught.value)
    with pytest.raises(KeyInvalid, match="cannot be read"):
        load_signing_key(tmp_path / "missing.key")
