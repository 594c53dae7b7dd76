"""docs/police-tables.md and docs/niem.md say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from adapters.provincial_police.table.columns import COLUMNS

DOCS = Path(__file__).parents[4] / "docs"
PAGE = (DOCS / "police-tables.md").read_text(encoding="utf-8")
SOURCES = (Path(__file__).parents[4] / "adapters" / "provincial_police").rglob("*.py")


def test_the_page_lists_every_column_with_every_heading() -> None:
    for column in COLUMNS:
        assert f"| `{column.name}` | {column.label} | {column.english} | {'、'.join(column.also)} |" in PAGE


def test_the_pages_list_every_code_that_is_reported() -> None:
    page = PAGE.replace("`…_", "`RESIDENT_ID_") + (DOCS / "niem.md").read_text(encoding="utf-8")
    codes = {
        code for path in SOURCES for code in re.findall(r'"([A-Z]+(?:_[A-Z]+)+)"', path.read_text(encoding="utf-8"))
    }
    assert len(codes) > 30
    assert {code for code in codes if f"`{code}`" not in page} == set()
