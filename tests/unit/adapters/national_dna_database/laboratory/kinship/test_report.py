"""What a person reads and what a program reads of one comparison: every locus, with its figure or why it has none."""

from __future__ import annotations

import json
import math

from adapters.national_dna_database.laboratory.kinship.comparison import Comparison, LocusEvidence, Verdict
from adapters.national_dna_database.laboratory.kinship.ratios import Question, Trio
from adapters.national_dna_database.laboratory.kinship.report import comparison_facts, comparison_lines
from adapters.national_dna_database.laboratory.kinship.typings import Unused

CHILD, FATHER, MOTHER = ("7", "9.3"), ("9.3", "9.3"), ("6", "7")
EVIDENCE = (
    LocusEvidence("CSF1PO", unused=Unused.NOT_TYPED),
    LocusEvidence("FGA", Trio(CHILD, FATHER, None), 0.00123456789, mismatched=True, least_frequency=True),
    LocusEvidence("TH01", Trio(CHILD, FATHER, MOTHER), 12.5),
    LocusEvidence("TPOX", Trio(CHILD, None, MOTHER), 0.5, mismatched=True),
    LocusEvidence("vWA", Trio(CHILD, FATHER, MOTHER), unused=Unused.OTHER_PARENT_IMPOSSIBLE),
    LocusEvidence("D8S1179", Trio(CHILD, FATHER, MOTHER), 2.0, least_frequency=True),
)


def comparison(log10_ratio: float) -> Comparison:
    return Comparison(Question.OTHER_PARENT, EVIDENCE, 4, 2, log10_ratio, Verdict.INCONCLUSIVE)


def test_every_locus_has_its_line_and_the_figure_stands_last() -> None:
    assert list(comparison_lines(comparison(3.5))) == [
        f"CSF1PO     not used: {Unused.NOT_TYPED.value}",
        "FGA        7/9.3        9.3/9.3      0.00123457   against inheritance, least frequency used",
        "TH01       7/9.3        9.3/9.3      6/7          12.5",
        "TPOX       7/9.3        6/7          0.5          against inheritance",
        f"vWA        not used: {Unused.OTHER_PARENT_IMPOSSIBLE.value}",
        "D8S1179    7/9.3        9.3/9.3      6/7          2            least frequency used",
        "loci compared: 4, against inheritance: 2",
        "combined likelihood ratio (other parent): 3.162e+3",
        f"verdict: {Verdict.INCONCLUSIVE.value}",
    ]


def test_the_facts_say_of_every_locus_what_the_lines_say() -> None:
    facts = comparison_facts(comparison(3.5))
    assert {name: value for name, value in facts.items() if name != "loci"} == {
        "question": "other parent",
        "likelihood_ratio": "3.162e+3",
        "log10_likelihood_ratio": 3.5,
        "loci_compared": 4,
        "loci_mismatched": 2,
        "verdict": Verdict.INCONCLUSIVE.value,
    }
    assert [item["locus"] for item in facts["loci"]] == [item.locus for item in EVIDENCE]
    assert facts["loci"][0] == {"locus": "CSF1PO", "unused": "NOT_TYPED"}
    assert facts["loci"][4] == {"locus": "vWA", "unused": "OTHER_PARENT_IMPOSSIBLE"}
    assert facts["loci"][1] == {
        "locus": "FGA",
        "child": ["7", "9.3"],
        "father": ["9.3", "9.3"],
        "mother": None,
        "likelihood_ratio": 0.00123456789,
        "mismatched": True,
        "least_frequency": True,
    }
    assert (facts["loci"][3]["father"], facts["loci"][3]["mother"]) == (None, ["6", "7"])
    assert [(item["mismatched"], item["least_frequency"]) for item in facts["loci"][2:4]] == [
        (False, False),
        (True, False),
    ]


def test_what_is_impossible_has_the_ratio_0_and_json_that_every_program_reads() -> None:
    facts = comparison_facts(comparison(-math.inf))
    assert (facts["likelihood_ratio"], facts["log10_likelihood_ratio"]) == ("0", None)
    json.dumps(facts, allow_nan=False)
    assert "combined likelihood ratio (other parent): 0" in list(comparison_lines(comparison(-math.inf)))
