"""Whatever is in a record batch, the reader goes on behind it, and honest records beside it are read."""

from __future__ import annotations

import gzip
import struct
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.record import MemoryRecords
from kafka.record.util import calc_crc32c

from broker.messagelog.kafka.lenient import UNREADABLE, LenientBatch, Unread, install
from tests.support.batches import batch

ATTRIBUTES = 21
HEADER = 61
FIRST = 40
"""The offset of the first record."""


def with_checksum(data: bytearray) -> bytes:
    """After a change: as somebody writes it who knows the format."""
    struct.pack_into(">i", data, 8, len(data) - 12)
    struct.pack_into(">I", data, 17, calc_crc32c(memoryview(data)[ATTRIBUTES:]))
    return bytes(data)


def read(data: bytes) -> list[Any]:
    install()
    records = MemoryRecords(data)
    found = records.next_batch()
    assert isinstance(found, LenientBatch)
    assert found.validate_crc()
    assert records.next_batch() is None
    return list(found)


def told(records: list[Any]) -> list[tuple[int, bytes | None]]:
    return [(record.offset, record.value) for record in records]


def test_honest_records_are_read_as_they_are() -> None:
    records = read(with_checksum(batch((b"one", []), (b"two", [("name", b"value")]), first=FIRST)))
    assert told(records) == [(FIRST, b"one"), (FIRST + 1, b"two")]
    assert [record.headers for record in records] == [[], [("name", b"value")]]


def test_a_header_name_that_is_no_text_spoils_only_its_own_record() -> None:
    data = batch((b"one", []), (b"two", [("name", b"")]), (b"three", []), first=FIRST)
    at = data.index(b"name")
    data[at] = 0xFF
    whole = with_checksum(data)
    records = read(whole)
    assert told(records) == [(FIRST, b"one"), (FIRST + 1, None), (FIRST + 2, b"three")]
    # The record begins three bytes of numbers before its length of the value, and one before its own length.
    ((name, unread),) = records[1].headers
    assert name == UNREADABLE
    begin = whole.index(b"two") - 6
    assert unread == Unread(whole.index(b"three") - 6 - begin, sha256(whole[begin:][: unread.size]).digest())


@pytest.mark.parametrize("codec", [1, 2, 3, 4, 5, 7])
def test_what_is_compressed_is_one_record_without_content(codec: int) -> None:
    data = batch((b"one", []), (b"two", []), first=FIRST)
    struct.pack_into(">h", data, ATTRIBUTES, codec)
    whole = with_checksum(data)
    (record,) = read(whole)
    assert (record.offset, record.value) == (FIRST, None)
    assert record.headers == [(UNREADABLE, Unread(len(whole), sha256(whole).digest()))]


def test_a_batch_that_would_become_very_large_is_not_decompressed() -> None:
    data = batch((b"one", []), first=FIRST)
    struct.pack_into(">h", data, ATTRIBUTES, 1)
    large = data[:HEADER] + gzip.compress(bytes(64 << 20))
    (record,) = read(with_checksum(large))
    assert record.value is None


@given(content=st.binary(max_size=80), count=st.integers(0, 4))
def test_damage_of_any_kind_ends_in_records_without_content(content: bytes, count: int) -> None:
    data = batch(*[(b"one", [])] * max(count, 1), first=FIRST)
    del data[HEADER:]
    struct.pack_into(">i", data, HEADER - 4, count)
    records = read(with_checksum(data + content))
    assert len(records) <= count
    assert all(isinstance(record.offset, int) for record in records)
