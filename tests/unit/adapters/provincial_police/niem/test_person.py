"""What NIEM says of a missing person, in XML: names, units, dates, features, numbers, what happened, pictures.

All data are synthetic.
"""

from __future__ import annotations

import hashlib

import pytest

from adapters.base import Severity
from adapters.records.sections import split
from caseexchange.records.v1 import case_pb2, common_pb2
from tests.support.niem import (
    NUMBER,
    OASIS,
    PICTURE,
    SPAN,
    VALUE,
    cases,
    codes,
    decode,
    document,
    identification,
    image,
    measure,
    missing,
    name,
    one,
    picture,
    unmapped,
)

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
    assert not any("traffick" in issue.message or "victim" in issue.message for issue in found.issues)
    assert len(cases(found)[0].provenance.unmapped) == 2


@pytest.mark.parametrize("key", ["EMD", "EME", "EMI", "EMJ", "EMV", "EMO", "EM-J", "emj", "EMJ - Juvenile", "XYZ"])
def test_message_keys_of_ncic_are_known_in_all_their_forms(key: str) -> None:
    entry = (
        f"<a:PersonAugmentation><a:NCICEntry><a:NCICMessageKeyUsedText>{key}</a:NCICMessageKeyUsedText></a:NCICEntry>"
    )
    found = decode(document(missing(f"{entry}</a:PersonAugmentation>")))
    assert codes(found) == (["NCIC_KEY_UNKNOWN"] if key == "XYZ" else [])
    assert unmapped(cases(found)[0]) == {"MissingPerson/NCICEntry/NCICMessageKeyUsedText": key}


def test_a_category_of_care_and_an_alert_are_kept_and_the_category_is_not_said() -> None:
    details = "<hs:HumanTraffickingVictim/><j:AmberAlertIssuedIndicator>true</j:AmberAlertIssuedIndicator>"
    found = decode(document(missing("", details)))
    assert codes(found) == ["AMBER_ALERT_ISSUED", "CATEGORY_OF_CARE"]
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
    assert codes(found) == ["CATEGORY_OF_CARE"]
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


# --- pictures ---------------------------------------------------------------------------------------------------------


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
