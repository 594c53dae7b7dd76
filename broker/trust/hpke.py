"""Wraps content keys to agencies: HPKE (RFC 9180), base mode, one message for each encapsulated key.

The key derivation is HKDF-SHA256, the cipher AES-256-GCM. The suite of a key says which way to encapsulate it has:
``MLKEM768_X25519`` (draft-ietf-hpke-pq, X-Wing) or ``P256``. HPKE's base mode does not say who made a wrap: the
signature of the record does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from broker.core.encryptionkeys import (
    ENCAPSULATED_BYTES,
    MLKEM768_X25519,
    P256,
    PUBLIC_KEY_BYTES,
    TAG_BYTES,
    EncryptionKey,
    encryption_key_id,
)
from broker.core.errors import ExtraMissing, KeyInvalid, SealInvalid
from broker.trust.keys import is_p256, pem_blocks
from broker.trust.privatefiles import read_private_file
from broker.trust.tokenkeys import TokenEcKey, is_reference, make_encryption_key, read_reference

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.keyuri import KeyUri

_KEMS: Final = {MLKEM768_X25519: hpke.KEM.MLKEM768_X25519, P256: hpke.KEM.P256}
_SUITES: Final = {name: hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM) for name, kem in _KEMS.items()}
_MLKEM_BYTES: Final = 1184
_PUBLIC = ec.EllipticCurvePublicKey | hpke.MLKEM768X25519PublicKey


class HpkeWrapper:
    """The port KeyWrapper."""

    def wrap(self, key: EncryptionKey, content_keys: bytes, info: bytes) -> bytes:
        """See ``KeyWrapper``."""
        public = read_public_key(key.suite, key.public_key)
        try:
            return _SUITES[key.suite].encrypt(content_keys, public, info)
        except ValueError:
            # A point of X25519 with which every shared secret is zero (RFC 7748 section 6.1).
            message = "nothing can be sealed to this public key"
            raise SealInvalid(message, key_id=key.key_id.hex()) from None


@dataclass(frozen=True, slots=True, repr=False)
class PrivateEncryptionKey:
    """A private key of a suite, with what is public of it. A hybrid key has two parts, and both open a wrap."""

    suite: str
    parts: tuple[mlkem.MLKEM768PrivateKey, x25519.X25519PrivateKey] | tuple[ec.EllipticCurvePrivateKey]
    public_key: bytes
    key_id: bytes

    @classmethod
    def generate(cls, suite: str) -> PrivateEncryptionKey:
        """A new key.

        Raises:
            ExtraMissing: the installed OpenSSL has no ML-KEM.
        """
        if suite == P256:
            return cls._of_p256(ec.generate_private_key(ec.SECP256R1()))
        try:
            return cls._of_hybrid(mlkem.MLKEM768PrivateKey.generate(), x25519.X25519PrivateKey.generate())
        except UnsupportedAlgorithm:
            message = "cryptography was built without ML-KEM: install its own wheel, which has it"
            raise ExtraMissing(message) from None

    @classmethod
    def in_token(cls, uri: KeyUri) -> PrivateEncryptionKey:
        """The P-256 key of this name in a token: the one that is there, or a new one that never leaves it.

        Raises:
            HardwareKeyUnavailable
            ExtraMissing: the library for PKCS #11 is not installed.
        """
        return cls._of_p256(make_encryption_key(uri))

    @classmethod
    def load(cls, path: Path) -> PrivateEncryptionKey:
        """Read a key from a PEM file: one block of P-256, or ML-KEM-768 and then X25519. Or one that is in a token.

        Raises:
            KeyInvalid: unreadable, open to group or others, encrypted, or of another type.
        """
        data = read_private_file(path)
        parts: list[Any] = []
        try:
            in_token = is_reference(data)
            parts = [read_reference(data, path.name)] if in_token else [*map(_private_key, pem_blocks(data))]
        except (ValueError, TypeError, UnsupportedAlgorithm):
            pass
        match parts:
            case [ec.EllipticCurvePrivateKey() as key] if is_p256(key.public_key()):
                return cls._of_p256(key)
            case [mlkem.MLKEM768PrivateKey() as first, x25519.X25519PrivateKey() as second]:
                return cls._of_hybrid(first, second)
        message = f"{path.name} is not a private key of the suite {MLKEM768_X25519} or {P256}"
        raise KeyInvalid(message)

    @classmethod
    def _of_p256(cls, key: ec.EllipticCurvePrivateKey) -> PrivateEncryptionKey:
        public = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return cls(P256, (key,), public, encryption_key_id(P256, public))

    @classmethod
    def _of_hybrid(cls, first: mlkem.MLKEM768PrivateKey, second: x25519.X25519PrivateKey) -> PrivateEncryptionKey:
        public = first.public_key().public_bytes_raw() + second.public_key().public_bytes_raw()
        return cls(MLKEM768_X25519, (first, second), public, encryption_key_id(MLKEM768_X25519, public))

    def __repr__(self) -> str:
        """Only what is public."""
        return f"PrivateEncryptionKey({self.key_id.hex()})"

    @property
    def token_key(self) -> TokenEcKey | None:
        """The key, if it is in a token."""
        return next((part for part in self.parts if isinstance(part, TokenEcKey)), None)

    def pem(self) -> bytes:
        """What its file holds: PKCS #8 in PEM, a block for each part, not encrypted; or the URI of a token's key."""
        if self.token_key is not None:
            return self.token_key.reference()
        return b"".join(part.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for part in self.parts)

    def stated_as(self, agency: str, use: str, not_before_ms: int, not_after_ms: int) -> EncryptionKey:
        """What an agency will state of this key: its use and its times. It has no statement yet."""
        return EncryptionKey(
            agency, self.key_id, self.suite, use, self.public_key, not_before_ms, not_after_ms, None, statement=b""
        )

    def unwrap(self, wrapped: bytes, info: bytes) -> bytes:
        """The content keys in a wrap.

        Raises:
            SealInvalid: the wrap is not to this key, not bound to ``info``, or damaged.
            HardwareKeyUnavailable: the key is in a token that cannot be used now.
        """
        size = ENCAPSULATED_BYTES[self.suite]
        key = self.parts[0] if len(self.parts) == 1 else hpke.MLKEM768X25519PrivateKey(*self.parts)
        if len(wrapped) >= size + TAG_BYTES:
            try:
                usable = key.for_message(wrapped[:size]) if isinstance(key, TokenEcKey) else key
                return _SUITES[self.suite].decrypt(wrapped, usable, info)
            except (InvalidTag, ValueError):
                pass
        message = "the wrap of the content keys does not open: changed, moved, or made for another key"
        raise SealInvalid(message, key_id=self.key_id.hex())


def _private_key(block: bytes) -> Any:
    return load_pem_private_key(block, password=None)


def read_public_key(suite: str, public_key: bytes) -> _PUBLIC:
    """Read a raw public key.

    Raises:
        SealInvalid: it is of another size, or no key of this suite.
    """
    try:
        if len(public_key) != PUBLIC_KEY_BYTES.get(suite):
            raise ValueError  # noqa: TRY301 - it is handled as the library's own
        if suite == P256:
            return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public_key)
        first = mlkem.MLKEM768PublicKey.from_public_bytes(public_key[:_MLKEM_BYTES])
        second = x25519.X25519PublicKey.from_public_bytes(public_key[_MLKEM_BYTES:])
        return hpke.MLKEM768X25519PublicKey(first, second)
    except ValueError:
        message = f"it is not a public key of the suite {suite}"
        raise SealInvalid(message) from None
