from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.strict import Fault, NotStrict, decode_base64, encode_base64, parse_json


@given(data=st.binary())
def test_bytes_survive_the_round_trip_through_base64(data: bytes) -> None:
    assert decode_base64(encode_base64(data)) == data


@pytest.mark.parametrize("text", ["aGl=", "aGk", "aGk==", "aGk=\n", " aGk=", "-_-_", "aGk=aGk=", "é"])
def test_bytes_have_one_spelling_in_base64(text: str) -> None:
    assert decode_base64("aGk=") == b"hi"
    with pytest.raises(NotStrict):
        decode_base64(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'[{"a":{"b":1,"b":2}}]',
        b"NaN",
        b"-Infinity",
        b"1.5",
        b"1e3",
        b"{} {}",
        b"\xef\xbb\xbf{}",
        b"\xff",
    ],
)
def test_json_with_more_than_one_reading_is_refused(text: bytes) -> None:
    with pytest.raises(NotStrict):
        parse_json(text)


def test_ordinary_json_is_read() -> None:
    assert parse_json('{"a": [1, true, null, "例"]}'.encode()) == {"a": [1, True, None, "例"]}


def test_numbers_are_what_the_caller_makes_of_them() -> None:
    assert parse_json(b"[62.50, 1, -0]", whole=str, decimal=str) == ["62.50", "1", "-0"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (b"\xff", Fault.ENCODING),
        (b'{"a": 1, "a": 1}', Fault.REPEATED),
        (b"[" * 200_000, Fault.DEEP),
        (b"[", Fault.JSON),
    ],
)
def test_a_refusal_says_why(text: bytes, fault: Fault) -> None:
    with pytest.raises(NotStrict, match=fault) as caught:
        parse_json(text)
    assert caught.value.fault is fault
