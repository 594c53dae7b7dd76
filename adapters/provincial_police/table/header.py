"""Finds the columns of a table: the header is in the first rows, perhaps below titles, in one row or in two.

Every file must have a column of case numbers; this column shows which row is the header. If cells are merged, a group's
heading (报案人) is above its columns (姓名, 电话). Both together are looked up first, then the lower heading alone.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.provincial_police.table.columns import BY_NAME, CASE_NUMBER, COLUMNS
from adapters.provincial_police.table.text import cleaned, unguard_formula

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from adapters.base import IssueList
    from adapters.provincial_police.table.column import Column

MAX_ROWS: Final = 10
"""A header must begin in one of so many rows at the top."""
HEADERS: Final = {
    "HEADER_MISSING": f"none of the first {MAX_ROWS} rows has a heading for case numbers",
    "HEADER_REPEATED": "two columns of the header mean the same",
}
MALFORMED: Final = "more or fewer cells than the header, or one is too long"
_AROUND: Final = "*:'"


class Target(NamedTuple):
    """The meaning of a heading: a column. If it is mapped, also its code for each of the file's own codes."""

    column: str
    codes: Mapping[str, str] = {}


class Place(NamedTuple):
    """A column of a file: its index from 0, the path under which its cells are kept, and its column if it is known."""

    at: int
    path: str
    column: Column | None
    codes: Mapping[str, str]


class Header(NamedTuple):
    """A header: its columns, and the number of rows down to its end."""

    places: tuple[Place, ...]
    rows: int

    def place(self, name: str) -> int | None:
        """The index of the column with this name."""
        return next((item.at for item in self.places if item.column and item.column.name == name), None)


def plain(label: str) -> str:
    """A heading without what differs between files: blanks, width, case, marks around it."""
    return "".join(unicodedata.normalize("NFKC", label).split()).strip(_AROUND).upper()


def texts(rows: Iterable[Sequence[str]]) -> list[list[str]]:
    """Cells as ``find_header`` needs them."""
    return [[cleaned(cell)[0] for cell in row] for row in rows]


def report_unknown(header: Header, where: str, issues: IssueList) -> None:
    """Report every column that has a heading and is not known: COLUMN_UNKNOWN."""
    for place in header.places:
        if place.column is None:
            issues.info("COLUMN_UNKNOWN", f"{where}column {place.at + 1}", "the column is kept as it is")


@cache
def standard() -> Mapping[str, Target]:
    """The headings that are known without a mapping, as ``plain`` returns them."""
    found: dict[str, Target] = {}
    for column in COLUMNS:
        for label in (column.name, column.label, column.english, *column.also):
            found[plain(label)] = Target(column.name)
    return found


def find_header(rows: Sequence[Sequence[str]], known: Mapping[str, Target]) -> Header | str:
    """Find the header among a table's first rows. If none can be used, return the code of the reason.

    Args:
        rows: the first ``MAX_ROWS`` and one more, as texts, with the empty ones.
        known: headings, as ``plain`` returns them.

    Codes: HEADER_MISSING, HEADER_REPEATED.
    """
    for number, row in enumerate(rows[:MAX_ROWS]):
        above = rows[number - 1] if number and sum(map(bool, rows[number - 1])) > 1 else ()
        below = rows[number + 1] if number + 1 < len(rows) else ()
        labels = _lowered(row, below, known) or _grouped(above, row)
        places = _places(labels, known)
        names = Counter(item.column.name for item in places if item.column)
        if CASE_NUMBER in names:
            if max(names.values()) > 1:
                return "HEADER_REPEATED"
            return Header(places, number + (2 if _lowered(row, below, known) else 1))
    return "HEADER_MISSING"


def _lowered(row: Sequence[str], below: Sequence[str], known: Mapping[str, Target]) -> list[tuple[str, str]]:
    """Group and heading of each column, if the row below is a second row of the header; or else an empty list.

    A row with a case number is not a second row of the header, but the first case.
    """
    number = next((place for place, cell in enumerate(row) if _is_number(cell, known)), None)
    if number is None or (number < len(below) and below[number]):
        return []
    labels = _grouped(row, below)
    found = sum(1 for group, label in labels if label and _target(group, label, known))
    if not found or 2 * found < sum(map(bool, below)):
        return []
    own = [*row, *[""] * (len(labels) - len(row))]
    return [(group, label) if label else ("", own[place]) for place, (group, label) in enumerate(labels)]


def _grouped(above: Sequence[str], row: Sequence[str]) -> list[tuple[str, str]]:
    labels, group = [], ""
    for place in range(max(len(above), len(row))):
        group = (above[place] if place < len(above) else "") or group
        labels.append((group if above else "", row[place] if place < len(row) else ""))
    return labels


def _target(group: str, label: str, known: Mapping[str, Target]) -> Target | None:
    """The meaning of a heading. Looked up first with its group, last without a remark in brackets (身高(厘米))."""
    if not label:
        return None
    own = plain(unguard_formula(label))
    for text in (plain(unguard_formula(group)) + own, own, own.partition("(")[0]):
        if text in known:
            return known[text]
    return None


def _is_number(label: str, known: Mapping[str, Target]) -> bool:
    target = _target("", label, known)
    return target is not None and target.column == CASE_NUMBER


def _places(labels: Sequence[tuple[str, str]], known: Mapping[str, Target]) -> tuple[Place, ...]:
    places: list[Place] = []
    paths: set[str] = set()
    for index, (group, label) in enumerate(labels):
        target = _target(group, label, known)
        path = target.column if target else unguard_formula(label)
        if target is None and path in paths:
            path = unguard_formula(group + label)
        if not path or (target is None and path in paths):
            path = f"{path} (column {index + 1})".strip()
        paths.add(path)
        places.append(Place(index, path, BY_NAME[target.column] if target else None, target.codes if target else {}))
    return tuple(places)
