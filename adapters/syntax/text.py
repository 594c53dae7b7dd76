"""Text from strangers: its encoding follows from the whole file, by fixed rules. Nothing is guessed.

A byte order mark decides. A file without one is UTF-8 if every byte fits. Otherwise it is GB18030 if every byte fits
and the format allows it. GB18030 has every character, with up to four bytes for each. If a text in GB18030 could also
be read as UTF-8, it is written with a mark of its own.
"""

from __future__ import annotations

import codecs
import hashlib
import io
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

    from adapters.base import IssueList

_PIECE: Final = 1 << 18
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BOM_GB18030: Final = "\ufeff".encode("gb18030")
_MARKS: Final = ((_BOM_GB18030, ("gb18030",)), (codecs.BOM_UTF8, ("utf-8",)), (b"", ("utf-8", "gb18030")))
_ALL: Final = ("utf-8", "gb18030")
_MESSAGES: Final = {
    "ENCODING_UNSUPPORTED": "UTF-16 is not read",
    "ENCODING_UNKNOWN": "in none of the encodings that are read, throughout",
    "NUL_BYTE": "not text",
}


class Encoding(NamedTuple):
    """What is known of a file after its first reading.

    Attributes:
        name: the codec's name.
        skipped: the bytes of the mark.
        sha256: the digest of the whole file.
        odd: whether ``odd`` was true for a piece of the text.
    """

    name: str
    skipped: int
    sha256: bytes
    odd: bool


def open_text(
    file: BinaryIO,
    most_bytes: int,
    issues: IssueList,
    *,
    allowed: Sequence[str] = _ALL,
    odd: Callable[[str], bool] = lambda _: False,
    newline: str | None = "",
) -> tuple[io.TextIOWrapper, Encoding] | None:
    """A file as text, without its mark, and its encoding. None: the reason is among the issues.

    Codes: FILE_TOO_LARGE and those of ``find_encoding``.

    ``newline`` is as for ``open``. For ``allowed`` and ``odd`` see ``find_encoding``.
    """
    if file.seek(0, io.SEEK_END) > most_bytes:
        issues.reject_file("FILE_TOO_LARGE", "file", f"larger than {most_bytes} bytes")
        return None
    found = find_encoding(file, allowed, odd)
    if isinstance(found, str):
        issues.reject_file(found, "file", _MESSAGES[found])
        return None
    file.seek(found.skipped)
    return io.TextIOWrapper(file, found.name, newline=newline), found


def find_encoding(
    file: BinaryIO, allowed: Sequence[str] = _ALL, odd: Callable[[str], bool] = lambda _: False
) -> Encoding | str:
    """Read a file once, from its beginning, and return its encoding, or a code that says why it cannot be read.

    Codes: ENCODING_UNSUPPORTED, ENCODING_UNKNOWN, NUL_BYTE.

    Args:
        file: the file.
        allowed: which of UTF-8 and GB18030 the format may have.
        odd: called with every piece of the text.
    """
    file.seek(0)
    head = file.read(max(len(mark) for mark, _ in _MARKS))
    if head.startswith(_UTF16):
        return "ENCODING_UNSUPPORTED"
    mark, names = next(item for item in _MARKS if head.startswith(item[0]))
    decoders = {name: codecs.getincrementaldecoder(name)() for name in names if name in allowed}
    strange = dict.fromkeys(names, False)
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
                strange[name] = strange[name] or odd(text)
        if not piece:
            break
    for name in decoders:
        return Encoding(name, len(mark), sha256.digest(), strange[name])
    return "ENCODING_UNKNOWN"


def head_text(head: bytes) -> str:
    """The text at the beginning of a file. What cannot be read is left out."""
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
    """A file's text in GB18030, written so that ``find_encoding`` does not take it for UTF-8."""
    content = text.encode("gb18030")
    try:
        return content if content.decode("utf-8") == text else _BOM_GB18030 + content
    except UnicodeDecodeError:
        return content
