"""What others chose, made harmless for a page: names, purposes and messages are the words of the bundle's maker."""

from __future__ import annotations

import unicodedata
from typing import Final

MAX_CHARACTERS: Final = 1000
"""No name or message of a bundle that means well is longer."""
_REPLACED: Final = "\N{REPLACEMENT CHARACTER}"
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control and format characters (the latter turn the direction of text, or are not seen), and what has no meaning."""
_IGNORABLE: Final = frozenset(
    chr(code)
    for first, last in (
        (0x034F, 0x034F),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFFA0, 0xFFA0),
        (0xE0000, 0xE0FFF),
        # No font shows a dot of it.
        (0x2800, 0x2800),
    )
    for code in range(first, last + 1)
)
"""What is not seen, of other categories: Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt, and the
empty pattern of Braille. Python has no table of it."""
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
        unseen = category in _UNSEEN or character in _IGNORABLE
        marks = marks + 1 if category in _MARKS and not unseen else 0
        if marks <= _MOST_MARKS:
            kept.append(_REPLACED if unseen else " " if category == "Zs" else character)
    return "".join(kept) + ("…" if len(text) > MAX_CHARACTERS else "")
