"""What a directory is written in, with its own error."""

from __future__ import annotations

from typing import Any

from broker.core import strict
from broker.core.errors import DirectoryInvalid


def parse_json(data: bytes) -> Any:
    """Read one strict JSON text, whose numbers are integers.

    Raises:
        DirectoryInvalid: it is none.
    """
    try:
        return strict.parse_json(data)
    except strict.NotStrict as error:
        message = "the directory is not strict JSON"
        raise DirectoryInvalid(message) from error


def decode_base64(text: str) -> bytes:
    """Read canonical base64.

    Raises:
        DirectoryInvalid: it is none.
    """
    try:
        return strict.decode_base64(text)
    except strict.NotStrict as error:
        message = f"the directory holds {error}"
        raise DirectoryInvalid(message) from error
