from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.base import Decoded, Encoded, Limits, Record, Severity, Source
from adapters.ngo.pfif.adapter import ADAPTER
from adapters.records.sections import split
from adapters.values.pictures import is_safe_address
from caseexchange.records.v1 import case_pb2, common_pb2, dna_pb2, notice_pb2

SAMPLE = Path(__file__).parents[5] / "adapters" / "ngo" / "samples" / "missing-child.xml"
LIMITS = Limits()
ID = "synthetic.example/1"
PICTURE = b"\x89PNG\r\n\x1a\nsynthetic"
REJECTIONS = {Severity.REJECT_FILE, Severity.REJECT_RECORD}


def xml(*elements: str, version: str = "1.4") -> bytes:
    body = "\n".join(elements)
    return f'<pfif xmlns="http://zesty.ca/pfif/{version}">\n{body}\n</pfif>'.encode()


def element(kind: str, **fields: str) -> str:
    return f"<{kind}>" + "".join(f"<{name}>{text}</{name}>" for name, text in fields.items()) + f"</{kind}>"


def person(record_id: str = ID, **fields: str) -> str:
    return element("person", person_record_id=record_id, **fields)


def note(record_id: str = "synthetic.example/n1", **fields: str) -> str:
    return element("note", **{"note_record_id": record_id, "person_record_id": ID, "text": "seen", **fields})


def decode(content: bytes, limits: Limits = LIMITS) -> Decoded:
    return ADAPTER.decode(Source(content), limits)


def encode(*records: Record) -> Encoded:
    return ADAPTER.encode(records, LIMITS)


def records(found: Decoded) -> list[Record]:
    return [item.record for item in found.records]


def case(content: bytes) -> case_pb2.CaseRecord:
    (record,) = records(decode(content))
    assert isinstance(record, case_pb2.CaseRecord)
    return record


def codes(found: Decoded | Encoded) -> list[str]:
    return sorted({issue.code for issue in found.issues})


def essence(record: Record) -> Record:
    copy = type(record)()
    copy.CopyFrom(record)  # type: ignore[arg-type] # of its own type
    copy.ClearField("provenance")
    return copy


def notice(**fields: object) -> notice_pb2.PublicNotice:
    found = notice_pb2.PublicNotice(
        notice_id="synthetic.example/notice",
        action=notice_pb2.NOTICE_ACTION_PUBLISH,
        sex=common_pb2.SEX_FEMALE,
        age=common_pb2.AgeRange(least=5, greatest=7),
        place=common_pb2.Place(text="虚构县"),
        report_to=common_pb2.Contact(organisation="样例部门", phone="000-0000"),
    )
    found.texts.add(headline="寻找家人", text="synthetic appeal")
    found.photos.add(content=PICTURE, media_type="image/png", sha256=hashlib.sha256(PICTURE).digest())
    found.effective_at.seconds, found.expires_at.seconds = 1_800_000_000, 1_900_000_000
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def test_a_photo_is_written_under_the_digest_of_its_bytes_whatever_its_record_says() -> None:
    found = notice()
    found.photos[0].sha256 = bytes(32)
    assert ADAPTER.encode([found], LIMITS).attachments == {f"{hashlib.sha256(PICTURE).hexdigest()[:32]}.png": PICTURE}


# --- reading ----------------------------------------------------------------------------------------------------------


def test_the_sample_file_is_read_whole_and_written_again_byte_by_byte() -> None:
    found = decode(SAMPLE.read_bytes())
    child, tip = records(found)
    assert not found.issues
    assert isinstance(child, case_pb2.CaseRecord)
    assert isinstance(tip, case_pb2.Tip)
    assert {item.case_reference for item in found.records} == {"child-aid.example/SYN-PERSON-0001"}
    assert ADAPTER.encode([child, tip], LIMITS) == Encoded(SAMPLE.read_bytes(), {}, ())


@pytest.mark.parametrize(
    ("version", "given", "family", "description", "postal"),
    [
        ("1.1", "first_name", "last_name", "other", "home_zip"),
        ("1.2", "first_name", "last_name", "other", "home_postal_code"),
        ("1.3", "first_name", "last_name", "other", "home_postal_code"),
        ("1.4", "given_name", "family_name", "description", "home_postal_code"),
    ],
)
def test_every_version_is_read_by_its_own_names(
    version: str, given: str, family: str, description: str, postal: str
) -> None:
    record = case(
        xml(person(**{given: "丁", family: "测试", description: "red coat", postal: "000000"}), version=version)
    )
    assert [(name.given, name.family) for name in record.names] == [("丁", "测试")]
    assert (record.narrative, record.household.postal_code) == ("red coat", "000000")
    assert record.provenance.source_format_version == version


