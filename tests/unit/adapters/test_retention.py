"""What is deleted from an agency's folders, and what stays."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

from adapters import folders
from adapters.folders import About, Folders, delivered_path, write_about, write_reason
from adapters.retention import RetentionConfig, Swept, sweep_folders
from adapters.values.pictures import photo_name
from broker.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY_MS = 86_400_000
DAYS = 30.0
ALL = RetentionConfig(done_days=DAYS, quarantine_days=DAYS, outbox_days=DAYS)
PICTURE = b"\x89PNG\r\n\x1a\nsynthetic"
PICTURE_NAME = photo_name(PICTURE, "image/png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    Folders(tmp_path)
    return tmp_path


def record(root: Path, number: int, kind: str, case: int, attachments: tuple[str, ...] | None = ()) -> Path:
    record_id, outbox = f"00000000-0000-7000-8000-{number:012}", root / "outbox"
    write_about(
        outbox,
        About(record_id=record_id, kind=kind, case_id=f"case-{case}", publisher="gat", attachments=attachments),
    )
    path = delivered_path(outbox, kind, record_id, ".json")
    replace_file(path, b"{}")
    return path


def everything(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file()}


def a_day_after(path: Path) -> int:
    """A moment at which what came before this file is just old enough, and this file is not."""
    return path.stat().st_ctime_ns // 1_000_000 + int(DAYS * DAY_MS)


def later(than: Path, paths: Iterator[Path]) -> Path:
    """The first of the paths whose file came at least two milliseconds later, by the clock of the file system."""
    end = time.monotonic() + 10
    for path in paths:
        if path.stat().st_ctime_ns >= than.stat().st_ctime_ns + 2_000_000:
            return path
        assert time.monotonic() < end
    raise AssertionError


def again(path: Path) -> Iterator[Path]:
    """Writes the same file anew, as often as asked."""
    while True:
        replace_file(path, b"{}")
        yield path


def long_after(root: Path) -> int:
    newest = max(path.stat().st_ctime_ns for path in root.rglob("*") if path.is_file())
    return newest // 1_000_000 + int(DAYS * DAY_MS) + 1


def test_without_a_number_of_days_everything_stays(root: Path) -> None:
    (root / "done" / "a.csv").write_bytes(b"x")
    record(root, 1, "CaseRecord", 1)
    before = everything(root)
    assert sweep_folders(root, RetentionConfig(), long_after(root) * 2) == Swept(0, 0, 0)
    assert everything(root) == before


def test_a_folder_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert sweep_folders(tmp_path / "none", ALL, 10 * int(DAYS * DAY_MS)) == Swept(0, 0, 0)


def test_files_go_when_they_were_here_long_enough_and_not_before(root: Path) -> None:
    (root / "done" / "a.csv").write_bytes(b"x")
    (root / "inbox" / "attachments" / "p.png").write_bytes(PICTURE)
    (root / "inbox" / "next.csv").write_bytes(b"x")
    write_reason(root / "quarantine", "b.csv", {})
    (root / "quarantine" / "b.csv").write_bytes(b"x")
    assert sweep_folders(root, ALL, long_after(root) - DAY_MS) == Swept(0, 0, 0)
    assert sweep_folders(root, ALL, long_after(root)) == Swept(1, 2, 0)
    # What was not taken in yet stays, however old it is, and so does what it may name.
    assert everything(root) == {"next.csv", "p.png"}
    (root / "inbox" / "next.csv").unlink()
    assert sweep_folders(root, ALL, long_after(root)) == Swept(1, 0, 0)


SOURCE = bytes(range(32))


@pytest.mark.parametrize("folder", ["done", "quarantine"])
def test_a_source_file_and_attachments_stay_while_a_record_of_it_waits(root: Path, folder: str) -> None:
    name = f"{folders.taken_name(SOURCE)}.csv"
    (root / folder / name).write_bytes(b"x")
    (root / "inbox" / "attachments" / "p.png").write_bytes(PICTURE)
    (root / "done" / "other.csv").write_bytes(b"x")
    assert sweep_folders(root, ALL, long_after(root), lambda: {SOURCE}) == Swept(1, 0, 0)
    assert everything(root) == {name, "p.png"}
    assert sum(sweep_folders(root, ALL, long_after(root), set)) == 2


def test_a_source_file_whose_record_is_refused_meanwhile_counts_anew(root: Path) -> None:
    name = f"{folders.taken_name(SOURCE)}.csv"
    (path := root / "done" / name).write_bytes(b"x")
    former, mtime_ns = path.stat(), path.stat().st_mtime_ns

    def refuse() -> set[bytes]:
        # The refusal comes while the sweep runs: the spool has nothing of the file any more.
        end = time.monotonic() + 10
        while path.stat().st_ctime_ns < former.st_ctime_ns + 2_000_000:
            folders.count_anew(root / "done", SOURCE)
            assert time.monotonic() < end
        return set()

    now_ms = former.st_ctime_ns // 1_000_000 + int(DAYS * DAY_MS) + 1
    assert sweep_folders(root, ALL, now_ms, refuse) == Swept(0, 0, 0)
    assert path.stat().st_mtime_ns == mtime_ns
    folders.count_anew(root / "quarantine", SOURCE)


def test_a_correction_stays_as_long_as_the_notice_of_another_case_that_it_names(root: Path) -> None:
    notice = record(root, 2, "PublicNotice", case=2)
    correction = record(root, 1, "Correction", case=1)
    replace_file(correction, json.dumps({"targetRecordId": notice.stem.partition("-")[2]}).encode())
    now_ms = a_day_after(later(correction, again(notice)))
    assert sweep_folders(root, ALL, now_ms) == Swept(0, 0, 0)
    assert sweep_folders(root, ALL, now_ms + DAY_MS) == Swept(0, 0, 4)


def test_a_withdrawal_in_another_case_stays_as_long_as_the_notice_of_its_number(root: Path) -> None:
    for path in [record(root, number, "PublicNotice", case=number) for number in (1, 2)]:
        replace_file(path, b'{"noticeId": "SYN-N-1"}')
    # The case of the notice goes on.
    newest = record(root, 3, "CaseRecord", case=1)
    now_ms = a_day_after(later(path, again(newest)))
    assert sweep_folders(root, ALL, now_ms) == Swept(0, 0, 0)
    assert sweep_folders(root, ALL, now_ms + DAY_MS) == Swept(0, 0, 6)


def test_a_folder_that_is_named_like_a_record_holds_up_nothing(root: Path) -> None:
    path = record(root, 1, "CaseRecord", 1)
    path.unlink()
    path.mkdir()
    record(root, 2, "CaseRecord", 2)
    assert sweep_folders(root, ALL, long_after(root)) == Swept(0, 0, 2)


def test_the_age_of_a_file_counts_from_when_it_came(root: Path) -> None:
    old = root / "inbox" / "old.csv"
    old.write_bytes(b"x")

    os.utime(old, (0, 0))
    moved = old.replace(root / "done" / "old.csv")
    assert sweep_folders(root, ALL, moved.stat().st_ctime_ns // 1_000_000 + DAY_MS) == Swept(0, 0, 0)
    assert moved.exists()


def test_a_refused_file_that_came_again_keeps_its_reason_and_its_bytes(root: Path) -> None:
    quarantine = root / "quarantine"
    refused = quarantine / "delivery-cases-0-1.envelope"
    refused.write_bytes(b"x")
    write_reason(quarantine, "delivery-cases-0-1", {})
    reason = quarantine / "delivery-cases-0-1.reason.json"
    now_ms = a_day_after(later(refused, again(reason)))
    assert sweep_folders(root, ALL, now_ms) == Swept(0, 0, 0)
    assert sweep_folders(root, ALL, now_ms + DAY_MS) == Swept(0, 2, 0)


def test_a_word_stays_as_long_as_the_notice_that_it_withdrew(root: Path) -> None:
    # The Closure overtook the notice: it is the older file.
    closure = record(root, 1, "Closure", case=1)
    notice = record(root, 2, "PublicNotice", case=1)
    other = record(root, 3, "PublicNotice", case=2)
    now_ms = a_day_after(later(other, again(notice)))
    assert sweep_folders(root, ALL, now_ms) == Swept(0, 0, 2)
    assert closure.exists()
    assert notice.exists()
    assert not other.exists()
    assert sweep_folders(root, ALL, now_ms + DAY_MS) == Swept(0, 0, 4)
    assert not everything(root)


def test_a_picture_goes_with_the_last_record_that_names_it(root: Path) -> None:
    replace_file(root / "outbox" / PICTURE_NAME, PICTURE)
    first = record(root, 1, "CaseRecord", 1, (PICTURE_NAME,))
    second = record(root, 2, "CaseRecord", 2, (PICTURE_NAME,))
    now_ms = a_day_after(later(first, again(second)))
    assert sweep_folders(root, ALL, now_ms) == Swept(0, 0, 2)
    assert PICTURE_NAME in everything(root)
    assert sweep_folders(root, ALL, now_ms + DAY_MS) == Swept(0, 0, 3)


@pytest.mark.parametrize("lost", [True, False])
def test_pictures_stay_while_a_record_does_not_say_which_it_needs(root: Path, *, lost: bool) -> None:
    replace_file(root / "outbox" / PICTURE_NAME, PICTURE)
    path = record(root, 1, "CaseRecord", 1, None)
    if lost:
        folders.about_path(root / "outbox", "CaseRecord", f"00000000-0000-7000-8000-{1:012}").unlink()
        assert sweep_folders(root, ALL, long_after(root)) == Swept(0, 0, 0)
        assert path.exists()
    else:
        second = record(root, 2, "CaseRecord", 1, None)
        assert sweep_folders(root, ALL, a_day_after(later(path, again(second)))) == Swept(0, 0, 0)
    assert PICTURE_NAME in everything(root)


def test_files_of_others_in_the_outbox_stay(root: Path) -> None:
    (root / "outbox" / "read-me.txt").write_bytes(b"x")
    assert sweep_folders(root, ALL, long_after(root)) == Swept(0, 0, 0)
    assert everything(root) == {"read-me.txt"}
