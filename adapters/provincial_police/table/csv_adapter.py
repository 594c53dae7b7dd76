"""The adapter ``provincial-police-csv``: the case system's export as comma-separated values, read as a stream.

A file is read twice: once for its encoding and digest, once for its rows. Memory does not grow with its size.
"""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from adapters.base import Decoded, DecodedRecord, Encoded, Issue, IssueList, Limits, Record, Source, collect
from adapters.provincial_police.table.header import (
    HEADERS,
    MALFORMED,
    MAX_ROWS,
    Header,
    find_header,
    report_unknown,
    texts,
)
from adapters.provincial_police.table.mapping import STANDARD, ColumnMapping, parse_mapping
from adapters.provincial_police.table.rows import RowReader, Table, source_of
from adapters.provincial_police.table.text import guard_formula, is_odd
from adapters.provincial_police.table.write import TableWriter
from adapters.syntax.text import encode_text, head_text, open_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

MAX_ROW: Final = 1 << 20
"""The most characters in a row, over all its lines."""

NAME: Final = "provincial-police-csv"


class PoliceCsv:
    """See the module; ``StreamingAdapter`` and ``MappableAdapter``."""

    name: Final = NAME
    media_type: Final = "text/csv"
    suffix: Final = ".csv"
    decodes: Final = frozenset({"CaseRecord", "SampleRequest"})
    encodes: Final = frozenset({"CaseRecord", "SampleRequest"})

    def __init__(self, mapping: ColumnMapping = STANDARD) -> None:
        self._mapping = mapping

    def with_mapping(self, text: str) -> PoliceCsv:
        """See ``MappableAdapter``."""
        return PoliceCsv(parse_mapping(text))

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        reader = csv.reader(io.StringIO(head_text(content), newline=""))
        try:
            rows = list(islice(reader, MAX_ROWS + 1))
        except csv.Error:
            return False
        return isinstance(find_header(texts(rows), self._mapping.known), Header)

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        whole = replace(limits, streamed_bytes=limits.bytes, streamed_records=limits.records)
        items = self.stream(io.BytesIO(source.content), source.attachments, whole)
        return collect(items, hashlib.sha256(source.content).digest())

    def stream(
        self, file: BinaryIO, attachments: Mapping[str, bytes], limits: Limits
    ) -> Iterator[DecodedRecord | Issue]:
        """See ``StreamingAdapter``."""
        issues = IssueList()
        for records in self._rows(file, attachments, limits, issues):
            if issues.items:
                yield from issues.taken()
            yield from records
        yield from issues.taken()

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``. Always in GB18030, which has every character. The headings are the columns' names."""
        issues = IssueList()
        table = TableWriter(lambda text: text.replace("\0", ""), issues)
        table.add(records, limits)
        text = io.StringIO(newline="")
        csv.writer(text).writerows(map(guard_formula, row) for row in table.rows())
        return issues.encoded(encode_text(text.getvalue()), table.attachments)

    def _rows(
        self, file: BinaryIO, attachments: Mapping[str, bytes], limits: Limits, issues: IssueList
    ) -> Iterator[list[DecodedRecord]]:
        opened = open_text(file, limits.streamed_bytes, issues, odd=is_odd)
        if opened is None:
            return
        text, encoding = opened
        lines = _Lines(text)
        try:
            table = csv.reader(lines, strict=True)
            first = list(islice(table, MAX_ROWS + 1))
            header = find_header(texts(first), self._mapping.known)
            if isinstance(header, str):
                issues.reject_file(header, "row 1", HEADERS[header])
                return
            report_unknown(header, "", issues)
            source, constants = source_of(self.name, encoding.sha256), self._mapping.constants
            reader = RowReader(
                Table(header, constants, guarded=True, odd=encoding.odd, source=source, attachments=attachments), issues
            )
            yield from _read(
                enumerate(chain(first[header.rows :], table), header.rows + 1), reader, lines, limits, issues
            )
        except csv.Error:
            issues.reject_file("CSV_MALFORMED", f"line {lines.number}", "not comma-separated values")
        except _RowTooLong:
            issues.reject_file("ROW_TOO_LONG", f"line {lines.number}", f"a row has more than {MAX_ROW} characters")
        finally:
            text.detach()


class _RowTooLong(Exception):
    """A row has too many characters."""


class _Lines:
    """Yields the lines of a text. Raises ``_RowTooLong`` if the lines of one row have too many characters.

    Attributes:
        held: the characters since the last row was finished. The reader of the rows sets it to zero.
        number: of the last line.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.held = 0
        self.number = 0
        self._text = text

    def __iter__(self) -> Iterator[str]:
        for line in iter(partial(self._text.readline, MAX_ROW + 1), ""):
            self.number += 1
            self.held += len(line)
            if self.held > MAX_ROW:
                raise _RowTooLong
            yield line


def _read(
    rows: Iterator[tuple[int, list[str]]],
    reader: RowReader,
    lines: _Lines,
    limits: Limits,
    issues: IssueList,
) -> Iterator[list[DecodedRecord]]:
    count, longest = 0, limits.field_characters
    for number, cells in rows:
        lines.held = 0
        if not any(cells):
            continue
        if count == limits.streamed_records:
            issues.reject_file("TOO_MANY_RECORDS", f"row {number}", f"more than {limits.streamed_records} records")
            return
        count += 1
        if len(cells) != reader.width or max(map(len, cells)) > longest:
            issues.reject_record("ROW_MALFORMED", f"row {number}", MALFORMED)
            yield []
        else:
            yield reader.read(cells, f"row {number}")
    if not count:
        issues.info("NO_RECORDS", "file", "the file has a header and no rows")


ADAPTER: Final = PoliceCsv()
