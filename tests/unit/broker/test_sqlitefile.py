from __future__ import annotations

import contextlib
import sqlite3
import stat
from typing import TYPE_CHECKING

import pytest

from broker.sqlitefile import FileTrouble, Schema, Trouble, open_file, transaction

if TYPE_CHECKING:
    from pathlib import Path

FIRST = Schema(1, [["CREATE TABLE IF NOT EXISTS facts (value TEXT)"]])
SECOND = Schema(1, [*FIRST.migrations, ["CREATE TABLE more (value TEXT)"]])


def tables(path: Path, schema: Schema) -> list[str]:
    with contextlib.closing(open_file(path, schema)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_schema ORDER BY name")]


def trouble(path: Path, schema: Schema) -> Trouble:
    with pytest.raises(FileTrouble) as caught:
        open_file(path, schema)
    return caught.value.trouble


def test_an_older_file_gets_the_migrations_that_it_lacks_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    assert tables(path, FIRST) == ["facts"]
    assert tables(path, SECOND) == ["facts", "more"]
    assert trouble(path, FIRST) is Trouble.NEWER
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    broken = Schema(1, [["CREATE TABLE kept (value TEXT)", "CREATE TABLE kept (value TEXT)"]])
    assert trouble(path, broken) is Trouble.OTHER
    assert tables(path, FIRST) == ["facts"]


def test_a_file_of_another_kind_is_refused_and_one_without_a_mark_where_none_ever_had_so(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE facts (value TEXT)")
    assert trouble(path, FIRST) is Trouble.FOREIGN
    assert tables(path, FIRST._replace(unmarked=True)) == ["facts"]
    assert trouble(path, Schema(2, FIRST.migrations, unmarked=True)) is Trouble.FOREIGN


def test_what_is_no_database_and_what_cannot_be_opened_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"no database at all" * 100)
    assert trouble(tmp_path / "a.db", FIRST) is Trouble.DAMAGED
    with pytest.raises(FileTrouble, match="No such file"):
        open_file(tmp_path / "no" / "a.db", FIRST)


def test_a_full_disk_is_named_and_the_transaction_undone(tmp_path: Path) -> None:
    with contextlib.closing(open_file(tmp_path / "a.db", FIRST, exclusive=True)) as connection:
        connection.execute("PRAGMA max_page_count = 4")

        def fill() -> None:
            with transaction(connection):
                connection.execute("INSERT INTO facts VALUES (?)", ("a" * 100_000,))

        with pytest.raises(sqlite3.Error) as caught:
            fill()
        assert FileTrouble.of(caught.value).trouble is Trouble.FULL
        assert connection.execute("SELECT count(*) FROM facts").fetchone() == (0,)
