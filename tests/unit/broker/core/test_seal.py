"""The append seal: one signature over the statements of one append. What they do not state does not pass."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from broker.core.errors import ProofInvalid
from broker.core.seal import (
    APPEND_ID_BYTES,
    SIGNATURE_BYTES,
    Seal,
    Sealing,
    pack_statement,
    prepare_seals,
)
from broker.core.streams import StreamPartition
from broker.trust.signing import Ed25519NoteSigner, note_verifier

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNER = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
LOG_ID = "dGhlIGlkIG9mIGEgdG9waWM"
SEALING = Sealing(bytes(range(APPEND_ID_BYTES)), 1_767_225_600_123)
PARTITION = StreamPartition("dna", 3)
HEADER = b"what a pack holds"
STATEMENT = (
    b"case-exchange pack v1\n"
    b"dna/3\n"
    b"dGhlIGlkIG9mIGEgdG9waWM\n"
    b"000102030405060708090a0b0c0d0e0f\n"
    b"uDsiPQHLSsTHKLXY38QG0A/lViBnUt3NUU97unHgErc=\n"
    b"1767225600123\n"
)
SEAL = (
    "01021f6cdb000102030405060708090a0b0c0d0e0f0000000000000001"
    "ad7cf8d14e0f69a2061498c2aaf8f450bc27f3c4f8933cddfba8fe97124ef047"
    "274c4ce9d7bd0846b1b33378484d95dbd943fc4c442d2d92cdc2b8ec92d69200"
)
"""Version, key id, append id, index, count, no path, signature."""


def others(count: int) -> list[bytes]:
    return [b"header %d" % number for number in range(count)]


def statement(
    header: bytes,
    *,
    partition: StreamPartition = PARTITION,
    log_id: str = LOG_ID,
    sealing: Sealing = SEALING,
    version: int = 1,
) -> bytes:
    return pack_statement(version, partition, log_id, sealing, header)


def sealed(headers: Sequence[bytes], signer: Ed25519NoteSigner = SIGNER) -> list[bytes]:
    """The seals of one append, as the log has them."""
    unsigned = prepare_seals([statement(header) for header in headers])
    seals = unsigned.signed(signer.key_id, SEALING.append_id, signer.sign(unsigned.text))
    return [seal.encode() for seal in seals]


def holds(seal: bytes, header: bytes = HEADER, *, at_ms: int = SEALING.at_ms, **others: Any) -> bool:
    """What a reader of the log does. It uses only the seal and what the log has beside it."""
    try:
        read = Seal.decode(seal)
        text = read.signed_text(statement(header, sealing=Sealing(read.append_id, at_ms), **others))
    except ProofInvalid:
        return False
    return read.key_id == SIGNER.key_id and note_verifier(SIGNER.public_key)(text, read.signature)


def test_a_statement_is_written_byte_for_byte_as_documented() -> None:
    assert statement(HEADER) == STATEMENT


def test_a_seal_is_written_byte_for_byte_as_it_always_was() -> None:
    (seal,) = sealed([HEADER])
    assert seal.hex() == SEAL
    assert holds(bytes.fromhex(SEAL))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 13])
def test_every_pack_of_an_append_is_sealed_for_itself_and_for_no_other(count: int) -> None:
    packs = others(count)
    seals = sealed(packs)
    for place, seal in enumerate(seals):
        assert [holds(seal, header) for header in packs] == [at == place for at in range(count)]
        assert Seal.decode(seal).encode() == seal


def test_a_flipped_bit_in_any_byte_of_a_seal_is_refused() -> None:
    packs = others(5)
    seal = sealed(packs)[2]
    assert holds(seal, packs[2])
    for at in range(len(seal)):
        for bit in range(8):
            changed = seal[:at] + bytes([seal[at] ^ 1 << bit]) + seal[at + 1 :]
            assert not holds(changed, packs[2]), (at, bit)


@pytest.mark.parametrize("length", [*range(40), 92, 94, 93 + 31, 93 + 33])
def test_a_seal_of_another_length_is_none(length: int) -> None:
    (seal,) = sealed([HEADER])
    with pytest.raises(ProofInvalid):
        Seal.decode((seal + bytes(200))[:length])


@pytest.mark.parametrize("extra", [1, 2])
def test_a_longer_path_than_the_tree_has_is_refused(extra: int) -> None:
    seal = Seal.decode(sealed([HEADER])[0])
    assert not holds(replace(seal, path=seal.path + (bytes(32),) * extra).encode())


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_flipped_bit_in_the_header_is_refused() -> None:
    (seal,) = sealed([HEADER])
    for at in range(len(HEADER)):
        assert not holds(seal, _flipped(HEADER, at))


@pytest.mark.parametrize("version", [0, 2, 11])
def test_a_seal_for_another_version_of_the_pack_is_refused(version: int) -> None:
    assert not holds(sealed([HEADER])[0], version=version)


@pytest.mark.parametrize("partition", [("dna", 2), ("dna", 31), ("dna", -3), ("cases", 3), ("dn", 3)])
def test_a_seal_for_another_partition_is_refused(partition: tuple[str, int]) -> None:
    assert not holds(sealed([HEADER])[0], partition=StreamPartition(*partition))


def test_a_seal_for_another_incarnation_of_the_log_is_refused() -> None:
    (seal,) = sealed([HEADER])
    for at in range(len(LOG_ID)):
        assert not holds(seal, log_id=_flipped(LOG_ID.encode(), at).decode())


@pytest.mark.parametrize("at_ms", [SEALING.at_ms - 1, SEALING.at_ms + 1, 0, -1])
def test_another_time_than_was_sealed_is_refused(at_ms: int) -> None:
    assert not holds(sealed([HEADER])[0], at_ms=at_ms)


def test_a_seal_by_another_key_is_refused_whatever_id_it_names() -> None:
    other = Ed25519NoteSigner(SIGNER.name, Ed25519PrivateKey.generate())
    (seal,) = sealed([HEADER], other)
    assert not holds(seal)
    assert not holds(replace(Seal.decode(seal), key_id=SIGNER.key_id).encode())


def test_the_seal_of_an_append_does_not_hold_for_a_larger_or_smaller_one() -> None:
    packs = others(4)
    whole, half = sealed(packs), sealed(packs[:2])
    assert not holds(replace(Seal.decode(half[0]), count=4).encode(), packs[0])
    first = Seal.decode(whole[0])
    assert not holds(replace(first, count=2, path=first.path[:1]).encode(), packs[0])
    assert not holds(replace(first, signature=Seal.decode(half[0]).signature).encode(), packs[0])


# Random bytes are almost never a seal. Bytes of the right length after the version are.
_FIXED = len(bytes.fromhex(SEAL))
_SEALS = st.integers(0, 3).flatmap(
    lambda path: st.binary(min_size=_FIXED - 1 + 32 * path, max_size=_FIXED - 1 + 32 * path)
)


@given(data=st.one_of(st.binary(max_size=400), _SEALS.map(lambda rest: b"\x01" + rest)))
@example(data=bytes.fromhex(SEAL))
def test_any_bytes_are_a_seal_that_comes_back_the_same_or_are_refused(data: bytes) -> None:
    try:
        seal = Seal.decode(data)
    except ProofInvalid:
        return
    assert seal.encode() == data
    assert len(seal.signature) == SIGNATURE_BYTES
