"""The likelihood ratios of an independent engine, where its table is present: all of them, to nine digits."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from adapters.alleles import canonical_locus
from adapters.national_dna_database.kinship.frequencies import FrequencyTable, parse_table
from adapters.national_dna_database.kinship.mutation import Kind, MutationModel, Sex
from adapters.national_dna_database.kinship.ratios import Genotype, LocusRatios, Question, Trio

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"
REFERENCE = SAMPLES / "kinship" / "reference_lrs.tsv"
PUBLISHED = SAMPLES / "allele-freq" / "china-59loci-frequency.yml"
pytestmark = pytest.mark.skipif(not REFERENCE.is_file(), reason="the third-party samples are not beside the project")


def published_table() -> FrequencyTable:
    """The published frequencies, read as a laboratory would transcribe them; SE33's do not add up to 1."""
    lines = ['name = "third-party sample"', 'source = "beside the project"', "individuals = 10000"]
    for line in PUBLISHED.read_text(encoding="utf-8").splitlines():
        if line.endswith(":") and not line.startswith("#"):
            lines.append(f'[loci."{canonical_locus(line[:-1]) or line[:-1]}"]')
        elif ":" in line and not line.startswith("#"):
            allele, share = (part.strip() for part in line.split(":"))
            lines.append(f'"{allele}" = {float(share)}')
    blocks = "\n".join(lines).split("[loci.")
    known = [block for block in blocks[1:] if canonical_locus(block.split('"')[1]) not in {None, "SE33"}]
    return parse_table("[loci.".join([blocks[0], *known]).encode())


def genotype(text: str) -> Genotype | None:
    if text == "-":
        return None
    first, second = text.split("/")
    return first, second


def rows() -> list[dict[str, str]]:
    if not REFERENCE.is_file():
        return []
    with REFERENCE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_the_reference_has_its_26_cases() -> None:
    assert len(rows()) == 26


@pytest.mark.parametrize("row", rows(), ids=[" ".join(list(row.values())[:5]) for row in rows()])
def test_a_case_has_the_ratio_of_the_independent_engine(row: dict[str, str]) -> None:
    rate = float(row["rate"])
    mutation = MutationModel(Kind(row["model"].lower()), rate, rate)
    child, father, mother = (genotype(row[name]) for name in ("child", "father", "mother"))
    assert child is not None
    question = Question.PARENT if mother is None else Question.OTHER_PARENT
    found = LocusRatios(published_table(), mutation).ratio(
        canonical_locus(row["locus"]) or "", question, Sex.FATHER, Trio(child, father, mother)
    )
    assert found is not None
    for column in ("lr_closed_form", "lr_familias_engine"):
        assert math.isclose(found, float(row[column]), rel_tol=1e-9, abs_tol=1e-12)
