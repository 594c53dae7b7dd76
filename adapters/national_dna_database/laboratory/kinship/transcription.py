"""Turns a published table of allele frequencies into the file that this laboratory uses.

It reads the four layouts that publications and programs use:

- a matrix: a row for each allele, a column for each locus, separated by commas, semicolons or tabs; with the columns
  ``Database`` and ``N`` it has several populations;
- blocks: a line with a locus, then lines with an allele and its frequency;
- the same as nested keys: ``TH01:``, then ``9.3: 0.036``;
- the XML that STRidER and STRBASE export: markers, populations ("origin") with their sizes, frequencies.

The numbers are not changed. A locus that is not reliable is left out, with the reason.
"""

from __future__ import annotations

import csv
import io
import math
import re
from typing import TYPE_CHECKING, Final, NamedTuple

import tomli_w

from adapters.base import IssueList, Limits
from adapters.national_dna_database.laboratory.kinship.frequencies import AUTOSOMAL, LEAST_INDIVIDUALS, SUM_TOLERANCE
from adapters.syntax.hardened_xml import child_text, children, parse_xml, text_of
from adapters.values.alleles import canonical_locus, parse_allele
from broker.core.errors import InputRefused
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from lxml import etree

_COLUMN_ALLELE: Final = "allele"
_COLUMN_POPULATION: Final = "database"
_COLUMN_INDIVIDUALS: Final = "n"
_SEPARATORS: Final = "\t;,"
_LINE: Final = re.compile(r"(?P<first>[^:]+?)(?:\s*:\s*|\s+)(?P<share>[0-9.,eE+-]+)")


class Figure(NamedTuple):
    """One published frequency. ``individuals`` is zero if the table does not say how many people were typed."""

    locus: str
    allele: str
    share: str
    population: str = ""
    individuals: int = 0


class Transcription(NamedTuple):
    """Frequencies by a locus's usual name, people typed for each, and the loci that were left out, with the reason."""

    loci: dict[str, dict[str, float]]
    individuals: dict[str, int]
    left_out: tuple[tuple[str, str], ...]


def transcribe(content: bytes, *, population: str, individuals: int) -> Transcription:
    """Read a published table.

    Args:
        content: the file, UTF-8.
        population: the population to use if the table has several; "" if it has one.
        individuals: people typed, if the table does not state it; 0 if it does.

    Raises:
        InputRefused: it has none of the layouts, it has several populations but not this one, or it does not state how
            many people were typed.
    """
    figures = list(_figures(content))
    if not figures:
        message = "the file is not a table of allele frequencies in a layout that is read here"
        raise InputRefused(message)
    populations = {figure.population for figure in figures}
    if populations != {population}:
        if population not in populations:
            message = f"the table has several populations; name one of them: {', '.join(sorted(populations))}"
            raise InputRefused(message)
        figures = [figure for figure in figures if figure.population == population]
    loci: dict[str, dict[str, float]] = {}
    typed: dict[str, int] = {}
    left_out: list[tuple[str, str]] = []
    for published, found in _by_locus(figures).items():
        read = _locus(published, found)
        people = found[0].individuals or individuals
        if isinstance(read, str):
            left_out.append((published, read))
        elif people < LEAST_INDIVIDUALS:
            left_out.append((published, f"has fewer than {LEAST_INDIVIDUALS} typed people, or no stated number"))
        elif (name := canonical_locus(published) or "") in loci:
            left_out.append((published, "is there twice, in different spellings"))
        else:
            loci[name], typed[name] = read, people
    if not loci:
        message = f"no locus of the table can be used; the first one {left_out[0][1]}"
        raise InputRefused(message)
    return Transcription(loci, typed, tuple(left_out))