def test_an_author_is_told_in_the_contact_section_alone() -> None:
    secrets = {"author_name": "SECRET1", "author_email": "SECRET2", "author_phone": "SECRET3"}
    found = records(decode(xml(person(**secrets), note(**secrets))))
    assert len(found) == 2
    for record in found:
        sections = split(record)
        assert [name for name, content in sections.items() if b"SECRET" in content] == ["contact"]


def test_a_picture_is_named_and_not_fetched() -> None:
    (photo,) = case(xml(person(photo_url="https://synthetic.invalid/a.png"))).photos
    assert (photo.url, photo.content) == ("https://synthetic.invalid/a.png", b"")


@pytest.mark.parametrize("url", ["javascript:alert(1)", " java\tscript:x", "FILE:///etc/x", "data:text/html,x"])
def test_an_address_that_is_not_of_the_web_is_not_written(url: str) -> None:
    record = case(xml(person()))
    record.photos.add(url=url)
    written = encode(record)
    assert b"photo_url" not in written.content
    assert "FIELD_NOT_CARRIED" in codes(written)


def test_when_a_note_was_written_is_not_when_somebody_was_seen() -> None:
    (tip,) = records(decode(xml(note(source_date="2026-11-12T09:00:00Z"))))
    assert isinstance(tip, case_pb2.Tip)
    assert not tip.HasField("seen")
    assert [(item.path, item.value) for item in tip.provenance.unmapped] == [
        ("person_record_id", ID),
        ("source_date", "2026-11-12T09:00:00Z"),
    ]


@pytest.mark.parametrize(
    ("element", "code"),
    [
        (person(""), "RECORD_ID_MISSING"),
        (person(description="x" * 20_001), "FIELD_TOO_LONG"),
        (note(person_record_id=""), "PERSON_UNKNOWN"),
        (note(text=""), "FIELD_MISSING"),
    ],
)
def test_a_record_in_doubt_is_refused_by_its_code_and_holds_back_no_other(element: str, code: str) -> None:
    found = decode(xml(element, person("synthetic.example/2")))
    assert [item.case_reference for item in found.records] == ["synthetic.example/2"]
    assert [issue.code for issue in found.issues if issue.severity in REJECTIONS] == [code]


def test_the_second_record_of_one_id_is_refused() -> None:
    found = decode(xml(person(), person(), note(), note()))
    assert (len(found.records), codes(found)) == (2, ["RECORD_REPEATED"])


def test_a_note_about_another_person_than_the_one_around_it_is_refused() -> None:
    inner = note(person_record_id="synthetic.example/2")
    found = decode(xml(person().replace("</person>", f"{inner}</person>")))
    assert (len(found.records), codes(found)) == (1, ["PERSON_CONTRADICTION"])


def test_a_note_within_a_person_is_about_that_person() -> None:
    inner = note(person_record_id="")
    found = decode(xml(person().replace("</person>", f"{inner}</person>")))
    assert [item.case_reference for item in found.records] == [ID, ID]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "XML_MALFORMED"),
        (b"<!DOCTYPE pfif><pfif/>", "XML_DTD_REFUSED"),
        (b"<pfif/>", "NOT_PFIF"),
        (b'<html xmlns="http://zesty.ca/pfif/1.4"/>', "NOT_PFIF"),
        (xml(person(), version="9.9"), "PFIF_VERSION"),
        (xml(), "NO_RECORDS"),
    ],
)
def test_a_file_that_is_no_pfif_is_refused_as_a_whole(content: bytes, code: str) -> None:
    found = decode(content)
    assert found.rejected
    assert codes(found) == [code]


def test_more_records_than_the_limit_are_refused_as_a_whole() -> None:
    found = decode(xml(person(), note()), replace(LIMITS, records=1))
    assert (found.records, codes(found)) == ((), ["TOO_MANY_RECORDS"])


