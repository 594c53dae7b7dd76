from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import CheckpointInvalid
from broker.messagelog.kafka.extensions import decode_extension, encode_extension
from broker.ports import LeafRow, TreeExtension, TreeHead

NOTE = b"case-exchange.example/cases/0\n3\nAAAA\n\n\xe2\x80\x94 case-exchange.example/log AAAA\n"
EXTENSION = TreeExtension(
    [LeafRow(7, 1000, bytes(32)), LeafRow(9, 1001, bytes(range(32)))], (), TreeHead(3, NOTE, 1_767_225_600_123)
)
ENCODED = bytes.fromhex(
    "01"
    "0000000000000001"
    "00000002"
    "0000000000000007" "00000000000003e8" + "00" * 32
    + "0000000000000009" "00000000000003e9" + bytes(range(32)).hex()
    + "0000019b76daa87b"
) + NOTE  # fmt: skip

numbers = st.integers(0, 2**62)
leaves = st.lists(st.builds(LeafRow, numbers, numbers, st.binary(min_size=32, max_size=32)), max_size=5)


def test_an_extension_is_written_byte_for_byte_as_documented() -> None:
    assert encode_extension(1, EXTENSION) == ENCODED
    assert decode_extension(ENCODED) == (1, EXTENSION)


@given(size=st.integers(0, 2**62), leaves=leaves, note=st.binary(max_size=50), signed_at_ms=numbers)
def test_every_extension_comes_back_as_it_was_written(
    size: int, leaves: list[LeafRow], note: bytes, signed_at_ms: int
) -> None:
    extension = TreeExtension(leaves, (), TreeHead(size + len(leaves), note, signed_at_ms))
    assert decode_extension(encode_extension(size, extension)) == (size, extension)


def test_inner_nodes_are_left_out() -> None:
    assert encode_extension(1, EXTENSION._replace(nodes=((1, 0, bytes(32)),))) == ENCODED


@pytest.mark.parametrize("length", range(len(ENCODED) - len(NOTE)))
def test_one_that_is_cut_off_before_its_note_is_refused(length: int) -> None:
    with pytest.raises(CheckpointInvalid):
        decode_extension(ENCODED[:length])


@pytest.mark.parametrize(
    ("at", "new"),
    [
        pytest.param(0, b"\x00", id="another version"),
        pytest.param(0, b"\x02", id="a newer version"),
        pytest.param(9, b"\x00\x00\xff\xff", id="more leaves than there are"),
        pytest.param(9, b"\xff\xff\xff\xff", id="four thousand million leaves"),
        pytest.param(1, b"\x80" + bytes(7), id="a size beyond 63 bits"),
        pytest.param(1, b"\x7f" + b"\xff" * 7, id="a size that the leaves carry beyond 63 bits"),
        pytest.param(13, b"\x80", id="an offset beyond 63 bits"),
        pytest.param(21, b"\x80", id="a time beyond 63 bits"),
        pytest.param(len(ENCODED) - len(NOTE) - 8, b"\x80", id="a time of signing beyond 63 bits"),
    ],
)
def test_what_no_follower_writes_is_refused(at: int, new: bytes) -> None:
    with pytest.raises(CheckpointInvalid):
        decode_extension(ENCODED[:at] + new + ENCODED[at + len(new) :])


@given(data=st.one_of(st.binary(max_size=200), st.binary(max_size=120).map(lambda rest: b"\x01" + bytes(12) + rest)))
def test_any_bytes_are_an_extension_that_is_written_the_same_or_are_refused(data: bytes) -> None:
    try:
        size, extension = decode_extension(data)
    except CheckpointInvalid:
        return
    assert encode_extension(size, extension) == data
