"""Bounds in numbers for what a peer sends, checked before it is parsed.

Four megabytes can hold two million empty messages. Parsed, these take thirty times their size, and each costs time
later. So the fields of a large message are counted in its bytes first.
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
_SMALL_BYTES: Final = 256 << 10
"""A smaller message is parsed at once. Whatever is in it takes ten megabytes at most."""
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
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
    if len(data) > _SMALL_BYTES and _count(data, 0, len(data), nested, most) < 0:
        message = f"the message has more than {most} fields"
        raise InputRefused(message)


def _count(data: bytes, at: int, end: int, nested: Nested, left: int) -> int:
    """How many more fields than those of ``data[at:end]`` there may be. It stops below zero."""
    while at < end and left >= 0:
        left -= 1
        tag, at = _varint(data, at, end)
        kind = tag & 7
        if kind == _BYTES:
            size, at = _varint(data, at, end)
            inner = nested.get(tag >> 3)
            if inner is not None:
                left = _count(data, at, min(at + size, end), inner, left)
            at += size
        elif kind == _VARINT:
            _, at = _varint(data, at, end)
        elif kind == _FIXED_64:
            at += 8
        elif kind == _FIXED_32:
            at += 4
        else:
            # Groups, which no message of ours has, or damage.
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
