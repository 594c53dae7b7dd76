"""The encoding of a police export: found in a strict order over the whole file, in pieces, and never guessed.

A byte order mark decides; without one it is UTF-8 if every byte of the file is, or else GB18030 if every byte is, which
holds every character, those of four bytes included. GB18030 that could be read as UTF-8 is written with its own mark.
"""

from __future__ import annotations

import codecs
import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.provincial_police.table.text import is_odd

if TYPE_CHECKING:
    from typing import BinaryIO

_PIECE: Final = 1 << 18
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BOM_GB18030: Final = "\ufeff".encode("gb18030")
_MARKS: Final = ((_BOM_GB18030, ("gb18030",)), (codecs.BOM_UTF8, ("utf-8",)), (b"", ("utf-8", "gb18030")))


class Encoding(NamedTuple):
    """What is known of a file after its first reading.

    Attributes:
        name: of the codec.
        skipped: bytes of the mark.
        sha256: of the whole file.
        odd: whether it holds characters that ``text.cleaned`` changes.
    """

    name: str
    skipped: int
    sha256: bytes
    odd: bool


def find_encoding(file: BinaryIO) -> Encoding | str:
    """Read a file once, from its beginning, or say by a code why it is no text that is read here.

    Codes: ENCODING_UNSUPPORTED, ENCODING_UNKNOWN, NUL_BYTE.
    """
    file.seek(0)
    head = file.read(max(len(mark) for mark, _ in _MARKS))
    if head.startswith(_UTF16):
        return "ENCODING_UNSUPPORTED"
    mark, names = next(item for item in _MARKS if head.startswith(item[0]))
    decoders = {name: codecs.getincrementaldecoder(name)() for name in names}
    odd = dict.fromkeys(names, False)
    sha256 = hashlib.sha256(mark)
    file.seek(len(mark))
    while decoders:
        piece = file.read(_PIECE)
        if b"\0" in piece:
            return "NUL_BYTE"
        sha256.update(piece)
        for name, decoder in list(decoders.items()):
            try:
                text = decoder.decode(piece, final=not piece)
            except UnicodeDecodeError:
                del decoders[name]
            else:
                odd[name] = odd[name] or is_odd(text)
        if not piece:
            break
    for name in decoders:
        return Encoding(name, len(mark), sha256.digest(), odd[name])
    return "ENCODING_UNKNOWN"


def head_text(head: bytes) -> str:
    """The text of a file that begins like this; what cannot be read of it is left out."""
    if head.startswith(_UTF16):
        return ""
    mark, names = next(item for item in _MARKS if head.startswith(item[0]))
    for name in names:
        try:
            # The last character may be cut off.
            return codecs.getincrementaldecoder(name)().decode(head[len(mark) :])
        except UnicodeDecodeError:
            continue
    return ""


def encode_text(text: str) -> bytes:
    """A file's text in GB18030, which ``find_encoding`` tells from UTF-8."""
    content = text.encode("gb18030")
    try:
        return content if content.decode("utf-8") == text else _BOM_GB18030 + content
    except UnicodeDecodeError:
        return content