def table_file(found: Transcription, name: str, source: str) -> bytes:
    """The file that ``parse_table`` reads."""
    usual = max(found.individuals.values())
    table = {
        "name": name,
        "source": source,
        "individuals": usual,
        "individuals_by_locus": {locus: people for locus, people in found.individuals.items() if people != usual},
        "loci": {locus: dict(sorted(of.items(), key=lambda item: float(item[0]))) for locus, of in found.loci.items()},
    }
    return tomli_w.dumps(table).encode()


def _figures(content: bytes) -> Iterator[Figure]:
    limits = Limits()
    if len(content) > limits.bytes:
        message = f"the table is larger than {limits.bytes} bytes"
        raise InputRefused(message)
    if content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        root = parse_xml(content, limits, IssueList())
        return iter(()) if root is None else _of_xml(root)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return iter(())
    head = text.partition("\n")[0]
    for separator in _SEPARATORS:
        if _COLUMN_ALLELE in {cell.strip(' "\r').casefold() for cell in head.split(separator)}:
            return _of_matrix(text, separator)
    return _of_lines(text.splitlines())


def _of_xml(root: etree._Element) -> Iterator[Figure]:
    for marker in children(root, "marker"):
        locus = child_text(marker, "name")
        for origin in children(marker, "origin"):
            people = origin.get("n", "")
            for frequency in children(origin, "frequency"):
                yield Figure(
                    locus,
                    frequency.get("allele", ""),
                    text_of(frequency),
                    origin.get("name", ""),
                    int(people) if people.isdecimal() else 0,
                )


def _of_matrix(text: str, separator: str) -> Iterator[Figure]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header = [cell.strip() for cell in next(rows)]
        for row in rows:
            # Pair by pair: if a locus has two columns, its alleles are there twice, and it is left out.
            cells = [(name, cell.strip()) for name, cell in zip(header, row, strict=False)]
            apart = {name.casefold(): value for name, value in cells}
            people = apart.get(_COLUMN_INDIVIDUALS, "")
            for locus, share in cells:
                if share and locus.casefold() not in {_COLUMN_ALLELE, _COLUMN_POPULATION, _COLUMN_INDIVIDUALS}:
                    yield Figure(
                        locus,
                        apart.get(_COLUMN_ALLELE, ""),
                        share,
                        apart.get(_COLUMN_POPULATION, ""),
                        int(people) if people.isdecimal() else 0,
                    )
    except csv.Error as error:
        message = "the table is not comma-separated text"
        raise InputRefused(message) from error


def _of_lines(lines: Iterable[str]) -> Iterator[Figure]:
    locus = ""
    for line in (line.strip() for line in lines):
        if not line or line.startswith("#"):
            continue
        figure = _LINE.fullmatch(line)
        if figure is None or (not locus and canonical_locus(line.rstrip(":"))):
            locus = line.rstrip(":")
        elif locus:
            yield Figure(locus, figure["first"].strip("\"'"), figure["share"])


def _by_locus(figures: Iterable[Figure]) -> dict[str, list[Figure]]:
    found: dict[str, list[Figure]] = {}
    for figure in figures:
        found.setdefault(figure.locus, []).append(figure)
    return found


def _locus(published: str, figures: list[Figure]) -> dict[str, float] | str:
    """The frequencies of a locus, or the reason why it is left out."""
    name = canonical_locus(published)
    if name not in AUTOSOMAL:
        return "is not an autosomal locus that is known here"
    shares: dict[str, float] = {}
    for figure in figures:
        parsed = parse_allele(name, figure.allele)
        try:
            share = float(figure.share)
        except ValueError:
            return "has a frequency that is not a number"
        if share == 0:
            continue
        if parsed is None or parsed.operator != dna_pb2.ALLELE_OPERATOR_EQUAL or parsed.value in shares:
            return "has an invalid allele, or one allele twice"
        if not 0 < share < 1:
            return "has a frequency that is not between 0 and 1"
        shares[parsed.value] = share
    total = math.fsum(shares.values())
    if abs(total - 1) > SUM_TOLERANCE:
        return f"has frequencies that add up to {total:.3f}"
    return shares
