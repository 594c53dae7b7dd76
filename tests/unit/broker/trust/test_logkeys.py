from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ed25519

from broker.trust.logkeys import DirectoryLogKeys, log_verifiers
from broker.trust.signing import Ed25519NoteSigner

if TYPE_CHECKING:
    from broker.core.policy import Directory
    from tests.support.pki import SamplePki


def listing(pki: SamplePki, *signers: Ed25519NoteSigner) -> Directory:
    return replace(pki.directory, log_keys=tuple(str(signer.verifier_key) for signer in signers))


def another_key(name: str = "another.example/log") -> Ed25519NoteSigner:
    return Ed25519NoteSigner(name, ed25519.Ed25519PrivateKey.generate())


def test_a_listed_key_checks_what_it_signed_and_no_other(pki: SamplePki) -> None:
    signer, other = pki.note_signer, another_key()
    keys = DirectoryLogKeys(lambda: listing(pki, signer, other))
    for own, strange in ((signer, other), (other, signer)):
        check = keys.check(own.key_id)
        assert check is not None
        assert check(b"text", own.sign(b"text"))
        assert not check(b"text", strange.sign(b"text"))
    assert keys.check(another_key().key_id) is None


def test_the_keys_of_several_directories_are_known_by_name_and_id(pki: SamplePki) -> None:
    signer, other = pki.note_signer, another_key()
    verifiers = log_verifiers([listing(pki, signer), listing(pki, other)])
    assert set(verifiers) == {(signer.name, signer.key_id), (other.name, other.key_id)}


def test_a_key_counts_as_soon_and_as_long_as_the_directory_lists_it(pki: SamplePki) -> None:
    signer, other = pki.note_signer, another_key()
    directories = [listing(pki, signer)]
    keys = DirectoryLogKeys(lambda: directories[-1])
    assert keys.check(other.key_id) is None
    same = keys.verifiers()
    assert keys.verifiers() is same
    directories.append(listing(pki, other))
    assert keys.check(signer.key_id) is None
    assert keys.check(other.key_id) is not None
