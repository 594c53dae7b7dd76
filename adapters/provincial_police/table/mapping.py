"""A province's own columns, in a TOML file: which heading means which column, what its codes mean, what is constant.

    version = 1
    [columns]
    "登记号" = "AJBH"
    "性别类型" = { column = "XBDM", codes = "sex" }
    [codes.sex]
    table = "GB/T 2261.1"
    values = { "M" = "1", "F" = "2" }
    [constants]
    AJLB = "2"

A mapping adds to the known headings. If both know a heading, the mapping counts. Every fault is reported with its line.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapters.provincial_police.table.codes import TABLES
from adapters.provincial_police.table.columns import BY_NAME, CASE_NUMBER, OUTSIDE_OF_CASE
from adapters.provincial_police.table.header import Target, plain, standard
from adapters.provincial_police.table.text import narrow
from adapters.provincial_police.table.toml_lines import entries, fault_of
from broker.core.errors import MappingInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

VERSION: Final = 1
MAX_CHARACTERS: Final = 200_000


class ColumnMapping(NamedTuple):
    """Headings, as ``header.plain`` writes them, and the constant cells of columns that the file does not have."""

    known: Mapping[str, Target]
    constants: Mapping[str, str]


STANDARD: Final = ColumnMapping(standard(), {})
"""No mapping."""


class _Placed(NamedTuple):
    value: str
    line: int


def parse_mapping(text: str) -> ColumnMapping:
    """Read a mapping.

    Raises:
        MappingInvalid: names every fault with its line.
    """
    if len(text) > MAX_CHARACTERS:
        raise _invalid([(1, f"a mapping has at most {MAX_CHARACTERS} characters")])
    fault = fault_of(text)
    if fault is not None:
        raise _invalid([fault])
    draft = _Draft()
    for entry in entries(text):
        draft.take(entry.path, entry.value, entry.line)
    return draft.mapping()


def _invalid(faults: Iterable[tuple[int, str]]) -> MappingInvalid:
    return MappingInvalid("; ".join(f"line {line}: {message}" for line, message in sorted(faults)))


class _Draft:
    """The content of a mapping, with lines, before its parts are compared."""

    def __init__(self) -> None:
        self._faults: list[tuple[int, str]] = []
        self._columns: dict[str, _Placed] = {}
        self._headings: dict[str, str] = {}
        self._opened: dict[str, int] = {}
        self._codes_of: dict[str, _Placed] = {}
        self._tables: dict[str, _Placed] = {}
        self._values: dict[str, dict[str, _Placed]] = defaultdict(dict)
        self._constants: dict[str, _Placed] = {}
        self._version: Any = None

    def take(self, path: tuple[str, ...], value: Any, line: int) -> None:
        """Add one value."""
        match path, value:
            case (("version",), _):
                self._version = value
                if isinstance(value, bool) or value != VERSION:
                    self._fault(line, f"this release reads version {VERSION} of mappings")
            case (("columns", label), None):
                self._opened[label] = line
            case (("columns",) | ("codes",) | ("codes", _) | ("codes", _, "values") | ("constants",), None):
                pass
            case (("columns", label) | ("columns", label, "column"), str()):
                self._add_column(label, _Placed(value, line))
            case (("columns", label, "codes"), str()):
                self._codes_of[label] = _Placed(value, line)
            case (("codes", name, "table"), str()):
                self._tables[name] = _Placed(value, line)
            case (("codes", name, "values", own), str()):
                self._add_code(name, own, _Placed(value, line))
            case (("constants", name), str()):
                self._constants[name] = _Placed(value, line)
            case _:
                self._fault(line, f"{'.'.join(path)} is no key of a mapping, or holds what is no text")

    def mapping(self) -> ColumnMapping:
        """The mapping, if it has no fault."""
        if self._version is None:
            self._fault(1, f"version = {VERSION} is missing")
        self._check_tables()
        known = {**standard(), **{plain(label): self._target(label) for label in self._columns}}
        lines = {**{label: item.line for label, item in self._codes_of.items()}, **self._opened}
        for label in lines.keys() - self._columns.keys():
            self._fault(lines[label], f"the heading {label} has no column")
        for name in self._values.keys() | self._tables.keys():
            if name not in {item.value for item in self._codes_of.values()}:
                self._fault(self._line_of(name), f"no column has the codes {name}")
        self._check_constants()
        if self._faults:
            raise _invalid(self._faults)
        return ColumnMapping(known, {name: item.value for name, item in self._constants.items()})

    def _fault(self, line: int, message: str) -> None:
        self._faults.append((line, message))

    def _line_of(self, codes: str) -> int:
        lines = [item.line for item in self._values.get(codes, {}).values()]
        return min(lines, default=self._tables[codes].line if codes in self._tables else 1)

    def _add_column(self, label: str, target: _Placed) -> None:
        if target.value not in BY_NAME:
            self._fault(target.line, f"{target.value} is no column")
        if not plain(label):
            self._fault(target.line, "the heading is empty")
        same = self._headings.setdefault(plain(label), label)
        if same != label:
            self._fault(target.line, f"the heading is the same as that of line {self._columns[same].line}")
        for other in self._columns.values():
            if other.value == target.value:
                self._fault(target.line, f"the column {target.value} has a heading on line {other.line} already")
        self._columns[label] = target

    def _add_code(self, name: str, own: str, code: _Placed) -> None:
        same = self._values[name].get(narrow(own))
        if same is not None:
            self._fault(code.line, f"the code is the same as that of line {same.line}")
        self._values[name][narrow(own)] = code

    def _check_tables(self) -> None:
        for table in self._tables.values():
            if table.value not in TABLES:
                self._fault(table.line, f"{table.value} is no code table; there are {', '.join(TABLES)}")
        for name, values in self._values.items():
            if name not in self._tables:
                self._fault(self._line_of(name), f"the codes {name} name no table")
                continue
            standard_codes = TABLES.get(self._tables[name].value)
            for code in values.values():
                if standard_codes is not None and code.value not in standard_codes:
                    self._fault(code.line, f"{self._tables[name].value} has no code {code.value}")

    def _target(self, label: str) -> Target:
        column = self._columns[label]
        codes = self._codes_of.get(label)
        if codes is None or column.value not in BY_NAME:
            return Target(column.value)
        table = BY_NAME[column.value].table
        if codes.value not in self._values:
            self._fault(codes.line, f"there are no codes {codes.value}")
        elif not table:
            self._fault(codes.line, f"the column {column.value} holds no codes that can be mapped")
        elif codes.value in self._tables and self._tables[codes.value].value != table:
            self._fault(
                codes.line, f"the column {column.value} is of {table}, the codes {codes.value} of another table"
            )
        return Target(column.value, {own: item.value for own, item in self._values.get(codes.value, {}).items()})

    def _check_constants(self) -> None:
        mapped = {item.value: item.line for item in self._columns.values()}
        for name, item in self._constants.items():
            column = BY_NAME.get(name)
            if column is None:
                self._fault(item.line, f"{name} is no column")
            elif name == CASE_NUMBER or name in OUTSIDE_OF_CASE:
                self._fault(item.line, f"the column {name} cannot be the same in every row")
            elif name in mapped:
                self._fault(item.line, f"the column {name} has a heading on line {mapped[name]} already")
            elif not item.value.strip():
                self._fault(item.line, "a constant is not empty")
            elif column.table and item.value not in TABLES[column.table]:
                self._fault(item.line, f"{column.table} has no code {item.value}")