@pytest.mark.parametrize(
    ("fields", "code", "kept"),
    [
        ({"sex": "unknown"}, "SEX_UNKNOWN", ("sex", "unknown")),
        ({"age": "8-6"}, "AGE_NOT_READ", ("age", "8-6")),
        ({"age": "six"}, "AGE_NOT_READ", ("age", "six")),
        ({"synthetic": "1"}, "FIELD_UNKNOWN", ("synthetic", "1")),
    ],
)
def test_what_cannot_be_read_is_kept_as_it_was(fields: dict[str, str], code: str, kept: tuple[str, str]) -> None:
    content = xml(person(**fields))
    assert codes(decode(content)) == [code]
    assert kept in [(item.path, item.value) for item in case(content).provenance.unmapped]


@pytest.mark.parametrize("text", ["2019-02-30", "2019-13", "2019-00-10", "0000", "1234-56-78", "约2019", "2019-1-2"])
def test_an_impossible_date_keeps_its_text_and_no_numbers(text: str) -> None:
    content = xml(person(date_of_birth=text))
    assert codes(decode(content)) == ["DATE_NOT_READ"]
    assert case(content).birth == common_pb2.PartialDate(original_text=text)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (xml(person("no-domain")), "RECORD_ID_FORM"),
        (xml(person(age="35-45")), "AGE_OF_ADULT"),
        (xml(note(status="perhaps")), "STATUS_UNKNOWN"),
        (xml(person().replace("</person>", "<sex>male</sex><sex>female</sex></person>")), "FIELD_REPEATED"),
    ],
)
def test_harmless_departures_are_read_with_a_warning(content: bytes, code: str) -> None:
    found = decode(content)
    assert (len(found.records), codes(found)) == (1, [code])


EXPIRY = "1999-02-03T04:05:06Z"


@pytest.mark.parametrize(
    "fields",
    [
        {"expiry_date": EXPIRY, "source_date": EXPIRY, "entry_date": EXPIRY},
        {"expiry_date": EXPIRY},
        {"expiry_date": EXPIRY, "source_date": EXPIRY, "full_name": "SECRET"},
        {"expiry_date": EXPIRY, "entry_date": "1999-02-03T04:05:07Z", "full_name": "SECRET"},
    ],
)
def test_an_expired_person_is_a_withdrawal_without_any_data(fields: dict[str, str]) -> None:
    found = decode(xml(note(text="SECRET"), person(**fields)))
    (record,) = found.records
    assert isinstance(record.record, case_pb2.Correction)
    assert record.record.kind == case_pb2.CORRECTION_KIND_WITHDRAW
    assert record.case_reference == record.record.replacement.local_id == ID
    assert b"SECRET" not in record.record.SerializeToString()
    assert [(issue.severity, issue.code) for issue in found.issues] == [
        (Severity.REJECT_RECORD, "PFIF_EXPIRED"),
        (Severity.INFO, "PFIF_EXPIRED"),
    ]


def test_a_person_whose_expiry_lies_ahead_is_a_case() -> None:
    record = case(xml(person(source_date="2026-01-01T00:00:00Z", expiry_date="2027-01-01T00:00:00Z", full_name="测试")))
    assert [name.full for name in record.names] == ["测试"]


# --- what files of PFIF are like -------------------------------------------------------------------------------------


def test_a_prefix_is_as_good_as_a_default_namespace() -> None:
    plain = xml(person(full_name="测试"), note())
    prefixed = re.sub(rb"<(/?)(?=[a-z])", rb"<\1pfif:", plain).replace(b"xmlns=", b"xmlns:pfif=")
    assert b"<pfif:person>" in prefixed
    assert [essence(record) for record in records(decode(prefixed))] == [essence(r) for r in records(decode(plain))]


def test_fields_stand_in_any_order() -> None:
    found = case(xml(element("person", sex="male", full_name="测试", person_record_id=ID)))
    assert (found.local_id, found.sex) == (ID, common_pb2.SEX_MALE)


def test_a_note_at_top_level_is_about_the_person_that_it_states() -> None:
    found = decode(xml(note(), person()))
    assert [(type(item.record).__name__, item.case_reference) for item in found.records] == [
        ("Tip", ID),
        ("CaseRecord", ID),
    ]
    alone = decode(xml(note(person_record_id="synthetic.example/elsewhere")))
    assert [item.case_reference for item in alone.records] == ["synthetic.example/elsewhere"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("description:\n    red coat\n", "red coat"),
        ("description:\n    red coat\n      and hat\n\n    blue shoes", "red coat\n  and hat\n\nblue shoes"),
        ("description:\n    红色外套\nfavourite food:\n    dumplings\nempty:\n", "红色外套\nfavourite food: dumplings"),
        ("red coat: and hat", "red coat: and hat"),
        ("red coat\ndescription:\n    x", "red coat\ndescription:\n    x"),
        ("description:\nnot indented", "description:\nnot indented"),
    ],
)
def test_other_is_read_without_its_labels_and_indents(other: str, words: str) -> None:
    assert case(xml(person(other=other), version="1.2")).narrative == words
    assert case(xml(person(description=other.strip()))).narrative == other.strip()


