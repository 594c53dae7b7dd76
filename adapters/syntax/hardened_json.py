"""JSON from strangers: limited before it is parsed, and refused if two readers could read it differently."""

from __future__ import annotations

import codecs
import math
from typing import TYPE_CHECKING, Any, Final

from broker.core.strict import Fault, NotStrict, parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from adapters.base import IssueList, Limits

_VALUES: Final = 4_000_000
"""The limit for brackets and commas in a document. An empty list takes twenty times the memory of its text."""
_CODES: Final[Mapping[Fault, str]] = {Fault.ENCODING: "JSON_ENCODING"}


def finite(text: str) -> float:
    """A JSON number. Raises ValueError if it is too large for a float."""
    found = float(text)
    if not math.isfinite(found):
        raise ValueError
    return found


def read_json(
    content: bytes,
    limits: Limits,
    issues: IssueList,
    *,
    values: int = _VALUES,
    whole: Callable[[str], Any] = int,
    decimal: Callable[[str], Any] = finite,
    codes: Mapping[Fault, str] = _CODES,
) -> Any:
    """A document's value. None: the reason is among the issues.

    Codes: FILE_TOO_LARGE, JSON_ENCODING, JSON_TOO_MANY_VALUES, JSON_MALFORMED, JSON_TOO_DEEP.

    ``values`` is the limit for brackets and commas. ``codes`` has the faults with a code other than JSON_MALFORMED.
    For ``whole`` and ``decimal`` see ``parse_json``.
    """
    if len(content) > limits.bytes:
        issues.reject_file("FILE_TOO_LARGE", "file", f"larger than {limits.bytes} bytes")
        return None
    if sum(map(content.count, (b"[", b"{", b","))) > values:
        issues.reject_file("JSON_TOO_MANY_VALUES", "file", f"more than {values} values")
        return None
    try:
        found = parse_json(content.removeprefix(codecs.BOM_UTF8), whole, decimal)
    except NotStrict as error:
        issues.reject_file(codes.get(error.fault, "JSON_MALFORMED"), "file", str(error))
        return None
    if depth(found) > limits.depth:
        issues.reject_file("JSON_TOO_DEEP", "file", f"nested deeper than {limits.depth}")
        return None
    return found


def depth(value: Any) -> int:
    """How deeply lists and objects are nested."""
    deepest, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        deepest += 1
        level = [child for item in level for child in children(item)]
    return deepest


def children(value: Any) -> list[Any]:
    """The values in a list or an object."""
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
