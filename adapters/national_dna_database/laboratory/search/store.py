"""The laboratory's profiles in one SQLite file, which stays on the laboratory's own machine with mode 0600.

A sample has one current profile. If it is typed again, its older profile stays in the file, but is not searched. Every
change has the next number, so that a search can name the state that it used.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import SetupInvalid
from broker.sqlitefile import Schema, open_file, transaction, trouble_as
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from adapters.national_dna_database.laboratory.kinship.ratios import Genotype
    from adapters.national_dna_database.laboratory.kinship.typings import Typing

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS profiles (
    position INTEGER PRIMARY KEY AUTOINCREMENT, barcode TEXT NOT NULL, role INTEGER NOT NULL, family TEXT NOT NULL,
    genotypes TEXT NOT NULL, profile BLOB NOT NULL, added_at TEXT NOT NULL, is_current INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS current_barcodes ON profiles (barcode) WHERE is_current;
CREATE INDEX IF NOT EXISTS families ON profiles (family) WHERE is_current AND family <> '';
"""
_SCHEMA: Final = Schema(
    application_id=0x43584450,  # "CXDP"
    migrations=[_TABLES.split(";")],
    unmarked=True,  # as the first databases were
)
_translated: Final = partial(trouble_as, SetupInvalid, "the database")
_COLUMNS: Final = "position, barcode, role, family, genotypes"
_AT_ONCE: Final = 500


class Stored(NamedTuple):
    """A current profile. ``family`` is the laboratory's case number, or ''.

    ``items`` has a text for each locus that can be used, for example ``TH01=7,9.3``.
    """

    position: int
    barcode: str
    role: dna_pb2.SampleRole.ValueType
    family: str
    items: tuple[str, ...]

    @property
    def genotypes(self) -> dict[str, Genotype]:
        """The alleles of each locus."""
        return dict(map(read_item, self.items))


class Snapshot(NamedTuple):
    """A state: the number of the last change, and its time. Number 0: nothing was ever added."""

    number: int
    at: datetime


class ProfileStore:
    """See the module. For one process and one thread. A change is durable when its transaction ends.

    Raises (every method):
        SetupInvalid: the file cannot be used, or is in use. Nothing was changed.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Open or make the file. ``name`` is the database's name in results. A file keeps its first name."""
        with _translated():
            self._connection = open_file(path, _SCHEMA, exclusive=True)
            self._connection.execute("PRAGMA secure_delete = ON")
            self._connection.execute("INSERT OR IGNORE INTO facts VALUES ('database', ?)", (name,))
        self.name = self._fact("database", name)

    def close(self) -> None:
        """Release the file. Idempotent."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Make the changes of the block durable at its end. If the block raises, they are undone."""
        with _translated(), transaction(self._connection):
            yield

    def put(self, profile: dna_pb2.StrProfile, typing: Typing, now: datetime) -> Stored | None:
        """Make a profile its sample's current one. None if it is that already. In a transaction."""
        content = profile.SerializeToString(deterministic=True)
        row = self._connection.execute(
            "SELECT profile FROM profiles WHERE barcode = ? AND is_current", (profile.barcode,)
        ).fetchone()
        if row is not None and row[0] == content:
            return None
        self._retire(profile.barcode)
        items = _items(typing.genotypes)
        values = (profile.barcode, profile.role, profile.case_number, ";".join(items), content)
        cursor = self._connection.execute(
            "INSERT INTO profiles (barcode, role, family, genotypes, profile, added_at, is_current)"
            " VALUES (?, ?, ?, ?, ?, ?, 1)",
            (*values, now.isoformat()),
        )
        self._changed(now)
        position = int(cursor.lastrowid or 0)
        return Stored(position, profile.barcode, profile.role, profile.case_number, items)

    def withdraw(self, barcode: str, now: datetime) -> bool:
        """Erase every profile of a sample, also from freed pages and the write-ahead log. Return whether it had any."""
        with self.transaction():
            found = self._connection.execute("DELETE FROM profiles WHERE barcode = ?", (barcode,)).rowcount
            if found:
                self._changed(now)
        with _translated():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return bool(found)

    def current(self) -> Iterator[Stored]:
        """Every current profile, in order of position."""
        with _translated():
            for row in self._connection.execute(
                f"SELECT {_COLUMNS} FROM profiles WHERE is_current ORDER BY position"  # noqa: S608 - constant
            ):
                yield _stored(row)

    def find(self, barcode: str) -> Stored | None:
        """A sample's current profile."""
        return next(self._where("barcode = ?", (barcode,)), None)

    def family(self, family: str) -> list[Stored]:
        """The current profiles of one case number. None for ''."""
        return list(self._where("family = ? AND family <> ''", (family,)))

    def at(self, positions: Iterable[int]) -> Iterator[Stored]:
        """Current profiles at these positions."""
        batch: list[int] = []
        for position in positions:
            batch.append(position)
            if len(batch) == _AT_ONCE:
                yield from self._at(batch)
                batch.clear()
        if batch:
            yield from self._at(batch)

    def profile(self, barcode: str) -> dna_pb2.StrProfile | None:
        """A sample's current profile, as it was received."""
        with _translated():
            row = self._connection.execute(
                "SELECT profile FROM profiles WHERE barcode = ? AND is_current", (barcode,)
            ).fetchone()
        return None if row is None else dna_pb2.StrProfile.FromString(row[0])

    def snapshot(self) -> Snapshot:
        """The state now."""
        number, at = self._fact("changes", "0"), self._fact("changed_at", "")
        return Snapshot(int(number), datetime.fromisoformat(at) if at else datetime.fromtimestamp(0, UTC))

    def _at(self, positions: Sequence[int]) -> Iterator[Stored]:
        marks = ",".join("?" * len(positions))
        return self._where(f"position IN ({marks})", tuple(positions))

    def _where(self, condition: str, values: tuple[str | int, ...]) -> Iterator[Stored]:
        query = f"SELECT {_COLUMNS} FROM profiles WHERE is_current AND {condition}"  # noqa: S608 - constant conditions
        with _translated():
            rows = self._connection.execute(query, values).fetchall()
        return map(_stored, rows)

    def _retire(self, barcode: str) -> None:
        self._connection.execute("UPDATE profiles SET is_current = 0 WHERE barcode = ? AND is_current", (barcode,))

    def _changed(self, now: datetime) -> None:
        number = int(self._fact("changes", "0")) + 1
        for name, value in (("changes", str(number)), ("changed_at", now.isoformat())):
            self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def _fact(self, name: str, otherwise: str) -> str:
        with _translated():
            row = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return otherwise if row is None else str(row[0])


def read_item(item: str) -> tuple[str, Genotype]:
    """A locus and its alleles from their text."""
    locus, _, alleles = item.partition("=")
    first, _, second = alleles.partition(",")
    return locus, (first, second)


def _items(genotypes: Mapping[str, Genotype]) -> tuple[str, ...]:
    return tuple(f"{locus}={first},{second}" for locus, (first, second) in sorted(genotypes.items()))


def _stored(row: tuple[int, str, int, str, str]) -> Stored:
    position, barcode, role, family, text = row
    return Stored(position, barcode, dna_pb2.SampleRole.ValueType(role), family, tuple(text.split(";")))
