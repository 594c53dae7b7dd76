"""Heights and weights in every unit that the formats use, and none that has to be guessed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.values.measures import Reading, measure_text, number_text, parse_height, parse_weight
from caseexchange.records.v1 import common_pb2


@pytest.mark.parametrize(
    ("text", "centimetres"),
    [
        ("132cm", 132),
        ("132 CM", 132),
        ("132厘米", 132),
        ("132公分", 132),
        ("１３２厘米", 132),
        ("132㎝", 132),
        ("1.32m", 132),
        ("1.32 米", 132),
        ("1,32 m", 132),
        ("1米32", 132),
        ("1米3", 130),
        ("1米05", 105),
        ("1 m 5 cm", 105),
        ("1320 mm", 132),
        ("3'0\"", 91.44),
        ("3′0″", 91.44),
        ("3’0”", 91.44),
        ("3' 0''", 91.44),
        ("5 ft 2 in", 157.48),
        ("5 ft. 2 in.", 157.48),
        ("5feet2inches", 157.48),
        ("5'2", 157.48),
        ("5'2.5\"", 158.75),
        ("5 ft", 152.4),
        ('62"', 157.48),
        ("62 inches", 157.48),
        ("52 INH", 132.08),
    ],
)
def test_a_height_with_its_unit_is_read_in_centimetres(text: str, centimetres: float) -> None:
    measure = common_pb2.Measure(value=centimetres, unit="cm", original_text=text)
    assert parse_height(text) == Reading(measure, "", "")


@pytest.mark.parametrize(
    ("text", "kilograms"),
    [
        ("28kg", 28),
        ("28公斤", 28),
        ("28 千克", 28),
        ("28.5 KG", 28.5),
        ("56斤", 28),
        ("55市斤", 27.5),
        ("62 lb", 28.12),
        ("62lbs.", 28.12),
        ("62 LBR", 28.12),
        ("7 lb 3 oz", 3.26),
        ("3200 g", 3.2),
        ("3200克", 3.2),
    ],
)
def test_a_weight_with_its_unit_is_read_in_kilograms(text: str, kilograms: float) -> None:
    measure = common_pb2.Measure(value=kilograms, unit="kg", original_text=text)
    assert parse_weight(text) == Reading(measure, "", "")


@pytest.mark.parametrize(
    ("text", "unit", "value", "original"),
    [
        ("48", "in", 121.92, "48 in"),
        ("48", "INH", 121.92, "48 INH"),
        ("132", "cm", 132, "132 cm"),
        ("1.32", "m", 132, "1.32 m"),
        ("132cm", "CMT", 132, "132cm"),
        ("4'0\"", "in", 121.92, "4'0\""),
    ],
)
def test_a_unit_that_the_format_states_is_part_of_what_the_source_said(
    text: str, unit: str, value: float, original: str
) -> None:
    found = parse_height(text, unit)
    assert found == Reading(common_pb2.Measure(value=value, unit="cm", original_text=original), "", "")


@pytest.mark.parametrize("text", ["132", "1.32", "48", "400"])
def test_a_number_without_a_unit_stays_text(text: str) -> None:
    found = parse_height(text)
    assert (found.read, found.code, found.measure.original_text) == (False, "HEIGHT_UNIT_MISSING", text)
    assert parse_weight(text).code == "WEIGHT_UNIT_MISSING"


@pytest.mark.parametrize(("text", "centimetres"), [("400", 121.92), ("311", 119.38), ("502", 157.48), ("711", 241.3)])
def test_three_digits_are_feet_and_inches_where_the_format_is_one_of_ncic(text: str, centimetres: float) -> None:
    found = parse_height(text, ncic=True)
    assert (found.measure.value, found.measure.unit, found.code) == (centimetres, "cm", "HEIGHT_NCIC")
    assert found.measure.original_text == text


@pytest.mark.parametrize("text", ["100", "108", "111", "200", "211"])
def test_three_digits_that_may_as_well_be_centimetres_stay_text(text: str) -> None:
    found = parse_height(text, ncic=True)
    assert (found.read, found.code) == (False, "HEIGHT_AMBIGUOUS")


@pytest.mark.parametrize("text", ["412", "0400", "40", "999"])
def test_digits_that_are_no_feet_and_inches_are_not_taken_for_them(text: str) -> None:
    assert parse_height(text, ncic=True).code == "HEIGHT_UNIT_MISSING"


def test_a_stated_unit_outweighs_the_ncic_way() -> None:
    assert parse_height("400", "cm", ncic=True).code == "HEIGHT_IMPLAUSIBLE"
    assert parse_height("108", "cm", ncic=True).measure.value == 108


@pytest.mark.parametrize(
    ("text", "unit", "doubt"),
    [
        ("132cm", "in", "UNIT_CONTRADICTION"),
        ("1米32", "in", "UNIT_CONTRADICTION"),
        ("132", "cubit", "NOT_READ"),
        ("132 cubits", "", "NOT_READ"),
        ("28 kg", "", "NOT_READ"),
        ("5'13\"", "", "NOT_READ"),
        ("5 ft 2 cm", "", "NOT_READ"),
        ("132 cm 5", "", "NOT_READ"),
        ("1米325", "", "NOT_READ"),
        ("130-135 cm", "", "NOT_READ"),
        ("-132 cm", "", "NOT_READ"),
        ("1,320 mm", "", "NOT_READ"),
        ("tall", "", "NOT_READ"),
        ("", "", "NOT_READ"),
        ("٣ ft", "", "NOT_READ"),
        ("1" * 70 + " cm", "", "NOT_READ"),
        ("3 m", "", "IMPLAUSIBLE"),
        ("3 cm", "", "IMPLAUSIBLE"),
        ("0 cm", "", "IMPLAUSIBLE"),
    ],
)
def test_what_cannot_be_read_keeps_its_text_and_says_why(text: str, unit: str, doubt: str) -> None:
    found = parse_height(text, unit)
    assert (found.read, found.code) == (False, f"HEIGHT_{doubt}")
    assert found.measure.original_text.startswith(text)
    assert found.message
    assert not text or text not in found.message


@pytest.mark.parametrize("text", ["约132cm", "132cm左右", "大约132厘米左右", "about 132 cm", "approx. 132 cm"])
def test_an_approximate_measure_is_read_and_called_so(text: str) -> None:
    found = parse_height(text)
    assert (found.measure.value, found.code, found.measure.original_text) == (132, "HEIGHT_APPROXIMATE", text)


@given(st.text(max_size=80), st.sampled_from(["", "cm", "in", "x"]), st.booleans())
def test_no_text_makes_it_raise_and_the_text_is_kept(text: str, unit: str, ncic: bool) -> None:  # noqa: FBT001
    for found in (parse_height(text, unit, ncic=ncic), parse_weight(text, unit)):
        assert found.measure.original_text.startswith(text)
        assert math.isfinite(found.measure.value)
        assert found.read == (found.measure.value > 0)


@given(st.integers(2000, 26000))
def test_a_written_measure_is_read_again_as_the_same_number(hundredths: int) -> None:
    measure = common_pb2.Measure(value=hundredths / 100, unit="cm")
    again = parse_height(measure_text(measure)).measure
    assert (again.value, again.unit) == (measure.value, "cm")


def test_numbers_are_written_without_an_exponent_or_needless_zeros() -> None:
    assert [number_text(value) for value in (132.0, 91.44, 100.0, 1e-7, 0.0)] == [
        "132",
        "91.44",
        "100",
        "0.0000001",
        "0",
    ]
    assert measure_text(common_pb2.Measure()) == ""
