from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adapters.base import Limits
from adapters.folders import About
from adapters.public_notice.noticeboard.outbox import Outbox, read_outbox
from caseexchange.records.v1 import case_pb2
from tests.support.notices import closure, correction, file_into, filed, notice, record_id

if TYPE_CHECKING:
    from pathlib import Path

LIMITS = Limits()
NAME = f"PublicNotice-{record_id(0)}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    file_into(tmp_path, filed(notice(), 0, in_reply_to=record_id(9)))
    return tmp_path


def codes(found: Outbox) -> set[str]:
    return {issue.code for issue in found.issues}


def test_notices_corrections_and_closures_are_read_with_their_routing(folder: Path) -> None:
    items = [
        filed(correction(record_id(0)), 1),
        filed(closure(), 2, "case-2", publisher="cn-shanxi-police", accepted_at_ms=7_000),
    ]
    file_into(folder, *items)
    found = read_outbox(folder, LIMITS)
    assert not found.issues
    assert {item.record_id for item in found.filed} == {record_id(number) for number in range(3)}
    facts = {(item.about.case_id, item.about.publisher, item.about.accepted_at_ms) for item in found.filed}
    assert facts == {("case-1", "cn-ministry", 0), ("case-2", "cn-shanxi-police", 7_000)}


def test_of_the_record_that_a_notice_answers_its_publisher_is_known_if_the_gateway_receives_it(folder: Path) -> None:
    assert read_outbox(folder, LIMITS).others == {}
    case = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-1")
    file_into(folder, filed(case, 9, publisher="shanxi-police"), filed(case, 8, publisher="hebei-police"))
    (known,) = read_outbox(folder, LIMITS).others.items()
    assert (known[0], known[1].kind, known[1].publisher) == (record_id(9), "CaseRecord", "shanxi-police")


def test_other_files_are_left_alone(folder: Path) -> None:
    for name in (
        f"CaseRecord-{record_id(1)}.json",
        ".PublicNotice.tmp",
        "PublicNotice-1.json",
        "x.jpg",
        f"{NAME}.json~",
    ):
        (folder / name).write_bytes(b"not read")
    assert len(read_outbox(folder, LIMITS).filed) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"records": []}', b'{"records": [{"kind": "Tip"}]}', b"\xff"])
def test_a_file_that_cannot_be_read_puts_its_case_in_doubt(folder: Path, content: bytes) -> None:
    (folder / f"{NAME}.json").write_bytes(content)
    found = read_outbox(folder, LIMITS)
    assert (found.filed, [about.case_id for about in found.unreadable]) == ((), ["case-1"])
    assert "FILE_UNREADABLE" in codes(found)


def test_a_file_that_holds_another_kind_than_its_name_says_is_not_believed(folder: Path) -> None:
    (folder / f"PublicNotice-{record_id(0)}.json").rename(folder / f"Closure-{record_id(0)}.json")
    assert codes(read_outbox(folder, LIMITS)) == {"FILE_UNREADABLE", "ROUTING_UNKNOWN"}


def test_a_file_over_the_limit_is_not_read(folder: Path) -> None:
    assert "FILE_UNREADABLE" in codes(read_outbox(folder, Limits(bytes=10)))


def test_an_outbox_of_another_format_is_named(folder: Path) -> None:
    (folder / f"{NAME}.json").rename(folder / f"{NAME}.xml")
    found = read_outbox(folder, LIMITS)
    assert (codes(found), [about.case_id for about in found.unreadable]) == ({"FORMAT_NOT_READ"}, ["case-1"])


@pytest.mark.parametrize("about", [None, b"", b"[]", b'{"case_id": 7, "publisher": null, "accepted_at_ms": "1"}'])
def test_a_record_whose_routing_is_lost_still_counts(folder: Path, about: bytes | None) -> None:
    path = folder / f"{NAME}.about.json"
    path.unlink()
    if about is not None:
        path.write_bytes(about)
    found = read_outbox(folder, LIMITS)
    (item,) = found.filed
    assert item[1:] == (record_id(0), About(record_id=record_id(0), kind="PublicNotice", case_id="", publisher=""))
    assert codes(found) == {"ROUTING_UNKNOWN"}
