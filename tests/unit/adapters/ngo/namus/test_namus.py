"""JSON with the fields of NamUs: units, ranges, nested nulls, unknown fields, the way back. All data are synthetic."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date as date_type
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Decoded, Encoded, Limits, Record, Severity, Source
from adapters.ngo.namus.adapter import ADAPTER
from adapters.ngo.namus.tree import put
from caseexchange.records.v1 import case_pb2, common_pb2, notice_pb2

SAMPLE = Path(__file__).parents[5] / "adapters" / "ngo" / "samples" / "namus-cases.json"
LIMITS = Limits()
NUMBER = "MP900001"


def decode(content: bytes, limits: Limits = LIMITS) -> Decoded:
    return ADAPTER.decode(Source(content), limits)


def read(*items: Any) -> Decoded:
    return decode(json.dumps([*items]).encode())


def item(**fields: Any) -> dict[str, Any]:
    return {"idFormatted": NUMBER, **fields}


def described(**fields: Any) -> dict[str, Any]:
    return item(subjectDescription=fields)


def cases(found: Decoded) -> list[case_pb2.CaseRecord]:
    return [entry.record for entry in found.records if isinstance(entry.record, case_pb2.CaseRecord)]


def one(**fields: Any) -> case_pb2.CaseRecord:
    (record,) = cases(read(item(**fields)))
    return record


def encode(*records: Record) -> Encoded:
    return ADAPTER.encode(records, LIMITS)


def codes(found: Decoded | Encoded) -> list[str]:
    return sorted({issue.code for issue in found.issues})


def codes_of(**fields: Any) -> list[str]:
    return codes(read(item(**fields)))


def kept(record: case_pb2.CaseRecord) -> dict[str, Any]:
    return {entry.path: json.loads(entry.value) for entry in record.provenance.unmapped}


def essence(record: case_pb2.CaseRecord) -> case_pb2.CaseRecord:
    copy = case_pb2.CaseRecord()
    copy.CopyFrom(record)
    copy.ClearField("provenance")
    return copy


# --- reading ----------------------------------------------------------------------------------------------------------


def test_the_sample_is_read_whole_and_comes_back() -> None:
    found = decode(SAMPLE.read_bytes())
    missing, unidentified = cases(found)
    assert codes(found) == ["FIELD_UNKNOWN", "SEX_UNKNOWN"]
    assert [entry.case_reference for entry in found.records] == [NUMBER, "UP900002"]
    assert (missing.kind, missing.status) == (case_pb2.CASE_KIND_MISSING_CHILD, case_pb2.CASE_STATUS_OPEN)
    assert (missing.names[0].given, missing.names[0].family, missing.names[1].full) == (
        "Synthetic Test",
        "Child",
        "测试儿童甲",
    )
    assert (missing.age.least, missing.age.greatest, missing.sex) == (5, 6, common_pb2.SEX_FEMALE)
    assert (missing.event_place.text, missing.event_place.postal_code) == ("Synthetic City, Nowhere", "00000")
    assert [(feature.kind, feature.text) for feature in missing.features] == [
        (common_pb2.FEATURE_KIND_BODY, "hair color: Black"),
        (common_pb2.FEATURE_KIND_BODY, "Scar/mark: synthetic scar"),
        (common_pb2.FEATURE_KIND_BELONGINGS, "Clothing: synthetic red coat"),
    ]
    assert unidentified.kind == case_pb2.CASE_KIND_UNKNOWN_ORIGIN_CHILD
    assert (unidentified.found_date.day, unidentified.HasField("event_date")) == (8, False)
    written = encode(missing, unidentified)
    assert [issue[1:3] for issue in written.issues] == [("FIELD_NOT_CARRIED", "records[1].found_date.original_text")]
    again = cases(decode(written.content))
    assert essence(again[0]) == essence(missing)
    assert [kept(record) for record in again] == [kept(missing), kept(unidentified)]


def test_cases_stand_in_a_list_in_results_or_alone() -> None:
    for document in ([item()], {"count": 1, "results": [item()]}, item()):
        assert [record.local_id for record in cases(decode(json.dumps(document).encode()))] == [NUMBER]


@pytest.mark.parametrize(
    ("resolved", "status"),
    [
        (True, case_pb2.CASE_STATUS_CLOSED),
        (False, case_pb2.CASE_STATUS_OPEN),
        (None, case_pb2.CASE_STATUS_UNSPECIFIED),
    ],
)
def test_a_resolved_case_is_closed(resolved: bool | None, status: case_pb2.CaseStatus.ValueType) -> None:  # noqa: FBT001
    record = one(caseIsResolved=resolved)
    assert record.status == status
    assert json.loads(encode(record).content)[0]["caseIsResolved"] is resolved


def test_numbers_of_other_forms_and_contradictions_are_said() -> None:
    (record,) = cases(read({"idFormatted": "UCP1"}))
    assert record.kind == case_pb2.CASE_KIND_OTHER_SEARCH
    assert codes(read({"id": 5, "subjectIdentification": None})) == ["NUMBER_FORM"]
    found = read(item(id=5))
    assert (codes(found), kept(cases(found)[0])) == (["NUMBER_CONTRADICTION"], {"/id": "5"})


@pytest.mark.parametrize(
    ("fields", "measure"),
    [
        ({"heightFrom": 42, "heightTo": 44}, ("height", 106.68, 111.76, "cm", "42-44 in")),
        ({"heightFrom": 42, "heightTo": 42}, ("height", 106.68, 0, "cm", "42 in")),
        ({"heightFrom": 42, "heightTo": None}, ("height", 106.68, 0, "cm", "42 in")),
        ({"heightFrom": "42.5"}, ("height", 107.95, 0, "cm", "42.5 in")),
        ({"weightFrom": 40, "weightTo": 50}, ("weight", 18.14, 22.68, "kg", "40-50 lb")),
        ({"weightFrom": 40.0}, ("weight", 18.14, 0, "kg", "40 lb")),
    ],
)
def test_inches_and_pounds_become_centimetres_and_kilograms_and_a_range_keeps_its_end(
    fields: dict[str, Any], measure: tuple[str, float, float, str, str]
) -> None:
    found = read(described(**fields))
    (record,) = cases(found)
    name, value, greatest, unit, text = measure
    assert getattr(record, name) == common_pb2.Measure(value=value, value_max=greatest, unit=unit, original_text=text)
    assert not found.issues
    written = encode(record)
    assert not written.issues
    assert essence(cases(decode(written.content))[0]) == essence(record)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"heightFrom": None, "heightTo": 44}, "RANGE_HALF_STATED"),
        ({"heightFrom": 44, "heightTo": 42}, "RANGE_REVERSED"),
        ({"heightFrom": 400}, "HEIGHT_NOT_READ"),
        ({"weightFrom": 0}, "WEIGHT_NOT_READ"),
        ({"weightFrom": -1}, "WEIGHT_NOT_READ"),
        ({"weightFrom": 10**400}, "FIELD_NOT_READ"),
        ({"weightFrom": True}, "FIELD_NOT_READ"),
        ({"heightFrom": "3'0\""}, "FIELD_NOT_READ"),
        ({"sex": {"name": "Unsure"}}, "SEX_UNKNOWN"),
        ({"sex": ["Male"]}, "FIELD_NOT_READ"),
    ],
)
def test_what_cannot_be_read_is_kept_as_it_was(fields: dict[str, Any], code: str) -> None:
    found = read(described(**fields))
    (record,) = cases(found)
    assert code in codes(found)
    assert not record.HasField("height")
    assert not record.HasField("weight")
    stated = {name: value for name, value in fields.items() if value is not None}
    rebuilt: dict[str, Any] = {}
    assert all(put(rebuilt, entry.path, entry.value) for entry in record.provenance.unmapped)
    assert rebuilt == {"subjectDescription": stated}
    assert kept(cases(decode(encode(record).content))[0]) == kept(record)


@pytest.mark.parametrize(
    ("ages", "code"),
    [((None, 6), "AGE_NOT_READ"), ((6, 5), "AGE_NOT_READ"), ((5.5, 6), "AGE_NOT_READ"), ((30, 40), "AGE_OF_ADULT")],
)
def test_an_age_that_is_no_span_of_a_childs_years_is_said(ages: tuple[Any, Any], code: str) -> None:
    found = read(item(subjectIdentification={"computedMissingMinAge": ages[0], "computedMissingMaxAge": ages[1]}))
    (record,) = cases(found)
    assert code in codes(found)
    assert record.HasField("age") is (code == "AGE_OF_ADULT")


def test_nulls_are_nothing_wherever_they_stand() -> None:
    names = [
        "id",
        "caseIsResolved",
        "subjectIdentification",
        "subjectDescription",
        "physicalDescription",
        "physicalFeatureDescriptions",
        "clothingAndAccessoriesArticles",
        "sighting",
        "circumstances",
        "investigatingAgencies",
        "images",
    ]
    empty = one(**dict.fromkeys(names))
    nested = one(
        subjectIdentification={"firstName": None, "nicknames": None, "computedMissingMinAge": None},
        subjectDescription={"sex": None, "primaryEthnicity": {"name": None}, "heightFrom": None},
        sighting={"date": None, "address": {"state": None, "county": {"name": None}}, "publicGeolocation": None},
        physicalFeatureDescriptions=[None, {"physicalFeature": None, "description": None}],
        investigatingAgencies=[{"name": None}],
    )
    assert (
        essence(empty) == essence(nested) == case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id=NUMBER)
    )
    assert kept(empty) == kept(nested) == {}


@pytest.mark.parametrize(
    ("date", "numbers", "code"),
    [
        ("2023-05-06", (2023, 5, 6), []),
        ("2023/5/6", (2023, 5, 6), []),
        ("2023-05-06T00:00:00Z", (2023, 5, 6), []),
        ("2023-05-06T10:30:00Z", (2023, 5, 6), ["DATE_PARTLY_READ"]),
        ("2023-05", (2023, 5, 0), []),
        ("2023-02-30", (0, 0, 0), ["DATE_IMPOSSIBLE"]),
        ("05/06/2023", (0, 0, 0), ["DATE_NOT_READ"]),
    ],
)
def test_a_sightings_date_keeps_its_text_and_no_month_is_guessed(
    date: str, numbers: tuple[int, int, int], code: list[str]
) -> None:
    found = one(sighting={"date": date}).event_date
    assert ((found.year, found.month, found.day), found.original_text) == (numbers, date)
    assert codes_of(sighting={"date": date}) == code


def test_a_place_is_an_address_or_what_the_map_says() -> None:
    assert one(sighting={"address": "somewhere"}).event_place.text == "somewhere"
    assert one(sighting={"publicGeolocation": {"formattedAddress": "map"}}).event_place.text == "map"
    both = one(sighting={"address": {"city": "a"}, "publicGeolocation": {"formattedAddress": "map"}})
    assert (both.event_place.text, kept(both)) == ("a", {"/sighting/publicGeolocation/formattedAddress": "map"})


def test_agencies_are_contacts_and_what_else_they_say_is_kept() -> None:
    record = one(investigatingAgencies=[{"name": "Synthetic Police", "phone": "000", "caseNumber": "SYN-7"}])
    assert list(record.contacts) == [
        common_pb2.Contact(organisation="Synthetic Police", phone="000", relation="investigating agency")
    ]
    assert kept(record) == {"/investigatingAgencies/0/caseNumber": "SYN-7"}
    written = encode(record)
    assert [issue[1:3] for issue in written.issues] == [("FIELD_NOT_CARRIED", "records[0].provenance.unmapped")]


def test_unknown_fields_are_kept_by_their_pointer_and_come_back() -> None:
    record = one(synthetic={"a/b": {"c~d": [1, {"e": None}]}}, subjectDescription={"synthetic": "x"})
    assert kept(record) == {"/synthetic/a~1b/c~0d": [1, {"e": None}], "/subjectDescription/synthetic": "x"}
    written = encode(record)
    assert not written.issues
    assert json.loads(written.content)[0]["synthetic"] == {"a/b": {"c~d": [1, {"e": None}]}}
    assert kept(cases(decode(written.content))[0]) == kept(record)


def test_half_a_character_is_left_out_with_a_warning() -> None:
    found = decode(
        b'[{"idFormatted": "MP1", "circumstances": {"circumstancesOfDisappearance": "a\\ud800b"},'
        b' "\\ud800": "\\ud800"}]'
    )
    (record,) = cases(found)
    assert (record.narrative, codes(found)) == ("ab", ["CHARACTER_HALVED", "FIELD_UNKNOWN"])
    encode(record)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "JSON_MALFORMED"),
        (b"[{]", "JSON_MALFORMED"),
        (b'[{"idFormatted": NaN}]', "JSON_MALFORMED"),
        (b'[{"idFormatted": 1e999}]', "JSON_MALFORMED"),
        (b'[{"idFormatted": "MP1", "idFormatted": "MP2"}]', "JSON_MALFORMED"),
        (b"[" * 100_000, "JSON_MALFORMED"),
        (b"[" * 100 + b"]" * 100, "JSON_TOO_DEEP"),
        (b"[" + b"," * 4_000_001, "JSON_TOO_MANY_VALUES"),
        (b'[{"idFormatted": "\xff"}]', "JSON_ENCODING"),
        (b"[]", "NOT_NAMUS"),
        (b"{}", "NOT_NAMUS"),
        (b"null", "NOT_NAMUS"),
        (b'{"results": 5}', "NOT_NAMUS"),
        (b'[{"id": 1}]', "NOT_NAMUS"),
    ],
)
def test_a_file_that_is_none_of_these_is_refused_as_a_whole(content: bytes, code: str) -> None:
    found = decode(content)
    assert (found.rejected, codes(found)) == (True, [code])


def test_one_bad_case_does_not_hold_up_the_others() -> None:
    found = read("x", item(circumstances={"x": "y" * 20_001}), {"idFormatted": None}, item(), item(id=1))
    assert [entry.locator for entry in found.records] == ["case 4"]
    assert codes(found) == [
        "FIELD_MISSING",
        "FIELD_TOO_LONG",
        "NUMBER_CONTRADICTION",
        "NUMBER_FORM",
        "RECORD_MALFORMED",
        "RECORD_REPEATED",
    ]
    assert codes(decode(json.dumps([item(), item()]).encode(), replace(LIMITS, records=1))) == ["TOO_MANY_RECORDS"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 300) | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "date", "description"]), inner)
    ),
    max_leaves=6,
)
_FIELDS = st.sampled_from(
    [
        "id", "caseIsResolved", "subjectIdentification", "subjectDescription", "physicalDescription", "sighting", "x",
        "physicalFeatureDescriptions", "clothingAndAccessoriesArticles", "circumstances", "investigatingAgencies",
    ]
)  # fmt: skip
_INNER = st.sampled_from(
    [
        "firstName", "nicknames", "computedMissingMinAge", "computedMissingMaxAge", "heightFrom", "heightTo",
        "weightFrom", "sex", "date", "address",
    ]
)  # fmt: skip


@given(st.dictionaries(_FIELDS, _JSON | st.dictionaries(_INNER, _JSON)))
def test_no_field_makes_the_reader_raise_and_what_is_read_can_be_written(fields: dict[str, Any]) -> None:
    found = read(item(**fields))
    (record,) = cases(found)
    written = encode(record)
    (again,) = cases(decode(written.content))
    if not written.issues:
        assert essence(again) == essence(record)


def test_no_issue_quotes_a_value() -> None:
    found = read(
        item(
            id="SECRET", caseIsResolved="SECRET", SECRET=["SECRET"],
            subjectDescription={"sex": "SECRET", "heightFrom": "SECRET"}, sighting={"date": "SECRET"},
            investigatingAgencies=[{"SECRET": "SECRET"}],
        )
    )  # fmt: skip
    written = encode(*cases(found))
    assert len(found.issues) > 4
    assert all("SECRET" not in f"{issue.locator} {issue.message}" for issue in (*found.issues, *written.issues))


# --- writing ----------------------------------------------------------------------------------------------------------

_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
_MAYBE = st.one_of(st.just(""), _WORDS)


@st.composite
def carried_cases(draw: st.DrawFn) -> case_pb2.CaseRecord:
    """Cases of which the format carries every field."""
    found = draw(st.booleans())
    record = case_pb2.CaseRecord(
        kind=case_pb2.CASE_KIND_UNKNOWN_ORIGIN_CHILD if found else case_pb2.CASE_KIND_MISSING_CHILD,
        status=draw(
            st.sampled_from([case_pb2.CASE_STATUS_UNSPECIFIED, case_pb2.CASE_STATUS_OPEN, case_pb2.CASE_STATUS_CLOSED])
        ),
        local_id=f"{'UP' if found else 'MP'}{draw(st.integers(0, 10**6))}",
        sex=draw(st.sampled_from(list(common_pb2.Sex.values()))),
        narrative=draw(_MAYBE),
    )
    given_name, family = draw(_MAYBE), draw(_MAYBE)
    if given_name or family:
        record.names.add(kind=common_pb2.NAME_KIND_LEGAL, given=given_name, family=family)
    for alias in draw(st.lists(_WORDS, max_size=2)):
        record.names.add(kind=common_pb2.NAME_KIND_ALIAS, full=alias)
    if draw(st.booleans()):
        record.age.least = draw(st.integers(0, 17))
        record.age.greatest = draw(st.integers(record.age.least, 40))
    for measure, least, most in ((record.height, 3000, 15000), (record.weight, 300, 9000)):
        if draw(st.booleans()):
            number = draw(st.integers(least, most))
            measure.value, measure.unit = number / 100, "cm" if measure is record.height else "kg"
            measure.value_max = draw(st.sampled_from([0, (number + 150) / 100]))
    date, place = (record.found_date, record.found_place) if found else (record.event_date, record.event_place)
    if draw(st.booleans()):
        day = draw(st.dates(min_value=date_type(1900, 1, 1), max_value=date_type(2100, 1, 1)))
        date.year, date.month, date.day = day.year, day.month, day.day
        date.calendar, date.original_text = common_pb2.CALENDAR_GREGORIAN, draw(st.sampled_from(["", day.isoformat()]))
        place.text, place.postal_code = draw(_WORDS), draw(_MAYBE)
    for kind in (common_pb2.FEATURE_KIND_BODY, common_pb2.FEATURE_KIND_BELONGINGS):
        for text in draw(st.lists(_WORDS, max_size=2)):
            record.features.add(kind=kind, text=text)
    for name in draw(st.lists(_WORDS, max_size=2)):
        record.contacts.add(organisation=name, phone=draw(_MAYBE), relation="investigating agency")
    return record


@given(carried_cases())
def test_what_the_format_carries_comes_back_equal_and_without_a_warning(record: case_pb2.CaseRecord) -> None:
    written = encode(record)
    assert not written.issues
    found = decode(written.content)
    (again,) = cases(found)
    assert codes(found) in ([], ["AGE_OF_ADULT"])
    for name in ("height", "weight", "event_date", "found_date"):
        if record.HasField(name) and not getattr(record, name).original_text:
            getattr(again, name).original_text = ""
    assert essence(again) == record


def test_every_field_that_a_case_cannot_carry_is_a_coded_warning() -> None:
    record = case_pb2.CaseRecord(
        kind=case_pb2.CASE_KIND_RESCUED_CHILD, local_id="SYN-1", status=case_pb2.CASE_STATUS_BELIEVED_ALIVE,
        event=case_pb2.EVENT_KIND_ABDUCTED, blood_sampled=True, blood_group="A",
    )  # fmt: skip
    record.found_date.year = record.birth.year = 2020
    record.event_date.year, record.event_date.end.year = 2018, 2019
    record.event_date.calendar = common_pb2.CALENDAR_GREGORIAN
    record.event_place.country = record.found_place.text = record.household.text = "CN"
    record.names.add(kind=common_pb2.NAME_KIND_LEGAL, full="测试儿童甲")
    record.features.add(kind=common_pb2.FEATURE_KIND_HEALTH, text="x")
    record.documents.add(number="SYN")
    record.contacts.add(relation="父亲", name="合成")
    record.photos.add(url="https://synthetic.invalid/a.png")
    record.profile_urls.append("https://synthetic.invalid/")
    record.age.least, record.age.greatest, record.age.apparent = 5, 6, True
    record.ethnicity.value, record.ethnicity.system = "01", "GB/T 3304"
    record.height.value, record.height.unit, record.height.original_text = 120.123, "cm", "约一米二"
    record.weight.value, record.weight.unit, record.weight.original_text = 20, "kg", "四十斤"
    record.provenance.unmapped.add(path="GMSFHM", value="SECRET")
    written = encode(record)
    assert {issue.severity for issue in written.issues} == {Severity.WARN}
    assert codes(written) == ["FIELD_NOT_CARRIED", "NAME_NOT_DIVIDED"]
    assert {issue.locator.removeprefix("records[0].") for issue in written.issues} == {
        "kind", "status", "event", "blood_sampled", "blood_group", "birth.year", "found_date.year", "event_date.year",
        "event_date.end.year", "event_date.calendar", "event_place.country", "found_place.text", "household.text",
        "names", "features", "documents", "contacts", "photos", "profile_urls", "age.apparent", "ethnicity.value",
        "ethnicity.system", "height", "weight.original_text", "provenance.unmapped",
    }  # fmt: skip
    assert b"SECRET" not in written.content


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("", "1"),
        ("x", "1"),
        ("/x", "{"),
        ("/x", "NaN"),
        ("/x", "[" * 500 + "]" * 500),
        ("/a" * 500, "1"),
        ("/idFormatted", '"SECRET"'),
        ("/idFormatted/x", '"SECRET"'),
        ("/investigatingAgencies/0", '"SECRET"'),
    ],
)
def test_what_a_record_says_was_left_over_is_not_believed(pointer: str, value: str) -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id=NUMBER)
    record.provenance.source_format = "namus-json"
    record.provenance.unmapped.add(path=pointer, value=value)
    written = encode(record)
    assert codes(written) == ["FIELD_NOT_CARRIED"]
    assert b"SECRET" not in written.content
    assert essence(cases(decode(written.content))[0]) == essence(record)


def test_half_a_character_that_a_record_kept_does_not_stop_the_writer() -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id=NUMBER)
    record.provenance.source_format = "namus-json"
    record.provenance.unmapped.add(path="/x", value='"\\ud800"')
    assert len(decode(encode(record).content).records) == 1


@pytest.mark.parametrize("calendar", [common_pb2.CALENDAR_LUNAR, common_pb2.CALENDAR_UNSPECIFIED])
def test_a_date_of_another_calendar_is_not_written(calendar: common_pb2.Calendar.ValueType) -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id=NUMBER)
    record.event_date.year, record.event_date.month, record.event_date.calendar = 1992, 12, calendar
    record.event_date.original_text = "1992-12"
    written = encode(record)
    assert b"1992" not in written.content
    assert codes(written) == ["FIELD_NOT_CARRIED"]


def test_records_that_are_no_case_are_refused_by_a_code() -> None:
    child = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id=NUMBER)
    parent = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_SEEKING_PARENT, local_id="SYN-2")
    written = encode(child, child, parent, notice_pb2.PublicNotice())
    assert [(issue.severity, issue.code, issue.locator) for issue in written.issues] == [
        (Severity.REJECT_RECORD, "RECORD_REPEATED", "records[1]"),
        (Severity.REJECT_RECORD, "KIND_NOT_CARRIED", "records[2]"),
        (Severity.REJECT_RECORD, "KIND_NOT_CARRIED", "records[3]"),
    ]
    assert len(decode(written.content).records) == 1
    assert ADAPTER.encode([child] * 3, replace(LIMITS, records=2)).content == b""
