"""JSON from strangers: bounded before it is parsed, and without what readers take differently."""

from __future__ import annotations

import codecs
import json
import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from adapters.base import IssueList, Limits

_VALUES: Final = 4_000_000
"""How many brackets and commas may stand in a document: an empty list takes twenty times the room of its text."""


def parse_json(content: bytes, limits: Limits, issues: IssueList) -> Any:
    """A document's value, or None, with the reason among the issues.

    Codes: FILE_TOO_LARGE, JSON_ENCODING, JSON_TOO_MANY_VALUES, JSON_MALFORMED, JSON_TOO_DEEP.
    """
    if len(content) > limits.bytes:
        issues.reject_file("FILE_TOO_LARGE", "file", f"larger than {limits.bytes} bytes")
        return None
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        issues.reject_file("JSON_ENCODING", "file", "not UTF-8")
        return None
    if sum(map(text.count, "[{,")) > _VALUES:
        issues.reject_file("JSON_TOO_MANY_VALUES", "file", f"more than {_VALUES} values")
        return None
    try:
        found = json.loads(text, object_pairs_hook=_object, parse_constant=finite, parse_float=finite)
    except (ValueError, RecursionError):
        issues.reject_file("JSON_MALFORMED", "file", "not JSON, or an object that names a field twice")
        return None
    if depth(found) > limits.depth:
        issues.reject_file("JSON_TOO_DEEP", "file", f"nested deeper than {limits.depth}")
        return None
    return found


def depth(value: Any) -> int:
    """How deep lists and objects are nested."""
    deepest, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        deepest += 1
        level = [child for item in level for child in children(item)]
    return deepest


def children(value: Any) -> list[Any]:
    """What a list or an object holds."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def finite(text: str) -> float:
    """A number as JSON has them, for ``json.loads``; raises ValueError on NaN, and on what is too large for one."""
    found = float(text)
    if not math.isfinite(found):
        raise ValueError
    return found
