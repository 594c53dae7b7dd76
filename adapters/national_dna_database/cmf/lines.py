"""CODIS CMF 1.0: a file of lines without names. Counts in it say how many specimens, loci and alleles follow.

Only its place says what a line means. So a specimen is used only if every count is right. After a specimen with a wrong
count, reading goes on at the next line that begins a specimen. Source: the example in appendix F of the CODIS CMF 3.2
Interface Specification. Read only.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from adapters.base import DecodedRecord, IssueList, Limits
from adapters.national_dna_database.cmf.read import set_category
from adapters.national_dna_database.codes import CATEGORIES, CONTROL, MAX_ALLELES
from adapters.national_dna_database.rows import lines
from adapters.records.validate import check_record
from adapters.values.alleles import canonical_locus, parse_allele
from caseexchange.records.v1 import common_pb2, dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapters.national_dna_database.rows import Line

TEXT_VERSION: Final = "1.0"
_TEXT: Final = re.compile(rb"(\xef\xbb\xbf)?\s*1\.0[ \t]*\r?\n[^\r\n]*\r?\n\s*IMPORT[ \t]*\r?\n", re.IGNORECASE)
_SPECIMEN: Final = "DNA Analysis Result"
_HEADER: Final = ("version", "message", "type", "destination", "laboratory", "submitted", "file", "application")
_BEFORE_ID: Final = ("result version", "technique")
_AFTER_CATEGORY: Final = ("specimen field 1", "specimen field 2", "specimen field 3")
_NOTHING: Final = frozenset({"", "UNKNOWN"})
_BY_CAPITALS: Final = {category.upper(): category for category in CATEGORIES}
_MONTHS: Final = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DATE: Final = re.compile(r"([0-9]{1,2})-([A-Z]{3})-([0-9]{4}) ([0-9]{2}:[0-9]{2}:[0-9]{2})")
_COUNT: Final = re.compile(r"[0-9]{1,6}")
_MAX_LOCI: Final = 64


class _MisplacedError(Exception):
    """A line is not what it should be at its place."""


class _Lines:
    """The lines, and the line that was read last."""

    def __init__(self, found: Iterator[Line], limits: Limits) -> None:
        self._found = found
        self._limits = limits
        self._ahead: Line | None = None
        self._last: Line | None = None
        self.number = 1

    def seek_specimen(self) -> bool:
        """Skip to the beginning of the next specimen."""
        while True:
            text = self._read()
            if text in {None, _SPECIMEN}:
                return text is not None

    def next(self) -> str:
        """The next line of this specimen or of the header."""
        text = self._read()
        if text is None or text == _SPECIMEN or len(text) > self._limits.field_characters:
            self._again()
            raise _MisplacedError
        return text

    def count(self, most: int) -> int:
        """The next line as a count."""
        text = self.next()
        if _COUNT.fullmatch(text) is None or int(text) > most:
            raise _MisplacedError
        return int(text)

    def at_end(self) -> bool:
        """Whether the file ends here, or another specimen begins."""
        text = self._read()
        while text == "":
            text = self._read()
        self._again()
        return text in {None, _SPECIMEN}

    def _read(self) -> str | None:
        line = self._ahead if self._ahead is not None else next(self._found, None)
        self._ahead, self._last = None, line
        if line is None:
            return None
        self.number = line.number
        return line.text.strip()

    def _again(self) -> None:
        self._ahead = self._last


def is_cmf_text(content: bytes) -> bool:
    """Whether a file has the beginning of CMF 1.0."""
    return _TEXT.match(content) is not None


def read_text(content: bytes, origin: common_pb2.Provenance, limits: Limits, issues: IssueList) -> list[DecodedRecord]:
    """The profile of each specimen that can be accepted, with the file's header in it."""
    source = _Lines(lines(content, limits, issues), limits)
    records: list[DecodedRecord] = []
    try:
        header = {name: source.next() for name in _HEADER}
        stated = source.count(999_999)
    except _MisplacedError:
        if not issues.items:
            issues.reject_file("CMF_HEADER", f"line {source.number}", "this is not the header of CMF 1.0")
        return records
    file = _file_header(header, origin)
    seen: set[str] = set()
    found = 0
    while source.seek_specimen():
        found += 1
        if found > limits.records:
            issues.reject_file("TOO_MANY_RECORDS", f"line {source.number}", f"more than {limits.records} specimens")
            return []
        record = _specimen(source, file, seen, issues)
        if record is not None:
            records.append(record)
    if not found and not issues.items:
        issues.reject_file("NO_SPECIMEN", "file", "the file has no specimen")
    elif found != stated:
        issues.warn("SPECIMEN_COUNT", "line 9", "the number of specimens in the header is wrong")
    return records


