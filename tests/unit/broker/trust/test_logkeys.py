from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from broker.core.errors import DirectoryInvalid
from broker.core.logkeyends import EndedLogKey, LastPosition
from broker.core.streams import StreamPartition
from broker.core.tree.checkpoint import Checkpoint
from broker.core.tree.origin import checkpoint_origin
from broker.trust.directory_payload import directory_payload, parse_payload
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


DNA_0 = StreamPartition("dna", 0)


def ending(pki: SamplePki, signer: Ed25519NoteSigner, size: int) -> Directory:
    """A directory in which this key ended at this size, and another one is in use."""
    ended = EndedLogKey(signer.vkey, pki.now_ms, (LastPosition(DNA_0, "a-log", size, 10 * size),))
    return replace(listing(pki, signer, another_key()), ended_log_keys=(ended,))


def test_a_key_that_ended_counts_up_to_the_named_size_of_each_log_and_no_further(pki: SamplePki) -> None:
    signer, domain = pki.note_signer, pki.directory.trust_domain

    def text(size: int, partition: StreamPartition = DNA_0, log_id: str = "a-log") -> bytes:
        return Checkpoint(checkpoint_origin(domain, partition, log_id), size, bytes(32)).marshal()

    keys = DirectoryLogKeys(lambda: ending(pki, signer, 5))
    check, ended = keys.check(signer.key_id), keys.ended(signer.key_id)
    assert check is not None
    assert ended is not None
    for signed, counts in (
        (text(5), True),
        (text(1), True),
        (text(6), False),
        (text(5, log_id="b-log"), False),
        (text(5, StreamPartition("dna", 1)), False),
        # Nothing is said by an empty tree.
        (text(0, log_id="b-log"), True),
    ):
        assert check(signed, signer.sign(signed)) is counts
        # A later directory has the end, an earlier one has not.
        for directories in ([listing(pki, signer), ending(pki, signer, 5)], [ending(pki, signer, 5)]):
            verifier = log_verifiers(directories)[signer.name, signer.key_id]
            assert verifier(signed, signer.sign(signed)) is counts
    assert not check(text(5), another_key().sign(text(5)))
    assert [ended.covers_entry(DNA_0, log_id, at) for log_id, at in (("a-log", 49), ("a-log", 50), ("b-log", 0))] == [
        True,
        False,
        False,
    ]


def test_an_end_of_a_key_is_read_as_it_was_written_and_must_be_of_a_listed_key(pki: SamplePki) -> None:
    ended = ending(pki, pki.note_signer, 5)
    assert parse_payload(directory_payload(ended), b"").ended_log_keys == ended.ended_log_keys
    (end,) = ended.ended_log_keys
    (last,) = end.last
    for wrong in (
        [end._replace(key=another_key().vkey)],
        [end, end],
        [end._replace(last=(last, last))],
        [end._replace(last=(last._replace(tree_size=-1),))],
        [end._replace(last=(last._replace(log_id="a/log"),))],
        [end._replace(last=(last._replace(partition=StreamPartition("nothing", 0)),))],
        [end, end._replace(key=ended.log_keys[1])],
    ):
        with pytest.raises(DirectoryInvalid):
            parse_payload(directory_payload(replace(ended, ended_log_keys=tuple(wrong))), b"")
