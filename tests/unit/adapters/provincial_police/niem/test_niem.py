"""NIEM missing persons and AMBER alerts in XML: families of namespaces, alerts, refusals, and the way back.

All data are synthetic.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.base import Adapter, Limits, Record, Severity, Source
from adapters.provincial_police.niem.adapter import NIEM_JSON, NIEM_MISSING_PERSON
from adapters.provincial_police.niem.names import namespace_of
from adapters.records.sections import split
from caseexchange.records.v1 import case_pb2, common_pb2, notice_pb2
from tests.support.niem import (
    LIMITS,
    NAMESPACES,
    NUMBER,
    OASIS,
    RELEASE,
    cases,
    codes,
    decode,
    document,
    missing,
    name,
    one,
    unmapped,
)

SAMPLES = Path(__file__).parents[5] / "adapters" / "provincial_police" / "samples"

# --- namespaces -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", NAMESPACES)
def test_every_release_is_read_alike_whatever_its_namespaces(version: str) -> None:
    record = one(name("DOE,JOHN") + "<nc:PersonSexText>Male</nc:PersonSexText>", version=version)
    assert (record.names[0].family, record.names[0].given, record.sex) == ("DOE", "JOHN", common_pb2.SEX_MALE)
    assert record.provenance.source_format_version == version


def test_a_missing_person_of_6_0_is_the_person_itself_without_a_role() -> None:
    person = f"<j:MissingPerson>{name('DOE,JOHN')}{NUMBER}</j:MissingPerson>"
    (record,) = cases(decode(document(person, version="6.0")))
    assert record.names[0].full == "DOE,JOHN"


@pytest.mark.parametrize(
    ("uri", "family"),
    [
        (f"{RELEASE}/niem-core/3.0/", "nc"),
        (f"{RELEASE}/niem-core/5.0/#", "nc"),
        (f"{OASIS}/domains/justice/6.0/", "j"),
        (f"{RELEASE}/domains/jxdm/7.2/", "j"),
        (f"{OASIS}/domains/humanServices/6.0/", "hs"),
        (f"{RELEASE}/structures/4.0/", "structures"),
        ("http://www.nlets.org/niem/1.0", "nlets"),
        ("http://www.nlets.org/niem/nlets-amber-alert/1.0", "nlets"),
        (f"{RELEASE}/domains/maritime/5.0/", ""),
        ("http://elsewhere.example/niem-core/3.0/", ""),
        ("", ""),
    ],
)
def test_a_namespace_belongs_to_a_family_whatever_its_version(uri: str, family: str) -> None:
    assert namespace_of(uri).family == family


def test_a_name_in_a_namespace_of_no_family_is_not_taken_for_one_of_niem() -> None:
    foreign = '<x:MissingPerson xmlns:x="urn:elsewhere"/>'
    assert codes(decode(document(foreign, missing()))) == []
    assert codes(decode(document(foreign))) == ["NOT_NIEM"]
    record = one('<x:PersonSexText xmlns:x="urn:elsewhere">Male</x:PersonSexText>')
    assert not record.sex
    assert unmapped(record) == {"MissingPerson/PersonSexText": "Male"}


# --- the alert --------------------------------------------------------------------------------------------------------


def test_the_shipped_alert_tells_of_two_children_and_never_of_the_subject() -> None:
    found = decode((SAMPLES / "niem-amber-alert.xml").read_bytes())
    first, second = cases(found)
    assert [item.full for item in first.names] == ["TESTCHILD,ALPHA"]
    assert [(item.family, item.given) for item in second.names] == [("Testchild", "Beta Synthetic")]
    for record in (first, second):
        told = record.SerializeToString()
        assert told.count(b"SUBJECT,SYNTHETIC") == 1
        assert (
            unmapped(record)["NLETS/AmberAlert/Subject/RoleOfPerson/PersonName/PersonFullName"] == "SUBJECT,SYNTHETIC"
        )
        assert [section for section, data in split(record).items() if b"SUBJECT" in data] == ["provenance"]
        assert record.status == case_pb2.CASE_STATUS_OPEN
        assert record.provenance.source_format_version == "3.0, 4.0"
        assert record.event_place.text == "虚构路0号, 样例县"
        assert record.contacts[0].email == "alert@synthetic.example"
    assert codes(found) == [
        "ALERT_NUMBER_TAKEN",
        "CATEGORY_OF_CARE",
        "DATE_AMBIGUOUS",
        "HEIGHT_NCIC",
        "VEHICLE_COLOR_CONTRADICTION",
    ]


def test_two_children_without_numbers_of_their_own_are_told_apart_by_the_alert_s() -> None:
    child = f"<j:MissingPerson><nc:RoleOfPerson>{name('A,B')}</nc:RoleOfPerson></j:MissingPerson>"
    alert = f"<a:AmberAlert><a:AmberAlertID>SYN-9</a:AmberAlertID>{child}{child}</a:AmberAlert>"
    assert [record.local_id for record in cases(decode(document(alert)))] == ["SYN-9", "SYN-9#2"]


def test_a_status_that_is_not_known_concludes_nothing() -> None:
    alert = f"<a:AmberAlert><a:AmberAlertStatusText>Cancel</a:AmberAlertStatusText>{missing()}</a:AmberAlert>"
    found = decode(document(alert))
    (record,) = cases(found)
    assert not record.status
    assert codes(found) == ["STATUS_UNKNOWN"]
    assert "Cancel" in unmapped(record).values()


def test_a_person_who_is_a_subject_too_is_refused() -> None:
    person = f'<nc:Person s:id="P1">{name("A,B")}</nc:Person>'
    child = f'<j:MissingPerson><nc:RoleOfPerson s:ref="P1"/>{NUMBER}</j:MissingPerson>'
    subject = '<j:Subject><nc:RoleOfPerson s:ref="P1"/></j:Subject>'
    assert len(cases(decode(document(person, child)))) == 1
    found = decode(document(person, child, subject))
    assert codes(found, Severity.REJECT_RECORD) == ["PERSON_IN_TWO_ROLES"]


@pytest.mark.parametrize(
    ("message", "contradicts"),
    [
        ("seen in a green Testmobil", True),
        ("seen in a Blue  testmobil", False),
        ("seen in a BLACK Testmobil", False),
        ("a boy in green near a Testmobil", False),
        ("a green coat; Testmobil", False),
        ("no colour", False),
    ],
)
def test_a_vehicle_of_another_colour_in_the_text_is_a_warning(message: str, *, contradicts: bool) -> None:
    vehicle = (
        "<nc:Vehicle><nc:ConveyanceColorPrimaryText>Blue</nc:ConveyanceColorPrimaryText>"
        "<nc:ConveyanceColorSecondaryText>Black</nc:ConveyanceColorSecondaryText>"
        "<nc:ItemMakeName>Testmobil</nc:ItemMakeName></nc:Vehicle>"
    )
    text = f"<nc:MessageText>{message}</nc:MessageText>"
    found = decode(document(f"<a:AmberAlert>{text}{vehicle}{missing()}</a:AmberAlert>"))
    assert ("VEHICLE_COLOR_CONTRADICTION" in codes(found)) == contradicts
    assert message in unmapped(cases(found)[0]).values()
    two = decode(document(f"<a:AmberAlert>{text}{vehicle}{vehicle}{missing()}</a:AmberAlert>"))
    assert codes(two) == []


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "XML_MALFORMED"),
        (b"<a", "XML_MALFORMED"),
        (b"<a/>", "NOT_NIEM"),
        (b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>', "XML_DTD_REFUSED"),
        (document("<m:x>" * 100 + "</m:x>" * 100), "XML_TOO_DEEP"),
        (document("\0"), "XML_ENCODING"),
        (document("<nc:Person/>"), "NO_RECORDS"),
        (document(missing())[:-20], "XML_MALFORMED"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_a_code(content: bytes, code: str) -> None:
    found = decode(content)
    assert found.rejected
    assert codes(found) == [code]


def test_one_person_who_cannot_be_used_does_not_hold_up_the_others() -> None:
    long = f"<nc:PersonDescriptionText>{'x' * 30_000}</nc:PersonDescriptionText>"
    second, third = (NUMBER.replace("SYN-1", f"SYN-{number}") for number in (2, 3))
    found = decode(document(missing(), missing(), missing(long, number=second), missing(number=third)))
    assert [item.case_reference for item in found.records] == ["SYN-1", "SYN-3"]
    assert codes(found, Severity.REJECT_RECORD) == ["FIELD_TOO_LONG", "RECORD_REPEATED"]


def test_a_field_is_not_longer_for_standing_elsewhere() -> None:
    place = f'<nc:Location s:id="L1"><nc:LocationName>{"x" * 30_000}</nc:LocationName></nc:Location>'
    found = decode(document(place, missing("", '<j:MissingPersonLastSeenLocation s:ref="L1"/>')))
    assert codes(found) == ["FIELD_TOO_LONG"]
    found = decode(document(place, missing()))
    assert codes(found) == ["UNMAPPED_NOT_KEPT"]
    assert len(found.records) == 1


def test_limits_hold() -> None:
    many = document(*(missing(number=NUMBER.replace("SYN-1", f"SYN-{number}")) for number in range(5)))
    assert codes(decode(many, Limits(records=4))) == ["TOO_MANY_RECORDS"]
    assert codes(decode(many, Limits(bytes=10))) == ["FILE_TOO_LARGE"]


def test_a_field_that_stands_twice_counts_once_and_the_other_is_kept() -> None:
    birth = "<nc:PersonBirthDate><nc:Date>2012-01-0{}</nc:Date></nc:PersonBirthDate>"
    found = decode(document(missing(birth.format(1) + birth.format(2))))
    assert codes(found) == ["FIELD_REPEATED"]
    assert cases(found)[0].birth.day == 1
    assert unmapped(cases(found)[0]) == {"MissingPerson/PersonBirthDate/Date": "2012-01-02"}


def test_no_issue_and_no_locator_quotes_a_field() -> None:
    word = "SYNTHETIC-VALUE"
    person = "".join(
        f"<nc:{element}>{word}</nc:{element}>"
        for element in (
            "PersonSexText",
            "PersonBirthDate",
            "PersonAgeDescriptionText",
            "PersonHeightDescriptionText",
            "PersonWeightMeasure",
        )
    )
    details = f"<j:MissingPersonDisappearanceCategoryText>{word}</j:MissingPersonDisappearanceCategoryText>"
    found = decode(document(missing(person, details)))
    assert len(found.issues) == 6
    assert not any(word in issue.message + issue.locator + issue.code for issue in found.issues)


# --- the way back -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapter", [NIEM_MISSING_PERSON, NIEM_JSON])
@pytest.mark.parametrize("sample", ["niem-amber-alert.xml", "niem-missing-person.json"])
def test_the_shipped_samples_come_back_from_both_syntaxes_as_they_were(adapter: Adapter, sample: str) -> None:
    reader = NIEM_MISSING_PERSON if sample.endswith(".xml") else NIEM_JSON
    first = cases(reader.decode(Source((SAMPLES / sample).read_bytes()), LIMITS))
    written = adapter.encode(first, LIMITS)
    again = cases(adapter.decode(Source(written.content), LIMITS))
    lost = {issue.locator.partition(".")[2] for issue in written.issues}
    # A date that is no date of XML, and what was left over of the alert.
    assert lost <= {"birth.original_text", "provenance.unmapped"}
    for record, other in zip(first, again, strict=True):
        assert other.provenance.source_format_version == "6.0"
        for item in (record, other):
            item.ClearField("provenance")
            item.features.sort(key=lambda feature: (feature.kind, feature.text))
            if not item.birth.year:
                item.ClearField("birth")
        assert other == record


def test_what_the_format_cannot_carry_is_named_by_its_path() -> None:
    record = case_pb2.CaseRecord(
        kind=case_pb2.CASE_KIND_RESCUED_CHILD, local_id="SYN-1", blood_sampled=True, narrative=" \x01padded"
    )
    record.birth.CopyFrom(common_pb2.PartialDate(year=2012, month=1, day=2, calendar=common_pb2.CALENDAR_LUNAR))
    record.event_date.CopyFrom(
        common_pb2.PartialDate(
            year=2018, calendar=common_pb2.CALENDAR_GREGORIAN, original_text="约2018年", approximate=True
        )
    )
    record.ethnicity.CopyFrom(common_pb2.Code(system="GB/T 3304", value="01", display="汉"))
    record.contacts.add(name="测试家长", relation="母亲")
    record.profile_urls.append("https://synthetic.invalid/")
    record.height.CopyFrom(common_pb2.Measure(value=132, unit="cm", original_text="一米三二"))
    record.provenance.unmapped.add(path="QTBZ", value="x")
    found = NIEM_MISSING_PERSON.encode([record], LIMITS)
    assert {issue.code for issue in found.issues} == {"FIELD_NOT_CARRIED"}
    paths = {issue.locator.removeprefix("records[0].") for issue in found.issues}
    assert paths >= {
        "kind",
        "blood_sampled",
        "narrative",
        "birth.year",
        "event_date.approximate",
        "event_date.original_text",
        "ethnicity.system",
        "ethnicity.value",
        "contacts",
        "profile_urls",
        "height.original_text",
        "provenance.unmapped",
    }
    assert not paths & {"ethnicity.display", "height.value", "event_date.year", "local_id"}


def test_a_measure_without_a_text_of_its_own_is_written_with_its_unit() -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-1")
    record.height.CopyFrom(common_pb2.Measure(value=91.44, unit="cm"))
    found = NIEM_MISSING_PERSON.encode([record], LIMITS)
    assert found.issues == ()
    (again,) = cases(decode(found.content))
    assert again.height == common_pb2.Measure(value=91.44, unit="cm", original_text="91.44 cm")


def test_a_case_without_a_number_or_with_another_s_is_refused() -> None:
    record = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-1")
    found = NIEM_MISSING_PERSON.encode([record, record, case_pb2.CaseRecord()], LIMITS)
    assert [issue.locator for issue in found.issues if issue.code == "RECORD_REPEATED"] == ["records[1]", "records[2]"]
    notice: Record = notice_pb2.PublicNotice()
    assert codes(NIEM_MISSING_PERSON.encode([notice], LIMITS)) == ["KIND_NOT_CARRIED"]
    assert codes(NIEM_MISSING_PERSON.encode([record], Limits(records=0))) == ["TOO_MANY_RECORDS"]


def test_more_elements_than_nodes_are_made_of_are_refused() -> None:
    content = b'<x xmlns="http://release.niem.gov/niem/niem-core/5.0/">' + b"<b/>" * 2_100_000 + b"</x>"
    found = NIEM_MISSING_PERSON.decode(Source(content), Limits())
    assert [issue.code for issue in found.issues] == ["XML_TOO_MANY_ELEMENTS"]
