"""What a spreadsheet program sees in a table: cells, and which of them it would compute."""

from __future__ import annotations

import copy
import csv
import io
from typing import TYPE_CHECKING, Final

from openpyxl import load_workbook

from adapters.syntax.spreadsheet import MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from adapters.base import Record

FORMULA: Final = '=HYPERLINK("http://synthetic.invalid/","x")'
_TEXT: Final = ("text/csv", "text/tab-separated-values")
_STARTS: Final = tuple("=+-@\t\r＝＋－＠")
"""A cell of a text table that begins like this is a formula, also in full width (OWASP, CSV injection)."""


def is_table(media_type: str) -> bool:
    """Whether spreadsheet programs open files of this type."""
    return media_type in {MEDIA_TYPE, *_TEXT}


def formulas(content: bytes, media_type: str) -> Iterator[str]:
    """The cells that a spreadsheet program would take for formulas, when it splits a text table at its delimiters."""
    if media_type == MEDIA_TYPE:
        book = load_workbook(io.BytesIO(content))
        for sheet in book:
            for row in sheet.iter_rows():
                yield from (str(cell.value) for cell in row if cell.data_type == "f")
        return
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("gb18030").removeprefix("\ufeff")
    delimiter = "\t" if media_type == _TEXT[1] else ","
    for cells in csv.reader(io.StringIO(text), delimiter=delimiter):
        yield from (cell for cell in cells if cell.startswith(_STARTS))


def injected(record: Record) -> Iterator[Record]:
    """Copies of a record with formulas: one in all its texts; then for each field, one in the texts of that field."""
    whole = copy.deepcopy(record)
    _inject(whole)
    yield whole
    for field, _ in record.ListFields():
        other = copy.deepcopy(record)
        for name in {item.name for item, _ in other.ListFields()} - {field.name}:
            other.ClearField(name)  # type: ignore[arg-type] # of this record
        _inject(other)
        made = copy.deepcopy(record)
        made.ClearField(field.name)  # type: ignore[arg-type] # of this record
        made.MergeFrom(other)  # type: ignore[arg-type] # of its own type
        yield made


def _inject(message: Message) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in value if field.is_repeated else (value,):
                _inject(item)
        elif field.type == field.TYPE_STRING and field.is_repeated:
            value[:] = [FORMULA for _ in value]
        elif field.type == field.TYPE_STRING:
            setattr(message, field.name, FORMULA)
