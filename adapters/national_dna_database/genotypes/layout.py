"""Finds the layout of a genotype table from its header alone.

- LONG: a row is one marker of one sample (GeneMapper ID and ID-X, whole or reduced; ``SampleName,Marker,Allele1,...``).
- CELLS: a row is one sample, and a locus is one cell with all its alleles (``11, 12, , ``). Heights may be beside it.
- FIELDS: a row is one sample, and a locus is several columns (``D7S820_1,D7S820_2``): a database's export.

Columns are known by their names without blanks, dots and case: Sample Name, Sample.Name, SampleName.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from adapters.values.alleles import canonical_locus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_Key = TypeVar("_Key", int, str)
MAX_COLUMNS: Final = 2048
_SEPARATORS: Final = re.compile(r"[\s._-]+")
_NUMBERED: Final = re.compile(r"([a-z]+?)([0-9]{1,3})")
_FIELD: Final = re.compile(r"(.+)_([0-9]{1,2})")
_OF_PEAK: Final = frozenset({"size", "peakarea", "datapoint", "mutation", "aereasonforchange"})
_OF_MARKER: Final = frozenset(
    {"dye", "mec", "me", "os", "bin", "phr", "lph", "mph", "spk", "an", "bd", "cc", "ovl", "gq"}
)
"""Columns about a peak or a marker, which a profile has no place for. All other columns are about the sample."""
_ROLES: Final = {
    "samplename": "sample",
    "specimenid": "sample",
    "specimencategory": "category",
    "sampletype": "type",
    "panel": "kit",
    "marker": "marker",
    "ado": "overflow",
    "comments": "comment",
    "comment": "comment",
    "remark": "comment",
}


class Family(Enum):
    """See the module. The value is the version of the format in a record's provenance."""

    LONG = "long"
    CELLS = "wide"
    FIELDS = "database"


class LocusColumns(NamedTuple):
    """Columns of one locus. If ``reported`` is "", the row says which locus it is.

    Beside each column of an allele is the column of its peak's height, or -1.
    """

    reported: str
    alleles: tuple[int, ...]
    heights: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """A header in a known layout.

    Attributes:
        family: see the module.
        width: the number of columns.
        roles: the columns of sample, marker, category, type, kit, overflow, comment and case, if there are any.
        loci: the columns with alleles.
        kept: columns that have no place in a profile and are kept as unmapped, with their names.
        unread: columns about a peak or a marker, which are left out.
    """

    family: Family
    width: int
    roles: Mapping[str, int]
    loci: tuple[LocusColumns, ...]
    kept: Mapping[int, str]
    unread: tuple[int, ...]


@dataclass(slots=True)
class _Columns:
    """The meanings of a header's columns, while it is read."""

    roles: dict[str, int] = field(default_factory=dict)
    alleles: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    heights: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))
    reported: dict[str, str] = field(default_factory=dict)
    kept: dict[int, str] = field(default_factory=dict)
    unread: list[int] = field(default_factory=list)
    repeated: bool = False

    def put(self, target: dict[_Key, int], key: _Key, column: int) -> None:
        self.repeated = self.repeated or key in target
        target[key] = column


def plain(name: str) -> str:
    """A column's name without blanks, dots and case."""
    return _SEPARATORS.sub("", name).casefold()


def find_layout(header: Iterable[str]) -> Layout | str:
    """The layout of a header, or the code of the fault: HEADER_UNKNOWN, HEADER_REPEATED, HEADER_TOO_WIDE."""
    names = list(header)
    while names and not names[-1]:
        names.pop()
    if len(names) > MAX_COLUMNS:
        return "HEADER_TOO_WIDE"
    plains = [plain(name) for name in names]
    columns = _Columns()
    if "marker" in plains:
        family = Family.LONG
        _read_long(names, plains, columns)
    elif any(canonical_locus(name) for name in names):
        family = Family.CELLS
        _read_cells(names, plains, columns)
    else:
        family = Family.FIELDS
        _read_fields(names, plains, columns)
    if "sample" not in columns.roles or not columns.alleles:
        return "HEADER_UNKNOWN"
    if columns.repeated:
        return "HEADER_REPEATED"
    loci = tuple(
        LocusColumns(
            columns.reported.get(locus, ""),
            tuple(found[number] for number in sorted(found)),
            tuple(columns.heights.get(locus, {}).get(number, -1) for number in sorted(found)),
        )
        for locus, found in columns.alleles.items()
    )
    return Layout(family, len(names), columns.roles, loci, columns.kept, tuple(columns.unread))


def _read_long(names: list[str], plains: list[str], columns: _Columns) -> None:
    for place, name in enumerate(plains):
        numbered = _NUMBERED.fullmatch(name)
        kind, number = (numbered[1], int(numbered[2])) if numbered else ("", 0)
        if kind in {"allele", "height"}:
            columns.put((columns.alleles if kind == "allele" else columns.heights)[""], number, place)
        elif kind in _OF_PEAK or name in _OF_MARKER:
            columns.unread.append(place)
        else:
            _read_other(names[place], place, columns)
    _read_user_defined(plains, columns)


def _read_user_defined(plains: list[str], columns: _Columns) -> None:
    """The laboratory chooses the meaning of UD1, UD2 and so on. Two usages are known.

    A table without a sample's name has sample and case in UD1 and UD2. A table with a sample's name but without a panel
    has the kit in UD2.
    """
    wanted = {"sample": "ud1", "case": "ud2"} if "sample" not in columns.roles else {"kit": "ud2"}
    for role, name in wanted.items():
        if name in plains and role not in columns.roles:
            columns.roles[role] = plains.index(name)
            columns.kept.pop(plains.index(name), None)


def _read_cells(names: list[str], plains: list[str], columns: _Columns) -> None:
    before: str | None = None
    for place, name in enumerate(names):
        locus = canonical_locus(name)
        if locus:
            columns.put(columns.alleles[locus], 1, place)
            columns.reported[locus] = name
        elif plains[place] == "height":
            if before:
                columns.put(columns.heights[before], 1, place)
            else:
                columns.unread.append(place)
        else:
            _read_other(name, place, columns)
        before = locus


def _read_fields(names: list[str], plains: list[str], columns: _Columns) -> None:
    for place, name in enumerate(names):
        match = _FIELD.fullmatch(name)
        locus = canonical_locus(match[1]) if match else None
        if match and locus:
            columns.put(columns.alleles[locus], int(match[2]), place)
            columns.reported.setdefault(locus, match[1].strip())
        else:
            _read_other(plains[place] and name, place, columns)


def _read_other(name: str, place: int, columns: _Columns) -> None:
    role = _ROLES.get(plain(name))
    if role:
        columns.put(columns.roles, role, place)
    else:
        columns.kept[place] = name or f"column {place + 1}"
