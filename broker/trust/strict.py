"""Read JSON and base64 strictly, so that bytes have only one meaning.

Python's JSON reader takes the last of two equal keys and accepts NaN. Its base64 reader accepts several spellings of
the same bytes. If two verifiers differ in this, an attacker can make them disagree.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, NoReturn

from broker.core.errors import DirectoryInvalid


def parse_json(data: bytes) -> Any:
    """Read one JSON text in UTF-8.

    Raises:
        DirectoryInvalid: malformed, a key twice in one object, NaN or Infinity, too deep, or followed by more data.
    """
    try:
        return json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_refuse_constant,
        )
    except (ValueError, RecursionError) as error:
        message = "the directory is not strict JSON"
        raise DirectoryInvalid(message) from error


def decode_base64(text: str) -> bytes:
    """Read standard base64 with padding, in its only canonical form.

    Raises:
        DirectoryInvalid: another form.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        message = "the directory holds something that is not base64"
        raise DirectoryInvalid(message) from error
    if base64.b64encode(data).decode() != text:
        message = "the directory holds base64 that is not canonical"
        raise DirectoryInvalid(message)
    return data


def encode_base64(data: bytes) -> str:
    """Write standard base64 with padding."""
    return base64.b64encode(data).decode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        message = "a key stands twice in one object"
        raise ValueError(message)
    return result


def _refuse_constant(_text: str) -> NoReturn:
    message = "a number is not an integer"
    raise ValueError(message)
