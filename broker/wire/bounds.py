"""Bounds in numbers for what a peer sends, checked before it is parsed.

Four megabytes can hold two million empty messages. Parsed, these take thirty times their size, and each costs time
later. So the fields of a large message are counted in its bytes first.
Counting stops at the first bound that is exceeded, so it is short for a message that is mostly fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from broker.core.errors import InputRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

Nested: TypeAlias = "Mapping[int, Nested]"
"""The fields that are messages, by number, and what is nested in them in turn. Only their fields are counted too."""

MAX_ENVELOPES: Final = 1000
"""Envelopes in one message."""
ENVELOPE: Final[Nested] = {3: {}, 4: {}}
"""Signatures and sections of an envelope."""
_MOST_TOP: Final = MAX_ENVELOPES + 24
"""Fields of the message itself. No request has so many, and a longer list of envelopes is refused anyway."""
_MOST_NESTED: Final = 200
"""Fields of one envelope, and of one of its parts. The largest has 55: 16 signatures, 32 sections, others."""
SMALL_BYTES: Final = 256 << 10
"""A smaller message is parsed at once. Whatever is in it takes ten megabytes at most."""
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_GROUP = (3, 4)
"""The tags around a group. No message of ours has one, but a parser reads on behind it."""
_DIGIT: Final = 0x7F
_VARINT_BYTES: Final = 10


def check_fields(data: bytes, nested: Nested, most: int) -> None:
    """Refuse a serialised message that has too many fields. One that is damaged is left to the parser.

    Args:
        data: the message.
        nested: which of its fields are messages whose fields count too.
        most: how many fields it may have together with these.

    Raises:
        InputRefused
    """
    if not fields_fit(data, nested, most):
        raise too_many_fields(most)


def fields_fit(data: bytes, nested: Nested, most: int) -> bool:
    """Whether ``check_fields`` lets a message pass."""
    return len(data) <= SMALL_BYTES or _count(data, (0, len(data)), nested, most, _MOST_TOP) >= 0


def too_many_fields(most: int) -> InputRefused:
    """Why a message is refused that has more than so many fields."""
    return InputRefused(f"the message has more than {most} fields, or one part of it has too many")


def _count(data: bytes, part: tuple[int, int], nested: Nested, left: int, own: int) -> int:
    """How many more fields than those of ``data[at:end]``, a part, there may be. It stops below zero.

    ``own``: how many fields this part itself may have.
    """
    at, end = part
    while at < end and left >= 0:
        left -= 1
        own -= 1
        if own < 0:
            return -1
        tag, at = _varint(data, at, end)
        kind = tag & 7
        if kind == _BYTES:
            size, at = _varint(data, at, end)
            inner = nested.get(tag >> 3)
            if inner is not None:
                left = _count(data, (at, min(at + size, end)), inner, left, _MOST_NESTED)
            at += size
        elif kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind == _FIXED_64:
            at += 8
        elif kind == _FIXED_32:
            at += 4
        elif kind not in _GROUP:
            # Damage. The parser stops here too.
            return left
    return left


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    number = 0
    for place, byte in enumerate(data[at : min(at + _VARINT_BYTES, end)]):
        number |= (byte & _DIGIT) << 7 * place
        if byte <= _DIGIT:
            return number, at + place + 1
    # Longer than any number, or cut off.
    return 0, end
