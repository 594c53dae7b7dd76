from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

import pytest

from adapters.edge.spool import Spool
from adapters.edge.staging import DRAFTS_AT_ONCE, StagedDraft, StagedFile, full
from broker.core.errors import SpoolUnavailable
from tests.support.canaries import found_in_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


CANARY = b"CANARY-5e1d (synthetic)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool.db"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    opened = Spool(path)
    yield opened
    opened.close()


def drafts(count: int, *, size: int = 10) -> list[StagedDraft]:
    return [StagedDraft(f"place {number}", "row", "SYN-1", "CaseRecord", bytes(size)) for number in range(count)]


def taken(spool: Spool, file: int) -> list[StagedDraft]:
    with spool.transaction():
        return spool.staging.take(file)


def left(spool: Spool) -> int:
    row = spool._one("SELECT count(*) FROM drafts")
    assert row is not None
    return int(row[0])


def test_a_transaction_is_full_by_number_or_by_bytes() -> None:
    assert not full(drafts(DRAFTS_AT_ONCE - 1))
    assert full(drafts(DRAFTS_AT_ONCE))
    assert full(drafts(1, size=1 << 20))


def test_drafts_come_out_in_their_order_a_few_at_a_time(spool: Spool) -> None:
    staged = drafts(DRAFTS_AT_ONCE + 2)
    file = spool.staging.begin(b"sha")
    spool.staging.add(file, staged[:-1])
    spool.staging.add(file, staged[-1:])
    assert spool.staging.whole() == []
    spool.staging.complete(file, refused=False)
    assert spool.staging.whole() == [StagedFile(file, b"sha", refused=False)]
    assert taken(spool, file) == staged[:DRAFTS_AT_ONCE]
    with spool.transaction():
        spool.staging.refuse(file)
    assert spool.staging.whole() == [StagedFile(file, b"sha", refused=True)]
    assert taken(spool, file) == staged[DRAFTS_AT_ONCE:]
    assert taken(spool, file) == []
    with spool.transaction():
        spool.staging.finish(file)
    assert spool.staging.whole() == []


def test_large_drafts_come_out_one_by_one(spool: Spool) -> None:
    file = spool.staging.begin(b"sha")
    spool.staging.add(file, drafts(2, size=1 << 20))
    assert [len(taken(spool, file)) for _ in range(3)] == [1, 1, 0]


def test_drafts_that_a_failed_transaction_took_are_there_again(spool: Spool) -> None:
    file = spool.staging.begin(b"sha")
    spool.staging.add(file, drafts(3))

    def fail() -> None:
        with spool.transaction():
            spool.staging.take(file)
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert left(spool) == 3


def test_a_file_is_discarded_alone(spool: Spool) -> None:
    first, second = spool.staging.begin(b"1"), spool.staging.begin(b"2")
    spool.staging.add(first, drafts(2 * DRAFTS_AT_ONCE + 1))
    spool.staging.add(second, drafts(3))
    spool.staging.discard(first)
    assert left(spool) == 3
    spool.staging.complete(second, refused=False)
    assert [file.number for file in spool.staging.whole()] == [second]


def test_a_start_sweeps_what_was_not_read_to_its_end_and_keeps_the_rest(spool: Spool, path: Path) -> None:
    half, whole = spool.staging.begin(b"half"), spool.staging.begin(b"whole")
    spool.staging.add(half, drafts(DRAFTS_AT_ONCE + 1))
    spool.staging.add(whole, drafts(2))
    spool.staging.complete(whole, refused=True)
    spool.close()
    reopened = Spool(path)
    assert left(reopened) == 2
    assert reopened.staging.whole() == [StagedFile(whole, b"whole", refused=True)]
    assert reopened._one("SELECT count(*) FROM staged_files") == (1,)
    reopened.close()


def test_records_at_one_place_are_told_apart_and_each_file_counts_for_itself(spool: Spool) -> None:
    for _ in range(2):
        spool.staging.begin(b"sha")
        places = [spool.staging.place(where) for where in ("row 1", "row 2", "row 1")]
        assert places == ["row 1, 1", "row 2, 1", "row 1, 2"]


def sign_all(spool: Spool) -> None:
    """Take a file in, up to the moment before ``forget``."""
    file = spool.staging.begin(b"sha")
    spool.staging.add(file, [draft._replace(record=CANARY) for draft in drafts(DRAFTS_AT_ONCE + 1)])
    spool.staging.complete(file, refused=False)
    while taken(spool, file):
        pass
    with spool.transaction():
        spool.staging.finish(file)


def is_plain(folder: Path) -> bool:
    return found_in_files(folder, {"draft": CANARY}) != set()


def test_a_start_leaves_nothing_of_drafts_that_were_signed_before_the_process_was_killed(
    spool: Spool, path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sign_all(spool)
    # The files are as a process leaves them that is killed now.
    killed = tmp_path_factory.mktemp("killed") / "folder"
    shutil.copytree(path.parent, killed)
    assert is_plain(killed)
    with contextlib.closing(Spool(killed / "spool.db")):
        assert not is_plain(killed)


def test_a_start_leaves_nothing_of_drafts_whose_last_transaction_was_stopped(
    spool: Spool, path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = spool.staging.begin(b"sha")
    spool.staging.add(file, [draft._replace(record=CANARY) for draft in drafts(DRAFTS_AT_ONCE)])
    killed = tmp_path_factory.mktemp("killed") / "folder"
    shutil.copytree(path.parent, killed)
    with contextlib.closing(Spool(killed / "spool.db")):
        assert not is_plain(killed)


def test_what_cannot_be_forgotten_now_is_forgotten_with_the_next_file(spool: Spool, path: Path) -> None:
    for number in range(3):
        spool.add_directory(number, b"{}")
    sign_all(spool)
    # A statement that is still read keeps the write-ahead log as it is.
    with contextlib.closing(spool._connection.execute("SELECT document FROM directories")) as reading:
        reading.fetchone()
        with pytest.raises(SpoolUnavailable):
            spool.staging.forget()
        assert is_plain(path.parent)
    spool.staging.forget()
    assert not is_plain(path.parent)


def test_no_draft_is_in_a_temporary_file(spool: Spool) -> None:
    # A savepoint's journal has the pages as they were before it.
    assert spool._one("PRAGMA temp_store") == (2,)


def test_the_places_of_a_file_are_in_no_file_as_they_are(spool: Spool) -> None:
    spool.staging.begin(b"sha")
    assert spool.staging.place("row SYN-CASE-1") == "row SYN-CASE-1, 1"
    assert "row SYN-CASE-1" not in "\n".join(spool.staging._places.iterdump())
