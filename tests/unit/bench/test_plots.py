"""The picture in the documentation shows the table beside it."""

from __future__ import annotations

from bench.plots import PICTURE, TABLE, growth


def test_the_picture_of_growth_is_made_from_the_table() -> None:
    assert PICTURE.read_text(encoding="utf-8") == growth(TABLE.read_text(encoding="utf-8"))
