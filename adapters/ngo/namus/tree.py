"""JSON from strangers, read field by field. Fields that are not read stay.

A number may be a number or its text. ``null`` means nothing in any place, and so does a missing object.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from adapters.syntax.hardened_json import children, depth, finite
from broker.core.strict import NotStrict, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapters.base import IssueList

_MOST: Final = 10**9
_DEEPEST: Final = 16
_NUMBER: Final = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,9})?")


def longest(value: Any) -> int:
    """The length of the longest text or name in a value, in characters."""
    most, left = 0, [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            most = max(most, len(item))
        elif isinstance(item, dict):
            most = max(most, *(len(name) for name in item), 0)
        left.extend(children(item))
    return most


class Tree:
    """One object of a document. Fields are read and removed. A field of another type than expected stays."""

    def __init__(self, root: dict[str, Any], locator: str, issues: IssueList) -> None:
        self._root = root
        self._locator = locator
        self._issues = issues

    def text(self, *path: str) -> str:
        """A text without the blanks around it, or a number as text; "" if there is none."""
        value = self._at(path)
        if isinstance(value, dict | list | bool):
            self._doubt(path)
            return ""
        self._drop(path)
        text = "" if value is None else str(value)
        whole = text.encode(errors="ignore").decode()
        if whole != text:
            where = f"{self._locator}, {'.'.join(path)}"
            self._issues.warn("CHARACTER_HALVED", where, "half characters, which JSON can contain, are left out")
        return whole.strip()

    def named(self, *path: str) -> str:
        """A text that is there directly, or as the name of an object."""
        return self.text(*path, "name") if isinstance(self._at(path), dict) else self.text(*path)

    def number(self, *path: str) -> float | None:
        """A number."""
        value = self._at(path)
        if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
            value = float(value)
        if value is None or value == "":
            self._drop(path)
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _MOST:
            self._doubt(path)
            return None
        return value

    def flag(self, *path: str) -> bool | None:
        """Yes or no."""
        value = self._at(path)
        if value is not None and not isinstance(value, bool):
            self._doubt(path)
            return None
        self._drop(path)
        return value

    def items(self, *path: str) -> list[Any]:
        """A list, which stays: its objects are trees of their own. A single value is a list of one."""
        value = self._at(path)
        if value is None:
            return []
        return value if isinstance(value, list) else [value]

    def fields(self, *path: str) -> list[str]:
        """The names of an object's fields."""
        value = self._at(path)
        return list(value) if isinstance(value, dict) else []

    def drop(self, *path: str) -> None:
        """Remove a field without reading it, because it was read already."""
        self._drop(path)

    def rest(self) -> Iterator[tuple[str, str]]:
        """What was not read and has a value: its place (a JSON pointer, RFC 6901), and its JSON."""
        yield from _rest(self._root, "")

    def _at(self, path: tuple[str, ...]) -> Any:
        value: Any = self._root
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def _drop(self, path: tuple[str, ...]) -> None:
        parent = self._at(path[:-1])
        if isinstance(parent, dict):
            parent.pop(path[-1], None)

    def _doubt(self, path: tuple[str, ...]) -> None:
        where = f"{self._locator}, {'.'.join(path)}"
        self._issues.warn("FIELD_NOT_READ", where, "the field has another type; it is kept as it is")


def put(root: dict[str, Any], pointer: str, text: str) -> bool:
    """Put back what ``Tree.rest`` returned. Returns whether there was room. Never in a list: it may have changed."""
    *parents, name = [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]] or [""]
    try:
        value = parse_json(text.encode(), decimal=finite)
    except NotStrict:
        return False
    if depth(value) > _DEEPEST or len(parents) > _DEEPEST:
        return False
    node: Any = root
    for parent in parents:
        if node.get(parent) is None:
            node[parent] = {}
        node = node[parent]
        if not isinstance(node, dict):
            return False
    if node.get(name) is not None or not pointer.startswith("/"):
        return False
    node[name] = value
    return True


def _rest(value: Any, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, child in value.items():
            yield from _rest(child, f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}")
    elif value not in (None, "", []):
        text = json.dumps(value, ensure_ascii=False)
        yield pointer.encode(errors="ignore").decode(), text.encode(errors="ignore").decode()
