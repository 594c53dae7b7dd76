"""Sign and verify: ECDSA P-256 for records, Ed25519 for checkpoints.

The two never share a key. What they sign cannot be confused either: a record's bytes begin with ``DSSEv1 ``, a
checkpoint's with an origin, which contains no space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from broker.core.envelope import ECDSA_P256_SHA256
from broker.core.errors import CheckpointInvalid, KeyInvalid
from broker.core.tree.checkpoint import VerifierKey
from broker.trust.certificates import fingerprint, load_certificates, p256_public_key
from broker.trust.keys import load_checkpoint_key, load_checkpoint_public_key, load_signing_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509

_ECDSA_SHA256: Final = ec.ECDSA(hashes.SHA256())


class EcdsaSigner:
    """A P-256 signing key with its certificate. Keeps no state between calls, so any thread may sign."""

    algorithm: Final = ECDSA_P256_SHA256

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        """Pair a key with its certificate.

        Raises:
            KeyInvalid: the certificate belongs to another key.
            CertificateInvalid: the certificate's key is not on P-256.
        """
        if key.public_key() != p256_public_key(certificate):
            message = "the private key does not belong to its certificate"
            raise KeyInvalid(message)
        self._key = key
        self._algorithm = _deterministic_if_possible()
        self.certificate: Final = certificate
        self.certificate_sha256: Final = fingerprint(certificate)

    @classmethod
    def load(cls, key_path: Path, certificate_path: Path) -> EcdsaSigner:
        """Read both from PEM files.

        Raises:
            KeyInvalid, CertificateInvalid
        """
        return cls(load_signing_key(key_path), load_certificates(certificate_path)[0])

    def sign(self, message: bytes) -> bytes:
        """Sign exactly these bytes: ECDSA with SHA-256, ASN.1 DER."""
        return self._key.sign(message, self._algorithm)


def load_verifier_key(name: str, path: Path) -> VerifierKey:
    """Read the public key of a checkpoint key (PEM), and name it.

    Raises:
        KeyInvalid: unreadable, of another type, or with an unusable name.
    """
    return _named(name, load_checkpoint_public_key(path))


def _named(name: str, key: ed25519.Ed25519PublicKey) -> VerifierKey:
    try:
        return VerifierKey(name, key.public_bytes_raw())
    except CheckpointInvalid:
        message = "a checkpoint key's name is empty, or holds a space or a plus sign"
        raise KeyInvalid(message) from None


class Ed25519NoteSigner:
    """A checkpoint key with its name, as in C2SP signed-note."""

    def __init__(self, name: str, key: ed25519.Ed25519PrivateKey) -> None:
        """Name a key.

        Raises:
            KeyInvalid: the name is empty, or contains a space or a plus sign (signed-note, "Verifier keys").
        """
        self.verifier_key: Final = _named(name, key.public_key())
        self._key = key
        self.name: Final = name
        self.public_key: Final = self.verifier_key.public_key
        self.key_id: Final = self.verifier_key.key_id

    @classmethod
    def load(cls, name: str, key_path: Path) -> Ed25519NoteSigner:
        """Read the key from a PEM file.

        Raises:
            KeyInvalid
        """
        return cls(name, load_checkpoint_key(key_path))

    @property
    def vkey(self) -> str:
        """The verifier key, as the directory lists it: ``name+key_id+base64(type || public key)``."""
        return str(self.verifier_key)

    def sign(self, text: bytes) -> bytes:
        """Sign a note's text, including its last newline, without the blank line. 64 bytes."""
        return self._key.sign(text)


def note_verifier(public_key: bytes) -> Callable[[bytes, bytes], bool]:
    """Return a function of a note's text and a 64-byte signature. It says whether this raw Ed25519 key signed the text.

    Raises:
        CheckpointInvalid: the key is not 32 bytes.
    """
    try:
        key = ed25519.Ed25519PublicKey.from_public_bytes(public_key)
    except ValueError:
        message = "a checkpoint verifier key is not 32 bytes of Ed25519"
        raise CheckpointInvalid(message) from None

    def verify(text: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, text)
        except InvalidSignature:
            return False
        return True

    return verify


def ecdsa_verifies(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> bool:
    """Whether this is an ECDSA SHA-256 signature, ASN.1 DER, by this key over exactly these bytes."""
    try:
        key.verify(signature, message, _ECDSA_SHA256)
    except InvalidSignature:
        return False
    return True


def _deterministic_if_possible() -> ec.ECDSA:
    # RFC 6979: signing needs no randomness, so a weak generator can do no harm. Older versions of OpenSSL lack it.
    try:
        return ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    except UnsupportedAlgorithm:
        return _ECDSA_SHA256
