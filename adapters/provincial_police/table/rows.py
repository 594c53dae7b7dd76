"""Turns a row's cells into records, for every file format. What all rows have in common is found once.

It must be fast, because a province's export has millions of rows. An empty cell costs no work. Codes and dates that
were read before are remembered. Cells are checked character by character only in files with unusual characters.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.base import DecodedRecord, Issue, IssueList, provenance
from adapters.provincial_police.table.codes import DOCUMENT, RESIDENT_CARD, RESIDENT_ID, ROLE_OF, Doubt, code_in
from adapters.provincial_police.table.columns import (
    BARCODE,
    BY_NAME,
    CASE_NUMBER,
    COLLECTED,
    OUTSIDE_OF_CASE,
    PHOTO,
    ROLE,
)
from adapters.provincial_police.table.dates import read_date
from adapters.provincial_police.table.resident_id import ROUNDED, is_float, resident_id_doubts
from adapters.provincial_police.table.text import cleaned, code_text, narrow, parts_of, unguard_formula
from adapters.records.validate import MAX_PHOTO_BYTES, MAX_PHOTOS, check_record
from adapters.values.pictures import media_type_of, photo_name
from caseexchange.records.v1 import case_pb2, dna_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapters.provincial_police.table.column import Read
    from adapters.provincial_police.table.header import Header
    from caseexchange.records.v1 import common_pb2

_VERSION: Final = "2"
_RESIDENT_ID: Final = "GMSFHM"


class Table(NamedTuple):
    """What the rows under one header have in common.

    Attributes:
        header: of the table.
        constants: values for columns that the table does not have, by the column's name.
        guarded: whether cells have an apostrophe in front of a formula, which is not part of the text.
        odd: whether some characters have to be replaced.
        source: the provenance that all records share, without the record's own number.
        attachments: the photos, by name.
    """

    header: Header
    constants: Mapping[str, str]
    guarded: bool
    odd: bool
    source: common_pb2.Provenance
    attachments: Mapping[str, bytes]


class _Step(NamedTuple):
    at: int
    path: str
    read: Read | None
    codes: Mapping[str, str]


class RowReader:
    """Reads the rows of a table, and adds issues."""

    def __init__(self, table: Table, issues: IssueList) -> None:
        self._table = table
        self._issues = issues
        self.width: Final = len(table.header.places)
        self._steps: list[_Step] = []
        self._outside: list[_Step] = []
        for place in table.header.places:
            outside = place.column is not None and place.column.name in OUTSIDE_OF_CASE
            step = _Step(place.at, place.path, place.column.read if place.column else None, place.codes)
            (self._outside if outside else self._steps).append(step)
        present = {place.path for place in table.header.places if place.column}
        self._constants = {name: text for name, text in table.constants.items() if name not in present}
        self._number = table.header.place(CASE_NUMBER) or 0

    def read(self, cells: Sequence[str], locator: str, lost: frozenset[int] = frozenset()) -> list[DecodedRecord]:
        """The records of a row: the case and, if the row has a sample's barcode, the request. Empty if it was refused.

        Args:
            cells: as many as the header has.
            locator: of the row.
            lost: the indexes of cells with numbers that a spreadsheet has rounded.
        """
        number = self._text(cells[self._number], locator)
        if self._number in lost or is_float(number):
            self._issues.reject_record(
                "CASE_NUMBER_ROUNDED", f"{locator}, column {CASE_NUMBER}", "a spreadsheet has rounded the case number"
            )
            return []
        record, odd = case_pb2.CaseRecord(), self._table.odd
        for at, path, read, codes in self._steps:
            cell = cells[at].strip()
            if not cell:
                continue
            if odd or cell[0] == "'":
                cell = self._text(cell, locator)
            code = codes.get(narrow(cell)) if codes else cell
            rounded = at in lost or ("+1" in cell and is_float(cell))
            if read is None or code is None or rounded:
                self._keep(record, path, cell, locator, lost=rounded, unmapped=code is None)
            elif code:
                doubt = read(record, code)
                if doubt is not None:
                    self._doubt(record, locator, path, cell, doubt)
        self._add_constants(record, locator)
        outside = self._read_outside(record, cells, locator, lost) if self._outside else {}
        return self._finish(record, number, outside, locator)

    def _text(self, cell: str, locator: str) -> str:
        text = cell.strip()
        if text[:1] == "'" and self._table.guarded:
            text = unguard_formula(text)
        if self._table.odd:
            text, mapped, left = cleaned(text)
            if mapped:
                self._issues.info("PRIVATE_CHARACTER_MAPPED", locator, "a private character of GB 18030 was replaced")
            if left:
                self._issues.warn("PRIVATE_CHARACTER", locator, "a character of private use has no known meaning")
        return text

    def _keep(
        self, record: case_pb2.CaseRecord, path: str, cell: str, locator: str, *, lost: bool, unmapped: bool
    ) -> None:
        if cell:
            record.provenance.unmapped.add(path=path, value=cell)
        if lost:
            self._warn(locator, path, ROUNDED if path == _RESIDENT_ID else _ROUNDED)
        elif unmapped:
            self._warn(locator, path, _CODE)

    def _doubt(self, record: case_pb2.CaseRecord, locator: str, path: str, cell: str, doubt: Doubt) -> None:
        self._warn(locator, path, doubt)
        if doubt.unread:
            record.provenance.unmapped.add(path=path, value=cell)

    def _warn(self, locator: str, path: str, doubt: Doubt) -> None:
        column = path if path in BY_NAME else "not known here"
        self._issues.items.append(Issue(doubt.severity, doubt.code, f"{locator}, column {column}", doubt.message))

    def _add_constants(self, record: case_pb2.CaseRecord, locator: str) -> None:
        for name, text in self._constants.items():
            read = BY_NAME[name].read
            if read is None:
                record.provenance.unmapped.add(path=name, value=text)
            elif (doubt := read(record, text)) is not None:
                self._warn(locator, name, doubt)

    def _read_outside(
        self, record: case_pb2.CaseRecord, cells: Sequence[str], locator: str, lost: frozenset[int]
    ) -> dict[str, str]:
        found: dict[str, str] = {}
        for at, path, _, codes in self._outside:
            cell = self._text(cells[at], locator)
            code = codes.get(narrow(cell)) if codes else cell
            rounded = at in lost or is_float(cell)
            if rounded or (cell and code is None):
                self._keep(record, path, cell, locator, lost=rounded, unmapped=code is None)
            elif cell:
                found[path] = code or ""
        return found

    def _finish(
        self, record: case_pb2.CaseRecord, number: str, outside: Mapping[str, str], locator: str
    ) -> list[DecodedRecord]:
        barcode = narrow(outside.get(BARCODE, ""))
        if barcode and record.kind == case_pb2.CASE_KIND_RESCUED_CHILD:
            record.blood_sampled = True
        if record.documents:
            self._check_documents(record, locator)
        if PHOTO in outside:
            self._add_photos(record, outside[PHOTO], locator)
        record.provenance.MergeFrom(self._table.source)
        record.provenance.source_record_id = number
        if not check_record(record, locator, self._issues):
            return []
        records = [DecodedRecord(record, number, locator)]
        if barcode:
            sample = self._sample(record, barcode, outside, locator)
            records.append(DecodedRecord(sample, number, locator))
        return records

    def _check_documents(self, record: case_pb2.CaseRecord, locator: str) -> None:
        for document in record.documents:
            kind = document.type
            if kind.system == DOCUMENT and kind.value == RESIDENT_CARD:
                # The number on the resident identity card is the resident identity number.
                kind.system, kind.value, document.number = RESIDENT_ID, "", narrow(document.number).upper()
            if kind.system == RESIDENT_ID:
                for doubt in resident_id_doubts(document.number, record.birth, record.sex):
                    self._warn(locator, _RESIDENT_ID, doubt)

    def _sample(
        self, record: case_pb2.CaseRecord, barcode: str, outside: Mapping[str, str], locator: str
    ) -> dna_pb2.SampleRequest:
        code = code_in(ROLE, code_text(outside.get(ROLE, "")))
        of_parent = record.kind == case_pb2.CASE_KIND_SEEKING_PARENT
        if code not in ROLE_OF and (code or of_parent):
            self._issues.warn("SAMPLE_ROLE_UNKNOWN", f"{locator}, column {ROLE}", "it is not known whose sample it is")
        child = not code and not of_parent
        role = ROLE_OF["1"] if child else ROLE_OF.get(code, dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE)
        sample = dna_pb2.SampleRequest(barcode=barcode, role=role)
        if COLLECTED in outside:
            found = read_date(outside[COLLECTED])
            sample.collected.CopyFrom(found.date)
            if found.doubt is not None:
                self._warn(locator, COLLECTED, found.doubt)
        sample.provenance.MergeFrom(self._table.source)
        sample.provenance.source_record_id = record.local_id
        return sample

    def _add_photos(self, record: case_pb2.CaseRecord, cell: str, locator: str) -> None:
        where = f"{locator}, column {PHOTO}"
        for name in parts_of(cell):
            if len(record.photos) > MAX_PHOTOS:
                # The record will be refused. Without this, a cell could name one photo ten thousand times.
                return
            content = self._table.attachments.get(name)
            if content is None:
                self._issues.warn("PHOTO_MISSING", where, "the photo is not among the attachments")
                continue
            media_type = media_type_of(content)
            if media_type is None:
                self._issues.warn("PHOTO_TYPE", where, "the photo is neither JPEG nor PNG")
                continue
            if len(content) > MAX_PHOTO_BYTES:
                self._issues.warn("PHOTO_TOO_LARGE", where, f"a photo has at most {MAX_PHOTO_BYTES} bytes")
                continue
            sha256 = hashlib.sha256(content).digest()
            # The file's own name may be a person's name.
            record.photos.add(
                content=content, media_type=media_type, sha256=sha256, reference=photo_name(content, media_type)
            )


_ROUNDED: Final = Doubt("NUMBER_ROUNDED", "a spreadsheet has rounded the number: it is kept as text")
_CODE: Final = Doubt("CODE_NOT_MAPPED", "the mapping does not have this code: it is kept as text")


def source_of(adapter: str, sha256: bytes) -> common_pb2.Provenance:
    """The provenance that all records of a file share."""
    return provenance(adapter, _VERSION, "", sha256)
