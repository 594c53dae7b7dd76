"""Writes genotype tables: GeneMapper's long table, ``SampleName,Marker,Allele1,...`` and a database's export.

Writing is strict: canonical alleles, at most eight of them, one spelling of each column. A profile is written whole or
refused. A locus with alleles that a table cannot state is left out with a warning, and so is every other field.
"""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from adapters.base import IssueList, Severity, populated
from adapters.national_dna_database.certainty import SINGLE_SOURCES, UNCERTAIN_LOCI
from adapters.national_dna_database.codes import CATEGORIES, MAX_ALLELES, ROLE_OF_CATEGORY, SYSTEM, cmf_category
from adapters.records.validate import check_record
from adapters.values.alleles import allele_text, canonical_locus
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Named: TypeAlias = tuple[str, dna_pb2.StrProfile]
"""A profile, and the locator of its record."""

_CATEGORY_SYSTEM: Final = "GeneMapper"
_FORMULA: Final = re.compile(r"(?!-[0-9]+\Z)[-=+@＝＋－＠]")
"""A cell that a spreadsheet computes. GeneMapper names samples -5649; this stays a number."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_FIELDS: Final = (2, 3, 4, 6, 8)
"""The numbers of columns that databases have for each locus."""
_FEWEST: Final = 2
_NOT_OF_TABLES: Final = frozenset({dna_pb2.ALLELE_OPERATOR_WILDCARD, dna_pb2.ALLELE_OPERATOR_RANGE})
_ALWAYS: Final = frozenset({"barcode", "loci", "provenance"})


class _Carried(NamedTuple):
    """The fields that a table has columns for, besides samples, markers and alleles."""

    fields: frozenset[str] = frozenset()
    heights: bool = False
    sequences: bool = False


def write_genemapper(records: Sequence[Named], issues: IssueList) -> bytes:
    """GeneMapper ID-X's long table, reduced to the columns of a profile, separated by tabs."""
    carried = _Carried(frozenset({"kit", "category.system", "category.value", "role"}), heights=True)
    numbers = range(1, MAX_ALLELES + 1)
    header = ["Sample Name", "Specimen Category", "Panel", "Marker"]
    header += [f"Allele {number}" for number in numbers] + [f"Height {number}" for number in numbers]
    rows: list[list[str]] = [header]
    for where, profile in _writable(records, carried, issues):
        category = _category(profile, where, issues)
        kit = _text(profile.kit, f"{where}.kit", issues)
        for call in _loci(profile, carried):
            alleles = [allele_text(allele) for allele in call.alleles]
            heights = [str(allele.peak_height or "") for allele in call.alleles]
            start = [profile.barcode, category, kit, _marker(call)]
            rows.append([*start, *_filled(alleles, MAX_ALLELES, ""), *_filled(heights, MAX_ALLELES, "")])
    return _written(rows, "\t")


def write_long(records: Sequence[Named], issues: IssueList) -> bytes:
    """One row for each marker, separated by commas. Sequenced alleles are not changed."""
    carried = _Carried(sequences=True)
    profiles = _writable(records, carried, issues)
    calls = [(profile.barcode, call) for _, profile in profiles for call in _loci(profile, carried)]
    width = max((len(call.alleles) for _, call in calls), default=_FEWEST)
    width = max(width, _FEWEST)
    rows = [["SampleName", "Marker", *(f"Allele{number + 1}" for number in range(width))]]
    for barcode, call in calls:
        rows.append([barcode, _marker(call), *_filled(map(allele_text, call.alleles), width, "")])
    return _written(rows, ",")


def write_database(records: Sequence[Named], issues: IssueList) -> bytes:
    """One row for each sample, with the same number of columns for each locus. NULL means nothing."""
    carried = _Carried()
    profiles = _writable(records, carried, issues)
    spellings: dict[str, str] = {}
    order: list[str] = []
    most = _FEWEST
    for where, profile in profiles:
        _merge_order(order, [call.locus for call in _loci(profile, carried)])
        for call in _loci(profile, carried):
            most = max(most, len(call.alleles))
            column = _marker(call).replace(" ", "_")
            if spellings.setdefault(call.locus, column) != call.reported_locus != "":
                _not_carried(f"{where}.loci.reported_locus", "a locus has one spelling in the whole file", issues)
    width = next(number for number in _FIELDS if number >= most)
    rows = [["specimenId", *(f"{spellings[locus]}_{number + 1}" for locus in order for number in range(width))]]
    for _, profile in profiles:
        calls = {call.locus: call for call in _loci(profile, carried)}
        cells = [
            _filled(map(allele_text, calls[locus].alleles if locus in calls else ()), width, "NULL") for locus in order
        ]
        rows.append([profile.barcode, *(cell for field in cells for cell in field)])
    return _written(rows, ",")


