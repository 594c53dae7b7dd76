"""Fields are counted before a message is parsed, as its parser would count them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import InputRefused
from broker.wire.bounds import ENVELOPE, check_fields
from caseexchange.broker.v1 import envelope_pb2, publisher_pb2

FILLING = bytes(256 << 10)
"""A section's content that makes a message large enough to be counted."""


def envelope(parts: int) -> envelope_pb2.Envelope:
    """Two fields of its own: its body type, and a section of two fields. And ``parts`` empty sections."""
    sections = [envelope_pb2.Section(name="s", content=FILLING), *[envelope_pb2.Section()] * parts]
    return envelope_pb2.Envelope(body_type="a type", sections=sections)


@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=4))
def test_the_fields_of_a_message_and_of_its_envelopes_are_counted(counts: list[int]) -> None:
    data = publisher_pb2.PublishStreamRequest(envelopes=map(envelope, counts)).SerializeToString()
    fields = sum(1 + 2 + 2 + count for count in counts)
    check_fields(data, {1: ENVELOPE}, fields)
    with pytest.raises(InputRefused):
        check_fields(data, {1: ENVELOPE}, fields - 1)


def test_what_is_not_said_to_be_a_message_counts_as_one_field() -> None:
    data = publisher_pb2.PublishStreamRequest(envelopes=[envelope(1000)]).SerializeToString()
    check_fields(data, {}, 1)


@pytest.mark.parametrize(
    "tag", [b"\x0a\x00", b"\x8a\x80\x00\x80\x00", b"\x10\x01", b"\x15" + bytes(4), b"\x11" + bytes(8)]
)
def test_fields_are_counted_however_they_are_encoded(tag: bytes) -> None:
    data = tag * (1 + len(FILLING) // len(tag))
    with pytest.raises(InputRefused):
        check_fields(data, {1: ENVELOPE}, 1000)


@given(data=st.binary(max_size=200), end=st.binary(max_size=20))
def test_damage_is_left_to_the_parser(data: bytes, end: bytes) -> None:
    check_fields(data + b"\xff" * len(FILLING) + end, {1: {1: {}, 2: {}}}, 300)
