from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.values.alleles import (
    AMELOGENIN,
    CHINESE_KITS,
    CODIS_20,
    UNNAMED,
    Y_LOCI,
    allele_order,
    allele_text,
    canonical_locus,
    is_canonical,
    parse_allele,
    parse_range,
    parse_sequenced_allele,
)
from caseexchange.records.v1 import dna_pb2

SEQUENCE = dna_pb2.ALLELE_OPERATOR_SEQUENCE
RANGE, VARIANT = dna_pb2.ALLELE_OPERATOR_RANGE, dna_pb2.ALLELE_OPERATOR_UNKNOWN_VARIANT
EQUAL, BELOW, ABOVE = dna_pb2.ALLELE_OPERATOR_EQUAL, dna_pb2.ALLELE_OPERATOR_BELOW, dna_pb2.ALLELE_OPERATOR_ABOVE


@pytest.mark.parametrize(
    ("locus", "text", "value", "operator"),
    [
        ("TH01", "9.3", "9.3", EQUAL),
        ("TH01", " 9,3 ", "9.3", EQUAL),
        ("TH01", "09", "9", EQUAL),
        ("FGA", "46.2", "46.2", EQUAL),
        ("FGA", "<6", "6", BELOW),
        ("FGA", "< 6.2", "6.2", BELOW),
        ("FGA", "6<", "6", BELOW),
        ("FGA", ">15", "15", ABOVE),
        ("FGA", "15>", "15", ABOVE),
        ("Penta E", "15.4", "15.4", EQUAL),
        ("vWA", "OL", "", dna_pb2.ALLELE_OPERATOR_OFF_LADDER),
        ("vWA", "*", "", dna_pb2.ALLELE_OPERATOR_WILDCARD),
        (AMELOGENIN, "x", "X", EQUAL),
        (AMELOGENIN, "Y", "Y", EQUAL),
    ],
)
def test_an_allele_is_read_in_its_spellings(locus: str, text: str, value: str, operator: int) -> None:
    assert parse_allele(locus, text) == (value, operator)


@pytest.mark.parametrize(
    ("locus", "text"),
    [
        ("TH01", ""),
        ("TH01", "0"),
        ("TH01", "<0"),
        ("TH01", "00.1"),
        ("TH01", "9.4"),
        ("TH01", "9."),
        ("TH01", ".3"),
        ("TH01", "100"),
        ("TH01", "-9"),
        ("TH01", "9e1"),
        ("TH01", "11.333:5"),
        ("TH01", "15_14_1_0"),
        ("TH01", "<>9"),
        ("TH01", "<9>"),
        ("TH01", "<"),
        ("TH01", "X"),
        ("TH01", "9\n10"),
        (AMELOGENIN, "9"),
        (AMELOGENIN, "OL"),
        (AMELOGENIN, "XY"),
        ("Penta E", "15.5"),
    ],
)
def test_what_is_no_allele_of_a_locus_is_not_read_as_one(locus: str, text: str) -> None:
    assert parse_allele(locus, text) is None


@pytest.mark.parametrize(
    ("text", "value"), [("9.30", "9.3"), ("9,30", "9.3"), ("10.0", "10"), ("10.00", "10"), ("09.10", "9.1")]
)
def test_zeros_that_an_export_filled_up_with_say_nothing(text: str, value: str) -> None:
    assert parse_allele("TH01", text) == (value, EQUAL)


@pytest.mark.parametrize("text", ["9.300", "9.03", "10.000", "0.0", "9.40"])
def test_other_zeros_are_no_filling(text: str) -> None:
    assert parse_allele("TH01", text) is None


@pytest.mark.parametrize(("text", "value"), [("12.X", "12"), ("9,x", "9"), (" 09.X ", "9")])
def test_an_unknown_part_of_a_repeat_is_told_apart_from_none(text: str, value: str) -> None:
    assert parse_allele("FGA", text) == (value, VARIANT)
    assert is_canonical("FGA", dna_pb2.Allele(value=value, operator=VARIANT))
    assert allele_text(dna_pb2.Allele(value=value, operator=VARIANT)) == f"{value}.X"


@pytest.mark.parametrize("text", ["X.X", "0.X", "12.XX", "12.3.X", ".X", "<12.X", "123.X"])
def test_not_everything_with_an_x_is_an_unknown_variant(text: str) -> None:
    assert parse_allele("FGA", text) is None


@pytest.mark.parametrize("text", ["0", "o", "F", "r", "na", "NR", "un"])
def test_another_systems_wild_cards_are_no_alleles(text: str) -> None:
    assert parse_allele("TH01", text) is None


def test_a_range_has_two_numbers_in_order() -> None:
    assert parse_range("FGA", "09", "12,2") == ("9", "12.2")
    assert [
        parse_range("FGA", *ends) for ends in (("12", "9"), ("9", "9"), ("9", ""), ("<9", "12"), ("9.2", "9.1"))
    ] == [None] * 5
    assert parse_range("FGA", "9" * 65, "12") is None
    assert is_canonical("FGA", dna_pb2.Allele(value="9", value_to="12.2", operator=RANGE))
    assert not is_canonical("FGA", dna_pb2.Allele(value="9", operator=RANGE))
    assert not is_canonical("FGA", dna_pb2.Allele(value="9", value_to="12", operator=EQUAL))
    assert allele_text(dna_pb2.Allele(value="9", value_to="12.2", operator=RANGE)) == "9-12.2"


