"""The characters in the cells of a police export: full-width characters, blanks, private characters, formulas.

Private characters: before its edition of 2022, GB 18030 mapped 24 characters to Unicode's private use area. For 18 of
them (ten vertical punctuation marks, eight ideographs) that edition changed the mapping. For the other six it asks for
the standard character as well. The edition of 2005 had already changed U+E7C7. Old and new codecs are in use, Python's
among them, so a file may have either.

Sources: GB 18030-2005 and GB 18030-2022, table of characters mapped to the private use area; Unicode 15, blocks
Vertical Forms, CJK Unified Ideographs (9FB4 to 9FBB) and Extension B.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

PRIVATE: Final = {
    0xE78D: 0xFE10,
    0xE78E: 0xFE12,
    0xE78F: 0xFE11,
    **{0xE790 + place: 0xFE13 + place for place in range(7)},
    0xE81E: 0x9FB4,
    0xE826: 0x9FB5,
    0xE82B: 0x9FB6,
    0xE82C: 0x9FB7,
    0xE832: 0x9FB8,
    0xE843: 0x9FB9,
    0xE854: 0x9FBA,
    0xE864: 0x9FBB,
    0xE816: 0x20087,
    0xE817: 0x20089,
    0xE818: 0x200CC,
    0xE831: 0x215D7,
    0xE83B: 0x2298F,
    0xE855: 0x241FE,
    0xE7C7: 0x1E3F,
}
"""Standard characters by the private characters that stood for them."""

_INVISIBLE: Final = "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
"""Blanks without width, and direction marks. Text that was copied from a web page may begin or end with them."""
_ODD: Final = re.compile(f"[\ue000-\uf8ff{_INVISIBLE}]")
_OF_PRIVATE_USE: Final = re.compile("[\ue000-\uf8ff]")
_FORMULA: Final = "=+-@\t\r＝＋－＠"
_GUARDED: Final = frozenset(f"'{_FORMULA}")
_DOTS: Final = re.compile("(?<=[^\x00-\u2fff])[•‧∙⋅・･．.](?=[^\x00-\u2fff])")
_LIST: Final = re.compile("[;；、，,]")


def is_odd(text: str) -> bool:
    """Whether ``cleaned`` would change this text, or leave a private character in it."""
    return _ODD.search(text) is not None


def cleaned(text: str) -> tuple[str, bool, bool]:
    """A cell without invisible characters around it, and with standard characters instead of private ones.

    Returns:
        The text, whether a private character was replaced, and whether one is left.
    """
    plain = text.strip().strip(_INVISIBLE).strip()
    if not _OF_PRIVATE_USE.search(plain):
        return plain, False, False
    mapped = plain.translate(PRIVATE)
    return mapped, mapped != plain, _OF_PRIVATE_USE.search(mapped) is not None


def narrow(text: str) -> str:
    """A code or number without full-width characters and blanks: １２３Ｘ becomes 123X."""
    if text.isascii() and text.isalnum():
        return text
    return "".join(unicodedata.normalize("NFKC", text).split())


def code_text(text: str) -> str:
    """A code or whole number, ``narrow``, and without the ``.0`` of a program that took it for a decimal number."""
    if text.isascii() and text.isalnum():
        return text
    plain = narrow(text)
    return plain[:-2] if plain.endswith(".0") and plain[:-2].isdecimal() else plain


def one_dot(name: str) -> str:
    """A name with U+00B7 instead of any other dot between two of its characters, as in names of minorities."""

    def dot(found: re.Match[str]) -> str:
        beside = name[found.start() - 1] + name[found.end()]
        # Marks and blanks are not characters of a name: the dot in 甲、.乙 is not between two of them.
        return found[0] if any(unicodedata.category(character)[0] in "PSZ" for character in beside) else "·"

    return _DOTS.sub(dot, name)


def parts_of(text: str) -> list[str]:
    """The parts of a list in a cell. Semicolons or commas of any width separate them."""
    return [part for item in _LIST.split(text) if (part := item.strip())]


def guard_formula(text: str) -> str:
    """A cell that no spreadsheet takes for a formula. ``unguard_formula`` undoes it."""
    return f"'{text}" if text[:1] in _GUARDED else text


def unguard_formula(text: str) -> str:
    """A cell without the apostrophe that ``guard_formula`` put before it."""
    return text[1:] if text[:1] == "'" and text[1:2] in _GUARDED else text
