"""The adapter ``pfif-csv``: the table that Google Person Finder imports. A row is a person and perhaps a note.

Read only, because PFIF itself is written. The columns have PFIF's names, of any version. Person and note share author
and source date. Further rows of a person are further notes. Source: google/personfinder, sample-import.csv.

Other files copy that sample. Its header lacks the column for the street, but every row has its cell. Such a row is read
with this column added where PFIF has it, if only then its status is one of PFIF's.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.base import (
    Decoded,
    DecodedRecord,
    Encoded,
    IssueList,
    Limits,
    Record,
    Source,
    not_written,
    provenance,
)
from adapters.ngo.pfif.fields import NOTE, PERSON, RECORD_ID, RENAMED, STATUSES, plain_other
from adapters.ngo.pfif.read import case_of, has_expired, tip_of, withdrawal_of
from adapters.records.validate import check_record
from adapters.syntax.text import open_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from caseexchange.records.v1 import case_pb2

NAME: Final = "pfif-csv"
_VERSION: Final = "1.4"
_PERSON_ID: Final = "person_record_id"
_NOTE_ID: Final = "note_record_id"
_STREET: Final = "home_street"
_AFTER_STREET: Final = "home_neighborhood"
_SHARED: Final = ("entry_date", "author_name", "author_email", "author_phone", "source_date")
_OF_NOTE: Final = frozenset(NOTE) - frozenset(PERSON)
MAX_ROW: Final = 1 << 20
"""The most characters of a row."""


class PfifCsv:
    """See the module."""

    name: Final = NAME
    media_type: Final = "text/csv"
    suffix: Final = ".csv"
    decodes: Final = frozenset({"CaseRecord", "Tip", "Correction"})
    encodes: Final[frozenset[str]] = frozenset()

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        first = content.removeprefix(codecs.BOM_UTF8).split(b"\n", 1)[0]
        return _PERSON_ID.encode() in {cell.strip(b' \r"') for cell in first.split(b",")}

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        records: list[DecodedRecord] = []
        reader = _Reader(hashlib.sha256(source.content).digest(), issues)
        try:
            for row in _rows(source.content, limits, issues):
                records += reader.read(row)
                if len(records) > limits.records:
                    issues.reject_file("TOO_MANY_RECORDS", row.locator, f"more than {limits.records} records")
                    break
        except csv.Error:
            issues.reject_file(
                "CSV_MALFORMED", f"after {len(records)} records", "not comma-separated values, or a row is too long"
            )
        if not records and not issues.items:
            issues.info("NO_RECORDS", "file", "the file has a header and no rows")
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:  # noqa: ARG002
        """Refuse: programs that read such tables also read PFIF."""
        return not_written("the format is only read here; write PFIF")


class _Row(NamedTuple):
    """A row's cells by PFIF's names of 1.4, without empty cells. Unknown columns have the key ``?name``."""

    fields: dict[str, str]
    locator: str


class _Lines:
    """The lines of a text, up to a row that is too long: its cells would take fifty times the memory of its text.

    Attributes:
        characters: since the reader of the rows last set it to 0.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.characters = 0
        self._lines = text

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.characters += len(line)
            if self.characters > MAX_ROW:
                message = "too long"
                raise csv.Error(message)
            yield line


def _rows(content: bytes, limits: Limits, issues: IssueList) -> Iterator[_Row]:
    opened = open_text(io.BytesIO(content), limits.bytes, issues, allowed=["utf-8"])
    if opened is None:
        return
    lines = _Lines(opened[0])
    reader = csv.reader(lines, strict=True)
    first = [cell.strip().lower() for cell in next(reader, [])]
    header = [_name(cell) for cell in first]
    if _PERSON_ID not in header or len(set(header)) != len(header):
        issues.reject_file("HEADER_MISSING", "row 1", f"the first row lacks {_PERSON_ID}, or has a column twice")
        return
    for number, cells in enumerate(reader, start=2):
        locator, lines.characters = f"row {number}", 0
        if not any(cells):
            continue
        names = _names_of(cells, header)
        if names is not header:
            issues.warn("COLUMN_MISSING", locator, "the header lacks the column for the street; it was added")
        if len(cells) != len(names):
            issues.reject_record("ROW_MALFORMED", locator, "more or fewer cells than the header")
        elif any(len(cell) > limits.field_characters for cell in cells):
            issues.reject_record(
                "FIELD_TOO_LONG", locator, f"a cell has more than {limits.field_characters} characters"
            )
        else:
            stripped = zip(names, (cell.strip() for cell in cells), strict=True)
            fields = {name: cell for name, cell in stripped if cell}
            if "other" in first and "description" in fields:
                fields["description"] = plain_other(fields["description"])
            yield _Row(fields, locator)


