"""Turns records into the rows of a table, for CSV and workbooks. A case and its sample make one row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from adapters.base import IssueList, Limits, Record, placed, populated
from adapters.provincial_police.table.codes import ROLE_OF
from adapters.provincial_police.table.columns import (
    BARCODE,
    BY_NAME,
    CASE_NUMBER,
    COLLECTED,
    COLUMNS,
    OUTSIDE_OF_CASE,
    PHOTO,
    ROLE,
)
from adapters.provincial_police.table.dates import date_text, read_date
from adapters.provincial_police.table.header import plain, standard
from adapters.provincial_police.table.text import cleaned
from adapters.values.pictures import photo_name
from caseexchange.records.v1 import case_pb2, dna_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from google.protobuf.message import Message

_NO_COLUMN: Final = "the format has no column for this field"
_CHANGED: Final = "the format's columns cannot hold all of this field"


class TableWriter:
    """Collects rows. Losses are issues: RECORD_REPEATED, KIND_NOT_CARRIED, FIELD_NOT_CARRIED.

    Args:
        clean: removes from a text the characters that the file cannot hold.
    """

    def __init__(self, clean: Callable[[str], str], issues: IssueList) -> None:
        self.attachments: dict[str, bytes] = {}
        self._clean = clean
        self._issues = issues
        self._rows: dict[str, dict[str, str]] = {}

    def add(self, records: Sequence[Record], limits: Limits) -> None:
        """Add records, up to the limit."""
        issues = self._issues
        sampled = {item.provenance.source_record_id for item in records if isinstance(item, dna_pb2.SampleRequest)}
        seen: set[str] = set()
        for locator, record in placed(records, limits, issues):
            if isinstance(record, case_pb2.CaseRecord) and (not record.local_id or record.local_id in seen):
                issues.reject_record(
                    "RECORD_REPEATED", locator, "the case has no number, or the number of another case in the file"
                )
            elif isinstance(record, case_pb2.CaseRecord):
                seen.add(record.local_id)
                if record.blood_sampled and record.local_id not in sampled:
                    issues.warn(
                        "FIELD_NOT_CARRIED", f"{locator}.blood_sampled", "the format shows a sample only by its barcode"
                    )
                self._rows.setdefault(record.local_id, {}).update(self._case(record, locator))
            elif isinstance(record, dna_pb2.SampleRequest):
                reference = record.provenance.source_record_id
                self._rows.setdefault(reference, {}).update(self._sample(record, locator))
            else:
                issues.reject_record("KIND_NOT_CARRIED", locator, "the format carries no records of this kind")

    def rows(self) -> list[list[str]]:
        """The header and the rows."""
        extra = dict.fromkeys(name for cells in self._rows.values() for name in cells if name not in BY_NAME)
        header = [*BY_NAME, *extra]
        return [header, *([cells.get(name, "") for name in header] for cells in self._rows.values())]

    def _case(self, record: case_pb2.CaseRecord, locator: str) -> dict[str, str]:
        cells = {column.name: self._cell(column.write(record)) for column in COLUMNS}
        again = case_pb2.CaseRecord()
        for column in COLUMNS:
            if cells[column.name] and column.read:
                column.read(again, cells[column.name])
        for path in sorted(populated(record) - {"blood_sampled", "photos"}):
            if path.split(".")[0] != "provenance" and not _same(record, again, path):
                written = bool(populated(again) & {path})
                self._issues.warn("FIELD_NOT_CARRIED", f"{locator}.{path}", _CHANGED if written else _NO_COLUMN)
        self._add_unmapped(record, cells, f"{locator}.provenance.unmapped")
        cells[PHOTO] = self._photos(record, f"{locator}.photos")
        return cells

    def _add_unmapped(self, record: case_pb2.CaseRecord, cells: dict[str, str], where: str) -> None:
        for item in record.provenance.unmapped:
            target = standard().get(plain(item.path))
            cell = self._cell(item.value)
            own = target is None or (target.column == item.path and item.path not in OUTSIDE_OF_CASE)
            # A heading with another meaning would be read as that other column.
            if own and cell == item.value and cells.get(item.path, "") in {"", cell} and plain(item.path):
                cells[item.path] = cell
            else:
                self._issues.warn("FIELD_NOT_CARRIED", where, "an unmapped field has no cell of its own")

    def _photos(self, record: case_pb2.CaseRecord, where: str) -> str:
        names = []
        for photo in record.photos:
            if photo.content:
                names.append(photo_name(photo.content, photo.media_type))
                self.attachments[names[-1]] = photo.content
            else:
                self._issues.warn("FIELD_NOT_CARRIED", where, "there is no column for a photo's address")
        return ";".join(names)

    def _sample(self, record: dna_pb2.SampleRequest, locator: str) -> Mapping[str, str]:
        collected = self._cell(date_text(record.collected))
        again = dna_pb2.SampleRequest(barcode=self._cell(record.barcode), role=record.role)
        if collected:
            again.collected.CopyFrom(read_date(collected).date)
        for path in sorted(populated(record)):
            if path.split(".")[0] != "provenance" and not _same(record, again, path):
                self._issues.warn("FIELD_NOT_CARRIED", f"{locator}.{path}", _NO_COLUMN)
        role = next((code for code, role in ROLE_OF.items() if role == record.role), "")
        return {
            CASE_NUMBER: record.provenance.source_record_id,
            BARCODE: again.barcode,
            ROLE: role,
            COLLECTED: collected,
        }

    def _cell(self, text: str) -> str:
        return cleaned(self._clean(text))[0]


def _same(one: Message, other: Message, path: str) -> bool:
    """Whether a field is the same in both. The order of a repeated field is ignored: columns do not keep it."""
    first, second = _value(one, path), _value(other, path)
    if hasattr(first, "add"):
        return sorted(map(str, first)) == sorted(map(str, second))
    return bool(first == second)


def _value(message: Message, path: str) -> Any:
    value: Any = message
    for name in path.split("."):
        value = getattr(value, name)
    return value
