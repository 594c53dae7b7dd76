"""The append seal: one signature over the statements of one append. Nothing else that they do not state passes."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given
from hypothesis import strategies as st

from broker.core.entry import NewEntry
from broker.core.errors import ProofInvalid
from broker.core.seal import (
    APPEND_ID_BYTES,
    SIGNATURE_BYTES,
    Seal,
    Sealing,
    append_statement,
    prepare_seals,
    value_digest,
)
from broker.core.streams import StreamPartition
from broker.trust.signing import Ed25519NoteSigner, note_verifier

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNER = Ed25519NoteSigner("case-exchange.example/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
LOG_ID = "dGhlIGlkIG9mIGEgdG9waWM"
SEALING = Sealing(bytes(range(APPEND_ID_BYTES)), 1_767_225_600_123)
ENTRY = NewEntry(
    StreamPartition("dna", 3),
    bytes.fromhex("01890a5dac96774bbcceb302099a8057"),
    "SampleRequest",
    "01990000-0000-4000-8000-00000000000a",
    ("national-dna-database", "ministry"),
    sha256(b"sample record").digest(),
    b"sample envelope",
)
STATEMENT = (
    b"case-exchange append v1\n"
    b"dna/3\n"
    b"dGhlIGlkIG9mIGEgdG9waWM\n"
    b"000102030405060708090a0b0c0d0e0f\n"
    b"01890a5dac96774bbcceb302099a8057\n"
    b"SampleRequest\n"
    b"01990000-0000-4000-8000-00000000000a\n"
    b"national-dna-database ministry\n"
    b"Rk29y4hZzEjKESY1hQqDoIlpwHMGdnX8rBb/j2n6nPY=\n"
    b"wWsS9k2e5oIUUfibibldFoUhar6THEDdHnBAoYWa1BM=\n"
    b"1767225600123\n"
)
SEAL = (
    "01021f6cdb000102030405060708090a0b0c0d0e0f0000000000000001"
    "648a29f10e46655158c0e3565419d9403f08f11c697fa2b04f93f731a093f1a6"
    "ec1245d573385dfeb551c25c43e21065bbc46189047faaf70de71761b375cb0a"
)
"""Version, key id, append id, index, count, no path, signature."""


def others(count: int) -> list[NewEntry]:
    return [ENTRY._replace(record_id=sha256(b"%d" % number).digest()[:16]) for number in range(count)]


def statement(entry: NewEntry, log_id: str = LOG_ID, sealing: Sealing = SEALING) -> bytes:
    return append_statement(entry, log_id, sealing, value_digest(entry.value))


def sealed(entries: Sequence[NewEntry], signer: Ed25519NoteSigner = SIGNER) -> list[bytes]:
    """The seals of one append, as the log has them."""
    unsigned = prepare_seals([statement(entry) for entry in entries])
    seals = unsigned.signed(signer.key_id, SEALING.append_id, signer.sign(unsigned.text))
    return [seal.encode() for seal in seals]


def holds(seal: bytes, entry: NewEntry = ENTRY, *, log_id: str = LOG_ID, at_ms: int = SEALING.at_ms) -> bool:
    """What a reader of the log does. It uses only the seal and what the log has beside it."""
    try:
        read = Seal.decode(seal)
        text = read.signed_text(statement(entry, log_id, Sealing(read.append_id, at_ms)))
    except ProofInvalid:
        return False
    return read.key_id == SIGNER.key_id and note_verifier(SIGNER.public_key)(text, read.signature)


def test_a_statement_is_written_byte_for_byte_as_documented() -> None:
    assert statement(ENTRY) == STATEMENT


def test_a_seal_is_written_byte_for_byte_as_it_always_was() -> None:
    (seal,) = sealed([ENTRY])
    assert seal.hex() == SEAL
    assert holds(bytes.fromhex(SEAL))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 8, 13])
def test_every_entry_of_an_append_is_sealed_for_itself_and_for_no_other(count: int) -> None:
    entries = others(count)
    seals = sealed(entries)
    for place, seal in enumerate(seals):
        assert [holds(seal, entry) for entry in entries] == [at == place for at in range(count)]
        assert Seal.decode(seal).encode() == seal


def test_a_flipped_bit_in_any_byte_of_a_seal_is_refused() -> None:
    entries = others(5)
    seal = sealed(entries)[2]
    assert holds(seal, entries[2])
    for at in range(len(seal)):
        for bit in range(8):
            changed = seal[:at] + bytes([seal[at] ^ 1 << bit]) + seal[at + 1 :]
            assert not holds(changed, entries[2]), (at, bit)


@pytest.mark.parametrize("length", [*range(40), 92, 94, 93 + 31, 93 + 33])
def test_a_seal_of_another_length_is_none(length: int) -> None:
    (seal,) = sealed([ENTRY])
    with pytest.raises(ProofInvalid):
        Seal.decode((seal + bytes(200))[:length])


@pytest.mark.parametrize("extra", [1, 2])
def test_a_longer_path_than_the_tree_has_is_refused(extra: int) -> None:
    seal = Seal.decode(sealed([ENTRY])[0])
    assert not holds(replace(seal, path=seal.path + (bytes(32),) * extra).encode())


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def _variants(field: str) -> list[Any]:
    """The field's value with each of its bytes flipped, and some other false values."""
    value = getattr(ENTRY, field)
    if isinstance(value, bytes):
        return [_flipped(value, at) for at in range(len(value))]
    return [_flipped(value.encode(), at).decode() for at in range(len(value))]


