"""Signing and verifying: ECDSA P-256 for records, Ed25519 for checkpoints.

The two never share a key. What they sign cannot be confused either: a record's bytes begin with ``DSSEv1 ``, a
checkpoint's with an origin, which holds no space.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from broker.core.envelope import ECDSA_P256_SHA256
from broker.core.errors import CheckpointInvalid, KeyInvalid
from broker.trust.certificates import fingerprint, load_certificates, p256_public_key
from broker.trust.keys import load_checkpoint_key, load_signing_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509

_ECDSA_SHA256: Final = ec.ECDSA(hashes.SHA256())
_NOTE_ED25519: Final = b"\x01"
_NOTE_NAME: Final = re.compile(r"[^\s+]+")
_ED25519_PUBLIC_KEY_BYTES: Final = 32
_VKEY: Final = re.compile(r"(?P<name>[^\s+]+)\+(?P<key_id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+={0,2})")


class EcdsaSigner:
    """A P-256 signing key with its certificate. Keeps no state between calls, so any thread may sign."""

    algorithm: Final = ECDSA_P256_SHA256

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        """Pair a key with its certificate.

        Raises:
            KeyInvalid: the certificate is another key's.
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


class Ed25519NoteSigner:
    """A checkpoint key in the sense of C2SP signed-note, with its name."""

    def __init__(self, name: str, key: ed25519.Ed25519PrivateKey) -> None:
        """Name a key.

        Raises:
            KeyInvalid: the name is empty, or holds a space or a plus sign (signed-note, "Verifier keys").
        """
        if not _NOTE_NAME.fullmatch(name):
            message = "a checkpoint key's name is empty, or holds a space or a plus sign"
            raise KeyInvalid(message)
        self._key = key
        self.name: Final = name
        self.public_key: Final = key.public_key().public_bytes_raw()
        self.key_id: Final = note_key_id(name, self.public_key)

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
        key = base64.b64encode(_NOTE_ED25519 + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{key}"

    def sign(self, text: bytes) -> bytes:
        """Sign a note's text, including its last newline, without the blank line. 64 bytes."""
        return self._key.sign(text)


class NoteKey(NamedTuple):
    """A checkpoint verifier key: its name, its 4-byte id and the raw 32-byte Ed25519 key."""

    name: str
    key_id: bytes
    public_key: bytes


def parse_vkey(vkey: str) -> NoteKey:
    """Read a C2SP verifier key (signed-note, "Verifier keys"); Ed25519 only.

    Raises:
        CheckpointInvalid: another form or type, or an id that does not follow from name and key.
    """
    match = _VKEY.fullmatch(vkey)
    if match is None:
        message = "a checkpoint verifier key is not name+id+key"
        raise CheckpointInvalid(message)
    try:
        typed = base64.b64decode(match["key"], validate=True)
    except binascii.Error:
        typed = b""
    key = NoteKey(match["name"], bytes.fromhex(match["key_id"]), typed[1:])
    if base64.b64encode(typed).decode() != match["key"] or typed[:1] != _NOTE_ED25519:
        message = "a checkpoint verifier key is not an Ed25519 key in canonical base64"
        raise CheckpointInvalid(message)
    if len(key.public_key) != _ED25519_PUBLIC_KEY_BYTES or note_key_id(key.name, key.public_key) != key.key_id:
        message = "a checkpoint verifier key's id is not that of its name and key"
        raise CheckpointInvalid(message)
    return key


def note_key_id(name: str, public_key: bytes) -> bytes:
    """The key id of an Ed25519 key under a name (signed-note, "Signatures")."""
    return hashlib.sha256(name.encode() + b"\n" + _NOTE_ED25519 + public_key).digest()[:4]


def note_verifier(public_key: bytes) -> Callable[[bytes, bytes], bool]:
    """A function of a note's text and a 64-byte signature that says whether this raw Ed25519 key made it.

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
    # RFC 6979: no randomness at signing time that a weak generator could spoil. Older OpenSSL lacks it.
    try:
        return ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    except UnsupportedAlgorithm:
        return _ECDSA_SHA256
