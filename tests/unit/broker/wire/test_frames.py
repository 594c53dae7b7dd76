"""The frames of a bundle are read as they were written, and anything else is refused."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest

from broker.core.bundle import (
    MAX_STRAY_BYTES,
    BundleEnd,
    BundleHeader,
    BundleLeaf,
    BundleSource,
    DirectoryDocument,
    Frame,
    PartitionEnd,
    PartitionLeaves,
    PartitionRecords,
    PartitionStart,
    StrayRecord,
    TimestampedCheckpoint,
)
from broker.core.envelope import Signature
from broker.core.errors import BundleInvalid
from broker.core.receipt import SignedReceipts
from broker.core.streams import Position, StreamPartition
from broker.wire.frames import frame_from, frame_to
from caseexchange.broker.v1 import auditor_pb2

SIGNATURE = Signature(bytes(32), b"signature")
STRAY = StrayRecord.of(Position("dna", 1, 7), "no seal", b"foreign", shown=True)


def header(source: BundleSource) -> BundleHeader:
    return BundleHeader("exchange.example", "spiffe://a", "why", 1, None, 5, ("dna",), source)


FRAMES: list[Frame] = [
    header(BundleSource.BROKER),
    header(BundleSource.MESSAGE_LOG),
    replace(header(BundleSource.BROKER), proved_record="01990000-0000-7000-8000-000000000001"),
    DirectoryDocument(b"{}", 7),
    PartitionStart(StreamPartition("dna", 1), b"note", 3, (bytes(32), bytes(32))),
    TimestampedCheckpoint(b"origin\n1\nroot\n", (bytes(32),), b"response"),
    PartitionLeaves(0, ()),
    PartitionLeaves(3, (BundleLeaf(0, bytes(32)), BundleLeaf(1 << 40, b"\1" * 32))),
    PartitionRecords((), SignedReceipts((b"statement",), SIGNATURE)),
    PartitionRecords((), None),
    STRAY,
    StrayRecord.of(Position("dna", 1, 7), "unreadable", b"secret", shown=False),
    PartitionEnd(0, ()),
    BundleEnd(0, 0, None),
    BundleEnd(9, 8, SIGNATURE),
]


@pytest.mark.parametrize("frame", FRAMES, ids=[f"{n}-{type(frame).__name__}" for n, frame in enumerate(FRAMES)])
def test_a_frame_comes_back_as_it_was_written(frame: Frame) -> None:
    assert frame_from(frame_to(frame).SerializeToString(deterministic=True)) == frame


def test_a_stray_is_named_by_all_of_its_bytes_and_holds_those_that_may_be_shown() -> None:
    value = b"x" * (MAX_STRAY_BYTES + 1)
    shown = StrayRecord.of(STRAY.position, "no seal", value, shown=True)
    hidden = StrayRecord.of(STRAY.position, "no seal", value, shown=False)
    assert shown.value == value[:-1]
    assert hidden.value == b""
    assert {item.value_size for item in (shown, hidden)} == {len(value)}
    assert {item.value_sha256 for item in (shown, hidden)} == {sha256(value).digest()}


@pytest.mark.parametrize("reason", ["\x1b[2J", "two\nlines", "fälschung", "x" * 101], ids=ascii)
def test_a_reason_that_could_play_with_a_terminal_is_refused(reason: str) -> None:
    message = frame_to(STRAY)
    message.stray.reason = reason
    with pytest.raises(BundleInvalid):
        frame_from(message.SerializeToString())


@pytest.mark.parametrize("source", [0, 3])
def test_a_header_that_does_not_say_who_made_the_bundle_is_refused(source: int) -> None:
    message = frame_to(header(BundleSource.BROKER))
    message.header.source = source  # type: ignore[assignment]
    with pytest.raises(BundleInvalid):
        frame_from(message.SerializeToString())


def test_a_frame_of_no_kind_is_refused() -> None:
    with pytest.raises(BundleInvalid):
        frame_from(auditor_pb2.BundleFrame().SerializeToString())