@pytest.mark.parametrize("text", ["X", "y", "15.4", "9.3", "<6"])
def test_a_locus_of_which_a_number_alone_is_known_may_have_the_alleles_of_any(text: str) -> None:
    assert parse_allele(UNNAMED, text) is not None


def test_alleles_are_sorted_as_numbers_between_those_beyond_the_ladder() -> None:
    texts = ["<6", "<7", "6", "9", "9.1", "9.3", "10", "12.X", "13", ">13", ">15", "15_14_1_0", "OL", "*"]
    alleles = []
    for text in texts:
        parsed = parse_sequenced_allele("FGA", text)
        assert parsed is not None
        alleles.append(dna_pb2.Allele(value=parsed.value, operator=parsed.operator))
    alleles.reverse()
    assert [allele_text(allele) for allele in sorted(alleles, key=allele_order)] == texts
    sexes = [dna_pb2.Allele(value=value, operator=EQUAL) for value in ("Y", "X")]
    assert [allele.value for allele in sorted(sexes, key=allele_order)] == ["X", "Y"]


@pytest.mark.parametrize("text", ["15_14_1_0", "8_8", "16.3_11_1_0", "12.2_11_0_0"])
def test_a_sequenced_allele_keeps_its_text_and_is_no_number(text: str) -> None:
    assert parse_sequenced_allele("D1S1656", f" {text} ") == (text, SEQUENCE)
    assert is_canonical("D1S1656", dna_pb2.Allele(value=text, operator=SEQUENCE))
    assert not is_canonical("D1S1656", dna_pb2.Allele(value=text, operator=EQUAL))
    assert parse_allele("D1S1656", text) is None


@pytest.mark.parametrize("text", ["_8", "8_", "8__8", "8_x", "8_" * 20 + "8", "AATG_8"])
def test_not_everything_with_an_underscore_is_a_sequenced_allele(text: str) -> None:
    assert parse_sequenced_allele("TPOX", text) is None


def test_a_source_that_may_write_sequenced_alleles_may_write_any_other_too() -> None:
    assert parse_sequenced_allele("TH01", "9.3") == ("9.3", EQUAL)
    assert parse_sequenced_allele(AMELOGENIN, "X") == ("X", EQUAL)
    assert parse_sequenced_allele(AMELOGENIN, "8_8") is None


@pytest.mark.parametrize(
    ("value", "operator"),
    [("09", EQUAL), ("<6", EQUAL), ("9.3", SEQUENCE), ("9", dna_pb2.ALLELE_OPERATOR_OFF_LADDER), ("9", 0), ("", EQUAL)],
)
def test_an_allele_that_no_reader_makes_is_not_canonical(
    value: str, operator: dna_pb2.AlleleOperator.ValueType
) -> None:
    assert not is_canonical("TH01", dna_pb2.Allele(value=value, operator=operator))


@given(st.integers(1, 99), st.sampled_from(["", ".1", ".2", ".3"]), st.sampled_from([EQUAL, BELOW, ABOVE]))
def test_a_canonical_allele_is_written_and_read_again(
    whole: int, part: str, operator: dna_pb2.AlleleOperator.ValueType
) -> None:
    allele = dna_pb2.Allele(value=f"{whole}{part}", operator=operator)
    assert parse_allele("FGA", allele_text(allele)) == (allele.value, operator)


def test_a_text_that_is_far_too_long_is_no_allele_and_costs_no_time() -> None:
    assert parse_allele("TH01", "1" + " " * 20_000_000 + "1") is None
    assert parse_allele("TH01", "9" * 65) is None


@given(st.text(max_size=12))
def test_any_text_is_an_allele_or_none(text: str) -> None:
    parsed = parse_allele("FGA", text)
    if parsed is not None:
        written = allele_text(dna_pb2.Allele(value=parsed.value, operator=parsed.operator))
        assert parse_allele("FGA", written) == parsed


@pytest.mark.parametrize(
    ("spelling", "locus"),
    [
        ("AMEL", AMELOGENIN),
        ("amelogenin", AMELOGENIN),
        ("THO1", "TH01"),
        ("TP0X", "TPOX"),
        ("VWA", "vWA"),
        ("PENTA_D", "Penta D"),
        ("PentaE", "Penta E"),
        ("DYS389 I", "DYS389I"),
        ("DYS385 a/b", "DYS385"),
        ("YGATAH4", "Y GATA H4"),
        ("D6S1043", "D6S1043"),
        ("TH 01", "TH01"),
        ("F13A1", "F13A01"),
        ("FES_FPS", "FESFPS"),
        ("FES/FPS", "FESFPS"),
    ],
)
def test_a_locus_is_known_by_its_spellings(spelling: str, locus: str) -> None:
    assert canonical_locus(spelling) == locus


@pytest.mark.parametrize("locus", [AMELOGENIN, *CODIS_20, *CHINESE_KITS, *Y_LOCI])
def test_the_usual_name_of_a_locus_is_its_own_canonical_name(locus: str) -> None:
    assert canonical_locus(locus) == locus


@pytest.mark.parametrize("name", ["", "BAD1", "D21S12", "D2S", "TH0l"])
def test_a_name_that_is_no_locus_is_not_taken_for_one(name: str) -> None:
    assert canonical_locus(name) is None
