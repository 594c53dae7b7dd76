"""The adapter ``provincial-police-csv``: a row is a CaseRecord, and a SampleRequest where it has a sample's barcode."""

from __future__ import annotations

import csv
import hashlib
import io
from typing import TYPE_CHECKING, Final

from adapters.base import (
    Decoded,
    DecodedRecord,
    Encoded,
    IssueList,
    Limits,
    Record,
    Source,
    populated,
    provenance,
)
from adapters.photos import media_type_of, photo_name
from adapters.provincial_police.codes import ROLE_OF, is_ethnic_group, may_be_division, resident_id_doubts
from adapters.provincial_police.columns import (
    BARCODE,
    BY_NAME,
    CASE_NUMBER,
    COLLECTED,
    COLUMNS,
    HEADER,
    OUTSIDE_OF_CASE,
    PHOTO,
    ROLE,
)
from adapters.provincial_police.text import (
    Text,
    date_text,
    decode_text,
    encode_text,
    guard_formula,
    narrow,
    parse_date,
    unguard_formula,
)
from adapters.validate import MAX_PHOTO_BYTES, validate
from caseexchange.records.v1 import case_pb2, dna_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_VERSION: Final = "1"
_CARRIED: Final = frozenset(path for column in COLUMNS for path in column.fields) | {"photos", "provenance"}
_DOUBTS: Final = {
    "RESIDENT_ID_OLD_FORM": "the identity number is of the old form with 15 digits",
    "RESIDENT_ID_FORM": "the identity number has neither 18 nor 15 digits",
    "RESIDENT_ID_CHECKSUM": "the identity number's check digit is wrong",
    "RESIDENT_ID_BIRTH_DATE": "the identity number's birth date is not the stated one",
    "RESIDENT_ID_SEX": "the identity number's sex is not the stated one",
}
_SEEKING_PARENT: Final = "5"
_CELL_WARNING: Final = "the cell cannot be read as what its column holds"


