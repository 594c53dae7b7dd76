"""Pictures: their type is known by their first bytes, their name is their digest.

A file's own name may be a person's name, so it is never used.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

MEDIA_TYPES: Final = {"image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}
"""The media types that the exchange carries, and the first bytes of their files."""
_SUFFIXES: Final = {"image/jpeg": ".jpg", "image/png": ".png"}
_DIGITS: Final = 32
_DIGEST: Final = re.compile(rf"[0-9a-f]{{{_DIGITS}}}(?![0-9a-f])")
_BLANK: Final = re.compile(r"[\x00-\x20\x7f]")
"""Browsers ignore these characters in an address before its scheme."""
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")


def media_type_of(content: bytes) -> str | None:
    """The media type of a picture, or None if the exchange does not carry its type."""
    return next((kind for kind, magic in MEDIA_TYPES.items() if content.startswith(magic)), None)


def photo_name(content: bytes, media_type: str) -> str:
    """A file name for a picture: opaque, the same for the same picture, and never that of another one.

    The digest is computed here: what a record says of it, another agency wrote.
    """
    return digest_name(content) + _SUFFIXES.get(media_type, ".bin")


def digest_name(content: bytes) -> str:
    """The beginning of the name of a file beside a record."""
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def is_digest_name(name: str) -> bool:
    """Whether a file's name begins as ``digest_name`` says."""
    return _DIGEST.match(name) is not None


def is_safe_address(url: str) -> bool:
    """Whether an address is for the web or has no scheme. Not safe: a program (javascript:), a local file (file:)."""
    found = _SCHEME.match(_BLANK.sub("", url))
    return found is None or found[1].lower() in {"http", "https"}