@pytest.mark.parametrize("field", ["record_id", "kind", "ordering_key", "record_sha256", "value"])
def test_a_flipped_byte_in_any_stated_field_is_refused(field: str) -> None:
    (seal,) = sealed([ENTRY])
    for other in _variants(field):
        assert not holds(seal, ENTRY._replace(**{field: other})), other


@pytest.mark.parametrize(
    "recipients", [(), ("ministry",), ("ministry", "national-dna-database"), (*ENTRY.recipients, "hebei-police")]
)
def test_other_recipients_or_another_order_of_them_are_refused(recipients: tuple[str, ...]) -> None:
    assert not holds(sealed([ENTRY])[0], ENTRY._replace(recipients=recipients))


@pytest.mark.parametrize("partition", [("dna", 2), ("dna", 31), ("dna", -3), ("cases", 3), ("dn", 3)])
def test_a_seal_for_another_partition_is_refused(partition: tuple[str, int]) -> None:
    assert not holds(sealed([ENTRY])[0], ENTRY._replace(partition=StreamPartition(*partition)))


def test_a_seal_for_another_incarnation_of_the_log_is_refused() -> None:
    (seal,) = sealed([ENTRY])
    for at in range(len(LOG_ID)):
        assert not holds(seal, log_id=_flipped(LOG_ID.encode(), at).decode())


@pytest.mark.parametrize("at_ms", [SEALING.at_ms - 1, SEALING.at_ms + 1, 0, -1])
def test_another_time_than_was_sealed_is_refused(at_ms: int) -> None:
    assert not holds(sealed([ENTRY])[0], at_ms=at_ms)


def test_a_seal_by_another_key_is_refused_whatever_id_it_names() -> None:
    other = Ed25519NoteSigner(SIGNER.name, Ed25519PrivateKey.generate())
    (seal,) = sealed([ENTRY], other)
    assert not holds(seal)
    assert not holds(replace(Seal.decode(seal), key_id=SIGNER.key_id).encode())


def test_the_seal_of_an_append_does_not_hold_for_a_larger_or_smaller_one() -> None:
    entries = others(4)
    whole, half = sealed(entries), sealed(entries[:2])
    assert not holds(replace(Seal.decode(half[0]), count=4).encode(), entries[0])
    first = Seal.decode(whole[0])
    assert not holds(replace(first, count=2, path=first.path[:1]).encode(), entries[0])
    assert not holds(replace(first, signature=Seal.decode(half[0]).signature).encode(), entries[0])


texts = st.text(st.characters(codec="utf-8"), max_size=12)


@given(kind=texts, ordering_key=texts, recipients=st.lists(texts.filter(lambda text: " " not in text), max_size=3))
def test_what_is_said_with_line_breaks_in_it_is_never_what_was_sealed_without(
    kind: str, ordering_key: str, recipients: list[str]
) -> None:
    # An honest entry's fields hold no line break, so one more or less is another number of lines.
    other = ENTRY._replace(kind=kind, ordering_key=ordering_key, recipients=tuple(recipients))
    same = (other.kind, other.ordering_key, other.recipients) == (ENTRY.kind, ENTRY.ordering_key, ENTRY.recipients)
    assert (statement(other) == STATEMENT) is same


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
