"""NIEM missing persons in JSON: contexts, links, forms of a value, hostile documents; the way back of both syntaxes.

All data are synthetic.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Decoded, Limits, Severity, Source
from adapters.provincial_police.niem.adapter import NIEM_JSON, NIEM_MISSING_PERSON
from adapters.provincial_police.niem.values import read_date
from adapters.values.measures import parse_height, parse_weight
from caseexchange.records.v1 import case_pb2, common_pb2

SAMPLE = Path(__file__).parents[5] / "adapters" / "provincial_police" / "samples" / "niem-missing-person.json"
LIMITS = Limits()
CONTEXT = {
    "nc": "http://release.niem.gov/niem/niem-core/5.0/#",
    "j": "http://release.niem.gov/niem/domains/jxdm/7.0/#",
}
NUMBER: dict[str, Any] = {"j:MissingPersonIdentification": {"nc:IdentificationID": "SYN-1"}}
PICTURE = b"\x89PNG\r\n\x1a\nsynthetic"


def document(context: Any = CONTEXT, **content: Any) -> bytes:
    body = {key.replace("_", ":", 1): value for key, value in content.items()}
    return json.dumps({"@context": context, "m:Message": body} if context is not None else body).encode()


def decode(content: bytes, limits: Limits = LIMITS) -> Decoded:
    return NIEM_JSON.decode(Source(content), limits)


def cases(found: Decoded) -> list[case_pb2.CaseRecord]:
    records = [item.record for item in found.records]
    return [record for record in records if isinstance(record, case_pb2.CaseRecord)]


def one(**person: Any) -> case_pb2.CaseRecord:
    keyed = {key.replace("_", ":", 1): value for key, value in person.items()}
    (record,) = cases(decode(document(j_MissingPerson={**NUMBER, **keyed})))
    return record


def codes(found: Decoded, *severities: Severity) -> list[str]:
    return sorted({issue.code for issue in found.issues if not severities or issue.severity in severities})


def test_the_shipped_sample_is_read_whole() -> None:
    found = decode(SAMPLE.read_bytes())
    first, second = cases(found)
    assert codes(found) == []
    assert [item.full for item in first.names] == ["测试儿童甲", "甲甲"]
    assert (first.event, first.sex) == (case_pb2.EVENT_KIND_RAN_AWAY, common_pb2.SEX_FEMALE)
    assert (second.height.value, second.weight.value) == (132, 28)
    assert first.provenance.source_format_version == "5.0"


@pytest.mark.parametrize(
    "names",
    [
        {"nc:PersonFullName": "A"},
        [{"nc:PersonFullName": "A"}],
        {"nc:PersonFullName": ["A"]},
        {"nc:PersonFullName": {"rdf:value": "A"}},
        [[{"nc:PersonFullName": "A"}], None],
        "A",
        ["A"],
    ],
)
def test_an_element_is_an_object_a_list_or_a_plain_value(names: Any) -> None:
    assert [item.full for item in one(nc_PersonName=names).names] == ["A"]


def test_numbers_keep_their_text_and_truth_is_a_word() -> None:
    record = one(
        nc_PersonHeightMeasure={"nc:MeasureDecimalValue": 1.32, "nc:LengthUnitCode": "MTR"},
        j_MissingPersonInterestIndicator=True,
    )
    assert record.height.original_text == "1.32 MTR"
    content = document(j_MissingPerson={**NUMBER, "nc:PersonHeightMeasure": {"nc:MeasureDecimalValue": 1}}).replace(
        b'"nc:MeasureDecimalValue": 1', b'"nc:MeasureDecimalValue": 48.50, "nc:MeasureUnitText": "in"'
    )
    assert cases(decode(content))[0].height.original_text == "48.50 in"
    assert [item.value for item in record.provenance.unmapped] == ["true"]


@pytest.mark.parametrize(
    ("context", "warned"),
    [
        (CONTEXT, []),
        ([{"nc": CONTEXT["nc"]}, {"j": {"@id": CONTEXT["j"]}}], []),
        ({}, ["CONTEXT_MISSING"]),
        ("https://synthetic.invalid/context", ["CONTEXT_MISSING"]),
        (None, ["CONTEXT_MISSING"]),
        ([True, None, {"nc": None}], ["CONTEXT_MISSING"]),
    ],
)
def test_a_context_gives_prefixes_their_family_and_is_never_fetched(context: Any, warned: list[str]) -> None:
    found = decode(document(context, j_MissingPerson={**NUMBER, "nc:PersonSexCode": "F"}))
    assert cases(found)[0].sex == common_pb2.SEX_FEMALE
    assert codes(found) == warned


def test_other_prefixes_terms_and_whole_iris_are_read_by_what_they_mean() -> None:
    context = {
        "core": CONTEXT["nc"],
        "law": "https://docs.oasis-open.org/niemopen/ns/model/domains/justice/6.0/#",
        "sex": "core:PersonSexCode",
        "nc": "urn:elsewhere#",
    }
    person = {
        "law:MissingPersonIdentification": {"core:IdentificationID": "SYN-1"},
        "sex": "F",
        f"{CONTEXT['nc']}PersonEyeColorText": "Brown",
        "nc:PersonHairColorText": "not NIEM's",
    }
    (record,) = cases(decode(document(context, law_MissingPerson=person)))
    assert record.sex == common_pb2.SEX_FEMALE
    assert [item.text for item in record.features] == ["Eye color: Brown"]
    assert [item.value for item in record.provenance.unmapped] == ["not NIEM's"]


def test_a_context_within_an_object_holds_for_that_object() -> None:
    inner = {"@context": {"c": CONTEXT["nc"]}, "c:PersonSexCode": "F", **NUMBER}
    assert cases(decode(document(j_MissingPerson=inner)))[0].sex == common_pb2.SEX_FEMALE


PERSON: dict[str, Any] = {"@id": "#P1", "nc:PersonName": "A"}


LINKED: list[dict[str, Any]] = [
    {"j_MissingPerson": {"nc:RoleOfPerson": {"@id": "#P1"}, **NUMBER}, "nc_Person": PERSON},
    {"j_MissingPerson": {"nc:RoleOfPerson": PERSON, **NUMBER}},
    {"j_MissingPerson": {"@id": "P1", **NUMBER}, "nc_Person": PERSON},
    {"j_MissingPerson": {"@id": "#P1"}, "nc_Person": {**PERSON, **NUMBER}},
    {"j_MissingPerson": {"@uri": "#P1", **NUMBER}, "nc_Person": [PERSON]},
    {"j_MissingPerson": {"nc:RoleOfPerson": {"structures:ref": "P1"}, **NUMBER}, "nc_Person": PERSON},
]


@pytest.mark.parametrize("content", LINKED)
def test_links_by_id_are_followed(content: dict[str, Any]) -> None:
    context = {**CONTEXT, "structures": "http://release.niem.gov/niem/structures/5.0/#"}
    found = decode(document(context, **content))
    assert codes(found) == []
    (record,) = cases(found)
    assert [item.full for item in record.names] == ["A"]
    assert not record.provenance.unmapped


def test_a_person_who_is_mentioned_again_is_one_record() -> None:
    mentions = [{"@id": "#P1"}, {"@id": "#P1"}]
    (record,) = cases(decode(document(j_MissingPerson=mentions, nc_Person={**PERSON, **NUMBER})))
    assert [item.value for item in record.provenance.unmapped] == ["P1"]
    told = [{"@id": "#M1", **NUMBER}, {"@id": "#M1"}]
    assert len(decode(document(j_MissingPerson=told)).records) == 1


def test_links_in_a_circle_and_to_nothing_end() -> None:
    circle = {"@id": "#P1", "nc:RoleOfPerson": {"@id": "#P1"}, **NUMBER}
    assert codes(decode(document(j_MissingPerson=circle))) == ["REFERENCE_CYCLE"]
    nothing = {"nc:RoleOfPerson": {"@id": "#P9"}, **NUMBER}
    assert codes(decode(document(j_MissingPerson=nothing))) == ["REFERENCE_UNKNOWN"]
    two = {"nc:RoleOfPerson": {"@id": "#A"}, **NUMBER}
    persons = [{"@id": "#A", "nc:RoleOfPerson": {"@id": "#B"}}, {"@id": "#B", "nc:RoleOfPerson": {"@id": "#A"}}]
    assert len(decode(document(j_MissingPerson=two, nc_Person=persons)).records) == 1


def test_a_subject_of_the_same_id_is_never_read_as_the_child() -> None:
    content = {
        "j_MissingPerson": {"nc:RoleOfPerson": {"@id": "#P1"}, **NUMBER},
        "nc_Person": PERSON,
        "j_Subject": {"nc:RoleOfPerson": {"@id": "#P1"}},
    }
    assert codes(decode(document(**content)), Severity.REJECT_RECORD) == ["PERSON_IN_TWO_ROLES"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "JSON_MALFORMED"),
        (b"[]", "JSON_MALFORMED"),
        (b'"j:MissingPerson"', "JSON_MALFORMED"),
        (b"{", "JSON_MALFORMED"),
        (document(j_MissingPerson=NUMBER)[:-3], "JSON_MALFORMED"),
        (b'{"j:MissingPerson": NaN}', "JSON_MALFORMED"),
        (b'{"j:MissingPerson": {"a": 1, "a": 2}}', "JSON_KEY_REPEATED"),
        (b'{"a": "\xff"}', "JSON_ENCODING"),
        ("{}".encode("utf-16"), "JSON_ENCODING"),
        (b'{"a": ' * 50 + b"1" + b"}" * 50, "JSON_TOO_DEEP"),
        (b'{"a": ' * 100_000, "JSON_TOO_DEEP"),
        (b'{"a": [' + b"[]," * 1_100_000 + b"[]]}", "JSON_TOO_MANY_VALUES"),
        (b"{}", "NOT_NIEM"),
        (b'{"a": 1}', "NOT_NIEM"),
        (document(nc_Person={}), "NO_RECORDS"),
    ],
)
def test_a_document_that_cannot_be_read_is_refused_by_a_code(content: bytes, code: str) -> None:
    found = decode(content)
    assert found.rejected
    assert [issue.code for issue in found.issues if issue.severity is Severity.REJECT_FILE] == [code]


def test_limits_hold() -> None:
    many = document(j_MissingPerson=[NUMBER] * 5)
    assert codes(decode(many, Limits(records=4))) == ["TOO_MANY_RECORDS"]
    assert codes(decode(many, Limits(bytes=10))) == ["FILE_TOO_LARGE"]
    assert codes(decode(many, Limits(depth=1))) == ["JSON_TOO_DEEP"]


def test_a_byte_order_mark_is_no_part_of_the_document() -> None:
    content = b"\xef\xbb\xbf" + document(j_MissingPerson=NUMBER)
    assert NIEM_JSON.sniff(content)
    assert len(decode(content).records) == 1


def test_characters_that_a_record_cannot_hold_are_left_out_with_a_warning() -> None:
    found = decode(document(j_MissingPerson={**NUMBER, "nc:PersonName": "A\ud800\0B"}))
    assert cases(found)[0].names[0].full == "AB"
    assert codes(found) == ["CHARACTER_NOT_READ"]


def test_a_huge_number_is_text_and_costs_nothing() -> None:
    content = document(j_MissingPerson={**NUMBER, "nc:PersonAgeDescriptionText": 7}).replace(
        b" 7}", b" " + b"7" * 9000 + b"}"
    )
    found = decode(content)
    assert codes(found) == ["AGE_NOT_READ"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "j:MissingPerson",
                        "nc:RoleOfPerson",
                        "nc:PersonName",
                        "@id",
                        "@context",
                        "nc:Date",
                        "structures:ref",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=15,
    )
)
def test_no_document_makes_it_raise(value: Any) -> None:
    found = decode(json.dumps(value).encode())
    assert found.records or found.issues


TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cn"), include_characters="\n\t\r", exclude_characters=","),
    max_size=12,
).map(lambda text: f"测{text}甲")
DATES = st.one_of(
    st.dates().filter(lambda day: 1850 <= day.year <= 2200).map(lambda day: f"{day:%Y-%m-%d}"),
    st.datetimes().filter(lambda time: 1850 <= time.year <= 2200).map(lambda time: f"{time:%Y-%m-%dT%H:%M:%S}Z"),
    st.integers(1900, 2100).map(str),
    st.integers(1, 12).map(lambda month: f"2012-{month:02}"),
)
HEIGHTS = ["132cm", "400", "3'0\"", "48 INH", "132 CMT", "1.32 MTR", "52 in", "1米32", "108", "tall"]
WEIGHTS = ["28kg", "62 LBR", "56斤", "62 lb", "28.50 KGM", "62", "heavy"]


FEATURES = (
    common_pb2.FEATURE_KIND_UNSPECIFIED,
    common_pb2.FEATURE_KIND_BODY,
    common_pb2.FEATURE_KIND_BELONGINGS,
    common_pb2.FEATURE_KIND_SPEECH,
    common_pb2.FEATURE_KIND_HEALTH,
)
"""The sorts that the format carries; of the others the writer says so."""


@st.composite
def records(draw: st.DrawFn) -> case_pb2.CaseRecord:
    record = case_pb2.CaseRecord(
        kind=case_pb2.CASE_KIND_MISSING_CHILD,
        local_id=draw(TEXT),
        event=draw(st.sampled_from(case_pb2.EventKind.values())),
        status=draw(st.sampled_from(case_pb2.CaseStatus.values())),
        sex=draw(st.sampled_from(common_pb2.Sex.values())),
        narrative=draw(TEXT),
        blood_group=draw(st.sampled_from(["", "A", "O_POSITIVE"])),
    )
    for date in (record.birth, record.event_date, record.found_date):
        date.CopyFrom(read_date(draw(DATES)).date)
    for place in (record.event_place, record.found_place):
        place.CopyFrom(common_pb2.Place(text=draw(TEXT), country="CN", postal_code="000000"))
        place.division.system, place.division.value = "GB/T 2260", "990000"
    record.household.text = draw(TEXT)
    record.height.CopyFrom(parse_height(draw(st.sampled_from(HEIGHTS)), ncic=True).measure)
    record.weight.CopyFrom(parse_weight(draw(st.sampled_from(WEIGHTS))).measure)
    if draw(st.booleans()):
        record.age.least = draw(st.integers(0, 20))
        record.age.greatest = record.age.least + draw(st.integers(0, 3))
        record.age.apparent = draw(st.booleans())
    for kind in draw(st.lists(st.sampled_from(FEATURES), max_size=5)):
        record.features.add(kind=kind, text=draw(TEXT))
    record.features.add(kind=common_pb2.FEATURE_KIND_BODY, text="Eye color: BRO")
    record.names.add(kind=common_pb2.NAME_KIND_LEGAL, full=draw(TEXT), family=draw(TEXT), given=draw(TEXT))
    for name_kind in draw(st.lists(st.sampled_from(common_pb2.NameKind.values()), max_size=3)):
        record.names.add(kind=name_kind, full=draw(TEXT))
    record.documents.add(number="000000", type=common_pb2.Code(system="GB 11643"))
    record.documents.add(number="M0", type=common_pb2.Code(system="NIEM", value="PersonNCICIdentification"))
    record.documents.add(number="X", type=common_pb2.Code(system="SYN table"))
    record.ethnicity.display = draw(TEXT)
    record.contacts.add(name=draw(TEXT), phone="000-1", email="a@synthetic.example", organisation=draw(TEXT))
    record.contacts[0].address.text = draw(TEXT)
    record.contacts.add(name=draw(TEXT), relation="witness")
    record.photos.add(url="https://synthetic.invalid/a.png")
    digest = hashlib.sha256(PICTURE).digest()
    record.photos.add(content=PICTURE, media_type="image/png", sha256=digest, reference=f"{digest.hex()[:32]}.png")
    return record


def sorted_features(record: case_pb2.CaseRecord) -> case_pb2.CaseRecord:
    record.ClearField("provenance")
    for field in (record.features, record.documents):
        field.sort(key=lambda item: item.SerializeToString(deterministic=True))
    return record


@pytest.mark.parametrize("adapter", [NIEM_MISSING_PERSON, NIEM_JSON], ids=["xml", "json"])
@given(record=records())
def test_what_is_written_is_read_again(adapter: Any, record: case_pb2.CaseRecord) -> None:
    encoded = adapter.encode([record], LIMITS)
    assert encoded.issues == ()
    found = adapter.decode(Source(encoded.content), LIMITS)
    (again,) = cases(found)
    assert not again.provenance.unmapped
    assert sorted_features(again) == sorted_features(record)


@given(record=records())
def test_both_syntaxes_tell_the_same(record: case_pb2.CaseRecord) -> None:
    xml, plain = (
        cases(adapter.decode(Source(adapter.encode([record], LIMITS).content), LIMITS))[0]
        for adapter in (NIEM_MISSING_PERSON, NIEM_JSON)
    )
    assert sorted_features(xml) == sorted_features(plain)
