"""Pictures: told by their first bytes, named by their digest. A file's own name may be a person's, and goes nowhere."""

from __future__ import annotations

from typing import Final

from adapters.validate import MEDIA_TYPES

_SUFFIXES: Final = {"image/jpeg": ".jpg", "image/png": ".png"}
_DIGITS: Final = 32


def media_type_of(content: bytes) -> str | None:
    """The media type of a picture, or None where it is of no type that the exchange carries."""
    return next((kind for kind, magic in MEDIA_TYPES.items() if content.startswith(magic)), None)


def photo_name(sha256: bytes, media_type: str) -> str:
    """A file name for a picture: opaque, and the same for the same picture."""
    return sha256.hex()[:_DIGITS] + _SUFFIXES.get(media_type, ".bin")
