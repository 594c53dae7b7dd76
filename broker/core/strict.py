"""JSON and base64 read so that bytes have one meaning only.

Python's reader takes the last of two equal keys, accepts NaN, and base64 accepts several spellings of the same bytes;
two verifiers that differ in such a point can be played against each other.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable


class NotStrict(ValueError):
    """Bytes that mean nothing, or that readers would take differently."""


class NotUtf8(NotStrict):
    """The text is in another encoding."""


class KeyRepeated(NotStrict):
    """A key stands twice in one object."""


class TooDeep(NotStrict):
    """Nested deeper than can be read."""


def parse_json(data: bytes, whole: Callable[[str], Any] = int, decimal: Callable[[str], Any] = int) -> Any:
    """Read one JSON text in UTF-8. How large it may be is the caller's to check.

    Args:
        data: the text, without a byte order mark.
        whole: makes a value of an integer's text.
        decimal: makes one of the text of a number with a point or an exponent. Without it these are refused.

    Raises:
        NotStrict: malformed, a key twice in one object, NaN or Infinity, a number that ``whole`` or ``decimal`` refuses
            with a ValueError, too deep, or followed by more data.
    """
    try:
        return json.loads(
            data.decode(), object_pairs_hook=_unique, parse_int=whole, parse_float=decimal, parse_constant=_refuse
        )
    except NotStrict:
        raise
    except UnicodeDecodeError as error:
        message = "not UTF-8"
        raise NotUtf8(message) from error
    except RecursionError as error:
        message = "nested deeper than can be read"
        raise TooDeep(message) from error
    except ValueError as error:
        message = "not JSON"
        raise NotStrict(message) from error


def decode_base64(text: str) -> bytes:
    """Read standard base64 with padding, in its one canonical form.

    Raises:
        NotStrict: another form.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        message = "something that is not base64"
        raise NotStrict(message) from error
    # The decoder lets stray low bits pass; what does not come out the same again has a second spelling.
    if encode_base64(data) != text:
        message = "base64 that is not canonical"
        raise NotStrict(message)
    return data


def encode_base64(data: bytes) -> str:
    """Write standard base64 with padding."""
    return base64.b64encode(data).decode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        message = "a key stands twice in one object"
        raise KeyRepeated(message)
    return result


def _refuse(_text: str) -> NoReturn:
    raise ValueError
