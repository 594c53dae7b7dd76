"""The adapter ``harbour-log``: the duty log of an invented harbour police. An example to start from.

A log is UTF-8 text: a line ``HARBOUR LOG 1``, a line for each case (number, what happened, name, sex, birth date,
place, with ``|`` between), and ``END`` with the number of cases. A log without its end was cut off, and is refused.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Final

from adapters.base import (
    Decoded,
    DecodedRecord,
    Encoded,
    IssueList,
    Limits,
    Record,
    Source,
    collect,
    populated,
    provenance,
)
from adapters.records.validate import validate
from caseexchange.records.v1 import case_pb2, common_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from adapters.base import Issue

_FIRST: Final = "HARBOUR LOG 1"
_LAST: Final = re.compile(r"END ([0-9]{1,8})")
_FIELDS: Final = 6
_KINDS: Final = {"missing": case_pb2.CASE_KIND_MISSING_CHILD, "rescued": case_pb2.CASE_KIND_RESCUED_CHILD}
_SEXES: Final = {"": common_pb2.SEX_UNSPECIFIED, "F": common_pb2.SEX_FEMALE, "M": common_pb2.SEX_MALE}
_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_DATED: Final = {"birth.year", "birth.month", "birth.day", "birth.original_text"}
_CARRIED: Final = {"kind", "local_id", "sex", "names", "event_place.text", *_DATED}
_MAX_LINE: Final = 4096
"""The most bytes of a line."""


class HarbourLog:
    """See the module."""

    name: Final = "harbour-log"
    media_type: Final = "text/plain"
    suffix: Final = ".log"
    decodes: Final = frozenset({"CaseRecord"})
    encodes: Final = frozenset({"CaseRecord"})

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        return content.startswith(_FIRST.encode())

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        whole = replace(limits, streamed_bytes=limits.bytes, streamed_records=limits.records)
        items = self.stream(io.BytesIO(source.content), source.attachments, whole)
        return collect(items, hashlib.sha256(source.content).digest())

    def stream(
        self,
        file: BinaryIO,
        attachments: Mapping[str, bytes],  # noqa: ARG002 - a log refers to no other file
        limits: Limits,
    ) -> Iterator[DecodedRecord | Issue]:
        """See ``StreamingAdapter``."""
        issues = IssueList()
        if file.seek(0, io.SEEK_END) > limits.streamed_bytes:
            issues.reject_file("FILE_TOO_LARGE", "file", f"larger than {limits.streamed_bytes} bytes")
            yield from issues.taken()
            return
        # Every record names the digest of the file that it comes from.
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").digest()
        file.seek(0)
        yield from _cases(file, digest, limits, issues)
        yield from issues.taken()

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        issues = IssueList()
        if len(records) > limits.records:
            issues.reject_file("TOO_MANY_RECORDS", "file", f"more than {limits.records} records")
        lines = [_line(record, f"records[{place}]", issues) for place, record in enumerate(records[: limits.records])]
        cases = [line for line in lines if line]
        text = "\n".join([_FIRST, *cases, f"END {len(cases)}"]) + "\n"
        return issues.encoded(text.encode(), {})


def _cases(file: BinaryIO, digest: bytes, limits: Limits, issues: IssueList) -> Iterator[DecodedRecord | Issue]:
    found, number, last = 0, 0, None
    while line := file.readline(_MAX_LINE + 1):
        number += 1
        try:
            text = line.decode("utf-8").rstrip("\r\n")
        except UnicodeDecodeError:
            text = "\0"
        if len(line) > _MAX_LINE or "\0" in text:
            issues.reject_file("LINE_MALFORMED", f"line {number}", "the line is not UTF-8 text, or it is too long")
            return
        if number == 1 and text != _FIRST:
            issues.reject_file("NOT_A_LOG", "line 1", "this is not the first line of a log")
            return
        last = _LAST.fullmatch(text)
        if number == 1 or last is not None:
            continue
        found += 1
        if found > limits.streamed_records:
            issues.reject_file("TOO_MANY_RECORDS", f"line {number}", f"more than {limits.streamed_records} cases")
            return
        record = _case(text.split("|"), f"line {number}", digest, issues)
        yield from issues.taken()
        if record is not None:
            yield record
    # This issue comes after all records. A reader of the stream then undoes them.
    if last is None or int(last[1]) != found:
        issues.reject_file("LOG_CUT_OFF", f"line {number or 1}", "the log does not end with the number of its cases")


def _case(fields: list[str], where: str, digest: bytes, issues: IssueList) -> DecodedRecord | None:
    if len(fields) != _FIELDS or fields[1] not in _KINDS:
        issues.reject_record("LINE_MALFORMED", where, "the line does not have the fields of a case")
        return None
    number, kind, name, sex, birth, place = fields
    record = case_pb2.CaseRecord(
        kind=_KINDS[kind], local_id=number, provenance=provenance(HarbourLog.name, "1", number, digest)
    )
    if name:
        record.names.add(full=name)
    if sex not in _SEXES:
        # The message says what is wrong, and never quotes the value.
        issues.warn("SEX_UNKNOWN", where, "the sex is not F or M, and is kept as unmapped")
        record.provenance.unmapped.add(path="sex", value=sex)
    record.sex = _SEXES.get(sex, common_pb2.SEX_UNSPECIFIED)
    if date := _DATE.fullmatch(birth):
        record.birth.year, record.birth.month, record.birth.day = map(int, date.groups())
    if birth:
        record.birth.original_text = birth
    if place:
        record.event_place.text = place
    found = [issue._replace(locator=f"{where}, {issue.locator}") for issue in validate(record)]
    issues.items.extend(found)
    return None if found else DecodedRecord(record, number, where)


def _line(record: Record, where: str, issues: IssueList) -> str:
    kinds = {value: text for text, value in _KINDS.items()}
    if not isinstance(record, case_pb2.CaseRecord) or record.kind not in kinds:
        issues.reject_record("KIND_NOT_CARRIED", where, "a log has only cases of missing and rescued children")
        return ""
    _list_losses(record, where, issues)
    fields = [
        record.local_id,
        kinds[record.kind],
        record.names[0].full if record.names else "",
        {value: text for text, value in _SEXES.items()}.get(record.sex, ""),
        _birth(record),
        record.event_place.text,
    ]
    if any(mark in field for field in fields for mark in "|\n\r\0") or len("|".join(fields).encode()) >= _MAX_LINE - 1:
        issues.reject_record("VALUE_NOT_CARRIED", where, "a value has a separator of fields or lines, or is too long")
        return ""
    return "|".join(fields)


def _birth(record: case_pb2.CaseRecord) -> str:
    date = record.birth
    whole = f"{date.year:04}-{date.month:02}-{date.day:02}" if date.year and date.month and date.day else ""
    return date.original_text or whole


def _list_losses(record: case_pb2.CaseRecord, where: str, issues: IssueList) -> None:
    lost = {path for path in populated(record) if path not in _CARRIED and not path.startswith("provenance")}
    if len(record.names) > 1 or any(populated(name) != {"full"} for name in record.names):
        lost.add("names")
    if record.HasField("birth") and not _birth(record):
        lost.add("birth")
    if record.sex not in _SEXES.values():
        lost.add("sex")
    for path in sorted(lost):
        issues.warn("FIELD_NOT_CARRIED", f"{where}.{path}", "a log has no place for this field, or for all of it")


ADAPTER: Final = HarbourLog()