def test_padded_values_are_read_without_the_blanks() -> None:
    found = case(
        xml(person(full_name="  测试  ", sex=" female\n", home_city="  虚构市\n\n   ", date_of_birth=" 2019-01 "))
    )
    assert (found.names[0].full, found.sex, found.household.text) == ("测试", common_pb2.SEX_FEMALE, "虚构市")
    assert (found.birth.original_text, found.birth.month) == ("2019-01", 1)


def test_the_sources_entry_date_is_neither_kept_nor_written() -> None:
    found = records(decode(xml(person(entry_date="2026-01-02T03:04:05Z"), note(entry_date="2026-01-02T03:04:05Z"))))
    assert len(found) == 2
    assert ["entry_date" in {item.path for item in record.provenance.unmapped} for record in found] == [False, False]
    assert b"entry_date" not in encode(*found).content


def test_a_note_that_links_two_persons_is_said_kept_and_written_again() -> None:
    found = decode(xml(person(), note(linked_person_record_id="synthetic.example/2")))
    assert (len(found.records), codes(found)) == (2, ["PERSONS_LINKED"])
    written = encode(records(found)[1]).content
    assert b"<linked_person_record_id>synthetic.example/2</linked_person_record_id>" in written


def test_a_record_of_another_domain_is_said_and_read() -> None:
    found = decode(xml(person(), person("synthetic.example/2"), person("elsewhere.example/3"), note()))
    assert len(found.records) == 4
    assert [(issue.code, issue.locator) for issue in found.issues] == [("DOMAIN_FOREIGN", "line 4")]


def test_found_of_1_1_is_whether_the_author_made_contact() -> None:
    inner = element("note", note_record_id="synthetic.example/n1", found="true", text="seen")
    found = records(decode(xml(person(home_zip="000000").replace("</person>", f"{inner}</person>"), version="1.1")))
    assert isinstance(found[0], case_pb2.CaseRecord)
    assert found[0].household.postal_code == "000000"
    assert b"<author_made_contact>true</author_made_contact>" in encode(*found).content


def test_several_values_stand_on_lines_of_their_own() -> None:
    lines = "{0}1\n  {0}2 \n\n".format
    found = case(
        xml(person(full_name=lines("测试"), alternate_names=lines("小"), profile_urls=lines("http://x.invalid/")))
    )
    assert [(name.kind, name.full) for name in found.names] == [
        (common_pb2.NAME_KIND_LEGAL, "测试1"),
        (common_pb2.NAME_KIND_LEGAL, "测试2"),
        (common_pb2.NAME_KIND_ALIAS, "小1"),
        (common_pb2.NAME_KIND_ALIAS, "小2"),
    ]
    assert list(found.profile_urls) == ["http://x.invalid/1", "http://x.invalid/2"]
    assert "<full_name>测试1\n测试2</full_name>" in encode(found).content.decode()


@pytest.mark.parametrize("time", ["1234-56-78T90:12:34Z", "2026-01-02", "2026-01-02T03:04:05+08:00", "SYNTHETIC"])
def test_an_impossible_time_is_said_and_kept_and_never_written_as_one(time: str) -> None:
    content = xml(person(full_name="测试", source_date=time), note(source_date=time))
    assert codes(decode(content)) == ["TIME_NOT_READ"]
    found = records(decode(content))
    assert len(found) == 2
    kept = [("source_date", time) in {(i.path, i.value) for i in record.provenance.unmapped} for record in found]
    assert kept == [True, True]
    written = encode(*found)
    assert time.encode() not in written.content.replace(b"T00:00:00Z", b"")
    assert "DEFAULT_WRITTEN" in codes(written)


