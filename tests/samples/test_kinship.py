"""The likelihood ratios of an independent program, if its table is present: all of them, to nine digits."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from adapters.national_dna_database.laboratory.kinship.frequencies import FrequencyTable, parse_table
from adapters.national_dna_database.laboratory.kinship.mutation import Kind, MutationModel, Sex
from adapters.national_dna_database.laboratory.kinship.ratios import Genotype, LocusRatios, Question, Trio
from adapters.national_dna_database.laboratory.kinship.transcription import table_file, transcribe
from adapters.values.alleles import canonical_locus

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"
REFERENCE = SAMPLES / "kinship" / "reference_lrs.tsv"
PUBLISHED = SAMPLES / "allele-freq" / "china-59loci-frequency.yml"
pytestmark = pytest.mark.skipif(not REFERENCE.is_file(), reason="the third-party samples are not beside the project")


def published_table() -> FrequencyTable:
    """The published frequencies, transcribed as a laboratory would do it. Those of SE33 do not add up to 1."""
    found = transcribe(PUBLISHED.read_bytes(), population="", individuals=10_000)
    assert dict(found.left_out)["SE33"] == "has frequencies that add up to 0.954"
    return parse_table(table_file(found, "third-party sample", "beside the project"))


@pytest.mark.parametrize(
    ("name", "population", "loci", "left_out"),
    [
        ("china-59loci-frequency.yml", "", 32, 27),
        ("dvir-codis.txt", "", 13, 0),
        ("euroformix-GF_freq.csv", "", 21, 0),
        ("euroformix-Identifiler_NIST.csv", "", 15, 0),
        ("STRBASE_frequencies_2015-02-09_Europe.csv", "", 16, 0),
        ("strider-style-frequencies_STRBASE.xml", "BELGIUM", 16, 0),
        ("strvalidator-database.txt", "SGM Norway", 10, 1),
    ],
)
def test_every_published_table_can_be_transcribed(name: str, population: str, loci: int, left_out: int) -> None:
    found = transcribe((SAMPLES / "allele-freq" / name).read_bytes(), population=population, individuals=500)
    assert (len(found.loci), len(found.left_out)) == (loci, left_out)
    assert len(parse_table(table_file(found, name, "beside the project")).loci) == loci


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
