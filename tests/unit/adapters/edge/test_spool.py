from __future__ import annotations

import contextlib
import sqlite3
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from adapters.edge.holds import Outgoing
from adapters.edge.numbers import NUMBERS_TABLES, CaseReference
from adapters.edge.spool import _TABLES, Spool
from broker.core.body import is_uuid
from broker.core.errors import SpoolUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "spool.db"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    opened = Spool(path)
    yield opened
    opened.close()


def again(spool: Spool, path: Path) -> Spool:
    spool.close()
    return Spool(path)


def test_what_is_spooled_is_there_after_a_restart_in_its_order(spool: Spool, path: Path) -> None:
    with spool.transaction():
        for number in range(3):
            spool.add_outgoing(f"id-{number}", f"case-{number}", b"%d" % number)
    reopened = again(spool, path)
    assert reopened.outgoing(2) == [Outgoing("id-0", b"0"), Outgoing("id-1", b"1")]
    reopened.close()


def test_a_transaction_that_raises_leaves_nothing(spool: Spool) -> None:
    def fail() -> None:
        with spool.transaction():
            spool.add_outgoing("id", "case", b"")
            spool.next_sequence("lab")
            spool.add_source(b"sha")
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert spool.outgoing(1) == []
    assert not spool.seen_source(b"sha")
    with spool.transaction():
        assert spool.next_sequence("lab") == 1


def test_an_attempt_that_raises_is_undone_alone(spool: Spool) -> None:
    def fail() -> None:
        with spool.attempt():
            spool.next_sequence("lab")
            raise LookupError

    with spool.transaction():
        spool.add_outgoing("id", "case", b"")
        with pytest.raises(LookupError):
            fail()
        with spool.attempt():
            assert spool.next_sequence("lab") == 1
    assert [item.record_id for item in spool.outgoing(2)] == ["id"]
    with spool.transaction():
        assert spool.next_sequence("lab") == 2


def test_a_source_is_in_until_a_record_of_it_is_refused_and_then_that_record_alone_is_not(spool: Spool) -> None:
    with spool.transaction():
        for number in range(2):
            spool.add_outgoing(f"id-{number}", f"case-{number}", b"")
            spool.add_record(b"sha", f"row {number}", f"id-{number}")
        spool.add_source(b"sha")
    assert spool.seen_source(b"sha")
    with spool.transaction():
        spool.drop_refused("id-1")
    assert not spool.seen_source(b"sha")
    assert (spool.seen_record(b"sha", "row 0"), spool.seen_record(b"sha", "row 1")) == (True, False)
    assert [item.record_id for item in spool.outgoing(2)] == ["id-0"]


def test_the_sources_of_records_that_wait_are_known_until_each_has_its_receipt_or_refusal(spool: Spool) -> None:
    staged = spool.staging.begin(b"staged")
    with spool.transaction():
        spool.add_outgoing("of no file", "case", b"")
        for number in range(1500):
            spool.add_outgoing(f"id-{number}", f"case-{number}", b"")
            spool.add_record(b"first" if number < 1499 else b"last", f"row {number}", f"id-{number}")
    assert spool.holds.sources() == {b"staged", b"first", b"last"}
    assert (spool.holds.source_of("id-1499"), spool.holds.source_of("of no file")) == (b"last", b"")
    spool.staging.discard(staged)
    with spool.transaction():
        for number in range(1499):
            spool.sent.keep(f"id-{number}", 1)
            spool.add_receipt(f"id-{number}", b"receipt")
    assert spool.holds.sources() == {b"last"}
    with spool.transaction():
        spool.drop_refused("id-1499")
    assert spool.holds.sources() == set()
    # What is sent again may be refused too.
    spool.sent.send_again(["id-0", "id-1"], lambda envelope, _: envelope)
    assert spool.holds.sources() == {b"first"}


def test_sequences_run_on_per_recipient_and_over_restarts(spool: Spool, path: Path) -> None:
    with spool.transaction():
        assert [spool.next_sequence("lab"), spool.next_sequence("lab"), spool.next_sequence("ngo")] == [1, 2, 1]
    reopened = again(spool, path)
    with reopened.transaction():
        assert reopened.next_sequence("lab") == 3
    reopened.close()


def ready(spool: Spool, at_ms: int = 0, now_ms: int = 1000, most_bytes: int = 1 << 20) -> list[str]:
    return [item.record_id for item in spool.holds.ready(10, most_bytes, at_ms, now_ms)]


def fill(spool: Spool, *records: tuple[str, str]) -> None:
    with spool.transaction():
        for record_id, case_id in records:
            spool.add_outgoing(record_id, case_id, b"envelope")


def test_of_each_case_one_record_goes_at_a_time_in_its_order(spool: Spool) -> None:
    fill(spool, ("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a"))
    assert ready(spool) == ["a1", "b1"]
    with spool.transaction():
        spool.add_receipt("a1", b"receipt")
    assert ready(spool) == ["a2", "b1"]
    with spool.transaction():
        spool.drop_refused("a2")
    fill(spool, ("a4", "a"), ("b2", "b"))
    assert ready(spool) == ["b1", "a3"]


def test_a_batch_ends_at_its_bytes_and_is_never_empty(spool: Spool) -> None:
    fill(spool, ("a", "a"), ("b", "b"), ("c", "c"))
    assert ready(spool, most_bytes=len(b"envelope") + 1) == ["a", "b"]
    assert ready(spool, most_bytes=1) == ["a"]