def test_what_a_field_of_pfif_cannot_hold_is_kept_and_not_written() -> None:
    found = decode(xml(person(full_name="测试", expiry_date="SYNTHETIC"), note(status="SYNTHETIC")))
    assert codes(found) == ["STATUS_UNKNOWN", "TIME_NOT_READ"]
    written = encode(*records(found))
    assert b"SYNTHETIC" not in written.content
    named = {issue.locator for issue in written.issues if issue.code == "FIELD_NOT_CARRIED"}
    assert named == {"records[0], expiry_date", "records[1], status"}


def test_every_script_is_read_and_written() -> None:
    found = case(xml(person(full_name="测试儿童甲", alternate_names="اختبار", description="тест 𠮷")))
    assert case(encode(found).content).names == found.names
    assert found.narrative == "тест 𠮷"


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_raise(content: bytes) -> None:
    decode(content)


@given(
    st.dictionaries(
        st.sampled_from(
            ["sex", "age", "date_of_birth", "expiry_date", "source_date", "full_name", "home_zip", "other"]
        ),
        st.text(st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="<&"), max_size=20),
    )
)
def test_no_field_makes_the_reader_raise_and_what_is_read_can_be_written(fields: dict[str, str]) -> None:
    for record in records(decode(xml(person(**fields)))):
        assert len(decode(encode(record).content).records) == 1


def test_no_issue_quotes_a_value() -> None:
    marked = dict.fromkeys(("sex", "age", "date_of_birth", "SECRETS", "expiry_date"), "SECRET")
    found = decode(xml(person("SECRET", **marked), note("SECRET2", status="SECRET"), person("SECRET")))
    written = encode(*records(found))
    assert len(found.issues) > 5
    assert all("SECRET" not in f"{issue.locator} {issue.message}" for issue in (*found.issues, *written.issues))


# --- writing ----------------------------------------------------------------------------------------------------------

_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)
_MAYBE = st.one_of(st.just(""), _WORDS)


def _named(kind: common_pb2.NameKind.ValueType) -> st.SearchStrategy[list[common_pb2.PersonName]]:
    return st.lists(_WORDS.map(lambda full: common_pb2.PersonName(kind=kind, full=full)), max_size=2)


@st.composite
def carried_cases(draw: st.DrawFn) -> case_pb2.CaseRecord:
    """Cases of which the format carries every field."""
    record = case_pb2.CaseRecord(
        kind=case_pb2.CASE_KIND_MISSING_CHILD,
        status=case_pb2.CASE_STATUS_OPEN,
        local_id=f"synthetic.example/{draw(st.integers(0, 999))}",
        narrative=draw(_MAYBE),
        sex=draw(
            st.sampled_from(
                [common_pb2.SEX_UNSPECIFIED, common_pb2.SEX_MALE, common_pb2.SEX_FEMALE, common_pb2.SEX_OTHER]
            )
        ),
        names=[*draw(_named(common_pb2.NAME_KIND_LEGAL)), *draw(_named(common_pb2.NAME_KIND_ALIAS))],
        profile_urls=draw(st.lists(_WORDS, max_size=2)),
    )
    if record.names and record.names[0].kind == common_pb2.NAME_KIND_LEGAL:
        record.names[0].given, record.names[0].family = draw(_MAYBE), draw(_MAYBE)
    if draw(st.booleans()):
        record.age.least = draw(st.integers(0, 17))
        record.age.greatest = draw(st.integers(record.age.least, 17))
    if draw(st.booleans()):
        birth = draw(st.dates())
        record.birth.year, record.birth.month, record.birth.day = birth.year, birth.month, birth.day
        record.birth.calendar, record.birth.original_text = common_pb2.CALENDAR_GREGORIAN, birth.isoformat()
    if draw(st.booleans()):
        home = record.household
        home.text, home.country, home.postal_code = draw(_WORDS), draw(_MAYBE), draw(_MAYBE)
        home.division.system, home.division.value = "ISO 3166-2", draw(_WORDS)
    if draw(st.booleans()):
        record.photos.add(url=draw(_WORDS.filter(is_safe_address)))
    if draw(st.booleans()):
        record.contacts.add(name=draw(_WORDS), email=draw(_MAYBE), phone=draw(_MAYBE), organisation=draw(_MAYBE))
    record.provenance.source_format = "pfif"
    record.provenance.unmapped.add(path="source_date", value="2026-01-01T00:00:00Z")
    return record


@given(carried_cases())
def test_what_the_format_carries_comes_back_equal_and_without_a_warning(record: case_pb2.CaseRecord) -> None:
    written = encode(record)
    assert not written.issues
    found = decode(written.content)
    assert not found.issues
    assert [essence(item) for item in records(found)] == [essence(record)]


