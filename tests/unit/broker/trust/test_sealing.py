"""AES-256-GCM with a commitment to the key: what opens, and every other combination that must not."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import KeyCommitmentBroken, SealInvalid
from broker.core.sealing import SealedContent
from broker.trust.sealing import AesGcmCipher

CIPHER = AesGcmCipher()
KEY, OTHER_KEY, NONCE, CONTEXT = b"k" * 32, b"o" * 32, b"n" * 12, b"c" * 32
CONTENT = b"synthetic canary " * 16
SEALED = CIPHER.seal(KEY, NONCE, CONTEXT, CONTENT)


def hkdf_sha256(key: bytes, info: bytes) -> bytes:
    """RFC 5869 for one block, written out: extract with a salt of zeros, then expand."""
    extracted = hmac.digest(bytes(32), key, "sha256")
    return hmac.digest(extracted, info + b"\1", "sha256")


def test_the_construction_is_the_documented_one() -> None:
    encryption_key = hkdf_sha256(KEY, b"case-exchange/seal/v1 encrypt\0" + CONTEXT)
    assert SEALED.key_commitment == hkdf_sha256(KEY, b"case-exchange/seal/v1 commit\0" + CONTEXT)
    assert SEALED.content[:12] == NONCE
    assert AESGCM(encryption_key).decrypt(NONCE, SEALED.content[12:], CONTEXT) == CONTENT


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.binary(max_size=300))
def test_what_is_sealed_opens_and_shows_nothing(key: bytes, context: bytes, content: bytes) -> None:
    sealed = CIPHER.seal(key, hashlib.sha256(key).digest()[:12], context, content)
    assert CIPHER.open(key, context, sealed) == content
    assert len(sealed.content) == 12 + len(content) + 16
    assert len(content) < 8 or content not in sealed.content


@pytest.mark.parametrize(("key", "context"), [(OTHER_KEY, CONTEXT), (KEY, b"d" * 32)], ids=["key", "context"])
def test_another_key_or_context_breaks_the_commitment_before_the_key_is_used(key: bytes, context: bytes) -> None:
    with pytest.raises(KeyCommitmentBroken):
        CIPHER.open(key, context, SEALED)
    # Nor does it open with the commitment of that other key: then the ciphertext is another one's.
    forged = SealedContent(SEALED.content, CIPHER.seal(key, NONCE, context, CONTENT).key_commitment)
    with pytest.raises(SealInvalid) as refused:
        CIPHER.open(key, context, forged)
    assert type(refused.value) is SealInvalid


@given(st.integers(0, len(SEALED.content) * 8 - 1))
def test_every_changed_bit_is_refused(bit: int) -> None:
    changed = bytearray(SEALED.content)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealInvalid):
        CIPHER.open(KEY, CONTEXT, SealedContent(bytes(changed), SEALED.key_commitment))


@pytest.mark.parametrize("size", [0, 1, 11, 12, 27, 28, 100, len(SEALED.content) - 1])
def test_what_was_cut_is_refused(size: int) -> None:
    with pytest.raises(SealInvalid):
        CIPHER.open(KEY, CONTEXT, SealedContent(SEALED.content[:size], SEALED.key_commitment))
