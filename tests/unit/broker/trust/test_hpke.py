"""Wraps to agencies' keys: what opens them, what does not, and the vectors of RFC 9180 and of the hybrid draft."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mlkem, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.encryptionkeys import (
    ENCAPSULATED_BYTES,
    MLKEM768_X25519,
    P256,
    PUBLIC_KEY_BYTES,
    RECORDS,
    TAG_BYTES,
    EncryptionKey,
    encryption_key_id,
    wrapped_size,
)
from broker.core.errors import KeyInvalid, SealInvalid
from broker.trust.hpke import HpkeWrapper, PrivateEncryptionKey, read_public_key

SUITES = (MLKEM768_X25519, P256)
PRIVATE = {suite: PrivateEncryptionKey.generate(suite) for suite in SUITES}
OTHER = {suite: PrivateEncryptionKey.generate(suite) for suite in SUITES}
CONTENT_KEYS = bytes(range(64))
INFO = b"one record, one recipient, one key"
VECTORS = json.loads((Path(__file__).parents[3] / "vectors" / "hpke.json").read_text())["cases"]

suites = st.sampled_from(SUITES)


def stated(private: PrivateEncryptionKey) -> EncryptionKey:
    return private.stated_as("sample-agency", RECORDS, 0, 1)


def wrapped(suite: str, content_keys: bytes = CONTENT_KEYS, info: bytes = INFO) -> bytes:
    return HpkeWrapper().wrap(stated(PRIVATE[suite]), content_keys, info)


@settings(max_examples=20)
@given(suites, st.binary(max_size=200), st.binary(max_size=200))
def test_what_is_wrapped_comes_out_and_has_the_promised_size(suite: str, content_keys: bytes, info: bytes) -> None:
    first, second = wrapped(suite, content_keys, info), wrapped(suite, content_keys, info)
    assert first != second
    assert len(first) == wrapped_size(suite, len(content_keys))
    assert PRIVATE[suite].unwrap(first, info) == PRIVATE[suite].unwrap(second, info) == content_keys


@pytest.mark.parametrize("suite", SUITES)
def test_a_wrap_opens_with_its_own_key_and_its_own_info_only(suite: str) -> None:
    wrap = wrapped(suite)
    for private, info in [
        (OTHER[suite], INFO),
        (PRIVATE[P256 if suite == MLKEM768_X25519 else MLKEM768_X25519], INFO),
        (PRIVATE[suite], b""),
        (PRIVATE[suite], INFO + b"\0"),
    ]:
        with pytest.raises(SealInvalid):
            private.unwrap(wrap, info)


@settings(max_examples=60)
@given(suites, st.data())
def test_a_changed_wrap_opens_to_nothing(suite: str, data: st.DataObject) -> None:
    wrap = bytearray(wrapped(suite))
    bit = data.draw(st.integers(0, len(wrap) * 8 - 1))
    wrap[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealInvalid):
        PRIVATE[suite].unwrap(bytes(wrap), INFO)


@settings(max_examples=60)
@given(suites, st.data())
def test_a_cut_or_lengthened_wrap_opens_to_nothing(suite: str, data: st.DataObject) -> None:
    wrap = wrapped(suite)
    end = data.draw(st.integers(0, len(wrap) - 1))
    for changed in (wrap[:end], wrap[end + 1 :], wrap + bytes(end + 1)):
        with pytest.raises(SealInvalid):
            PRIVATE[suite].unwrap(changed, INFO)


@settings(max_examples=100)
@given(suites, st.binary(max_size=1300))
def test_any_bytes_at_all_open_to_nothing(suite: str, data: bytes) -> None:
    with pytest.raises(SealInvalid):
        PRIVATE[suite].unwrap(data, INFO)


@settings(max_examples=100)
@given(
    st.sampled_from([*SUITES, "X25519", ""]), st.one_of(st.binary(max_size=70), st.binary(min_size=1216, max_size=1216))
)
def test_bytes_that_are_no_public_key_are_refused(suite: str, public_key: bytes) -> None:
    try:
        read_public_key(suite, public_key)
    except SealInvalid:
        return
    # Most bytes are a public key of X25519, but hardly any are one of ML-KEM as well.
    assert len(public_key) == PUBLIC_KEY_BYTES[suite]
    assert suite == MLKEM768_X25519


def test_a_key_for_which_x25519_gives_zero_is_refused_when_it_is_used() -> None:
    public = PRIVATE[MLKEM768_X25519].public_key[:-32] + bytes(32)
    key = replace(stated(PRIVATE[MLKEM768_X25519]), public_key=public)
    with pytest.raises(SealInvalid):
        HpkeWrapper().wrap(key, CONTENT_KEYS, INFO)


@pytest.mark.parametrize("suite", SUITES)
def test_a_key_file_is_read_back_as_it_was_written(suite: str, tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.touch(0o600)
    path.write_bytes(PRIVATE[suite].pem())
    loaded = PrivateEncryptionKey.load(path)
    assert (loaded.suite, loaded.public_key, loaded.key_id) == (
        suite,
        PRIVATE[suite].public_key,
        PRIVATE[suite].key_id,
    )
    assert len(loaded.public_key) == PUBLIC_KEY_BYTES[suite]
    assert loaded.key_id == encryption_key_id(suite, loaded.public_key)
    assert loaded.unwrap(wrapped(suite), INFO) == CONTENT_KEYS
    assert repr(loaded) == f"PrivateEncryptionKey({loaded.key_id.hex()})"


def pem(key: Any, protection: Any = None) -> bytes:
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection or NoEncryption()))


def test_a_file_with_another_key_or_open_to_others_is_refused(tmp_path: Path) -> None:
    first, second = mlkem.MLKEM768PrivateKey.generate(), x25519.X25519PrivateKey.generate()
    path = tmp_path / "a.key"
    path.touch(0o600)
    for content in (
        b"",
        b"no key",
        pem(second),
        pem(first),
        pem(second) + pem(first),
        pem(first) + pem(second) + pem(second),
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(ed25519.Ed25519PrivateKey.generate()),
        pem(ec.generate_private_key(ec.SECP256R1()), BestAvailableEncryption(b"sample")),
    ):
        path.write_bytes(content)
        with pytest.raises(KeyInvalid, match=r"a\.key is not a private key of the suite"):
            PrivateEncryptionKey.load(path)
    path.write_bytes(PRIVATE[P256].pem())
    path.chmod(0o640)
    with pytest.raises(KeyInvalid, match="accessible to others"):
        PrivateEncryptionKey.load(path)
    with pytest.raises(KeyInvalid, match="cannot be read"):
        PrivateEncryptionKey.load(tmp_path / "none.key")


def of_vector(vector: dict[str, Any], path: Path) -> PrivateEncryptionKey:
    """The private key of a vector, through a file as ours."""
    secret = bytes.fromhex(vector["skRm"])
    if vector["kem_id"] == 0x10:
        content = pem(ec.derive_private_key(int.from_bytes(secret), ec.SECP256R1()))
    else:
        # draft-ietf-hpke-pq: the seed of a hybrid key is expanded to the seeds of both parts.
        seeds = hashlib.shake_256(secret).digest(96)
        parts = (
            mlkem.MLKEM768PrivateKey.from_seed_bytes(seeds[:64]),
            x25519.X25519PrivateKey.from_private_bytes(seeds[64:]),
        )
        content = b"".join(map(pem, parts))
    path.touch(0o600)
    path.write_bytes(content)
    return PrivateEncryptionKey.load(path)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: hex(vector["kem_id"]))
def test_our_keys_are_those_of_the_vectors_and_open_what_others_sealed(vector: dict[str, Any], tmp_path: Path) -> None:
    private = of_vector(vector, tmp_path / "a.key")
    assert private.suite == {0x10: P256, 0x647A: MLKEM768_X25519}[vector["kem_id"]]
    assert private.public_key.hex() == vector["pkRm"]
    assert len(vector["enc"]) // 2 == ENCAPSULATED_BYTES[private.suite]
    # The vectors have additional data, which the library takes only through a private function. Ours has none.
    kem = {P256: hpke.KEM.P256, MLKEM768_X25519: hpke.KEM.MLKEM768_X25519}[private.suite]
    aead = {2: hpke.AEAD.AES_256_GCM, 3: hpke.AEAD.CHACHA20_POLY1305}[vector["aead_id"]]
    suite = hpke.Suite(kem, hpke.KDF.HKDF_SHA256, aead)
    key = private.parts[0] if len(private.parts) == 1 else hpke.MLKEM768X25519PrivateKey(*private.parts)
    sealed = vector["encryptions"][0]
    blob = bytes.fromhex(vector["enc"] + sealed["ct"])
    assert len(sealed["ct"]) // 2 == len(sealed["pt"]) // 2 + TAG_BYTES
    info, aad = bytes.fromhex(vector["info"]), bytes.fromhex(sealed["aad"])
    assert openssl.hpke._decrypt_with_aad(suite, blob, key, info, aad).hex() == sealed["pt"]
    with pytest.raises(SealInvalid):
        private.unwrap(blob, info)