class PoliceCsv:
    """See the module."""

    name: Final = "provincial-police-csv"
    media_type: Final = "text/csv"
    suffix: Final = ".csv"
    decodes: Final = frozenset({"CaseRecord", "SampleRequest"})
    encodes: Final = frozenset({"CaseRecord", "SampleRequest"})

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        first = content.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0]
        return CASE_NUMBER.encode() in {cell.strip(b' \r"') for cell in first.split(b",")}

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        records: list[DecodedRecord] = []
        digest = hashlib.sha256(source.content).digest()
        try:
            for number, row in _rows(source.content, limits, issues):
                records += _row(row, f"row {number}", source.attachments, digest, issues)
        except csv.Error:
            issues.reject_file("CSV_MALFORMED", f"after {len(records)} records", "not comma-separated values")
        if not records and not issues.items:
            issues.info("NO_RECORDS", "file", "the file has a header and no rows")
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``. Always GB18030, which holds every character."""
        issues = IssueList()
        if len(records) > limits.records:
            issues.reject_file("TOO_MANY_RECORDS", "file", f"more than {limits.records} records")
        rows: dict[str, dict[str, str]] = {}
        sampled = {item.provenance.source_record_id for item in records if isinstance(item, dna_pb2.SampleRequest)}
        attachments: dict[str, bytes] = {}
        seen: set[str] = set()
        for place, record in enumerate(records[: limits.records]):
            locator = f"records[{place}]"
            if isinstance(record, case_pb2.CaseRecord) and (not record.local_id or record.local_id in seen):
                issues.reject_record(
                    "RECORD_REPEATED", locator, "the case has no number, or that of another in the file"
                )
            elif isinstance(record, case_pb2.CaseRecord):
                seen.add(record.local_id)
                if record.blood_sampled and record.local_id not in sampled:
                    issues.warn("FIELD_NOT_CARRIED", f"{locator}.blood_sampled", "a sample is told by its barcode only")
                rows.setdefault(record.local_id, {}).update(_cells(record, locator, attachments, issues))
            elif isinstance(record, dna_pb2.SampleRequest):
                reference = record.provenance.source_record_id
                rows.setdefault(reference, {}).update(_sample_cells(record, locator, issues))
            else:
                issues.reject_record("KIND_NOT_CARRIED", locator, "the format carries no record of this kind")
        return issues.encoded(_write(rows), attachments)


def _rows(content: bytes, limits: Limits, issues: IssueList) -> list[tuple[int, dict[str, str]]]:
    if len(content) > limits.bytes:
        issues.reject_file("FILE_TOO_LARGE", "file", f"larger than {limits.bytes} bytes")
        return []
    decoded = decode_text(content)
    if not isinstance(decoded, Text):
        issues.reject_file(decoded, "file", "neither UTF-8 nor GB18030 throughout, or not text at all")
        return []
    reader = csv.reader(io.StringIO(decoded.text, newline=""), strict=True)
    header = [unguard_formula(cell.strip()).upper() for cell in next(reader, [])]
    if CASE_NUMBER not in header or len(set(header)) != len(header):
        issues.reject_file(
            "HEADER_MISSING", "row 1", f"the first row does not name each column once, or lacks {CASE_NUMBER}"
        )
        return []
    for unknown in (name for name in header if name not in HEADER):
        issues.info("COLUMN_UNKNOWN", f"column {header.index(unknown) + 1}", "the column is kept as it is")
    rows: list[tuple[int, dict[str, str]]] = []
    for number, cells in enumerate(reader, start=2):
        if not any(cells):
            continue
        if len(rows) == limits.records:
            issues.reject_file("TOO_MANY_RECORDS", f"row {number}", f"more than {limits.records} records")
            return []
        if len(cells) != len(header) or any(len(cell) > limits.field_characters for cell in cells):
            issues.reject_record(
                "ROW_MALFORMED", f"row {number}", "more or fewer cells than the header, or one is too long"
            )
            continue
        rows.append((number, {name: unguard_formula(cell.strip()) for name, cell in zip(header, cells, strict=True)}))
    return rows


def _row(
    row: Mapping[str, str], locator: str, attachments: Mapping[str, bytes], digest: bytes, issues: IssueList
) -> list[DecodedRecord]:
    number = row[CASE_NUMBER]
    record = case_pb2.CaseRecord()
    for name, cell in row.items():
        column = BY_NAME.get(name)
        if not cell:
            continue
        if column is None:
            if name not in OUTSIDE_OF_CASE:
                record.provenance.unmapped.add(path=name, value=cell)
            continue
        code = column.read(record, cell)
        if code:
            issues.warn(code, f"{locator}, column {name}", _CELL_WARNING)
    if record.kind == case_pb2.CASE_KIND_RESCUED_CHILD and row.get(BARCODE):
        record.blood_sampled = True
    _doubts(record, locator, issues)
    _add_photos(record, row.get(PHOTO, ""), locator, attachments, issues)
    record.provenance.MergeFrom(provenance(PoliceCsv.name, _VERSION, number, digest))
    found = [issue._replace(locator=f"{locator}, {issue.locator}") for issue in validate(record)]
    issues.items.extend(found)
    if found:
        return []
    records = [DecodedRecord(record, number, locator)]
    if row.get(BARCODE):
        records.append(DecodedRecord(_sample(row, number, digest, locator, issues), number, locator))
    return records


def _doubts(record: case_pb2.CaseRecord, locator: str, issues: IssueList) -> None:
    for document in record.documents:
        for code in resident_id_doubts(document.number, record.birth, record.sex):
            issues.warn(code, f"{locator}, column GMSFHM", _DOUBTS[code])
    if record.ethnicity.value and not is_ethnic_group(record.ethnicity.value):
        issues.warn("ETHNICITY_UNKNOWN", f"{locator}, column MZDM", "GB/T 3304 has no such code")
    for name, place in (("HJDQH", record.household), ("SZDQH", record.event_place), ("FXDQH", record.found_place)):
        if place.division.value and not may_be_division(place.division.value):
            issues.warn("DIVISION_UNKNOWN", f"{locator}, column {name}", "GB/T 2260 can have no such code")


def _add_photos(
    record: case_pb2.CaseRecord, cell: str, locator: str, attachments: Mapping[str, bytes], issues: IssueList
) -> None:
    where = f"{locator}, column {PHOTO}"
    for name in filter(None, (part.strip() for part in cell.split(";"))):
        content = attachments.get(name)
        if content is None:
            issues.warn("PHOTO_MISSING", where, "the photo did not come with the file")
            continue
        media_type = media_type_of(content)
        if media_type is None:
            issues.warn("PHOTO_TYPE", where, "the photo is neither JPEG nor PNG")
            continue
        if len(content) > MAX_PHOTO_BYTES:
            issues.warn("PHOTO_TOO_LARGE", where, f"a photo has at most {MAX_PHOTO_BYTES} bytes")
            continue
        sha256 = hashlib.sha256(content).digest()
        # The file's own name may be a person's.
        record.photos.add(
            content=content, media_type=media_type, sha256=sha256, reference=photo_name(sha256, media_type)
        )


def _sample(
    row: Mapping[str, str], number: str, digest: bytes, locator: str, issues: IssueList
) -> dna_pb2.SampleRequest:
    code = narrow(row.get(ROLE, ""))
    of_parent = narrow(row.get("AJLB", "")) == _SEEKING_PARENT
    if code not in ROLE_OF and (code or of_parent):
        issues.warn("SAMPLE_ROLE_UNKNOWN", f"{locator}, column {ROLE}", "whose sample it is cannot be told")
    child = not code and not of_parent
    role = ROLE_OF["1"] if child else ROLE_OF.get(code, dna_pb2.SAMPLE_ROLE_OTHER_RELATIVE)
    sample = dna_pb2.SampleRequest(barcode=narrow(row[BARCODE]), role=role)
    if row.get(COLLECTED):
        sample.collected.CopyFrom(parse_date(row[COLLECTED]))
    sample.provenance.CopyFrom(provenance(PoliceCsv.name, _VERSION, number, digest))
    return sample


def _cells(
    record: case_pb2.CaseRecord, locator: str, attachments: dict[str, bytes], issues: IssueList
) -> dict[str, str]:
    for path in sorted(populated(record) - _CARRIED):
        if path.split(".")[0] != "provenance" and path != "blood_sampled":
            issues.warn("FIELD_NOT_CARRIED", f"{locator}.{path}", "the format has no column for this field")
    cells = {column.name: column.write(record) for column in COLUMNS}
    again = case_pb2.CaseRecord()
    for column in COLUMNS:
        if cells[column.name]:
            column.read(again, cells[column.name])
    for name in ("names", "features", "documents", "contacts"):
        if list(getattr(record, name)) != list(getattr(again, name)):
            issues.warn("FIELD_NOT_CARRIED", f"{locator}.{name}", "the format has one column for each sort of these")
    cells.update({item.path: item.value for item in record.provenance.unmapped if item.path not in HEADER})
    names = []
    for photo in record.photos:
        if photo.content:
            names.append(photo_name(photo.sha256, photo.media_type))
            attachments[names[-1]] = photo.content
        else:
            issues.warn("FIELD_NOT_CARRIED", f"{locator}.photos", "a photo that is elsewhere has no column")
    cells[PHOTO] = ";".join(names)
    return cells


def _sample_cells(record: dna_pb2.SampleRequest, locator: str, issues: IssueList) -> dict[str, str]:
    if record.HasField("specimen"):
        issues.warn("FIELD_NOT_CARRIED", f"{locator}.specimen", "the format has no column for this field")
    role = next((code for code, role in ROLE_OF.items() if role == record.role), "")
    return {
        CASE_NUMBER: record.provenance.source_record_id,
        BARCODE: record.barcode,
        ROLE: role,
        COLLECTED: date_text(record.collected),
    }


def _write(rows: Mapping[str, Mapping[str, str]]) -> bytes:
    extra = dict.fromkeys(name for cells in rows.values() for name in cells if name not in HEADER)
    header = [*HEADER, *extra]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(map(guard_formula, header))
    for cells in rows.values():
        writer.writerow([guard_formula(cells.get(name, "").replace("\0", "")) for name in header])
    return encode_text(text.getvalue())