def _full_case() -> case_pb2.CaseRecord:
    """A case in which every field but the given ones holds something that PFIF has no place for."""
    record = case_pb2.CaseRecord(
        kind=case_pb2.CASE_KIND_RESCUED_CHILD, local_id=ID, event=case_pb2.EVENT_KIND_ABDUCTED, blood_sampled=True
    )
    record.event_date.year, record.found_date.year = 2020, 2026
    record.event_place.text = record.found_place.text = record.blood_group = "x"
    record.height.value, record.weight.value = 120, 20
    record.features.add(text="x")
    record.documents.add(number="x")
    record.ethnicity.value = "01"
    record.age.apparent = record.birth.approximate = True
    record.contacts.add(relation="x")
    record.household.division.value = "140100"
    record.names.add(kind=common_pb2.NAME_KIND_FORMER, full="x")
    return record


def test_every_field_that_a_person_cannot_carry_is_a_coded_warning() -> None:
    written = encode(_full_case())
    assert {issue.severity for issue in written.issues} == {Severity.WARN}
    named = {issue.locator.removeprefix("records[0].") for issue in written.issues if issue.code == "FIELD_NOT_CARRIED"}
    assert named == {
        "kind",
        "event",
        "blood_sampled",
        "event_date.year",
        "found_date.year",
        "event_place.text",
        "found_place.text",
        "blood_group",
        "height.value",
        "weight.value",
        "features",
        "documents",
        "ethnicity.value",
        "age.apparent",
        "birth.approximate",
        "contacts",
        "household.division",
        "names",
    }


@pytest.mark.parametrize(
    "contact",
    [
        common_pb2.Contact(name="x", role=common_pb2.CONTACT_ROLE_REPORTER),
        common_pb2.Contact(name="x", relation="y"),
        common_pb2.Contact(name="x", address=common_pb2.Place(text="y")),
    ],
    ids=["role", "relation", "address"],
)
def test_what_the_one_author_does_not_tell_of_a_contact_is_a_coded_warning(contact: common_pb2.Contact) -> None:
    record = case(xml(person(source_date="2026-01-01T00:00:00Z")))
    assert encode(record).issues == ()
    record.contacts.append(contact)
    assert [issue[1:3] for issue in encode(record).issues] == [("FIELD_NOT_CARRIED", "records[0].contacts")]


_TORN = st.text(st.sampled_from("甲乙 \n\r\t\v\x85\u2028"), max_size=5)


@given(
    record=st.builds(
        case_pb2.CaseRecord,
        names=st.lists(
            st.builds(
                common_pb2.PersonName,
                kind=st.sampled_from([common_pb2.NAME_KIND_LEGAL, common_pb2.NAME_KIND_ALIAS]),
                full=_TORN,
                given=st.sampled_from(["", "甲"]),
            ),
            max_size=3,
        ),
        profile_urls=st.lists(_TORN, max_size=3),
    )
)
@example(record=case_pb2.CaseRecord(names=[common_pb2.PersonName(kind=common_pb2.NAME_KIND_LEGAL, full="甲\u2028乙")]))
@example(record=case_pb2.CaseRecord(names=[common_pb2.PersonName(kind=common_pb2.NAME_KIND_ALIAS, full="")]))
@example(
    record=case_pb2.CaseRecord(
        names=[
            common_pb2.PersonName(kind=common_pb2.NAME_KIND_LEGAL, given="甲"),
            common_pb2.PersonName(kind=common_pb2.NAME_KIND_LEGAL, full="乙"),
        ]
    )
)
@example(record=case_pb2.CaseRecord(profile_urls=["http://x.invalid/1\u2028", ""]))
def test_a_list_that_would_come_back_as_another_is_a_coded_warning(record: case_pb2.CaseRecord) -> None:
    record.local_id, record.kind = ID, case_pb2.CASE_KIND_MISSING_CHILD
    written = encode(record)
    again = case(written.content)
    for field in ("names", "profile_urls"):
        said = any(
            issue.code in {"FIELD_NOT_CARRIED", "NAME_COMPOSED"} and issue.locator == f"records[0].{field}"
            for issue in written.issues
        )
        assert said or list(getattr(again, field)) == list(getattr(record, field))


def test_the_age_of_a_baby_is_carried() -> None:
    assert b"<age>0</age>" in encode(case(xml(person(age="0")))).content


