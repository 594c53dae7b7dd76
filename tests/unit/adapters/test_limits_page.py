"""The bounds that docs/adapters.md states are those that are in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.base import Limits
from adapters.national_dna_database.cmf.adapter import MAX_HEADER_BYTES, MAX_HEADER_FIELDS
from adapters.national_dna_database.rows import MAX_LINE
from adapters.reading import MAX_ISSUES
from adapters.registry import SNIFFED_BYTES
from adapters.syntax.hardened_xml import MAX_TAGS
from adapters.syntax.spreadsheet import (
    MAX_COLUMNS,
    MAX_MARKUP,
    MAX_OTHER_MARKUP,
    MAX_PARTS,
    MAX_SHEETS,
    MAX_UNPACKED_BYTES,
)
from adapters.syntax.xml_stream import MAX_CHILD_CHARACTERS, MAX_CHILD_TAGS, MAX_NAMES

PAGE = (Path(__file__).parents[3] / "docs" / "adapters.md").read_text()
LIMITS = Limits()


@pytest.mark.parametrize(
    "row",
    [
        f"a file that is read whole | {LIMITS.bytes >> 20} MiB |",
        f"its records | {LIMITS.records:,} |",
        f"a file that is streamed | {LIMITS.streamed_bytes >> 30} GiB |",
        f"its records | {LIMITS.streamed_records:,} |",
        f"a field | {LIMITS.field_characters:,} characters |",
        f"nested elements | {LIMITS.depth} |",
        f"read whole | {MAX_TAGS:,} `<` and `=` |",
        f"| {MAX_CHILD_CHARACTERS >> 20} MiB of characters, {MAX_CHILD_TAGS:,} `<` |",
        f"streamed | {MAX_NAMES:,} |",
        f"| {MAX_HEADER_FIELDS:,} fields, {MAX_HEADER_BYTES >> 10} KiB |",
        f"| {MAX_LINE:,} characters |",
        f"{MAX_UNPACKED_BYTES >> 20} MiB, {MAX_MARKUP:,} `<` ({MAX_OTHER_MARKUP:,} of other than cells), {MAX_PARTS:,}",
        f"| {MAX_SHEETS}, {MAX_COLUMNS} |",
        f"issues that are listed | {MAX_ISSUES:,} |",
        f"`convert` writes | {LIMITS.records:,} records, {LIMITS.bytes >> 20} MiB of them |",
        f"the first {SNIFFED_BYTES:,} bytes",
    ],
)
def test_a_bound_is_stated_as_it_is(row: str) -> None:
    assert row in PAGE
