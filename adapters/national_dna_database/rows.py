"""The lines of a text file, and the cells of a table, one at a time: never the whole file as text or as cells."""

from __future__ import annotations

import codecs
import csv
import io
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.syntax.text import open_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapters.base import IssueList, Limits

MAX_LINE: Final = 1 << 18
"""Characters of a line. A full GeneMapper export has about two thousand."""
_DELIMITERS: Final = "\t;,"
"""In the order in which they are tried: a cell of a tab-separated table may hold commas."""


class Row(NamedTuple):
    """A line's cells, without the blanks around them.

    Attributes:
        cells: empty where the line is not delimited text.
        line: its number.
        ended: whether a line break ended it; without one, the file may have been cut off within it.
    """

    cells: list[str]
    line: int
    ended: bool


class Line(NamedTuple):
    """A line with its line break, if it has one, and its number."""

    text: str
    number: int


def lines(content: bytes, limits: Limits, issues: IssueList) -> Iterator[Line]:
    """The lines of a file; one that cannot be read ends them with an issue.

    Codes: FILE_TOO_LARGE, ENCODING_UNSUPPORTED, ENCODING_UNKNOWN, NUL_BYTE, LINE_TOO_LONG.
    """
    opened = open_text(io.BytesIO(content), limits.bytes, issues, newline=None)
    if opened is None:
        return
    number = 0
    while line := opened[0].readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            issues.reject_file("LINE_TOO_LONG", f"line {number}", f"a line has more than {MAX_LINE} characters")
            return
        yield Line(line, number)


def rows(content: bytes, limits: Limits, issues: IssueList) -> Iterator[Row]:
    """The rows of a table that are not empty, the header first. Codes: see ``lines``."""
    delimiter = ""
    for line, number in lines(content, limits, issues):
        if line.strip().strip(_DELIMITERS):
            delimiter = delimiter or delimiter_of(line)
            yield Row(split(line, delimiter), number, line.endswith("\n"))


def header_of(head: bytes) -> list[str]:
    """The cells of the first line that is not empty, of a file that begins like this; the last one may be cut off."""
    for line in head.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace").splitlines():
        if line.strip().strip(_DELIMITERS):
            return split(line, delimiter_of(line))
    return []


def delimiter_of(line: str) -> str:
    """What separates the cells of a header, whatever the file's name says."""
    return next((mark for mark in _DELIMITERS if mark in line), ",")


def split(line: str, delimiter: str) -> list[str]:
    """A line's cells without the blanks around them, or none where its quotation marks do not match."""
    try:
        found = next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in found]
