"""Strict readers of JSON and base64: bytes have only one meaning. And the known name that a wrong one may mean.

Python's JSON reader takes the last of two equal keys and accepts NaN. Its base64 reader accepts several spellings of
the same bytes. If two verifiers differ in such a point, an attacker can make them disagree.
"""

from __future__ import annotations

import base64
import difflib
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Fault(StrEnum):
    """Why bytes are refused."""

    BASE64 = "not base64 in its canonical form"
    DEEP = "not strict JSON: nested deeper than can be read"
    DSSE = "not a DSSE envelope in JSON, with exactly its keys"
    ENCODING = "not UTF-8"
    JSON = "not strict JSON"
    REPEATED = "not strict JSON: a key stands twice in one object"


_FAULTS: Final[Mapping[type[Exception], Fault]] = {UnicodeDecodeError: Fault.ENCODING, RecursionError: Fault.DEEP}


class NotStrict(ValueError):
    """These bytes have no meaning, or two readers could read them differently."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault)
        self.fault = fault


def parse_json(data: bytes, whole: Callable[[str], Any] = int, decimal: Callable[[str], Any] = int) -> Any:
    """Read one JSON text in UTF-8. The caller checks its size first.

    Args:
        data: the text, without a byte order mark.
        whole: turns the text of an integer into a value.
        decimal: the same for a number with a point or an exponent. Without it these are refused.

    Raises:
        NotStrict: malformed, a key twice in one object, NaN or Infinity, a number that ``whole`` or ``decimal`` refuses
            with a ValueError, too deep, or followed by more data.
    """
    try:
        return json.loads(
            data.decode(), object_pairs_hook=_unique, parse_int=whole, parse_float=decimal, parse_constant=int
        )
    except NotStrict:
        raise
    except (ValueError, RecursionError) as error:
        raise NotStrict(_FAULTS.get(type(error), Fault.JSON)) from error


def decode_base64(text: str) -> bytes:
    """Read standard base64 with padding, in its one canonical form.

    Raises:
        NotStrict: another form.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise NotStrict(Fault.BASE64) from error
    # The decoder ignores unused low bits. A text that does not come out the same again has a second spelling.
    if encode_base64(data) != text:
        raise NotStrict(Fault.BASE64)
    return data


def encode_base64(data: bytes) -> str:
    """Write standard base64 with padding."""
    return base64.b64encode(data).decode()


def unknown(name: str, known: Iterable[str]) -> str:
    """For a message about a name that is not known: the name, and the nearest known one, if one is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1)
    return f"{name}; did you mean {near[0]}?" if near else name


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise NotStrict(Fault.REPEATED)
    return result
