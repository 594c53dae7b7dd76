"""Opens HPKE messages where the library's own ``hpke`` cannot: with a P-256 key that only computes ECDH, in a token.

RFC 9180 for DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM, base mode, the first message: decapsulation and
key schedule, from cryptography's HKDF and AES-GCM. The tests hold it to the RFC's vectors and to the library's hpke.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

if TYPE_CHECKING:
    from collections.abc import Callable

ENCAPSULATED_BYTES: Final = 65
_VERSION: Final = b"HPKE-v1"
_KEM: Final = b"KEM\x00\x10"
_HPKE: Final = b"HPKE\x00\x10\x00\x01\x00\x02"
_BASE: Final = b"\0"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class KeyAndNonce(NamedTuple):
    """What the first message was encrypted with."""

    key: bytes
    nonce: bytes


def open_base(
    agree: Callable[[ec.EllipticCurvePublicKey], bytes], public_key: bytes, wrapped: bytes, info: bytes
) -> bytes:
    """Open a message (RFC 9180 section 6.1, OpenBase), without additional data.

    Args:
        agree: ECDH of the recipient's private key with a public key: 32 bytes.
        public_key: the recipient's, as an uncompressed point.
        wrapped: the encapsulated key, then the ciphertext.
        info: what the message is bound to.

    Raises:
        ValueError: the encapsulated key is no point of P-256.
        InvalidTag: it is not for this key, not bound to ``info``, or damaged.
    """
    encapsulated, ciphertext = wrapped[:ENCAPSULATED_BYTES], wrapped[ENCAPSULATED_BYTES:]
    key, nonce = key_schedule(decapsulate(agree, public_key, encapsulated), info)
    return AESGCM(key).decrypt(nonce, ciphertext, None)


def decapsulate(
    agree: Callable[[ec.EllipticCurvePublicKey], bytes], public_key: bytes, encapsulated: bytes
) -> bytes:
    """The shared secret (section 4.1, Decap). Arguments and errors as for ``open_base``."""
    # (1) DeserializePublicKey, with the check of section 7.1.4: an uncompressed point that is on the curve.
    if len(encapsulated) != ENCAPSULATED_BYTES:
        message = "an encapsulated key of P-256 has 65 bytes"
        raise ValueError(message)
    ephemeral = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), encapsulated)
    # (2) ExtractAndExpand.
    prk = _extract(_KEM, b"", b"eae_prk", agree(ephemeral))
    return _expand(_KEM, prk, b"shared_secret", encapsulated + public_key, _KEY_BYTES)


def key_schedule(shared_secret: bytes, info: bytes) -> KeyAndNonce:
    """The key and the nonce of the first message (section 5.1, base mode: no pre-shared key)."""
    context = _BASE + _extract(_HPKE, b"", b"psk_id_hash", b"") + _extract(_HPKE, b"", b"info_hash", info)
    secret = _extract(_HPKE, shared_secret, b"secret", b"")
    return KeyAndNonce(
        _expand(_HPKE, secret, b"key", context, _KEY_BYTES),
        _expand(_HPKE, secret, b"base_nonce", context, _NONCE_BYTES),
    )


def _extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return HKDF.extract(hashes.SHA256(), salt, _VERSION + suite + label + material)


def _expand(suite: bytes, secret: bytes, label: bytes, info: bytes, size: int) -> bytes:
    labelled = size.to_bytes(2) + _VERSION + suite + label + info
    return HKDFExpand(hashes.SHA256(), size, labelled).derive(secret)
