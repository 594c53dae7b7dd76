"""The adapters of genotype tables: ``genemapper``, ``genotype-csv`` and ``codis-db-csv``.

They share one reader. They differ in which files they take for their own, and in what they write. A file's header shows
its layout. The file's name does not: files named .csv are often separated by tabs.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source
from adapters.national_dna_database.genotypes.layout import Family, Layout, find_layout, plain
from adapters.national_dna_database.genotypes.read import TableReader
from adapters.national_dna_database.genotypes.write import write_database, write_genemapper, write_long
from adapters.national_dna_database.profiles import profiles_of
from adapters.national_dna_database.rows import header_of, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapters.national_dna_database.genotypes.write import Named

_CODES: Final = {
    "HEADER_UNKNOWN": "the first row has no column of samples or of alleles in a known layout",
    "HEADER_REPEATED": "the first row names a column twice",
    "HEADER_TOO_WIDE": "the first row has too many columns",
}
_JOINED: Final = "SampleName"
"""How tables of other programs than GeneMapper write it. GeneMapper has a blank or a dot in it."""


class GenotypeTable:
    """An adapter of genotype tables. See the module.

    Args:
        name: of the adapter.
        media_type: of the files.
        suffix: of the files.
        families: layouts that it reads.
        owns: whether a file with this header, in this layout, belongs to this adapter and not to another one.
        write: turns profiles into a file.
    """

    decodes: Final = frozenset({"StrProfile"})
    encodes: Final = frozenset({"StrProfile"})

    def __init__(
        self,
        *,
        name: str,
        media_type: str,
        suffix: str,
        families: frozenset[Family],
        owns: Callable[[list[str]], bool],
        write: Callable[[Sequence[Named], IssueList], bytes],
    ) -> None:
        self.name = name
        self.media_type = media_type
        self.suffix = suffix
        self._families = families
        self._owns = owns
        self._write = write

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        header = header_of(content)
        layout = find_layout(header)
        return isinstance(layout, Layout) and layout.family in self._families and self._owns(header)

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        records: list[DecodedRecord] = []
        lines = rows(source.content, limits, issues)
        header = next(lines, None)
        layout = find_layout(header.cells) if header else "HEADER_UNKNOWN"
        if isinstance(layout, Layout) and layout.family not in self._families:
            layout = "HEADER_UNKNOWN"
        if isinstance(layout, Layout):
            _list_columns(layout, issues)
            reader = TableReader(layout, self.name, hashlib.sha256(source.content).digest(), limits, issues)
            if all(reader.row(row) for row in lines):
                records.extend(reader.profiles())
            if not records and not issues.items:
                issues.info("NO_RECORDS", "file", "the file has a header and no rows")
        elif not issues.items:
            issues.reject_file(layout, f"line {header.line if header else 1}", _CODES[layout])
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        issues = IssueList()
        return issues.encoded(self._write(profiles_of(records, limits, issues), issues), {})


def _list_columns(layout: Layout, issues: IssueList) -> None:
    if layout.kept:
        where = f"columns {_spans(list(layout.kept))}"
        issues.info("COLUMN_UNMAPPED", where, "a profile has no place for these columns; they are kept as unmapped")
    if layout.unread:
        where = f"columns {_spans(list(layout.unread))}"
        issues.info("COLUMN_NOT_READ", where, "columns that describe peaks or markers are left out")


def _spans(columns: list[int]) -> str:
    """Columns as ``1-3, 7``."""
    spans: list[list[int]] = []
    for column in columns:
        if spans and column == spans[-1][1] + 1:
            spans[-1][1] = column
        else:
            spans.append([column, column])
    return ", ".join(f"{first + 1}" if first == last else f"{first + 1}-{last + 1}" for first, last in spans)


def _of_genemapper(header: list[str]) -> bool:
    return _JOINED not in header and "specimenid" not in map(plain, header)


GENEMAPPER: Final = GenotypeTable(
    name="genemapper",
    media_type="text/tab-separated-values",
    suffix=".txt",
    families=frozenset({Family.LONG, Family.CELLS}),
    owns=_of_genemapper,
    write=write_genemapper,
)
GENOTYPE_CSV: Final = GenotypeTable(
    name="genotype-csv",
    media_type="text/csv",
    suffix=".csv",
    families=frozenset({Family.LONG, Family.CELLS}),
    owns=lambda header: not _of_genemapper(header),
    write=write_long,
)
DATABASE_CSV: Final = GenotypeTable(
    name="codis-db-csv",
    media_type="text/csv",
    suffix=".csv",
    families=frozenset({Family.FIELDS}),
    owns=lambda _: True,
    write=write_database,
)
