"""On which line a value of a TOML file stands: the standard library's parser keeps no places.

A file is cut into statements (a header, or a key with its value), each the shortest run of lines that is TOML alone. So
the parser judges everything, and what is said about a value can name the line on which its statement begins.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_LINE: Final = 2_000
"""Characters. The library takes time by the square of a key's parts."""
MAX_LINES: Final = 200
"""Of one statement. To find its end, its lines are read again with each that is added."""
_PLACE: Final = re.compile(r" ?\(at (?:line ([0-9]+), column [0-9]+|end of document)\)")


class Entry(NamedTuple):
    """A value that is no table, the keys that lead to it, its line. A header's value is None, or [] where it has [[."""

    path: tuple[str, ...]
    value: Any
    line: int


class SyntaxFault(NamedTuple):
    """Why a text is no TOML, and on which line."""

    line: int
    message: str


class _TooLongError(Exception):
    """A statement has more lines than are read. ``line`` is its first."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line


def fault_of(text: str) -> SyntaxFault | None:
    """What is wrong with a text as TOML, or is beyond the bounds of what is read here, or None."""
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
    """The values of a TOML text, in its order. The text has no fault."""
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
    """The line of the statement that the end of the text cuts off."""
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
