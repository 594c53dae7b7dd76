"""Administrative divisions of GB/T 2260, with the abolished ones, and organs of GA/T 380 in them.

The table has every revision from 1980-12 to 2019-04 (data/gb2260.tsv names its source). It is read from the package at
the first look-up. A newer division is not in it. That is why an unknown code is only a warning.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

_IN_FORCE: Final = "201810"
"""A code that this revision or a later one has counts as in force. The last revision is of another authority. It leaves
out development zones, and the entries that only group the districts of a city."""
_DIVISION: Final = re.compile(r"[1-8][0-9]{5}([0-9]{6})?")
_REMEMBERED: Final = 8192


class Division(NamedTuple):
    """A division: its own name, and the last revision that has it, such as 199612."""

    name: str
    last: str

    @property
    def abolished(self) -> bool:
        """Whether the newest revisions do not have it."""
        return self.last < _IN_FORCE

    @property
    def last_revision(self) -> str:
        """The last revision as 1996-12."""
        return f"{self.last[:4]}-{self.last[4:]}"


@cache
def _table() -> Mapping[str, Division]:
    found: dict[str, Division] = {}
    text = (files("adapters.provincial_police") / "data" / "gb2260.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        if not line.startswith("#"):
            code, name, _, last = line.split("\t")
            if code not in found or found[code].last <= last:
                found[code] = Division(name, last)
    return found


@lru_cache(_REMEMBERED)
def division_of(code: str) -> Division | None:
    """The division of a code of 6 digits, or of the first 6 of 12. None if no revision has it.

    Its name is complete: it begins with the province and the city.
    """
    if not _DIVISION.fullmatch(code):
        return None
    own = _table().get(code[:6])
    if own is None:
        return None
    names: list[str] = []
    for part in dict.fromkeys((f"{code[:2]}0000", f"{code[:4]}00")):
        above = _table().get(part)
        if above is not None and part != code[:6] and above.name not in _GATHERING:
            names.append(above.name)
    return Division("".join([*names, own.name]), own.last)


_GATHERING: Final = ("市辖区", "县", "省直辖县级行政区划", "自治区直辖县级行政区划")
"""Names of entries that are not divisions themselves."""


def is_area(code: str) -> bool:
    """Whether any revision has this code of 6 digits. For identity numbers: a file repeats about a thousand codes."""
    return code in _table()