@pytest.mark.parametrize("text", ["", "2018-08-15"])
def test_a_lunar_date_is_not_written_as_a_date_of_another_calendar(text: str) -> None:
    record = case_pb2.CaseRecord(local_id=ID)
    record.birth.year, record.birth.month, record.birth.day = 2018, 8, 15
    record.birth.calendar, record.birth.original_text = common_pb2.CALENDAR_LUNAR, text
    written = encode(record)
    assert b"date_of_birth" not in written.content
    assert ("FIELD_NOT_CARRIED", "records[0].birth") in {issue[1:3] for issue in written.issues}


def test_the_beginning_of_a_span_is_not_written_as_the_date() -> None:
    record = case_pb2.CaseRecord(local_id=ID)
    record.birth.year, record.birth.end.year, record.birth.calendar = 1988, 1990, common_pb2.CALENDAR_GREGORIAN
    for text in ("", "1988"):
        record.birth.original_text = text
        written = encode(record)
        assert b"date_of_birth" not in written.content
        assert ("FIELD_NOT_CARRIED", "records[0].birth") in {issue[1:3] for issue in written.issues}


@pytest.mark.parametrize(
    ("given_name", "family_name", "full"),
    [("Ding", "Synthetic", "Ding Synthetic"), ("丁", "测试", "测试丁"), ("D", "", "D")],
)
def test_a_full_name_that_pfif_demands_is_put_together_with_a_warning(
    given_name: str, family_name: str, full: str
) -> None:
    written = encode(case(xml(person(given_name=given_name, family_name=family_name))))
    assert f"<full_name>{full}</full_name>" in written.content.decode()
    assert "NAME_COMPOSED" in codes(written)


def test_the_words_for_no_name_are_never_read_as_a_name() -> None:
    assert not case(encode(case_pb2.CaseRecord(local_id=ID)).content).names


def test_what_another_format_left_over_is_not_written() -> None:
    record = case_pb2.CaseRecord(local_id=ID)
    record.provenance.source_format = "provincial-police-csv"
    record.provenance.unmapped.add(path="GMSFHM", value="SECRET")
    record.provenance.unmapped.add(path="source_url", value="SECRET")
    written = encode(record)
    assert b"SECRET" not in written.content
    assert "FIELD_NOT_CARRIED" in codes(written)


def test_a_field_whose_name_is_no_name_of_an_element_is_not_written() -> None:
    record = case_pb2.CaseRecord(local_id=ID)
    record.provenance.source_format = "pfif"
    record.provenance.unmapped.add(path="a b/>", value="SECRET")
    assert b"SECRET" not in encode(record).content


def test_characters_that_xml_cannot_hold_are_left_out_with_a_warning() -> None:
    written = encode(case_pb2.CaseRecord(local_id=ID, narrative="a\x08b"))
    assert b"<description>ab</description>" in written.content
    assert ("VALUE_CUT", "records[0], description") in {issue[1:3] for issue in written.issues}


def test_a_public_notice_carries_picture_sex_age_and_place_and_no_name() -> None:
    written = encode(notice())
    (name,) = written.attachments
    text = written.content.decode()
    assert written.attachments[name] == PICTURE
    for expected in (
        f"<photo_url>{name}</photo_url>",
        "<sex>female</sex>",
        "<age>5-7</age>",
        "<last_known_location>虚构县</last_known_location>",
        "<expiry_date>2030-03-17T17:46:40Z</expiry_date>",
        "<source_date>2027-01-15T08:00:00Z</source_date>",
        "<full_name>未公开 (not public)</full_name>",
    ):
        assert expected in text
    assert "home_" not in text
    assert "given_name" not in text


def test_a_public_notice_leaves_out_a_history_of_mental_illness() -> None:
    found = notice()
    found.features.add(kind=common_pb2.FEATURE_KIND_MENTAL, text="SYN-MENTAL")
    written = ADAPTER.encode([found], LIMITS)
    assert [issue.locator for issue in written.issues if issue.code == "FEATURE_NOT_PUBLIC"] == [
        "records[0], features[0]"
    ]
    assert b"synthetic appeal" in written.content
    assert b"SYN-MENTAL" not in written.content


def test_a_public_notice_reads_as_pfif_again() -> None:
    child, tip = records(decode(encode(notice()).content))
    assert isinstance(child, case_pb2.CaseRecord)
    assert isinstance(tip, case_pb2.Tip)
    assert (list(child.names), tip.place.text) == ([], "虚构县")


