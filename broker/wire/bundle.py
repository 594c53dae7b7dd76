"""The file of a replay bundle.

It begins with the line ``case-exchange bundle v1`` and a newline. Then each frame (broker/wire/frames.py) follows as a
varint length and its bytes. If a broker made the bundle, the last frame signs the bytes of all the others. So no byte
can change unnoticed, even one without meaning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from broker.core.errors import BundleInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC: Final = b"case-exchange bundle v1\n"
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
_VARINT_BYTES: Final = 4


class Reads(Protocol):
    """What frames are read from: a file, or what reads one."""

    def read(self, size: int, /) -> bytes:
        """As in BinaryIO."""
        ...


def write_frame(file: BinaryIO, frame: bytes) -> None:
    """Append a serialised frame to a file that begins with ``MAGIC``."""
    length = len(frame)
    prefix = bytearray()
    while length > 0x7F:  # noqa: PLR2004 - LEB128: seven bits a byte
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    file.write(bytes(prefix) + frame)


def read_frames(file: Reads) -> Iterator[bytes]:
    """The serialised frames of a bundle file, from its beginning.

    Raises:
        BundleInvalid: it is not a bundle, or it ends within a frame.
    """
    if file.read(len(MAGIC)) != MAGIC:
        message = "the file is not a case-exchange bundle of version 1"
        raise BundleInvalid(message)
    while (length := _read_length(file)) is not None:
        frame = file.read(length)
        if len(frame) != length:
            message = "the bundle breaks off within a frame"
            raise BundleInvalid(message)
        yield frame


def _read_length(file: Reads) -> int | None:
    length = 0
    for place in range(_VARINT_BYTES):
        byte = file.read(1)
        if not byte:
            if place == 0:
                return None
            break
        length |= (byte[0] & 0x7F) << 7 * place
        if byte[0] < 0x80:  # noqa: PLR2004 - LEB128: the top bit says whether more follow
            if length > MAX_FRAME_BYTES or (place and not byte[0]):
                break
            return length
    message = "the bundle holds a frame length that is cut short or out of bounds"
    raise BundleInvalid(message)