def _writable(records: Sequence[Named], carried: _Carried, issues: IssueList) -> list[Named]:
    seen: set[str] = set()
    found: list[Named] = []
    for where, profile in records:
        before = len(issues.items)
        check_record(profile, where, issues)
        name = profile.barcode
        if name in seen:
            issues.reject_record("SPECIMEN_REPEATED", where, "two records have the same specimen id")
        if _CONTROL.search(name) or name.strip() != name or _FORMULA.match(name):
            issues.reject_record(
                "SPECIMEN_ID_NOT_CARRIED", where, "a table would change the specimen id, or take it for a formula"
            )
        if any(len(call.alleles) > MAX_ALLELES for call in profile.loci):
            issues.reject_record("ALLELES_TOO_MANY", where, f"a locus has at most {MAX_ALLELES} alleles")
        if profile.source not in SINGLE_SOURCES:
            issues.reject_record(
                "SOURCE_NOT_CARRIED", where, "a table cannot state that a profile may be several people's"
            )
        if not _loci(profile, carried):
            issues.reject_record("NO_LOCUS_CARRIED", where, "the table can hold none of the profile's loci")
        if all(issue.severity is not Severity.REJECT_RECORD for issue in issues.items[before:]):
            seen.add(name)
            found.append((where, profile))
            _losses(profile, where, carried, issues)
    if not found:
        issues.reject_file("NO_SPECIMEN", "file", "a file must have at least one specimen")
    return found


def _losses(profile: dna_pb2.StrProfile, where: str, carried: _Carried, issues: IssueList) -> None:
    for path in sorted(populated(profile)):
        if path.split(".")[0] not in _ALWAYS and path not in carried.fields:
            _not_carried(f"{where}.{path}", "the table has no column for this field", issues)
    if profile.provenance.unmapped:
        _not_carried(f"{where}.provenance.unmapped", "the table has no column for it", issues)
    for number, call in enumerate(profile.loci):
        place = f"{where}.loci[{number}]"
        if not _holds(call, carried):
            issues.warn("LOCUS_NOT_CARRIED", place, "the table cannot state this locus, its alleles, or its quality")
            continue
        for name in sorted(_lost(call, carried)):
            _not_carried(f"{place}.{name}", "the table has no column for this field", issues)


def _lost(call: dna_pb2.LocusCall, carried: _Carried) -> set[str]:
    lost = populated(call) - {"locus", "reported_locus", "alleles"}
    if call.reported_locus and canonical_locus(call.reported_locus) != call.locus:
        lost.add("reported_locus")
    if any(allele.reported not in {"", allele_text(allele)} for allele in call.alleles):
        lost.add("alleles.reported")
    if any(allele.required for allele in call.alleles):
        lost.add("alleles.required")
    if not carried.heights and any(allele.peak_height for allele in call.alleles):
        lost.add("alleles.peak_height")
    return lost


def _holds(call: dna_pb2.LocusCall, carried: _Carried) -> bool:
    operators = {allele.operator for allele in call.alleles}
    if dna_pb2.ALLELE_OPERATOR_SEQUENCE in operators and not carried.sequences:
        return False
    return bool(call.locus) and call.quality not in UNCERTAIN_LOCI and not operators & _NOT_OF_TABLES


def _loci(profile: dna_pb2.StrProfile, carried: _Carried) -> list[dna_pb2.LocusCall]:
    return [call for call in profile.loci if _holds(call, carried)]


def _marker(call: dna_pb2.LocusCall) -> str:
    """The source's spelling if it is known, so that it matches its own panel again."""
    return call.reported_locus if canonical_locus(call.reported_locus) == call.locus else call.locus


def _category(profile: dna_pb2.StrProfile, where: str, issues: IssueList) -> str:
    value = profile.category.value
    category = value or (cmf_category("", profile.role) if profile.role else "")
    if category != value or ROLE_OF_CATEGORY.get(category, dna_pb2.SAMPLE_ROLE_UNSPECIFIED) != profile.role:
        _not_carried(f"{where}.role", "the table states a role only by a category", issues)
    if profile.category.system not in {"", SYSTEM if value in CATEGORIES else _CATEGORY_SYSTEM}:
        _not_carried(f"{where}.category.system", "the table does not name the code table of a category", issues)
    return _text(category, f"{where}.category.value", issues)


def _text(text: str, where: str, issues: IssueList) -> str:
    """The text if it stays one cell and is not a formula, or else an empty text."""
    if _CONTROL.search(text) or text.strip() != text or _FORMULA.match(text):
        _not_carried(where, "a table would change the text, or take it for a formula", issues)
        return ""
    return text


def _merge_order(order: list[str], loci: Iterable[str]) -> None:
    """Add loci to an order so that each profile's own order is kept, if the profiles agree."""
    place = 0
    for locus in loci:
        if locus not in order:
            order.insert(place, locus)
        place = order.index(locus) + 1


def _filled(cells: Iterable[str], width: int, empty: str) -> list[str]:
    found = list(cells)
    return found + [empty] * (width - len(found))


def _written(rows: Iterable[Sequence[str]], delimiter: str) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter).writerows(rows)
    return text.getvalue().encode()


def _not_carried(where: str, message: str, issues: IssueList) -> None:
    issues.warn("FIELD_NOT_CARRIED", where, message)