def test_a_held_record_holds_its_case_until_its_time_or_until_the_clock_is_right(spool: Spool) -> None:
    fill(spool, ("a1", "a"), ("a2", "a"), ("b1", "b"))
    with spool.transaction():
        spool.holds.hold("a1", 500, refused_issue_ms=2000)
    assert spool.holds.count() == 1
    assert ready(spool, at_ms=499, now_ms=2000) == ["b1"]
    assert ready(spool, at_ms=500, now_ms=2000) == ["a1", "b1"]
    assert ready(spool, at_ms=499, now_ms=1999) == ["a1", "b1"]
    with spool.transaction():
        spool.holds.release("a1", b"other")
    assert spool.outgoing(1) == [Outgoing("a1", b"other", 0)]
    assert spool.holds.count() == 0


def test_a_hold_ends_with_the_process_and_what_was_refused_is_remembered(spool: Spool, path: Path) -> None:
    fill(spool, ("a1", "a"))
    with spool.transaction():
        spool.holds.hold("a1", 1 << 40, refused_issue_ms=2000)
    reopened = again(spool, path)
    assert reopened.holds.ready(10, 1, 0, 3000) == [Outgoing("a1", b"envelope", 2000)]
    reopened.close()


def test_records_of_an_older_spool_go_one_after_another(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as older:
        for statement in [*_TABLES.split(";"), *NUMBERS_TABLES.split(";")]:
            older.execute(statement)
        older.executemany("INSERT INTO outgoing (record_id, envelope) VALUES (?, ?)", [("x", b"1"), ("y", b"2")])
        older.execute("PRAGMA user_version = 2")
        older.execute(f"PRAGMA application_id = {0x43585350}")
        older.commit()
    with contextlib.closing(Spool(path)) as spool:
        assert ready(spool) == ["x"]
        fill(spool, ("z", "case"))
        assert ready(spool) == ["x", "z"]
        with spool.transaction():
            spool.add_receipt("x", b"receipt")
        assert ready(spool) == ["y", "z"]


def test_a_receipt_takes_the_record_out(spool: Spool) -> None:
    spool.add_outgoing("id", "case", b"envelope")
    spool.add_receipt("id", b"receipt")
    assert spool.outgoing(1) == []
    assert spool.receipt("id") == b"receipt"
    assert spool.receipt("other") is None


def test_a_case_id_is_opaque_stable_and_this_spools_own(spool: Spool, path: Path, tmp_path: Path) -> None:
    case_id = spool.case_id("SYN-1", None)
    assert is_uuid(case_id)
    assert case_id != spool.case_id("SYN-2", None)
    reopened = again(spool, path)
    assert reopened.case_id("SYN-1", None) == case_id
    reopened.close()
    other = Spool(tmp_path / "other" / "spool.db")
    assert other.case_id("SYN-1", None) != case_id
    other.close()


def test_a_case_id_is_the_same_in_every_release(path: Path) -> None:
    # The first half of HMAC-SHA-256, with the bits of a UUID of version 8: a spool outlives the program that made it.
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path)) as older:
        older.execute("CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")
        older.execute("INSERT INTO facts VALUES ('secret', ?)", (bytes(range(32)),))
        older.commit()
    with contextlib.closing(Spool(path)) as spool:
        assert spool.case_id("SYN-30", None) == "4158ed06-94d5-8dbf-a204-690b722e4aa0"
        assert spool.case_id("SYN-案-2", None) == "a94684bf-137b-8a1e-8b58-caa1be6fd427"


def test_a_number_that_a_record_told_of_stands_for_its_case(spool: Spool) -> None:
    spool.numbers.add_reference("SYN-BLD-1", "shanxi-police", "case", "record")
    assert spool.numbers.reference("SYN-BLD-1") == CaseReference("case", "record")
    assert spool.case_id("SYN-BLD-1", spool.numbers.reference("SYN-BLD-1")) == "case"
    assert spool.numbers.reference("unknown") is None


def test_a_delivery_is_remembered(spool: Spool) -> None:
    assert not spool.was_delivered("id")
    spool.add_delivered("id")
    spool.add_delivered("id")
    assert spool.was_delivered("id")


def test_a_second_gateway_is_refused(spool: Spool, path: Path) -> None:
    spool.add_delivered("id")
    with pytest.raises(SpoolUnavailable, match="another process"):
        Spool(path)


def test_the_file_is_its_owners_alone(spool: Spool, path: Path) -> None:
    spool.add_delivered("id")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_no_spool_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool.db").write_bytes(b"not a database" * 100)
    with pytest.raises(SpoolUnavailable):
        Spool(tmp_path / "spool.db")


def test_it_is_not_closed_under_a_transaction_of_another_thread(spool: Spool, path: Path) -> None:
    within, go_on = threading.Event(), threading.Event()

    def take_in() -> None:
        with spool.transaction():
            within.set()
            go_on.wait(20)
            spool.add_outgoing("id", "case", b"0")

    taking, closing = threading.Thread(target=take_in), threading.Thread(target=spool.close)
    taking.start()
    assert within.wait(20)
    closing.start()
    closing.join(0.1)
    assert closing.is_alive()
    go_on.set()
    taking.join(20)
    closing.join(20)
    assert not closing.is_alive()
    reopened = Spool(path)
    assert reopened.outgoing(1) == [Outgoing("id", b"0")]
    reopened.close()
    with pytest.raises(SpoolUnavailable):
        spool.outgoing(1)
