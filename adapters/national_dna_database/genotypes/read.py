"""Reads the rows of a genotype table into profiles, sample by sample.

Faults that make a profile uncertain are refused: an invalid allele, two rows that contradict each other, a row that is
cut off. An unknown locus is left out with a warning, because a profile with fewer loci is still true. Memory grows with
the profiles: a sample's rows need not be together, because GeneMapper can sort them in any way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from adapters.base import DecodedRecord, IssueList, Limits, Severity, provenance
from adapters.national_dna_database.codes import CATEGORIES, CONTROL, ROLE_OF_CATEGORY, SYSTEM
from adapters.national_dna_database.genotypes.call import EMPTY, read_alleles
from adapters.national_dna_database.genotypes.layout import Family, Layout, LocusColumns
from adapters.records.validate import check_record
from adapters.values.alleles import canonical_locus
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from adapters.national_dna_database.rows import Row

MAX_ISSUES: Final = 100_000
"""A file in which every cell is wrong need not be described to its end."""
CATEGORY_SYSTEM: Final = "GeneMapper"
"""The code table of a category that CODIS does not have."""
_NOT_A_SAMPLE: Final = frozenset({"allelicladder", "positivecontrol", "negativecontrol", "customcontrol", "blank"})
_NO_REMARK: Final = EMPTY | {"NONE"}


@dataclass(slots=True)
class _Sample:
    """The part of a profile that has been read so far."""

    profile: dna_pb2.StrProfile
    line: int
    calls: dict[str, dna_pb2.LocusCall] = field(default_factory=dict)
    overflowed: set[str] = field(default_factory=set)
    kept: set[tuple[str, str]] = field(default_factory=set)
    refused: bool = False


class TableReader:
    """Reads the rows below a header, then returns the profiles."""

    def __init__(self, layout: Layout, name: str, digest: bytes, limits: Limits, issues: IssueList) -> None:
        self._layout = layout
        self._name = name
        self._digest = digest
        self._limits = limits
        self._issues = issues
        self._samples: dict[str, _Sample] = {}
        self._controls: set[str] = set()

    def row(self, row: Row) -> bool:
        """Read a row. False if the whole file was refused; further rows are then useless."""
        name = self._cell(row, "sample")
        if not self._well_formed(row, name):
            self._refuse(name)
        elif not self._is_control(row, name):
            sample = self._sample(row, name)
            if sample is not None:
                self._facts(row, sample)
                for columns in self._layout.loci:
                    self._locus(row, columns, sample)
        if len(self._issues.items) > MAX_ISSUES:
            self._issues.reject_file("TOO_MANY_ISSUES", f"line {row.line}", f"more than {MAX_ISSUES} issues")
        return self._issues.items[-1:] == [] or self._issues.items[-1].severity is not Severity.REJECT_FILE

    def profiles(self) -> list[DecodedRecord]:
        """The profiles that can be used, in the order of the file."""
        found: list[DecodedRecord] = []
        for name, sample in self._samples.items():
            where = f"line {sample.line}"
            sample.profile.loci.extend(call for locus, call in sample.calls.items() if locus not in sample.overflowed)
            if sample.refused:
                continue
            if not sample.profile.loci:
                self._issues.reject_record("PROFILE_EMPTY", where, "the sample has no allele at any locus")
                continue
            if check_record(sample.profile, where, self._issues):
                found.append(DecodedRecord(sample.profile, name, where))
        return found

    def _cell(self, row: Row, role: str) -> str:
        column = self._layout.roles.get(role)
        return row.cells[column] if column is not None and column < len(row.cells) else ""

    def _well_formed(self, row: Row, name: str) -> bool:
        where, width = f"line {row.line}", self._layout.width
        if not row.cells or any(row.cells[width:]):
            self._issues.reject_record("ROW_MALFORMED", where, "not delimited text, or more cells than the header has")
        elif any(len(cell) > self._limits.field_characters for cell in row.cells):
            self._issues.reject_record(
                "FIELD_TOO_LONG", where, f"a cell has more than {self._limits.field_characters} characters"
            )
        elif len(row.cells) < width and not row.ended:
            # If a row is cut off between two alleles, a heterozygote would look like a homozygote.
            self._issues.reject_record("ROW_CUT_OFF", where, "the file ends within the row")
        elif not name:
            self._issues.reject_record("SAMPLE_NAME_MISSING", where, "the row does not name its sample")
        else:
            return True
        return False

    def _refuse(self, name: str) -> None:
        if name in self._samples:
            self._samples[name].refused = True
        elif name and len(self._samples) < self._limits.records:
            self._samples[name] = _Sample(dna_pb2.StrProfile(), 0, refused=True)

    def _is_control(self, row: Row, name: str) -> bool:
        kind = self._cell(row, "type")
        plain = kind.replace(" ", "").casefold()
        category = self._cell(row, "category")
        if plain not in _NOT_A_SAMPLE and not any(map(CONTROL.search, (kind, category, name))):
            return False
        if name not in self._controls and len(self._controls) < self._limits.records:
            self._controls.add(name)
            self._issues.info("CONTROL_SKIPPED", f"line {row.line}", "a ladder, control or proficiency test is skipped")
        return True

    def _sample(self, row: Row, name: str) -> _Sample | None:
        sample = self._samples.get(name)
        if sample is None:
            if len(self._samples) >= self._limits.records:
                self._issues.reject_file(
                    "TOO_MANY_RECORDS", f"line {row.line}", f"more than {self._limits.records} samples"
                )
                return None
            source = provenance(self._name, self._layout.family.value, name, self._digest)
            sample = _Sample(dna_pb2.StrProfile(barcode=name, provenance=source), row.line)
            self._samples[name] = sample
        elif self._layout.family is not Family.LONG:
            # A reader cannot decide which of two runs of a sample counts.
            self._issues.reject_record("SPECIMEN_REPEATED", f"line {row.line}", "two rows have the same sample")
            sample.refused = True
            return None
        return sample

    def _facts(self, row: Row, sample: _Sample) -> None:
        profile, category = sample.profile, self._cell(row, "category")
        facts = {
            "kit": self._cell(row, "kit"),
            "case_number": self._cell(row, "case"),
            "comment": "" if self._cell(row, "comment").upper() in _NO_REMARK else self._cell(row, "comment"),
        }
        for name, value in facts.items():
            if value.upper() in EMPTY or value == getattr(profile, name):
                continue
            if getattr(profile, name):
                self._keep(sample, name, value)
            else:
                setattr(profile, name, value)
        if category.upper() not in EMPTY and not profile.category.value:
            profile.category.system = SYSTEM if category in CATEGORIES else CATEGORY_SYSTEM
            profile.category.value = category
            profile.role = ROLE_OF_CATEGORY.get(category, dna_pb2.SAMPLE_ROLE_UNSPECIFIED)
        elif category.upper() not in EMPTY and profile.category.value != category:
            self._issues.reject_record("CATEGORY_CONTRADICTION", f"line {row.line}", "the sample has two categories")
            sample.refused = True
        for column, name in self._layout.kept.items():
            if column < len(row.cells) and row.cells[column].upper() not in EMPTY:
                self._keep(sample, name, row.cells[column])

    def _keep(self, sample: _Sample, path: str, value: str) -> None:
        if (path, value) not in sample.kept:
            sample.kept.add((path, value))
            sample.profile.provenance.unmapped.add(path=path, value=value)

    def _locus(self, row: Row, columns: LocusColumns, sample: _Sample) -> None:
        reported, where = columns.reported or self._cell(row, "marker"), f"line {row.line}"
        overflow = self._cell(row, "overflow").casefold() == "true"
        written = [(column, row.cells[column]) for column in columns.alleles if column < len(row.cells)]
        if not overflow and all(cell.upper() in EMPTY for _, cell in written):
            return
        locus = canonical_locus(reported)
        if locus is None:
            self._issues.warn("LOCUS_UNKNOWN", where, "the marker is not known here, and is left out")
            self._keep(sample, f"marker {reported}", ",".join(cell for _, cell in written if cell))
            return
        if overflow:
            self._issues.warn("ALLELES_NOT_SHOWN", where, "the marker has more alleles than are shown, and is left out")
            sample.overflowed.add(locus)
            sample.profile.partial = True
            return
        before = len(self._issues.items)
        alleles = read_alleles(locus, row, columns, self._layout.family, self._issues)
        refusals = (issue.severity is Severity.REJECT_RECORD for issue in self._issues.items[before:])
        sample.refused = any(refusals) or sample.refused
        if alleles:
            self._call(dna_pb2.LocusCall(locus=locus, reported_locus=reported, alleles=alleles), sample, where)

    def _call(self, call: dna_pb2.LocusCall, sample: _Sample, where: str) -> None:
        known = sample.calls.setdefault(call.locus, call)
        if known is call:
            return
        if _genotype(known) == _genotype(call):
            self._issues.info("LOCUS_REPEATED", where, "the marker is there twice, with the same alleles")
        else:
            self._issues.reject_record("LOCUS_CONTRADICTION", where, "the marker is there twice, with other alleles")
            sample.refused = True


def _genotype(call: dna_pb2.LocusCall) -> list[tuple[str, int]]:
    return sorted((allele.value, allele.operator) for allele in call.alleles)
