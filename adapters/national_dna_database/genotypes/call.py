"""Reads the alleles of one locus, and the heights of their peaks, from the cells of a row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from adapters.national_dna_database.genotypes.layout import Family, LocusColumns
from adapters.values.alleles import AMELOGENIN, parse_sequenced_allele
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapters.base import IssueList
    from adapters.national_dna_database.rows import Row

EMPTY: Final = frozenset({"", "NULL", "NA"})
"""Texts that mean nothing, in capitals: of blank cells, of a database, and of R."""
_MAX_ALLELES: Final = 32
"""For one locus. Tables of mixtures have up to twenty."""
_MAX_HEIGHT: Final = 2**31 - 1
_HEIGHT: Final = re.compile(r"([0-9]{1,10})([.,][0-9]{1,6})?")


def read_alleles(
    locus: str, row: Row, columns: LocusColumns, family: Family, issues: IssueList
) -> list[dna_pb2.Allele]:
    """The alleles in their order. A homozygote has its allele once or twice, as in the source."""
    found: list[dna_pb2.Allele] = []
    for place, (column, text, height) in enumerate(_cells(row, columns, family)):
        where = f"line {row.line}, column {column + 1}"
        if place == _MAX_ALLELES:
            issues.reject_record("ALLELES_TOO_MANY", where, f"a locus has at most {_MAX_ALLELES} alleles")
            break
        if locus == AMELOGENIN and text.upper() == "OL":
            issues.warn("ALLELE_OFF_LADDER", where, "a peak off the ladder does not show the sex, and is left out")
            continue
        parsed = parse_sequenced_allele(locus, text)
        if parsed is None:
            issues.reject_record("ALLELE_INVALID", where, "not an allele of this locus")
            continue
        found.append(
            dna_pb2.Allele(
                value=parsed.value, operator=parsed.operator, reported=text, peak_height=_height(height, where, issues)
            )
        )
    return found


def _cells(row: Row, columns: LocusColumns, family: Family) -> Iterator[tuple[int, str, str]]:
    for column, beside in zip(columns.alleles, columns.heights, strict=True):
        text = row.cells[column] if column < len(row.cells) else ""
        height = row.cells[beside] if 0 <= beside < len(row.cells) else ""
        if family is not Family.CELLS:
            parts = [(text, height)]
        else:
            heights = height.split(",")
            texts = text.split(",")
            parts = list(zip(texts, heights + [""] * (len(texts) - len(heights)), strict=False))
        yield from (
            (column, text.strip(), height.strip()) for text, height in parts if text.strip().upper() not in EMPTY
        )


def _height(text: str, where: str, issues: IssueList) -> int:
    """A peak's height in whole units, or zero if it cannot be read."""
    if text.upper() in EMPTY:
        return 0
    match = _HEIGHT.fullmatch(text)
    if match is None or int(match[1]) > _MAX_HEIGHT:
        issues.warn("PEAK_HEIGHT_NOT_READ", where, "the height beside the allele is not a number")
        return 0
    return int(match[1])
