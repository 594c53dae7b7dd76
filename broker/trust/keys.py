"""Keys from files: in PEM, or in a token that the file names (broker/trust/tokenkeys.py).

A private key file is refused if anyone but its owner can read it. An error names only the file. The library's message
about an unreadable key is dropped, because it may quote the bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from broker.core.errors import KeyInvalid
from broker.trust.privatefiles import MAX_KEY_FILE_BYTES, read_private_file
from broker.trust.tokenkeys import TokenKey, is_reference, read_reference

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_PUBLIC_KEY: Final = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)
_PRIVATE_KEY: Final = re.compile(rb"-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----\s?", re.DOTALL)


def load_signing_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read the P-256 private key that signs records, directories or certificates. It may be in a token.

    Raises:
        KeyInvalid: unreadable, open to group or others, encrypted, or of another type.
    """
    key = _load_private_key(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not is_p256(key.public_key()):
        message = f"{path.name} is not a P-256 private key"
        raise KeyInvalid(message)
    return key


def load_checkpoint_key(path: Path) -> ed25519.Ed25519PrivateKey:
    """Read the Ed25519 private key that signs checkpoints. It may be in a token.

    Raises:
        KeyInvalid: unreadable, open to group or others, encrypted, or of another type.
    """
    key = _load_private_key(path)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        message = f"{path.name} is not an Ed25519 private key"
        raise KeyInvalid(message)
    return key


def load_verification_keys(path: Path) -> list[ec.EllipticCurvePublicKey]:
    """Read P-256 public keys, such as the pinned governance keys. A file has one or more.

    Raises:
        KeyInvalid: unreadable, without a key, or with one of another type.
    """
    try:
        with path.open("rb") as file:
            keys = [load_pem_public_key(block) for block in _PUBLIC_KEY.findall(file.read(MAX_KEY_FILE_BYTES))]
    except (OSError, ValueError, UnsupportedAlgorithm):
        keys = []
    if not keys:
        message = f"{path.name} cannot be read as a public key in PEM"
        raise KeyInvalid(message)
    found = [key for key in keys if isinstance(key, ec.EllipticCurvePublicKey) and is_p256(key)]
    if len(found) != len(keys):
        message = f"{path.name} is not a P-256 public key"
        raise KeyInvalid(message)
    return found


def load_checkpoint_public_key(path: Path) -> ed25519.Ed25519PublicKey:
    """Read the Ed25519 public key of a checkpoint key.

    Raises:
        KeyInvalid: unreadable, or of another type.
    """
    try:
        with path.open("rb") as file:
            key = load_pem_public_key(file.read(MAX_KEY_FILE_BYTES))
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        message = f"{path.name} cannot be read as a public key in PEM"
        raise KeyInvalid(message) from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        message = f"{path.name} is not an Ed25519 public key"
        raise KeyInvalid(message)
    return key


def is_p256(key: object) -> bool:
    """Whether this is a public key on P-256, the only curve for signing records."""
    return isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)


def private_key_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """What a key file holds: PKCS #8 in PEM, not encrypted, which only the file's mode protects. Or a token's URI."""
    if isinstance(key, TokenKey):
        return key.reference()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_key_pem(key: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    """SubjectPublicKeyInfo in PEM."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def pem_blocks(data: bytes) -> list[bytes]:
    """The private keys in PEM in a file, each for itself."""
    return _PRIVATE_KEY.findall(data)


def _load_private_key(path: Path) -> PrivateKeyTypes | TokenKey:
    data = read_private_file(path)
    if is_reference(data):
        return read_reference(data, path.name)
    try:
        return load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        message = f"{path.name} cannot be read as an unencrypted private key in PEM"
        raise KeyInvalid(message) from None