def _names_of(cells: list[str], header: list[str]) -> list[str]:
    """The header. For a row with one cell more: with the column for the street, if the row then makes sense."""
    if len(cells) != len(header) + 1 or _STREET in header or not {_AFTER_STREET, "status"} <= {*header}:
        return header
    place = header.index(_AFTER_STREET)
    names = [*header[:place], _STREET, *header[place:]]
    fits, misfits = cells[names.index("status")].strip(), cells[header.index("status")].strip()
    return names if fits in STATUSES and misfits not in STATUSES else header


def _name(plain: str) -> str:
    name = RENAMED.get(plain, plain)
    return name if name in {*PERSON, *NOTE} else f"?{plain}"


class _Reader:
    """Reads rows, and remembers the persons."""

    def __init__(self, digest: bytes, issues: IssueList) -> None:
        self._digest = digest
        self._issues = issues
        self._persons: dict[str, dict[str, str]] = {}
        self._expired: set[str] = set()
        self._notes: set[str] = set()

    def read(self, row: _Row) -> list[DecodedRecord]:
        """The person of a row, unless an earlier row had the same, and its note, if there is one."""
        person_id = row.fields.get(_PERSON_ID, "")
        if not person_id:
            self._issues.reject_record("RECORD_ID_MISSING", row.locator, "the row does not name its person")
            return []
        found = (self._person(person_id, row), self._note(person_id, row))
        return [record for record in found if record is not None]

    def _person(self, person_id: str, row: _Row) -> DecodedRecord | None:
        fields = {name: text for name, text in row.fields.items() if name not in _OF_NOTE}
        facts = {name: text for name, text in fields.items() if name not in {_PERSON_ID, *_SHARED}}
        if person_id in self._persons:
            if facts and facts != self._persons[person_id]:
                self._issues.reject_record(
                    "RECORD_REPEATED", row.locator, "an earlier row has the same person with other data"
                )
            return None
        self._persons[person_id] = facts
        if has_expired(fields):
            self._expired.add(person_id)
            self._issues.info(
                "PFIF_EXPIRED", row.locator, "the person has expired: read as a withdrawal, without any data"
            )
            return self._done(withdrawal_of(fields, row.locator, self._issues), person_id, person_id, row)
        return self._done(case_of(fields, row.locator, self._issues), person_id, person_id, row)

    def _note(self, person_id: str, row: _Row) -> DecodedRecord | None:
        fields = {name: text for name, text in row.fields.items() if name in _OF_NOTE}
        if not fields:
            return None
        note_id = fields.get(_NOTE_ID, "")
        code = "RECORD_ID_MISSING" if not note_id else "RECORD_REPEATED" if note_id in self._notes else ""
        code = "PFIF_EXPIRED" if person_id in self._expired else code
        if code:
            self._issues.reject_record(code, row.locator, "the note has no id, another note's id, or an expired person")
            return None
        self._notes.add(note_id)
        fields |= {name: row.fields[name] for name in _SHARED if name in row.fields}
        made_contact = fields.get("author_made_contact", "")
        if made_contact.lower() in {"true", "false"}:
            # A spreadsheet writes TRUE.
            fields["author_made_contact"] = made_contact.lower()
        return self._done(tip_of(fields, person_id, row.locator, self._issues), note_id, person_id, row)

    def _done(
        self,
        record: case_pb2.CaseRecord | case_pb2.Tip | case_pb2.Correction,
        record_id: str,
        person_id: str,
        row: _Row,
    ) -> DecodedRecord | None:
        if not RECORD_ID.fullmatch(record_id):
            self._issues.warn("RECORD_ID_FORM", row.locator, "the record id is not a domain, a slash and a name")
        record.provenance.MergeFrom(provenance(NAME, _VERSION, record_id, self._digest))
        usable = check_record(record, row.locator, self._issues)
        return DecodedRecord(record, person_id, row.locator) if usable else None


ADAPTER: Final = PfifCsv()
