"""What others chose, made harmless for a page: names, purposes and messages are the words of the bundle's maker."""

from __future__ import annotations

import unicodedata
from typing import Final

MAX_CHARACTERS: Final = 1000
"""No name or message of a bundle that means well is longer."""
_REPLACED: Final = "\N{REPLACEMENT CHARACTER}"
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control and format characters (the latter turn the direction of text, or are not seen), and what has no meaning."""
_MARKS: Final = frozenset({"Mn", "Me"})
_MOST_MARKS: Final = 3


def plain(text: str) -> str:
    """The text in one line: what cannot be seen is replaced, stacks of marks are cut, and so is what is too long.

    A template still has to escape it.
    """
    kept: list[str] = []
    marks = 0
    for character in text[:MAX_CHARACTERS]:
        category = unicodedata.category(character)
        marks = marks + 1 if category in _MARKS else 0
        if marks <= _MOST_MARKS:
            kept.append(_REPLACED if category in _UNSEEN else " " if category == "Zs" else character)
    return "".join(kept) + ("…" if len(text) > MAX_CHARACTERS else "")
