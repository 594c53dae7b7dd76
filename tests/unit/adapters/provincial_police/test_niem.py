"""NIEM missing persons and AMBER alerts in XML: families of namespaces, units, dates, links, and the way back.

All data are synthetic.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from adapters.base import Adapter, Decoded, Encoded, Limits, Record, Severity, Source
from adapters.provincial_police import NIEM_JSON, NIEM_MISSING_PERSON
from adapters.provincial_police.niem_names import namespace_of
from adapters.sections import split
from caseexchange.records.v1 import case_pb2, common_pb2, notice_pb2

SAMPLES = Path(__file__).parents[4] / "adapters" / "provincial_police" / "samples"
LIMITS = Limits()
PICTURE = b"\x89PNG\r\n\x1a\nsynthetic"
OASIS = "https://docs.oasis-open.org/niemopen/ns/model"
RELEASE = "http://release.niem.gov/niem"
NAMESPACES = {
    "2.0": ("http://niem.gov/niem/niem-core/2.0", "http://niem.gov/niem/domains/jxdm/4.0"),
    "3.0": (f"{RELEASE}/niem-core/3.0/", f"{RELEASE}/domains/jxdm/5.0/"),
    "4.0": (f"{RELEASE}/niem-core/4.0/", f"{RELEASE}/domains/jxdm/6.1/"),
    "5.0": (f"{RELEASE}/niem-core/5.0/", f"{RELEASE}/domains/jxdm/7.2/"),
    "6.0": (f"{OASIS}/niem-core/6.0/", f"{OASIS}/domains/justice/6.0/"),
}
DEFAULT = "5.0"
NUMBER = (
    "<j:MissingPersonIdentification><nc:IdentificationID>SYN-1</nc:IdentificationID></j:MissingPersonIdentification>"
)

VALUE = "<nc:MeasureValueText>{}</nc:MeasureValueText>"
SPAN = (
    "<nc:MeasureRangeValue><nc:RangeMaximumValue>{}</nc:RangeMaximumValue>"
    "<nc:RangeMinimumValue>{}</nc:RangeMinimumValue></nc:MeasureRangeValue>"
)


def document(*elements: str, version: str = DEFAULT) -> bytes:
    nc, j = NAMESPACES[version]
    return (
        f'<m:Message xmlns:m="urn:synthetic" xmlns:nc="{nc}" xmlns:j="{j}"'
        f' xmlns:hs="{RELEASE}/domains/humanServices/5.0/" xmlns:s="{RELEASE}/structures/5.0/"'
        ' xmlns:a="http://www.nlets.org/niem/nlets-amber-alert/1.0"'
        f' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">{"".join(elements)}</m:Message>'
    ).encode()


def missing(person: str = "", details: str = "", number: str = NUMBER) -> str:
    return f"<j:MissingPerson><nc:RoleOfPerson>{person}</nc:RoleOfPerson>{number}{details}</j:MissingPerson>"


def decode(content: bytes, limits: Limits = LIMITS, **attachments: bytes) -> Decoded:
    return NIEM_MISSING_PERSON.decode(Source(content, attachments), limits)


def cases(found: Decoded) -> list[case_pb2.CaseRecord]:
    records = [item.record for item in found.records]
    return [record for record in records if isinstance(record, case_pb2.CaseRecord)]


def one(person: str = "", details: str = "", version: str = DEFAULT) -> case_pb2.CaseRecord:
    (record,) = cases(decode(document(missing(person, details), version=version)))
    return record


def codes(found: Decoded | Encoded, *severities: Severity) -> list[str]:
    return sorted({issue.code for issue in found.issues if not severities or issue.severity in severities})


def unmapped(record: case_pb2.CaseRecord) -> dict[str, str]:
    return {item.path: item.value for item in record.provenance.unmapped}


def name(full: str = "", given: str = "", middle: str = "", family: str = "", category: str = "") -> str:
    parts = (
        ("Given", given),
        ("Middle", middle),
        ("Sur", family),
    )
    inner = "".join(f"<nc:Person{kind}Name>{text}</nc:Person{kind}Name>" for kind, text in parts if text)
    inner += f"<nc:PersonFullName>{full}</nc:PersonFullName>" if full else ""
    inner += f"<nc:PersonNameCategoryText>{category}</nc:PersonNameCategoryText>" if category else ""
    return f"<nc:PersonName>{inner}</nc:PersonName>"


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
        assert record.event_place.text == "虚构路0号, 样例县"
        assert record.contacts[0].email == "alert@synthetic.example"
    assert codes(found) == [
        "ALERT_NUMBER_TAKEN",
        "DATE_AMBIGUOUS",
        "HEIGHT_NCIC",
        "TRAFFICKING_VICTIM",
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


# --- who and what -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("element", "expected"),
    [
        (name("DOE,JOHN"), ("DOE,JOHN", "DOE", "JOHN")),
        (name("DOE, JOHN Q"), ("DOE, JOHN Q", "DOE", "JOHN Q")),
        (name("John Doe"), ("John Doe", "", "")),
        (name("DOE,JOHN,JR"), ("DOE,JOHN,JR", "", "")),
        (name("测试儿童甲"), ("测试儿童甲", "", "")),
        (name(given="John", middle="Quincy", family="Doe"), ("", "Doe", "John Quincy")),
        (name("John Doe", given="John", family="Doe"), ("John Doe", "Doe", "John")),
        ("<nc:PersonName>Plain</nc:PersonName>", ("Plain", "", "")),
    ],
)
def test_names_are_read_whole_and_in_parts(element: str, expected: tuple[str, str, str]) -> None:
    (found,) = one(element).names
    assert (found.full, found.family, found.given, found.kind) == (*expected, common_pb2.NAME_KIND_LEGAL)


def test_kinds_of_names_are_told_and_only_the_first_of_no_kind_is_the_legal_one() -> None:
    alternate = "<nc:PersonAlternateName><nc:PersonFullName>D</nc:PersonFullName></nc:PersonAlternateName>"
    record = one(name("A") + name("B") + name("C", category="Former") + name("E", category="Asserted") + alternate)
    assert [(item.full, item.kind) for item in record.names] == [
        ("A", common_pb2.NAME_KIND_LEGAL),
        ("B", common_pb2.NAME_KIND_UNSPECIFIED),
        ("C", common_pb2.NAME_KIND_FORMER),
        ("E", common_pb2.NAME_KIND_UNSPECIFIED),
        ("D", common_pb2.NAME_KIND_ALIAS),
    ]
    assert "Asserted" in unmapped(record).values()


@pytest.mark.parametrize(
    ("text", "sex"),
    [("M", 1), ("male", 1), ("F", 2), ("Female", 2), ("女", 2), ("X", 3), ("U", 0), ("Unknown", 0), ("", 0)],
)
def test_sexes_are_read_by_code_and_by_word(text: str, sex: int) -> None:
    found = decode(document(missing(f"<nc:PersonSexCode>{text}</nc:PersonSexCode>")))
    assert cases(found)[0].sex == sex
    assert codes(found) == []


def test_sexes_that_are_unknown_or_contradict_each_other_are_kept_and_not_taken() -> None:
    found = decode(document(missing("<nc:PersonSexText>qq</nc:PersonSexText>")))
    assert codes(found) == ["SEX_UNKNOWN"]
    both = missing("<nc:PersonSexText>Male</nc:PersonSexText><nc:PersonSexCode>F</nc:PersonSexCode>")
    found = decode(document(both))
    assert codes(found) == ["SEX_CONTRADICTION"]
    assert not cases(found)[0].sex
    assert sorted(unmapped(cases(found)[0]).values()) == ["F", "Male"]
    same = missing("<nc:PersonSexText>Male</nc:PersonSexText><nc:PersonSexCode>M</nc:PersonSexCode>")
    assert not unmapped(cases(decode(document(same)))[0])


@pytest.mark.parametrize(
    ("element", "least", "greatest"),
    [
        ("<nc:PersonAgeDescriptionText>7</nc:PersonAgeDescriptionText>", 7, 7),
        ("<nc:PersonAgeDescriptionText>7 years old</nc:PersonAgeDescriptionText>", 7, 7),
        ("<nc:PersonAgeDescriptionText>7-9 yrs</nc:PersonAgeDescriptionText>", 7, 9),
        ("<nc:PersonAgeDescriptionText>30 months</nc:PersonAgeDescriptionText>", 2, 2),
        ("<nc:PersonAgeMeasure><nc:MeasureIntegerValue>5</nc:MeasureIntegerValue></nc:PersonAgeMeasure>", 5, 5),
        (
            f"<nc:PersonAgeMeasure>{VALUE.format(30)}<nc:TimeUnitCode>MON</nc:TimeUnitCode></nc:PersonAgeMeasure>",
            2,
            2,
        ),
        (
            f"<nc:PersonAgeMeasure>{SPAN.format(9, 7)}</nc:PersonAgeMeasure>",
            7,
            9,
        ),
    ],
)
def test_ages_are_read_in_years(element: str, least: int, greatest: int) -> None:
    age = one(element).age
    assert (age.least, age.greatest) == (least, greatest)


@pytest.mark.parametrize("text", ["Late 40s", "9-7", "seven", "7 weeks", "999", "٧"])
def test_an_age_that_cannot_be_read_is_kept_as_text(text: str) -> None:
    found = decode(document(missing(f"<nc:PersonAgeDescriptionText>{text}</nc:PersonAgeDescriptionText>")))
    assert codes(found) == ["AGE_NOT_READ"]
    assert not cases(found)[0].HasField("age")
    assert list(unmapped(cases(found)[0]).values()) == [text]


def test_a_grown_up_who_is_missing_is_told_to_be_one() -> None:
    person = "<nc:PersonAgeDescriptionText>44</nc:PersonAgeDescriptionText>"
    assert codes(decode(document(missing(person)))) == ["AGE_OF_ADULT"]


def measure(kind: str, value: str, unit: str = "", unit_name: str = "MeasureUnitText") -> str:
    stated = f"<nc:{unit_name}>{unit}</nc:{unit_name}>" if unit else ""
    return (
        f"<nc:Person{kind}Measure><nc:MeasureValueText>{value}</nc:MeasureValueText>{stated}</nc:Person{kind}Measure>"
    )


@pytest.mark.parametrize(
    ("element", "centimetres", "code"),
    [
        (measure("Height", "48", "INH", "LengthUnitCode"), 121.92, []),
        (measure("Height", "48", "in"), 121.92, []),
        (measure("Height", "1.32", "m"), 132, []),
        (measure("Height", "132", "CMT", "LengthUnitCode"), 132, []),
        (measure("Height", "3'0\""), 91.44, []),
        (measure("Height", "400"), 121.92, ["HEIGHT_NCIC"]),
        (measure("Height", "108"), 0, ["HEIGHT_AMBIGUOUS"]),
        (measure("Height", "132"), 0, ["HEIGHT_UNIT_MISSING"]),
        (measure("Height", "132cm", "in"), 0, ["HEIGHT_UNIT_CONTRADICTION"]),
        ("<nc:PersonHeightDescriptionText>5 ft 2 in</nc:PersonHeightDescriptionText>", 157.48, []),
        ("<nc:PersonHeightDescriptionText>small</nc:PersonHeightDescriptionText>", 0, ["HEIGHT_NOT_READ"]),
        ("<nc:PersonHeightMeasure/>", 0, ["MEASURE_NOT_READ"]),
    ],
)
def test_heights_of_every_unit_are_read_and_none_is_guessed(element: str, centimetres: float, code: list[str]) -> None:
    found = decode(document(missing(element)))
    assert cases(found)[0].height.value == centimetres
    assert codes(found) == code


def test_weights_are_read_in_pounds_and_kilograms() -> None:
    assert one(measure("Weight", "62", "LBR", "WeightUnitCode")).weight.value == 28.12
    assert one(measure("Weight", "28kg")).weight.value == 28


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2015-01-31", (2015, 1, 31)),
        ("2015-01-31T23:30:00Z", (2015, 1, 31)),
        ("2015-01-31T23:30:00+08:00", (2015, 1, 31)),
        ("2015/1/31", (2015, 1, 31)),
        ("20150131", (2015, 1, 31)),
        ("01/31/2015", (2015, 1, 31)),
        ("31.01.2015", (2015, 1, 31)),
        ("31-JAN-2015", (2015, 1, 31)),
        ("Jan 31, 2015", (2015, 1, 31)),
        ("05/05/2015", (2015, 5, 5)),
        ("2015-01", (2015, 1, 0)),
        ("2015", (2015, 0, 0)),
    ],
)
def test_dates_of_every_order_and_separator_are_read(text: str, expected: tuple[int, int, int]) -> None:
    record = one(f"<nc:PersonBirthDate><nc:Date>{text}</nc:Date></nc:PersonBirthDate>")
    assert (record.birth.year, record.birth.month, record.birth.day) == expected
    assert (record.birth.calendar, record.birth.original_text) == (common_pb2.CALENDAR_GREGORIAN, text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("01/02/2015", "DATE_AMBIGUOUS"),
        ("02.01.2015", "DATE_AMBIGUOUS"),
        ("2015-02-30", "DATE_NOT_READ"),
        ("31/31/2015", "DATE_NOT_READ"),
        ("2015-13", "DATE_NOT_READ"),
        ("31-FOO-2015", "DATE_NOT_READ"),
        ("0000-00-00", "DATE_NOT_READ"),
        ("yesterday", "DATE_NOT_READ"),
        ("٢٠١٥-01-01", "DATE_NOT_READ"),
    ],
)
def test_a_date_whose_order_or_meaning_is_unknown_stays_text(text: str, code: str) -> None:
    found = decode(document(missing(f"<nc:PersonBirthDate><nc:Date>{text}</nc:Date></nc:PersonBirthDate>")))
    assert codes(found) == [code]
    assert cases(found)[0].birth == common_pb2.PartialDate(original_text=text)
    assert not any(text in issue.message + issue.locator for issue in found.issues)


def test_features_clothing_and_what_they_are_of_are_told_apart() -> None:
    record = one(
        "<nc:PersonEyeColorCode>BRO</nc:PersonEyeColorCode><nc:PersonHairColorText>Black</nc:PersonHairColorText>"
        "<nc:PersonPhysicalFeature><nc:PhysicalFeatureCategoryText>Scar</nc:PhysicalFeatureCategoryText>"
        "<nc:PhysicalFeatureDescriptionText>left hand</nc:PhysicalFeatureDescriptionText></nc:PersonPhysicalFeature>"
        "<nc:PersonMedicalConditionText>asthma</nc:PersonMedicalConditionText>"
        "<nc:PersonAccentText>northern</nc:PersonAccentText>"
        "<nc:PersonBloodTypeCode>A_POSITIVE</nc:PersonBloodTypeCode>"
        "<nc:PersonEthnicityText>Synthetic</nc:PersonEthnicityText><nc:PersonRaceText>W</nc:PersonRaceText>"
        "<j:PersonAugmentation><j:PersonClothing><j:ClothingDescriptionText>red coat</j:ClothingDescriptionText>"
        "</j:PersonClothing></j:PersonAugmentation>"
        "<a:PersonAugmentation><a:PersonJewelry><nc:ItemDescriptionText>ring</nc:ItemDescriptionText>"
        "</a:PersonJewelry></a:PersonAugmentation>"
    )
    assert [(item.kind, item.text) for item in record.features] == [
        (common_pb2.FEATURE_KIND_BODY, "Eye color: BRO"),
        (common_pb2.FEATURE_KIND_BODY, "Hair color: Black"),
        (common_pb2.FEATURE_KIND_SPEECH, "northern"),
        (common_pb2.FEATURE_KIND_HEALTH, "asthma"),
        (common_pb2.FEATURE_KIND_BODY, "Scar, left hand"),
        (common_pb2.FEATURE_KIND_BELONGINGS, "red coat"),
        (common_pb2.FEATURE_KIND_BELONGINGS, "ring"),
    ]
    assert (record.blood_group, record.ethnicity.display) == ("A_POSITIVE", "Synthetic")
    assert unmapped(record) == {"MissingPerson/PersonRaceText": "W"}


def identification(element: str, number: str, category: str = "") -> str:
    stated = f"<nc:IdentificationCategoryDescriptionText>{category}</nc:IdentificationCategoryDescriptionText>"
    return f"<{element}><nc:IdentificationID>{number}</nc:IdentificationID>{stated if category else ''}</{element}>"


def test_numbers_of_the_person_are_documents_of_their_kind() -> None:
    record = one(
        identification("nc:PersonStateIdentification", "S-0")
        + identification("nc:PersonNationalIdentification", "000000201203000000", "GB 11643")
        + identification("nc:PersonOtherIdentification", "X-0", "SYN table")
        + f"<j:PersonAugmentation>{identification('j:PersonNCICIdentification', 'M0')}</j:PersonAugmentation>"
    )
    assert [(item.type.system, item.type.value, item.number) for item in record.documents] == [
        ("NIEM", "PersonNCICIdentification", "M0"),
        ("GB 11643", "", "000000201203000000"),
        ("SYN table", "", "X-0"),
        ("NIEM", "PersonStateIdentification", "S-0"),
    ]


def test_the_number_of_ncic_is_the_case_s_where_it_has_no_other() -> None:
    augmentation = f"<j:PersonAugmentation>{identification('j:PersonNCICIdentification', 'M0')}</j:PersonAugmentation>"
    (item,) = decode(document(missing(augmentation, number=""))).records
    assert item.case_reference == "M0"
    found = decode(document(missing(number="")))
    assert codes(found, Severity.REJECT_RECORD) == ["FIELD_MISSING"]


# --- what happened ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "event"),
    [
        (["R"], case_pb2.EVENT_KIND_RAN_AWAY),
        (["A"], case_pb2.EVENT_KIND_ABDUCTED),
        (["N"], case_pb2.EVENT_KIND_ABDUCTED),
        (["A", "N"], case_pb2.EVENT_KIND_ABDUCTED),
        (["Runaway"], case_pb2.EVENT_KIND_RAN_AWAY),
        (["EMJ"], case_pb2.EVENT_KIND_UNSPECIFIED),
        (["EM-I", "R"], case_pb2.EVENT_KIND_RAN_AWAY),
    ],
)
def test_circumstances_of_ncic_say_what_happened_and_message_keys_do_not(texts: list[str], event: int) -> None:
    element = "MissingPersonDisappearanceCategoryText"
    found = decode(document(missing("", "".join(f"<j:{element}>{text}</j:{element}>" for text in texts))))
    assert cases(found)[0].event == event
    assert codes(found) == []
    assert [item.value for item in cases(found)[0].provenance.unmapped] == [text for text in texts if text[:2] == "EM"]


def test_what_is_unknown_or_contradicts_itself_of_what_happened_is_kept() -> None:
    category = "<j:MissingPersonDisappearanceCategoryText>{}</j:MissingPersonDisappearanceCategoryText>"
    found = decode(document(missing("", category.format("EMX") + category.format("zz"))))
    assert codes(found) == ["CIRCUMSTANCE_UNKNOWN"]
    found = decode(document(missing("", category.format("R") + category.format("A"))))
    assert codes(found) == ["EVENT_CONTRADICTION"]
    assert not cases(found)[0].event
    assert len(cases(found)[0].provenance.unmapped) == 2


@pytest.mark.parametrize("key", ["EMD", "EME", "EMI", "EMJ", "EMV", "EMO", "EM-J", "emj", "EMJ - Juvenile", "XYZ"])
def test_message_keys_of_ncic_are_known_in_all_their_forms(key: str) -> None:
    entry = (
        f"<a:PersonAugmentation><a:NCICEntry><a:NCICMessageKeyUsedText>{key}</a:NCICMessageKeyUsedText></a:NCICEntry>"
    )
    found = decode(document(missing(f"{entry}</a:PersonAugmentation>")))
    assert codes(found) == (["NCIC_KEY_UNKNOWN"] if key == "XYZ" else [])
    assert unmapped(cases(found)[0]) == {"MissingPerson/NCICEntry/NCICMessageKeyUsedText": key}


def test_a_trafficking_victim_and_an_alert_are_said_and_kept() -> None:
    details = "<hs:HumanTraffickingVictim/><j:AmberAlertIssuedIndicator>true</j:AmberAlertIssuedIndicator>"
    found = decode(document(missing("", details)))
    assert codes(found) == ["AMBER_ALERT_ISSUED", "TRAFFICKING_VICTIM"]
    assert unmapped(cases(found)[0]) == {
        "MissingPerson/HumanTraffickingVictim": "",
        "MissingPerson/AmberAlertIssuedIndicator": "true",
    }
    assert not cases(found)[0].event


def test_a_victim_who_is_the_same_person_by_a_link_is_one_too() -> None:
    person = f'<nc:Person s:id="P1">{name("A,B")}</nc:Person>'
    child = f'<j:MissingPerson><nc:RoleOfPerson s:ref="P1"/>{NUMBER}</j:MissingPerson>'
    victim = '<hs:HumanTraffickingVictim><nc:RoleOfPerson s:ref="P1"/></hs:HumanTraffickingVictim>'
    found = decode(document(person, child, victim))
    assert codes(found) == ["TRAFFICKING_VICTIM"]
    assert unmapped(cases(found)[0])["MissingPerson/@role"] == "HumanTraffickingVictim"


def test_that_a_person_was_found_is_told_and_no_status_is_concluded() -> None:
    details = (
        "<j:MissingPersonFoundDate><nc:Date>2018-02-03</nc:Date></j:MissingPersonFoundDate>"
        "<j:MissingPersonFoundIndicator>true</j:MissingPersonFoundIndicator>"
        "<j:MissingPersonFoundLocation><nc:LocationName>样例站</nc:LocationName></j:MissingPersonFoundLocation>"
        "<j:MissingPersonStatus><nc:StatusDescriptionText>zz</nc:StatusDescriptionText></j:MissingPersonStatus>"
    )
    found = decode(document(missing("", details)))
    (record,) = cases(found)
    assert codes(found) == ["PERSON_FOUND", "STATUS_UNKNOWN"]
    assert (record.status, record.found_date.day, record.found_place.text) == (0, 3, "样例站")


def test_who_declared_the_person_missing_and_who_saw_them_are_contacts() -> None:
    information = (
        "<nc:PersonContactInformation><nc:ContactEmailID>a@synthetic.example</nc:ContactEmailID>"
        "<nc:ContactTelephoneNumber><nc:InternationalTelephoneNumber><nc:TelephoneNumberID>000-1</nc:TelephoneNumberID>"
        "</nc:InternationalTelephoneNumber></nc:ContactTelephoneNumber></nc:PersonContactInformation>"
    )
    declared = (
        f"<j:MissingPersonDeclarationPerson>{name('TEST,PARENT')}{information}</j:MissingPersonDeclarationPerson>"
    )
    witness = (
        f"<j:MissingPersonLastSeenWitness><nc:RoleOfPerson>{name(given='W', family='T')}</nc:RoleOfPerson>"
        "</j:MissingPersonLastSeenWitness>"
    )
    record = one("", declared + witness)
    assert [(item.name, item.phone, item.email, item.relation) for item in record.contacts] == [
        ("TEST,PARENT", "000-1", "a@synthetic.example", ""),
        ("W T", "", "", "witness"),
    ]
    assert not record.provenance.unmapped
    assert [section for section, data in split(record).items() if b"TEST,PARENT" in data] == ["contact"]


def test_a_place_is_put_together_of_its_parts() -> None:
    place = (
        "<j:MissingPersonLastSeenLocation><nc:Address><nc:LocationStreet><nc:StreetNumberText>0</nc:StreetNumberText>"
        "<nc:StreetName>Invented</nc:StreetName></nc:LocationStreet><nc:AddressCityName>Testtown</nc:AddressCityName>"
        "<nc:AddressState><nc:LocationStateName>ZZ</nc:LocationStateName></nc:AddressState>"
        "<nc:AddressCountry><nc:LocationCountryName>Nowhere</nc:LocationCountryName></nc:AddressCountry>"
        "<nc:LocationPostalCode>00000</nc:LocationPostalCode></nc:Address>"
        "<nc:LocationDescriptionText>by the gate</nc:LocationDescriptionText></j:MissingPersonLastSeenLocation>"
    )
    found = one("", place).event_place
    assert found.text == "0 Invented, Testtown, ZZ, Nowhere, by the gate"
    assert (found.postal_code, found.country) == ("00000", "")


@pytest.mark.parametrize(
    ("element", "text", "country"),
    [
        ("<nc:AddressCountry><nc:CountryCode>CN</nc:CountryCode></nc:AddressCountry>", "", "CN"),
        ("<nc:AddressCountry><iso:CountryAlpha2Code>CN</iso:CountryAlpha2Code></nc:AddressCountry>", "", "CN"),
        ("<nc:LocationCountryISO3166Alpha2Code>CN</nc:LocationCountryISO3166Alpha2Code>", "", "CN"),
        ("<nc:AddressCountry><nc:CountryName>中国</nc:CountryName></nc:AddressCountry>", "中国", ""),
    ],
)
def test_a_country_is_a_code_of_two_letters_or_else_part_of_the_text(element: str, text: str, country: str) -> None:
    iso = f"{OASIS}/codes/iso_3166-1/6.0/"
    address = f'<nc:Address xmlns:iso="{iso}">{element}</nc:Address>'
    found = one("", f"<j:MissingPersonFoundLocation>{address}</j:MissingPersonFoundLocation>").found_place
    assert (found.text, found.country) == (text, country)


def test_units_and_times_of_6_0_are_read_in_their_own_namespaces() -> None:
    unit = f'<u:LengthUnitCode xmlns:u="{OASIS}/codes/unece_rec20/6.0/">INH</u:LengthUnitCode>'
    height = (
        f"<nc:PersonHeightMeasure><nc:MeasureIntegerValue>48</nc:MeasureIntegerValue>{unit}</nc:PersonHeightMeasure>"
    )
    birth = "<nc:PersonBirthDate><nc:ZuluDateTime>2012-01-02T03:04:05Z</nc:ZuluDateTime></nc:PersonBirthDate>"
    record = one(height + birth, version="6.0")
    assert (record.height.value, record.height.original_text, record.birth.day) == (121.92, "48 INH", 2)


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "person"),
    [
        ('<nc:RoleOfPerson s:ref="P1" xsi:nil="true"/>', 's:id="P1"'),
        ('<nc:RoleOfPerson s:uri="#P1" xsi:nil="true"/>', 's:id="P1"'),
        ('<nc:RoleOfPerson s:metadata="P1"/>', 's:id="P1"'),
        ('<nc:RoleOfPerson s:uri="urn:x:1"/>', 's:uri="urn:x:1"'),
    ],
)
def test_a_role_s_person_is_found_by_every_kind_of_link(role: str, person: str) -> None:
    child = f"<j:MissingPerson>{role}{NUMBER}</j:MissingPerson>"
    found = decode(document(child, f"<nc:Person {person}>{name('DOE,JOHN')}</nc:Person>"))
    assert codes(found) == []
    (record,) = cases(found)
    assert record.names[0].full == "DOE,JOHN"
    assert not record.provenance.unmapped


def test_persons_of_one_uri_are_one_person_as_6_0_says() -> None:
    child = f'<j:MissingPerson s:uri="urn:x:1">{NUMBER}</j:MissingPerson>'
    person = f'<nc:Person s:uri="urn:x:1">{name("DOE,JOHN")}</nc:Person>'
    other = f'<nc:Person s:uri="urn:x:2">{name("OTHER,PERSON")}</nc:Person>'
    (record,) = cases(decode(document(child, person, other, version="6.0")))
    assert [item.full for item in record.names] == ["DOE,JOHN"]
    assert "OTHER,PERSON" in unmapped(record).values()


def test_metadata_that_are_linked_are_kept_with_the_person_and_not_read_as_one() -> None:
    child = f'<j:MissingPerson s:metadata="M1"><nc:RoleOfPerson/>{NUMBER}</j:MissingPerson>'
    metadata = '<j:JusticeMetadata s:id="M1"><j:CriminalInformationIndicator>true</j:CriminalInformationIndicator>'
    (record,) = cases(decode(document(child, f"{metadata}</j:JusticeMetadata>")))
    assert unmapped(record)["MissingPerson/@metadata/JusticeMetadata/CriminalInformationIndicator"] == "true"


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        (['<nc:RoleOfPerson s:ref="nobody"/>'], "REFERENCE_UNKNOWN"),
        (['<nc:RoleOfPerson s:ref="M1"/>'], "REFERENCE_CYCLE"),
    ],
)
def test_a_link_to_nothing_or_in_a_circle_is_a_warning(elements: list[str], code: str) -> None:
    child = f'<j:MissingPerson s:id="M1">{"".join(elements)}{NUMBER}</j:MissingPerson>'
    found = decode(document(child))
    assert codes(found) == [code]
    assert len(found.records) == 1


def test_links_that_go_round_tell_nothing_twice() -> None:
    first = f'<nc:Person s:id="P1">{name("DOE,JOHN")}<nc:RoleOfPerson s:ref="P2"/></nc:Person>'
    second = '<nc:Person s:id="P2"><nc:RoleOfPerson s:ref="P1"/></nc:Person>'
    child = f'<j:MissingPerson><nc:RoleOfPerson s:ref="P1"/>{NUMBER}</j:MissingPerson>'
    (record,) = cases(decode(document(first, second, child)))
    assert [item.full for item in record.names] == ["DOE,JOHN"]


def test_one_large_object_cannot_be_told_a_thousand_times() -> None:
    text = f"<nc:PersonDescriptionText>{'x' * 10_000}</nc:PersonDescriptionText>"
    person = f'<nc:Person s:id="P1">{text * 20}</nc:Person>'
    child = '<j:MissingPerson><nc:RoleOfPerson s:ref="P1"/>{}</j:MissingPerson>'
    children = [child.format(NUMBER.replace("SYN-1", f"SYN-{number}")) for number in range(1000)]
    found = decode(document(person, *children))
    assert codes(found) == ["REFERENCES_TOO_LARGE"]
    assert 0 < len(found.records) < 20


def test_what_stands_beside_a_thousand_persons_is_not_kept_a_thousand_times() -> None:
    beside = f"<nc:CommentText>{'x' * 10_000}</nc:CommentText>"
    children = [missing(number=NUMBER.replace("SYN-1", f"SYN-{number}")) for number in range(1000)]
    content = document(beside, *children)
    found = decode(content)
    assert len(found.records) == 1000
    assert codes(found) == ["UNMAPPED_NOT_KEPT"]
    assert sum(record.ByteSize() for record in cases(found)) < 8 * len(content) + (1 << 20)


# --- pictures ---------------------------------------------------------------------------------------------------------


def image(inner: str) -> str:
    return f"<nc:PersonDigitalImage>{inner}</nc:PersonDigitalImage>"


def picture(content: bytes) -> str:
    return image(f"<nc:BinaryBase64Object>{base64.b64encode(content).decode()}</nc:BinaryBase64Object>")


def test_a_picture_in_the_file_is_a_photo_however_long_its_text_is() -> None:
    large = PICTURE + bytes(200_000)
    (photo,) = one(picture(large)).photos
    assert (photo.content, photo.media_type) == (large, "image/png")
    assert photo.sha256 == hashlib.sha256(large).digest()


def test_a_picture_beside_the_file_is_taken_and_one_elsewhere_is_never_fetched() -> None:
    content = document(
        missing(
            image("<nc:BinaryURI>a</nc:BinaryURI>") + image("<nc:BinaryURI>http://synthetic.invalid/</nc:BinaryURI>")
        )
    )
    photos = cases(decode(content, a=PICTURE))[0].photos
    assert [(item.content, item.url) for item in photos] == [(PICTURE, ""), (b"", "http://synthetic.invalid/")]


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        (picture(b"GIF89a"), "PHOTO_TYPE"),
        (picture(PICTURE + bytes(1 << 20)), "PHOTO_TOO_LARGE"),
        (picture(PICTURE + bytes(3 << 20)), "PHOTO_TOO_LARGE"),
        (image("<nc:BinaryBase64Object>*</nc:BinaryBase64Object>"), "PHOTO_NOT_READ"),
        (picture(PICTURE) * 9, "PHOTOS_TOO_MANY"),
    ],
)
def test_a_picture_that_cannot_be_carried_is_left_out_with_a_code(inner: str, code: str) -> None:
    found = decode(document(missing(inner)))
    assert codes(found) == [code]
    assert not cases(found)[0].provenance.unmapped


def test_a_picture_of_somebody_else_is_not_kept() -> None:
    found = decode(document(missing(), f"<j:Subject>{picture(PICTURE)}</j:Subject>"))
    assert codes(found) == ["PICTURE_NOT_KEPT"]


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
