"""Valid protobuf messages in bytes that protobuf's own serialiser would never write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from google.protobuf.message import Message

_UNKNOWN: Final = b"\xc0\x3e\x01"
"""Field 1000, which no message of this project has, with the number 1."""
_LENGTH_DELIMITED: Final = 2


def oddly_serialized(message: Message) -> bytes:
    """Fields in falling order of their numbers, after an unknown field. Messages inside are written in the same way."""
    parts = [_UNKNOWN]
    for field, value in reversed(message.ListFields()):
        if field.message_type is None:
            alone = type(message)()
            if isinstance(value, (bytes, str, int, float)):
                setattr(alone, field.name, value)
            else:
                getattr(alone, field.name).extend(value)
            parts.append(alone.SerializeToString())
            continue
        for item in [value] if hasattr(value, "ListFields") else value:
            inner = oddly_serialized(item)
            parts += (_varint(field.number << 3 | _LENGTH_DELIMITED), _varint(len(inner)), inner)
    return b"".join(parts)


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])
