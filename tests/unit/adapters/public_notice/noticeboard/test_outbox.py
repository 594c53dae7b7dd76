from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adapters.base import Limits
from adapters.public_notice.noticeboard.outbox import Outbox, read_outbox
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
    assert {item[2:] for item in found.filed} == {
        ("case-1", "cn-ministry", record_id(9), 0),
        ("case-1", "cn-ministry", "", 0),
        ("case-2", "cn-shanxi-police", "", 7_000),
    }


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
    assert (found.filed, found.unreadable_cases) == ((), frozenset({"case-1"}))
    assert "FILE_UNREADABLE" in codes(found)


def test_a_file_that_holds_another_kind_than_its_name_says_is_not_believed(folder: Path) -> None:
    (folder / f"PublicNotice-{record_id(0)}.json").rename(folder / f"Closure-{record_id(0)}.json")
    assert codes(read_outbox(folder, LIMITS)) == {"FILE_UNREADABLE", "ROUTING_UNKNOWN"}


def test_a_file_over_the_limit_is_not_read(folder: Path) -> None:
    assert "FILE_UNREADABLE" in codes(read_outbox(folder, Limits(bytes=10)))


def test_an_outbox_of_another_format_is_named(folder: Path) -> None:
    (folder / f"{NAME}.json").rename(folder / f"{NAME}.xml")
    found = read_outbox(folder, LIMITS)
    assert (codes(found), found.unreadable_cases) == ({"FORMAT_NOT_READ"}, frozenset({"case-1"}))


@pytest.mark.parametrize("about", [None, b"", b"[]", b'{"case_id": 7, "publisher": null, "accepted_at_ms": "1"}'])
def test_a_record_whose_routing_is_lost_still_counts(folder: Path, about: bytes | None) -> None:
    path = folder / f"{NAME}.about.json"
    path.unlink()
    if about is not None:
        path.write_bytes(about)
    found = read_outbox(folder, LIMITS)
    (item,) = found.filed
    assert item[1:] == (record_id(0), "", "", "", 0)
    assert codes(found) == {"ROUTING_UNKNOWN"}
