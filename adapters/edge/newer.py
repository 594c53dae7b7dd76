"""The part of the spool for supplements: what was read of an original, what its supplements repeat, and what ended it.

A supplement is old news. What corrected or withdrew its original may have come before it, perhaps when nobody here
could know whose record that was. So every such word is kept, and judged when it matters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.edge.spoolpart import SpoolPart
from broker.core.supplements import Repeated, repeats
from caseexchange.records.v1 import case_pb2

if TYPE_CHECKING:
    from collections.abc import Collection

    from adapters.base import Record
    from broker.core.body import Body

NEWER_TABLES: Final = """
CREATE TABLE read_sections (record_id TEXT PRIMARY KEY, sections TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE opened (
    record_id TEXT PRIMARY KEY, original_id TEXT NOT NULL, sha256 BLOB NOT NULL, terms BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX opened_of ON opened (original_id);
CREATE TABLE words (
    target TEXT NOT NULL, record_id TEXT NOT NULL, publisher TEXT NOT NULL, of_others TEXT NOT NULL,
    PRIMARY KEY (target, record_id)
) WITHOUT ROWID
"""


class Word(NamedTuple):
    """A record that replaces, withdraws or closes another. ``of_others``: see ``VerifiedRecord.corrects_of_others``."""

    record_id: str
    publisher: str
    of_others: frozenset[str]

    def counts(self, publisher: str, kind: str) -> bool:
        """Whether it counts for a record of this publisher and kind."""
        return self.publisher == publisher or kind in self.of_others


class Newer(SpoolPart):
    """See the module. Changes may be a part of a transaction."""

    def add_read(self, record_id: str, sections: Collection[str]) -> None:
        """Store that these sections of a record, or of its supplements, were read here."""
        both = sorted({*sections, *self.read(record_id)})
        with self._locked():
            self._connection.execute("REPLACE INTO read_sections VALUES (?, ?)", (record_id, ",".join(both)))

    def read(self, record_id: str) -> frozenset[str]:
        """The sections of a record that were read here."""
        with self._locked():
            row = self._connection.execute(
                "SELECT sections FROM read_sections WHERE record_id = ?", (record_id,)
            ).fetchone()
        return frozenset(filter(None, row[0].split(","))) if row is not None else frozenset()

    def add_opened(self, body: Body, record_sha256: bytes) -> None:
        """Store that a record was opened here, and what its supplements must repeat (broker/core/supplements.py)."""
        row = (body.record_id, body.original_id, record_sha256, repeats(body).terms)
        with self._locked():
            self._connection.execute("INSERT OR IGNORE INTO opened VALUES (?, ?, ?, ?)", row)

    def opened(self, record_id: str) -> Repeated | None:
        """What supplements to a record must repeat, or None if it was not opened here itself."""
        with self._locked():
            row = self._connection.execute(
                "SELECT sha256, terms, original_id != record_id FROM opened WHERE record_id = ?", (record_id,)
            ).fetchone()
        return None if row is None else Repeated(bytes(row[0]), bytes(row[1]), bool(row[2]))

    def was_opened(self, record_id: str) -> bool:
        """Whether a record, or a supplement to it, was opened here."""
        with self._locked():
            query = "SELECT EXISTS (SELECT 1 FROM opened WHERE original_id = ?)"
            return bool(self._connection.execute(query, (record_id,)).fetchone()[0])

    def add_word(self, record: Record, body: Body, of_others: Collection[str]) -> None:
        """Store what a record, sent or received here, says of another one."""
        targets = {body.supersedes}
        if isinstance(record, case_pb2.Correction):
            targets.add(record.target_record_id)
        elif isinstance(record, case_pb2.Closure):
            targets.add(body.case_id)
        with self._locked():
            for target in targets - {""}:
                self._connection.execute(
                    "INSERT OR IGNORE INTO words VALUES (?, ?, ?, ?)",
                    (target, body.original_id, body.publisher, ",".join(sorted(of_others))),
                )

    def word(self, body: Body) -> Word | None:
        """The word that ended a record, or a supplement's original: it was replaced or withdrawn, or its case closed.

        A case may be opened again after its closure. So a closure ends only what was issued before it, by the times in
        the record ids. A word about one record ends it, whatever the clock of who said it.
        """
        for target in (body.original_id, "" if body.kind in {"Closure", "Correction"} else body.case_id):
            with self._locked():
                rows = self._connection.execute(
                    "SELECT record_id, publisher, of_others FROM words WHERE target = ?", (target,)
                ).fetchall()
            for record_id, publisher, of_others in rows:
                word = Word(record_id, publisher, frozenset(of_others.split(",")))
                named = target == body.original_id
                if (named or record_id > body.original_id) and word.counts(body.publisher, body.kind):
                    return word
        return None
