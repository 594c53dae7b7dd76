"""Keys of both algorithms that sign records, in files, in certificates and in the process that checks signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.core.algorithms import ALGORITHMS
from broker.core.envelope import ECDSA_P256_SHA256, ML_DSA_65
from broker.core.errors import CertificateInvalid, KeyInvalid
from broker.ports import Signed
from broker.trust.certificates import pem
from broker.trust.keys import private_key_pem
from broker.trust.keystatements import signed_by
from broker.trust.recordkeys import MlDsaSigner, algorithm_of, load_mldsa_key, load_record_key, mldsa_key_pem, verifies
from broker.trust.verification import InlineVerifier, ProcessVerifier
from certs.rights import HEBEI
from certs.storage import write_private, write_public
from tests.support.signers import desk, listing, mldsa_signer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pki import SamplePki


_SPKI = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_the_process_checks_signatures_of_both_algorithms(pki: SamplePki) -> None:
    made = desk(pki)
    keyring = pki.keyring(made.directory)
    signed = [
        Signed(keyring.signer(signer.certificate_sha256), b"%d" % number, signer.sign(b"%d" % number))
        for number in range(8)
        for signer in made.all
    ]
    signed[::5] = [item._replace(message=item.message + b" changed") for item in signed[::5]]
    # A signature of one algorithm in the place of one of the other.
    signed[1], signed[2] = (
        signed[1]._replace(signature=signed[2].signature),
        signed[2]._replace(signature=signed[1].signature),
    )
    expected = [number % 5 != 0 and number not in (1, 2) for number in range(len(signed))]
    verifier = ProcessVerifier()
    process = verifier._process
    try:
        assert verifier.verify(signed) == InlineVerifier().verify(signed) == expected
        assert verifier._process is process, "it was the process that answered: nobody had to stand in for it"
    finally:
        verifier.close()


def test_a_signature_has_the_size_of_the_registry_and_each_is_another(pki: SamplePki) -> None:
    made = desk(pki)
    for signer in made.gateway:
        sizes = {len(signer.sign(b"%d" % number)) for number in range(20)}
        assert max(sizes) <= ALGORITHMS[signer.algorithm].signature_bytes
    post_quantum = made.gateway[1]
    assert post_quantum.sign(b"message") != post_quantum.sign(b"message")
    assert len(mldsa.MLDSA65PrivateKey.generate().public_key().public_bytes_raw()) == (
        ALGORITHMS[ML_DSA_65].public_key_bytes
    )


def test_a_signature_in_another_context_does_not_hold() -> None:
    key = mldsa.MLDSA65PrivateKey.generate()
    assert verifies(key.public_key(), b"message", key.sign(b"message"))
    assert not verifies(key.public_key(), b"message", key.sign(b"message", b"another context"))


def test_key_and_certificate_are_read_from_files_and_must_belong_together(pki: SamplePki, tmp_path: Path) -> None:
    signer, other = mldsa_signer(pki), mldsa_signer(pki)
    key, certificate = tmp_path / "signing.key", tmp_path / "signing.pem"
    write_private(key, mldsa_key_pem(signer._key))
    write_public(certificate, pem(signer.certificate))
    assert MlDsaSigner.load(key, certificate).certificate_sha256 == signer.certificate_sha256
    write_public(certificate, pem(other.certificate))
    with pytest.raises(KeyInvalid, match="does not belong"):
        MlDsaSigner.load(key, certificate)
    key.chmod(0o640)
    with pytest.raises(KeyInvalid, match="others than its owner"):
        load_mldsa_key(key)


def test_keys_of_other_types_sign_no_records(tmp_path: Path) -> None:
    key = tmp_path / "another.key"
    for data in (private_key_pem(ec.generate_private_key(ec.SECP256R1())), b"no key"):
        write_private(key, data)
        with pytest.raises(KeyInvalid, match=r"another\.key cannot be read as an unencrypted ML-DSA-65 private key"):
            load_mldsa_key(key)
    assert algorithm_of(ec.generate_private_key(ec.SECP256R1()).public_key()) == ECDSA_P256_SHA256
    for other in (
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        ed25519.Ed25519PrivateKey.generate().public_key(),
        mldsa.MLDSA44PrivateKey.generate().public_key(),
    ):
        assert algorithm_of(other) == ""
    with pytest.raises(CertificateInvalid):
        load_record_key(
            mldsa.MLDSA44PrivateKey.generate().public_key().public_bytes(*_SPKI),
        )


def test_an_ml_dsa_65_certificate_signs_no_key_statements(pki: SamplePki) -> None:
    signer = mldsa_signer(pki)
    directory = listing(pki.directory, HEBEI, signer)
    # The directory that lists it is read all the same, with the statements that another certificate signed.
    pki.sign(directory)
    member = directory.agencies[HEBEI]
    (statement, *_) = (key.statement for key in member.encryption_keys)
    assert signed_by(statement, member.signing_certificates[0])
    assert not signed_by(statement, member.signing_certificates[1])
