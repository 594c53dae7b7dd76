"""Files made to do harm, for every adapter. None may take long or much memory to read, or reach anything outside.

The files are small. They expand, nest or refer to something outside if a reader follows them. Each is read as it is,
and after a prefix with which a file of the format begins, so that it gets past the first check to the reader itself.
"""

from __future__ import annotations

import functools
import gzip
import io
import struct
import zipfile
from itertools import repeat
from typing import TYPE_CHECKING, Final

from adapters.syntax.spreadsheet import write_sheet

if TYPE_CHECKING:
    from collections.abc import Iterator

MEGABYTE: Final = 1 << 20
CANARY: Final = b"CANARY-THAT-NO-FORMAT-REFERS-TO"
"""The content of the file that some of these files refer to. No reader may ever show it."""
_BOMB: Final = 0x10203040
"""The bytes that a sheet states it unpacks to: 258 MiB, a number that occurs nowhere else in an archive."""
_SHEET: Final = "xl/worksheets/sheet1.xml"
_NAMES: Final = (
    b"../canary",
    b"/etc/hostname",
    b"file:///etc/hostname",
    b"a\\..\\..\\canary",
    b"x" * 300,
    b"%2e%2e%2fcanary",
    b"canary\x00.png",
)


def hostile_files(canary: str, port: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents.

    Args:
        canary: path of a file that contains ``CANARY``.
        port: a port on this machine with a listener that must get no connection.
    """
    yield from _of_markup(canary, port)
    yield from _of_text()
    yield from _of_archives()


def _of_markup(canary: str, port: int) -> Iterator[tuple[str, bytes]]:
    web = f"http://127.0.0.1:{port}/x"
    include, schema = "http://www.w3.org/2001/XInclude", "http://www.w3.org/2001/XMLSchema-instance"
    documents = {
        "external entity": f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{canary}">]><x>&e;</x>',
        "external entity of the network": f'<!DOCTYPE x [<!ENTITY e SYSTEM "{web}">]><x>&e;</x>',
        "parameter entity": f'<!DOCTYPE x [<!ENTITY % e SYSTEM "{web}.dtd">%e;]><x>&y;</x>',
        "external subset": f'<!DOCTYPE x SYSTEM "{web}.dtd"><x/>',
        "inclusion": f'<x xmlns:i="{include}"><i:include href="file://{canary}" parse="text"/></x>',
        "stylesheet": f'<?xml-stylesheet href="{web}.xsl"?><x/>',
        "schema location": f'<x xmlns:i="{schema}" i:noNamespaceSchemaLocation="{web}"/>',
        "billion laughs": _laughs(10),
        "quadratic blow-up": f'<!DOCTYPE x [<!ENTITY a "{"x" * 50_000}">]><x>{"&a;" * 50_000}</x>',
        "entity without declaration": "<x>&undeclared;</x>",
    }
    for name, text in documents.items():
        yield name, text.encode()
    yield "billion laughs in utf-16", _laughs(10).encode("utf-16")
    yield "deep elements", b"<a>" * 200_000
    yield "deep closed elements", b"<a>" * 5_000 + b"</a>" * 5_000
    yield "many attributes", b"<a " + b" ".join(b'a%d=""' % number for number in range(50_000)) + b"/>"
    yield "many names", b"<a>" + b"".join(b"<n%d/>" % number for number in range(200_000)) + b"</a>"
    yield "many elements", b"<a>" + b"<b/>" * 500_000


def _laughs(depth: int) -> str:
    entities = "".join(f'<!ENTITY a{level} "{f"&a{level - 1};" * 10}">' for level in range(1, depth))
    return f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><x>&a{depth - 1};</x>'


def _of_text() -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    yield "nul bytes", bytes(1000)
    yield "a nul byte", b"a,b\0c\n"
    yield "deep lists", b'{"records": ' + b"[" * 200_000
    yield "deep objects", b'{"a":' * 200_000
    yield "deep closed lists", b'{"records": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    yield "a number without end", b'{"records": [' + b"9" * 1_000_000 + b"]}"
    yield "a long line", b"A" * 16 * MEGABYTE
    yield "an open quotation mark", b'"' + b"A\n" * 300_000
    yield "many quotation marks", b'"' * MEGABYTE
    yield "many separators", b"," * MEGABYTE
    yield "many short lines", b"\n" * MEGABYTE
    yield "many rows", b"A,B\n" * 150_000
    yield "utf-16", "<pfif/>".encode("utf-16")
    yield "utf-32", "<pfif/>".encode("utf-32")
    yield "byte order marks", b"\xef\xbb\xbf" * 3
    yield "half a character", b"AJBH\r\n\x81"
    yield "surrogates", b"\xed\xa0\x80" * 10
    yield "names of files", b"".join(b"%s,\n" % name for name in _NAMES)
    yield "formulas", b"=cmd|' /C calc'!A0,+1+1,-1,@SUM(A1)\n\t=1\n"
    yield "terminal escapes", b"\x1b]0;title\x07\x1b[2J\n"
    yield "digits of other scripts", "٣٣٣,１２３,๓\n".encode()


@functools.cache
def _of_archives() -> tuple[tuple[str, bytes], ...]:
    bomb = _workbook(_BOMB)
    sheet = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
    far = b'<row r="2147483647"><c r="XFD2147483647"><v>1</v></c></row></sheetData></worksheet>'
    return (
        ("gzip bomb", gzip.compress(bytes(16 * MEGABYTE), mtime=0) * 64),
        ("workbook bomb", bomb),
        ("workbook bomb that lies", bomb.replace(struct.pack("<L", _BOMB), struct.pack("<L", 100))),
        ("workbook bomb of one part many times", _repeated(1_000)),
        ("workbook in a workbook", _workbook(bomb)),
        ("workbook of entities", _workbook(_laughs(10).encode())),
        ("workbook of deep elements", _workbook(b"<a>" * 200_000)),
        ("workbook of a far row", _workbook(sheet + far)),
        ("workbook that breaks off", bomb[: len(bomb) // 2]),
        ("archive of nothing", _archive({})),
    )


def _workbook(sheet: bytes | int) -> bytes:
    """A workbook with these bytes as its sheet, or with this many bytes."""
    parts: dict[str, bytes | int] = {}
    with zipfile.ZipFile(io.BytesIO(write_sheet("a", [["1"]]))) as archive:
        for name in archive.namelist():
            parts[name] = sheet if name == _SHEET else archive.read(name)
    return _archive(parts)


def _archive(parts: dict[str, bytes | int]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in parts.items():
            with archive.open(name, "w") as part:
                for piece in (content,) if isinstance(content, bytes) else _zeros(content):
                    part.write(piece)
    return written.getvalue()


def _zeros(size: int) -> Iterator[bytes]:
    yield from repeat(bytes(MEGABYTE), size // MEGABYTE)
    yield bytes(size % MEGABYTE)


def _repeated(times: int) -> bytes:
    """An archive with a directory that names one part of 16 MiB many times."""
    one = _archive({_SHEET: 16 * MEGABYTE})
    end = one.rindex(b"PK\5\6")
    directory = one.index(b"PK\1\2")
    entry = one[directory:end]
    counts = struct.pack("<HHLL", times, times, len(entry) * times, directory)
    return one[:directory] + entry * times + one[end : end + 8] + counts + b"\0\0"
