from __future__ import annotations

import string
from base64 import urlsafe_b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.core.groupseal import SEAL_TEXT_BYTES, SealedText, member_statement, place_statement
from broker.core.leasing.ackstate import MAX_TEXT_BYTES, AckState
from broker.core.streams import StreamPartition
from broker.core.subscriptions import MAX_GENERATION

KEY_ID = bytes(range(4))
SIGNATURE = bytes(range(64))
DNA_0 = StreamPartition("dna", 0)
STATE = AckState(7).encode()


@given(
    st.text(),
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=64, max_size=64),
    st.integers(0, MAX_GENERATION),
)
def test_a_sealed_text_is_read_as_it_was_written_and_its_seal_has_one_of_two_sizes(
    text: str, key_id: bytes, signature: bytes, generation: int
) -> None:
    sealed = SealedText(text, key_id, signature, generation)
    assert SealedText.decode(sealed.encode()) == sealed
    # The first generation needs no bytes, so what was sealed before there were others is one of it.
    assert len(sealed.encode()) == len(text) + (SEAL_TEXT_BYTES if generation else 92)


@given(st.text())
def test_any_other_text_has_no_seal_or_is_exactly_what_would_be_written(text: str) -> None:
    found = SealedText.decode(text)
    assert found is None or found.encode() == text


def sealed_with(seal: bytes, text: str = STATE) -> str:
    return f"{text}.{urlsafe_b64encode(seal).rstrip(b'=').decode()}"


@given(st.binary(min_size=0, max_size=140), st.text())
@example(b"\xff" * 8 + SIGNATURE, STATE)
@example(KEY_ID + b"\x01" * 16 + SIGNATURE, STATE)
def test_a_seal_of_any_bytes_is_none_or_exactly_what_would_be_written(seal: bytes, text: str) -> None:
    found = SealedText.decode(sealed_with(seal, text))
    assert found is None or found.encode() == sealed_with(seal, text)


@pytest.mark.parametrize("number", [1, 2, 4, 5, 8])
def test_a_seal_with_a_number_of_another_size_is_none(number: int) -> None:
    assert SealedText.decode(sealed_with(KEY_ID + b"\xff" * number + SIGNATURE)) is None


@pytest.mark.parametrize("cut", range(1, SEAL_TEXT_BYTES + 1))
@pytest.mark.parametrize("generation", [0, 1])
def test_a_seal_that_was_cut_is_none(cut: int, generation: int) -> None:
    found = SealedText.decode(SealedText(STATE, KEY_ID, SIGNATURE, generation).encode()[:-cut])
    # Without the bytes of its generation a seal has the size of another one, and another signature.
    assert found is None or (generation and found.signature != SIGNATURE)


@pytest.mark.parametrize("sealed", ["", ".", STATE, f"{STATE}.", f"{STATE}.{'A' * 90}", f"{STATE}.{'A' * 90}="])
def test_a_text_without_a_whole_seal_has_none(sealed: str) -> None:
    assert SealedText.decode(sealed) is None


def test_unused_bits_of_the_last_character_are_no_other_seal() -> None:
    text = SealedText(STATE, KEY_ID, SIGNATURE).encode()
    last = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    read = [each for each in last if SealedText.decode(text[:-1] + each) is not None]
    # The last of 91 characters has four bits.
    assert len(read) == 16


def test_the_largest_state_of_a_window_and_its_seal_fill_an_offset_commit() -> None:
    assert MAX_TEXT_BYTES - SEAL_TEXT_BYTES == 4000


PLACE = ("log", DNA_0, "lab", "samples", STATE)


@pytest.mark.parametrize(
    "other",
    [
        ("log made anew", *PLACE[1:]),
        ("log", StreamPartition("dna", 1), *PLACE[2:]),
        ("log", StreamPartition("cases", 0), *PLACE[2:]),
        ("log", DNA_0, "ministry", "samples", STATE),
        ("log", DNA_0, "lab", "others", STATE),
        ("log", DNA_0, "lab", "samples", AckState(8).encode()),
    ],
)
def test_a_place_is_of_one_log_partition_and_subscription(other: tuple[str, StreamPartition, str, str, str]) -> None:
    assert place_statement(*other) != place_statement(*PLACE)


def test_the_statements_are_the_documented_lines() -> None:
    assert place_statement(*PLACE) == f"case-exchange place v1\nlog\ndna/0\nlab/samples\n{STATE}\n".encode()
    assert place_statement(*PLACE, generation=2) == (
        f"case-exchange place v2\n2\nlog\ndna/0\nlab/samples\n{STATE}\n".encode()
    )
    assert member_statement("case-exchange.lab.samples", "ab12") == (
        b"case-exchange member v1\ncase-exchange.lab.samples\nab12\n"
    )


@given(st.text(), st.text())
def test_any_text_can_be_asked_for_its_statement(text: str, other: str) -> None:
    """Kafka's answers are not ours, so no text may raise anything."""
    assert place_statement("log", DNA_0, "lab", "samples", text).startswith(b"case-exchange place v1\n")
    assert member_statement(text, other).endswith(b"\n")
