"""Yields the lines of a text file, or the rows of a table, one at a time: the whole file is never text or cells."""

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
"""The most characters of a line. A full GeneMapper export has about two thousand."""
_DELIMITERS: Final = "\t;,"
"""In the order in which they are tried: a cell of a tab-separated table may contain commas."""


class Row(NamedTuple):
    """A line's cells, without the blanks around them.

    Attributes:
        cells: empty if the line is not delimited text.
        line: its number.
        ended: whether the line has a line break. Without one, the file may have been cut off in this line.
    """

    cells: list[str]
    line: int
    ended: bool


class Line(NamedTuple):
    """A line with its line break, if it has one, and its number."""

    text: str
    number: int


def lines(content: bytes, limits: Limits, issues: IssueList) -> Iterator[Line]:
    """Yield the lines of a file. At a line that cannot be read, they end with an issue.

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
    """Yield the rows of a table that are not empty, the header first. Codes: see ``lines``."""
    delimiter = ""
    for line, number in lines(content, limits, issues):
        if line.strip().strip(_DELIMITERS):
            delimiter = delimiter or delimiter_of(line)
            yield Row(split(line, delimiter), number, line.endswith("\n"))


def header_of(head: bytes) -> list[str]:
    """The cells of the first line that is not empty, from the beginning of a file. The last cell may be cut off."""
    for line in head.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace").splitlines():
        if line.strip().strip(_DELIMITERS):
            return split(line, delimiter_of(line))
    return []


def delimiter_of(line: str) -> str:
    """The character that separates the cells of a header. The file's name does not matter."""
    return next((mark for mark in _DELIMITERS if mark in line), ",")


def split(line: str, delimiter: str) -> list[str]:
    """A line's cells without the blanks around them. Empty if its quotation marks do not match."""
    try:
        found = next(csv.reader([line], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []
    return [cell.strip() for cell in found]
