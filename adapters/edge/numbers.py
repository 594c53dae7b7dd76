"""The part of the spool that knows whose is what: the numbers of cases and samples by who gave them, and the records.

Two agencies may use the same number. So a number names a case only together with the agency that gave it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker.core.errors import InputRefused

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from contextlib import AbstractContextManager

NUMBERS_TABLES: Final = """
DROP TABLE case_references;
CREATE TABLE case_references (
    reference TEXT NOT NULL, publisher TEXT NOT NULL, case_id TEXT NOT NULL, record_id TEXT NOT NULL,
    PRIMARY KEY (reference, publisher)
) WITHOUT ROWID;
ALTER TABLE own_references ADD COLUMN is_answer INTEGER NOT NULL DEFAULT 0;
CREATE TABLE originals (
    number INTEGER PRIMARY KEY, record_id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, case_id TEXT NOT NULL,
    publisher TEXT NOT NULL
);
CREATE INDEX originals_of_case ON originals (case_id, number);
"""


class CaseReference(NamedTuple):
    """The meaning of a number in the exchange: a case, and the record that gave this number."""

    case_id: str
    record_id: str


class Original(NamedTuple):
    """What is known here of a record that was sent or received."""

    kind: str
    publisher: str


class Numbers:
    """See the module. Changes are part of the spool's transactions.

    Raises (every method):
        SpoolUnavailable: the file cannot be used, or its disk is full. Nothing was changed.
    """

    def __init__(self, connection: sqlite3.Connection, locked: Callable[[], AbstractContextManager[None]]) -> None:
        self._connection = connection
        self._locked = locked

    def reference(self, reference: str) -> CaseReference | None:
        """The case of a number, with the newest record that has it. None if it is unknown.

        A number belongs to the agency that gave it. Our own comes first. ``AGENCY/NUMBER`` is another agency's.

        Raises:
            InputRefused: several agencies gave this number to different cases.
        """
        own = self._one("SELECT case_id, record_id, is_answer FROM own_references WHERE reference = ?", reference)
        if own is not None and not own[2]:
            return CaseReference(*own[:2])
        found = self.references(reference)
        if len({row.case_id for row in found}) > 1:
            message = "several agencies gave this number to different cases; write AGENCY/NUMBER"
            raise InputRefused(message)
        if own is not None and all(row.case_id == own[0] for row in found):
            return CaseReference(*own[:2])
        agency, slash, number = reference.partition("/")
        return found[-1] if found else self.reference_of(agency, number) if slash else None

    def reference_of(self, publisher: str, reference: str) -> CaseReference | None:
        """The case to which another agency gave this number, or None."""
        query = "SELECT case_id, record_id FROM case_references WHERE reference = ? AND publisher = ?"
        row = self._one(query, reference, publisher)
        return None if row is None else CaseReference(*row)

    def own_reference(self, reference: str) -> CaseReference | None:
        """The case of a number, with the newest of our own records that has this number. None if there is none."""
        row = self._one("SELECT case_id, record_id FROM own_references WHERE reference = ?", reference)
        return None if row is None else CaseReference(*row)

    def add_own_reference(self, reference: str, case_id: str, record_id: str, *, is_answer: bool = False) -> None:
        """Store the case of a number from our own record. It replaces an older one.

        With ``is_answer``, another agency gave this number, and our record answers it.
        """
        with self._locked():
            row = (reference, case_id, record_id, is_answer)
            self._connection.execute("REPLACE INTO own_references VALUES (?, ?, ?, ?)", row)

    def add_reference(self, reference: str, publisher: str, case_id: str, record_id: str) -> None:
        """Store the case of a number from another agency's record. Its number that already names a case keeps it."""
        with self._locked():
            self._connection.execute(
                "INSERT INTO case_references VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " record_id = excluded.record_id WHERE case_id = excluded.case_id",
                (reference, publisher, case_id, record_id),
            )

    def references(self, reference: str) -> list[CaseReference]:
        """The cases to which other agencies gave this number, the one with the newest record last."""
        with self._locked():
            rows = self._connection.execute(
                "SELECT case_id, record_id FROM case_references WHERE reference = ? ORDER BY record_id", (reference,)
            ).fetchall()
        return [CaseReference(*row) for row in rows]

    def add_original(self, record_id: str, kind: str, case_id: str, publisher: str) -> None:
        """Store whose record this is. If it is known, nothing changes."""
        with self._locked():
            self._connection.execute(
                "INSERT OR IGNORE INTO originals (record_id, kind, case_id, publisher) VALUES (?, ?, ?, ?)",
                (record_id, kind, case_id, publisher),
            )

    def original(self, record_id: str) -> Original | None:
        """Whose record this is, or None if it was neither sent nor received here."""
        row = self._one("SELECT kind, publisher FROM originals WHERE record_id = ?", record_id)
        return None if row is None else Original(*row)

    def first_of_case(self, case_id: str) -> Original | None:
        """Whose record began a case here, or None. A Correction or Closure begins none."""
        query = (
            "SELECT kind, publisher FROM originals WHERE case_id = ? AND kind NOT IN ('Correction', 'Closure')"
            " ORDER BY number LIMIT 1"
        )
        row = self._one(query, case_id)
        return None if row is None else Original(*row)

    def _one(self, query: str, *arguments: object) -> tuple[Any, ...] | None:
        with self._locked():
            row: tuple[Any, ...] | None = self._connection.execute(query, arguments).fetchone()
        return row