def test_a_notice_of_an_unknown_action_is_not_published() -> None:
    written = encode(notice(action=99))
    assert codes(written) == ["ACTION_UNKNOWN"]
    assert b"person" not in written.content


def test_times_beyond_the_calendar_are_left_out_with_a_warning() -> None:
    record = notice()
    record.expires_at.seconds = 10**15
    written = encode(record)
    assert b"expiry_date" not in written.content
    assert ("FIELD_NOT_CARRIED", "records[0].expires_at") in {issue[1:3] for issue in written.issues}


@pytest.mark.parametrize(
    "record",
    [
        notice(action=notice_pb2.NOTICE_ACTION_WITHDRAW, notice_id=ID),
        case_pb2.Correction(
            kind=case_pb2.CORRECTION_KIND_WITHDRAW, replacement=case_pb2.CaseRecord(local_id=ID, narrative="SECRET")
        ),
        case_pb2.Correction(kind=case_pb2.CORRECTION_KIND_ERASE, target_record_id=ID),
    ],
    ids=["a notice withdrawn", "a case withdrawn", "a case erased"],
)
def test_a_withdrawal_leaves_ids_and_dates_only_and_reads_as_one(record: Record) -> None:
    written = encode(record)
    assert not written.attachments
    (again,) = decode(written.content).records
    assert isinstance(again.record, case_pb2.Correction)
    assert again.case_reference == ID
    assert b"SECRET" not in written.content


def test_an_amendment_is_the_person_as_it_should_have_been() -> None:
    replacement = case(xml(person(sex="female")))
    written = encode(case_pb2.Correction(kind=case_pb2.CORRECTION_KIND_AMEND, reason="x", replacement=replacement))
    assert case(written.content).sex == common_pb2.SEX_FEMALE
    assert ("FIELD_NOT_CARRIED", "records[0].reason") in {issue[1:3] for issue in written.issues}


def test_a_correction_of_an_unknown_kind_is_not_written() -> None:
    assert codes(encode(case_pb2.Correction(target_record_id=ID))) == ["KIND_UNKNOWN"]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (case_pb2.OUTCOME_REUNITED, "believed_alive"),
        (case_pb2.OUTCOME_DECLINED_BY_SUBJECT, "believed_alive"),
        (case_pb2.OUTCOME_DECEASED, "believed_dead"),
        (case_pb2.OUTCOME_FALSE_REPORT, None),
        (99, None),
    ],
)
def test_a_closure_is_a_note_that_says_no_more_than_whether_the_person_lives(
    outcome: case_pb2.Outcome.ValueType, status: str | None
) -> None:
    record = case_pb2.Closure(outcome=outcome, local_id=ID, match_record_id="m")
    record.names.add(full="SECRET")
    written = encode(record)
    text = written.content.decode()
    assert f"<person_record_id>{ID}</person_record_id>" in text
    assert ("<status>" in text) is (status is not None)
    assert status is None or f"<status>{status}</status>" in text
    assert "SECRET" not in text
    assert "declined" not in text
    assert {issue.locator for issue in written.issues} == {"records[0].names", "records[0].match_record_id"}


def test_a_note_about_nobody_is_not_written() -> None:
    assert codes(encode(case_pb2.Closure(outcome=case_pb2.OUTCOME_REUNITED), case_pb2.Tip(text="x", local_id="y"))) == [
        "DEFAULT_WRITTEN",
        "PERSON_UNKNOWN",
    ]


def test_when_and_by_whose_relation_somebody_was_seen_stays_behind_with_a_warning() -> None:
    (tip,) = records(decode(xml(note(source_date="2026-11-12T09:00:00Z"))))
    assert isinstance(tip, case_pb2.Tip)
    tip.seen.year, tip.place.country, tip.reporter.relation = 2026, "CN", "x"
    assert [(issue.code, issue.locator) for issue in encode(tip).issues] == [
        ("FIELD_NOT_CARRIED", f"records[0].{path}") for path in ("place.country", "reporter.relation", "seen.year")
    ]


def test_profiles_and_matches_are_never_written() -> None:
    written = encode(dna_pb2.StrProfile(barcode="SECRET"), dna_pb2.MatchNotification(match_id="SECRET"))
    assert codes(written) == ["KIND_NOT_CARRIED"]
    assert b"SECRET" not in written.content