def _file_header(header: dict[str, str], origin: common_pb2.Provenance) -> dna_pb2.StrProfile:
    file = dna_pb2.StrProfile(
        destination=header["destination"],
        laboratory=header["laboratory"],
        submitted_at=_time(header["submitted"]),
        provenance=origin,
    )
    for name in ("message", "file", "application"):
        file.provenance.unmapped.add(path=name, value=header[name])
    return file


def _specimen(source: _Lines, file: dna_pb2.StrProfile, seen: set[str], issues: IssueList) -> DecodedRecord | None:
    found = IssueList()
    where = f"line {source.number}"
    profile = dna_pb2.StrProfile()
    profile.CopyFrom(file)
    try:
        _facts(source, profile, where, found)
        for _ in range(source.count(_MAX_LOCI)):
            _locus(source, profile, found)
        if not source.at_end():
            raise _MisplacedError  # noqa: TRY301 - as every other line out of place
    except _MisplacedError:
        found.reject_record("TEXT_STRUCTURE", f"line {source.number}", "the line is not what it should be at its place")
    if CONTROL.search(profile.barcode) or CONTROL.search(profile.category.value):
        issues.info("CONTROL_SKIPPED", where, "a ladder, control or proficiency test is skipped")
        return None
    if profile.barcode in seen:
        found.reject_record("SPECIMEN_REPEATED", where, "the specimen id is in the file twice")
    if not found.refuses:
        check_record(profile, where, found)
    issues.items.extend(found.items)
    if found.refuses:
        return None
    seen.add(profile.barcode)
    return DecodedRecord(profile, profile.barcode, where)


def _facts(source: _Lines, profile: dna_pb2.StrProfile, where: str, issues: IssueList) -> None:
    unmapped = [(name, source.next()) for name in _BEFORE_ID]
    profile.barcode = profile.provenance.source_record_id = source.next()
    unmapped.append(("specimen flag", source.next()))
    category = source.next()
    set_category(profile, _BY_CAPITALS.get(category.upper(), category), where, issues)
    unmapped += [(name, source.next()) for name in _AFTER_CATEGORY]
    for name, value in unmapped:
        if value.upper() not in _NOTHING:
            profile.provenance.unmapped.add(path=name, value=value)


def _locus(source: _Lines, profile: dna_pb2.StrProfile, issues: IssueList) -> None:
    reported = source.next()
    where = f"line {source.number}"
    if source.count(1) != 1:
        # The specification allows several readings of a locus. No file with several was ever seen.
        raise _MisplacedError
    read_by, read_at = source.next(), f"{source.next()} {source.next()}"
    texts = [(source.next(), source.number) for _ in range(source.count(MAX_ALLELES))]
    locus = canonical_locus(reported)
    if locus is None:
        issues.reject_record("LOCUS_UNKNOWN", where, "the locus is not known here")
        return
    if not texts:
        issues.info("LOCUS_EMPTY", where, "the locus has no allele, and is left out")
        return
    call = profile.loci.add(locus=locus, reported_locus=reported, read_by=read_by, read_at=_time(read_at))
    for text, number in texts:
        parsed = parse_allele(locus, text)
        if parsed is None:
            issues.reject_record("ALLELE_INVALID", f"line {number}", "not an allele of this locus")
        else:
            call.alleles.add(value=parsed.value, operator=parsed.operator, reported=text)


def _time(text: str) -> str:
    """A time as 2026-11-10T12:00:00. If it is not a time, the text unchanged."""
    match = _DATE.fullmatch(text.upper())
    if match is None or match[2] not in _MONTHS:
        return text
    day, _, year, clock = match.groups()
    iso = f"{year}-{_MONTHS.index(match[2]) + 1:02}-{int(day):02}T{clock}"
    try:
        datetime.fromisoformat(iso)
    except ValueError:
        return text
    return iso
