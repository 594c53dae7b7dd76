"""The line of each value in a TOML file. The standard library's parser does not keep lines.

A file is cut into statements: a header, or a key with its value. A statement is the shortest run of lines that is TOML
by itself. So the parser still checks everything, and a fault can name the line on which its statement begins.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE: Final = 2_000
"""Characters. The library's time grows with the square of the number of parts in a key."""
MAX_LINES: Final = 200
"""The limit for one statement. To find its end, all its lines are parsed again with each line that is added."""
_PLACE: Final = re.compile(r" ?\(at (?:line ([0-9]+), column [0-9]+|end of document)\)")


class Entry(NamedTuple):
    """A value that is not a table, its keys, and its line. The value of [header] is None, of [[header]] []."""

    path: tuple[str, ...]
    value: Any
    line: int


class SyntaxFault(NamedTuple):
    """Why a text is not TOML, and on which line."""

    line: int
    message: str


class _TooLongError(Exception):
    """A statement has too many lines. ``line`` is its first."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line


def fault_of(text: str) -> SyntaxFault | None:
    """Why a text is not TOML, or exceeds the limits here. None if nothing is wrong."""
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAX_LINE:
            return SyntaxFault(number, f"a line has at most {MAX_LINE} characters")
    try:
        tomllib.loads(text)
        for _ in _statements(text):
            pass
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        begins = int(place[1]) if place and place[1] else _unfinished(text)
        return SyntaxFault(begins, _PLACE.sub("", str(error)))
    except _TooLongError as error:
        return SyntaxFault(error.line, f"a value has at most {MAX_LINES} lines")
    except RecursionError:
        return SyntaxFault(1, "nested too deep")
    return None


def entries(text: str) -> Iterator[Entry]:
    """The values of a TOML text, in order. ``fault_of`` must have found no fault."""
    table: tuple[str, ...] = ()
    for line, statement in _statements(text):
        parsed = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = tuple(_keys(parsed))
            yield Entry(table, [] if statement.lstrip().startswith("[[") else None, line)
        else:
            yield from _values(table, parsed, line)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    held: list[str] = []
    start = 1
    for number, line in enumerate(text.split("\n"), start=1):
        if not held and (not line.strip() or line.lstrip().startswith("#")):
            continue
        start = start if held else number
        held.append(line)
        if len(held) > MAX_LINES:
            raise _TooLongError(start)
        try:
            tomllib.loads("\n".join(held))
        except tomllib.TOMLDecodeError:
            continue
        yield start, "\n".join(held)
        held = []


def _unfinished(text: str) -> int:
    """The line of the statement that is not finished at the end of the text."""
    finished: list[tuple[int, int]] = []
    try:
        finished += ((line, statement.count("\n")) for line, statement in _statements(text))
    except _TooLongError as error:
        return error.line
    after = sum(finished[-1]) + 1 if finished else 1
    lines = text.split("\n")
    rest = (
        number
        for number, line in enumerate(lines[after - 1 :], start=after)
        if line.strip() and not line.lstrip().startswith("#")
    )
    return next(rest, len(lines))


def _keys(parsed: Any) -> Iterator[str]:
    while isinstance(parsed, dict) and parsed:
        key, parsed = next(iter(parsed.items()))
        yield key


def _values(path: tuple[str, ...], parsed: dict[str, Any], line: int) -> Iterator[Entry]:
    for key, value in parsed.items():
        if isinstance(value, dict) and value:
            yield from _values((*path, key), value, line)
        else:
            yield Entry((*path, key), value, line)
