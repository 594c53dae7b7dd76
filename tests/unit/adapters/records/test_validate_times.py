"""What the exchange demands of the times within a record, wherever they stand in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from adapters.base import RECORD_TYPES, Limits, Record
from adapters.records.record_json import ADAPTER
from adapters.records.validate import validate
from caseexchange.records.v1 import dna_pb2, notice_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

FIRST, LAST = -62_135_596_800, 253_402_300_799
"""The first second of the year 1 and the last of the year 9999."""


def places(descriptor: Descriptor, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where a message can hold a time, to the depth of three fields."""
    for field in descriptor.fields:
        path = (*above, field.name)
        if field.message_type is not None and len(path) <= 3:
            if field.message_type.full_name == "google.protobuf.Timestamp":
                yield path
            yield from places(field.message_type, path)


TIMES = [(kind, path) for kind, message in RECORD_TYPES.items() for path in places(message.DESCRIPTOR)]


def a_record(kind: str, path: tuple[str, ...], seconds: int, nanos: int = 0) -> Record:
    record = RECORD_TYPES[kind]()
    at: Message = record
    for name in path:
        at = getattr(at, name)
    at.seconds, at.nanos = seconds, nanos  # type: ignore[attr-defined] # a Timestamp, by its path
    return record


def found(record: Record) -> list[str]:
    return [issue.locator for issue in validate(record) if issue.code == "TIME_INVALID" and issue.refuses]


def test_the_times_of_records_are_known_to_this_test() -> None:
    assert TIMES == [
        ("MatchNotification", ("search", "snapshot_at")),
        ("NoMatchResult", ("search", "snapshot_at")),
        ("PublicNotice", ("effective_at",)),
        ("PublicNotice", ("expires_at",)),
    ]


@pytest.mark.parametrize(("kind", "path"), TIMES)
@pytest.mark.parametrize(
    ("seconds", "nanos"), [(10**15, 0), (LAST + 1, 0), (FIRST - 1, 0), (-(2**63), 0), (0, -1), (0, 10**9)]
)
def test_a_time_that_is_none_is_refused_wherever_it_stands(
    kind: str, path: tuple[str, ...], seconds: int, nanos: int
) -> None:
    assert found(a_record(kind, path, seconds, nanos)) == [".".join(path)]


@pytest.mark.parametrize(("kind", "path"), TIMES)
@pytest.mark.parametrize(("seconds", "nanos"), [(FIRST, 0), (-1, 999_999_999), (0, 0), (LAST, 999_999_999)])
def test_what_is_a_time_can_be_written(kind: str, path: tuple[str, ...], seconds: int, nanos: int) -> None:
    record = a_record(kind, path, seconds, nanos)

    assert found(record) == []
    assert ADAPTER.encode([record], Limits()).content


def test_each_time_is_judged_by_itself() -> None:
    notice = notice_pb2.PublicNotice(effective_at=Timestamp(seconds=10**15), expires_at=Timestamp(seconds=1))
    assert found(notice) == ["effective_at"]
    assert found(dna_pb2.NoMatchResult()) == []
