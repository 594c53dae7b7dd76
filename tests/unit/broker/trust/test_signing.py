from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from broker.core.envelope import ECDSA_P256_SHA256
from broker.core.errors import CheckpointInvalid, KeyInvalid
from broker.core.tree.checkpoint import VerifierKey
from broker.trust.certificates import fingerprint
from broker.trust.signing import (
    EcdsaSigner,
    Ed25519NoteSigner,
    ecdsa_verifies,
    note_verifier,
)

if TYPE_CHECKING:
    from tests.support.pki import SamplePki

# The example of the Go package golang.org/x/mod/sumdb/note, which signed-note describes.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_TEXT = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="


def test_a_signature_verifies_with_the_certificate_s_key_and_a_flipped_byte_does_not(pki: SamplePki) -> None:
    credential = pki.credential()
    signature = credential.signer.sign(b"sample message")
    key = credential.key.public_key()
    assert ecdsa_verifies(key, b"sample message", signature)
    assert not ecdsa_verifies(key, b"sample messagf", signature)
    for at in range(len(signature)):
        mutant = bytearray(signature)
        mutant[at] ^= 1
        assert not ecdsa_verifies(key, b"sample message", bytes(mutant))


@given(signature=st.binary(max_size=100))
def test_no_bytes_as_a_signature_make_the_check_fail_otherwise_than_by_saying_no(
    pki: SamplePki, signature: bytes
) -> None:
    key = pki.signer().certificate.public_key()
    assert not ecdsa_verifies(key, b"sample message", signature)  # type: ignore[arg-type] # the sample PKI is all P-256


def test_the_same_bytes_give_the_same_signature(pki: SamplePki) -> None:
    signer = pki.signer()
    assert signer.sign(b"sample message") == signer.sign(b"sample message")


def test_a_signer_names_its_certificate_and_algorithm(pki: SamplePki) -> None:
    credential = pki.credential()
    assert credential.signer.certificate_sha256 == fingerprint(credential.certificate)
    assert credential.signer.algorithm == ECDSA_P256_SHA256


def test_a_key_is_not_taken_with_another_agency_s_certificate(pki: SamplePki) -> None:
    with pytest.raises(KeyInvalid, match="does not belong"):
        EcdsaSigner(pki.credential().key, pki.credential(agency="hebei-police").certificate)


def test_the_published_example_of_a_note_verifies() -> None:
    key = VerifierKey.parse(PETER)
    blob = base64.b64decode(PETER_SIGNATURE)
    assert (key.name, blob[:4]) == ("PeterNeumann", key.key_id)
    assert note_verifier(key.public_key)(PETER_TEXT, blob[4:])
    assert not note_verifier(key.public_key)(PETER_TEXT[:-1], blob[4:])


def test_a_note_signer_s_verifier_key_verifies_what_it_signs(pki: SamplePki) -> None:
    signer = pki.note_signer
    key = VerifierKey.parse(signer.vkey)
    assert (key.name, key.key_id, key.public_key) == (signer.name, signer.key_id, signer.public_key)
    signature = signer.sign(b"sample/log\n1\nAAAA\n")
    assert len(signature) == 64
    assert note_verifier(key.public_key)(b"sample/log\n1\nAAAA\n", signature)
    assert not note_verifier(key.public_key)(b"sample/log\n2\nAAAA\n", signature)
    assert pki.folder.checkpoint_vkey.read_text() == signer.vkey + "\n"


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        PETER.replace("c74f20a3", "c74f20a4"),
        PETER.replace("PeterNeumann", "PeterNeumenn"),
        PETER.replace("+ARpc", "+AhpC"),
        PETER[:-1],
        PETER + "=",
        PETER + "\n",
        PETER.replace("PeterNeumann", "Peter Neumann"),
        PETER.replace("c74f20a3", "C74F20A3"),
        "PeterNeumann+c74f20a3+AQ==",
    ],
)
def test_a_mangled_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(CheckpointInvalid):
        VerifierKey.parse(vkey)


@pytest.mark.parametrize("name", ["", "two words", "a+b", "line\n"])
def test_a_checkpoint_key_s_name_holds_no_space_and_no_plus(name: str) -> None:
    with pytest.raises(KeyInvalid):
        Ed25519NoteSigner(name, ed25519.Ed25519PrivateKey.generate())


def test_a_verifier_needs_a_key_of_32_bytes() -> None:
    with pytest.raises(CheckpointInvalid):
        note_verifier(bytes(31))
