from __future__ import annotations

from pathlib import Path

import pytest
from lxml import etree

from adapters.base import Decoded, Encoded, Limits, Record, Source
from adapters.public_notice.cap.adapter import ADAPTER
from adapters.public_notice.cap.write import NAMESPACE
from caseexchange.records.v1 import case_pb2, common_pb2, notice_pb2
from tests.support.notices import drawing, notice, photo

SAMPLE = Path(__file__).parents[5] / "adapters" / "public_notice" / "samples" / "child-notice.cap.xml"
LIMITS = Limits()


def encode(*records: Record) -> Encoded:
    return ADAPTER.encode(records, LIMITS)


def decode(content: bytes, **attachments: bytes) -> Decoded:
    return ADAPTER.decode(Source(content, {name.replace("_", "."): item for name, item in attachments.items()}), LIMITS)


def codes(found: Decoded | Encoded) -> list[str]:
    return sorted({issue.code for issue in found.issues})


def later(action: str, days: int) -> notice_pb2.PublicNotice:
    found = notice(action=action)
    found.effective_at.seconds += days * 86400
    return found


def texts(content: bytes, name: str) -> list[str | None]:
    return [item.text for item in etree.fromstring(content).iter(f"{{{NAMESPACE}}}{name}")]


def alert(info: str = "", **fields: str) -> bytes:
    """Somebody else's alert."""
    known = {
        "identifier": "A-1",
        "sender": "office@elsewhere.example",
        "sent": "2026-09-21T10:00:00-07:00",
        "status": "Actual",
        "msgType": "Alert",
        "scope": "Public",
        **fields,
    }
    body = "".join(f"<{name}>{text}</{name}>" for name, text in known.items() if text)
    return f'<alert xmlns="{NAMESPACE}">{body}{info and f"<info>{info}</info>"}</alert>'.encode()


def read(content: bytes) -> notice_pb2.PublicNotice:
    (item,) = decode(content).records
    assert isinstance(item.record, notice_pb2.PublicNotice)
    return item.record


def test_the_sample_file_is_read_whole_and_written_again_byte_by_byte() -> None:
    found = decode(SAMPLE.read_bytes())
    assert found.issues == ()
    assert encode(*(item.record for item in found.records)) == Encoded(SAMPLE.read_bytes(), {}, ())


def test_an_alert_has_one_info_for_chinese_and_one_for_english_whatever_the_notice_has() -> None:
    only_bod = notice_pb2.LocalisedText(language="bo", headline="synthetic", text="synthetic")
    for found, languages in ((notice(), ["zh-CN", "en"]), (notice(texts=[only_bod]), ["zh-CN", "en", "bo"])):
        assert texts(encode(found).content, "language") == languages
        assert all(texts(encode(found).content, "headline"))


def test_every_time_has_its_zone_in_numbers() -> None:
    content = encode(notice()).content
    times = [*texts(content, "sent"), *texts(content, "effective"), *texts(content, "expires")]
    assert times[0] == "2025-06-15T23:06:40+08:00"
    assert all(time is not None and time.endswith("+08:00") for time in times)


def test_an_update_names_everything_before_it_and_a_cancellation_too_without_a_word_of_the_child() -> None:
    history = [notice(), later("UPDATE", 1), later("UPDATE", 2), later("WITHDRAW", 3)]
    documents = [encode(*history[: number + 1]).content for number in range(4)]
    triples = [
        ",".join(str(texts(document, name)[0]) for name in ("sender", "identifier", "sent")) for document in documents
    ]
    assert [texts(document, "msgType") for document in documents] == [["Alert"], ["Update"], ["Update"], ["Cancel"]]
    assert [texts(document, "references") for document in documents[1:]] == [
        [" ".join(triples[:number])] for number in (1, 2, 3)
    ]
    assert texts(documents[3], "info") == []
    assert len(set(triples)) == 4


def test_what_was_published_again_does_not_name_what_was_cancelled() -> None:
    content = encode(notice(), later("WITHDRAW", 1), later("PUBLISH", 2)).content
    assert (texts(content, "msgType"), texts(content, "references")) == (["Alert"], [])


@pytest.mark.parametrize("action", ["UPDATE", "WITHDRAW"])
def test_without_what_came_before_an_update_or_cancellation_is_refused(action: str) -> None:
    assert codes(encode(notice(action=action))) == ["REFERENCES_UNKNOWN"]


@pytest.mark.parametrize(
    ("records", "code"),
    [
        ([notice(1), notice(2)], "ONE_NOTICE_A_FILE"),
        ([], "ONE_NOTICE_A_FILE"),
        ([notice(), case_pb2.Closure()], "KIND_NOT_CARRIED"),
        ([notice(action="UNSPECIFIED")], "ACTION_UNKNOWN"),
        ([notice(effective_at=None)], "SENT_UNKNOWN"),
        ([notice(notice_id="no-domain")], "CAP_SENDER"),
        ([notice(notice_id="a b/1")], "CAP_SENDER"),
        ([notice(features=[common_pb2.Feature(text="11010120200101001X")])], "IDENTITY_NUMBER"),
        ([notice(features=[common_pb2.Feature(text="D8S1179 12")])], "LOCUS"),
    ],
)
def test_what_the_format_cannot_say_is_refused_by_a_code(records: list[Record], code: str) -> None:
    found = encode(*records)
    assert (codes(found), found.content if code.endswith("FILE") else b"") == ([code], b"")


@pytest.mark.parametrize(
    ("phone", "email", "warned"),
    [
        ("000-0000-0001, 000-0000-0002", "office@synthetic.example", []),
        ("000-0000-0001", "", []),
        ("", "office@synthetic.example", []),
        ("000-0000-0001,000-0000-0002", "", ["FIELD_NOT_CARRIED"]),
        ("office@synthetic.example", "", ["FIELD_NOT_CARRIED"]),
        ("000-0000-0001", "office at synthetic.example", ["FIELD_NOT_CARRIED"]),
    ],
)
def test_by_what_an_office_is_reached_comes_back_or_is_a_coded_warning(
    phone: str, email: str, warned: list[str]
) -> None:
    stated = notice()
    stated.report_to.CopyFrom(common_pb2.Contact(organisation="Synthetic office", phone=phone, email=email))
    written = encode(stated)
    assert codes(written) == warned
    found = read(written.content).report_to
    assert warned or (found.phone, found.email) == (phone, email)


def test_an_alert_leaves_out_a_history_of_mental_illness() -> None:
    features = [common_pb2.Feature(kind=common_pb2.FEATURE_KIND_MENTAL, text="SYN-MENTAL")]
    found = encode(notice(features=features))
    assert [(issue.code, issue.locator) for issue in found.issues if issue.code != "FIELD_NOT_CARRIED"] == [
        ("FEATURE_NOT_PUBLIC", "records[0], features[0]")
    ]
    assert b"<headline>" in found.content
    assert b"SYN-MENTAL" not in found.content


def test_pictures_lie_beside_the_file_without_their_metadata_and_are_read_from_there() -> None:
    found = encode(notice(photos=[photo(drawing())]))
    ((name, content),) = found.attachments.items()
    assert b"SECRET" not in content
    assert texts(found.content, "uri") == [name, name]
    (item,) = ADAPTER.decode(Source(found.content, found.attachments), LIMITS).records
    assert isinstance(item.record, notice_pb2.PublicNotice)
    assert [shot.content for shot in item.record.photos] == [content]


def test_a_broken_picture_is_left_out_with_its_code() -> None:
    found = encode(notice(photos=[photo(b"\xff\xd8\xffbroken")]))
    assert "PICTURE_BROKEN" in codes(found)
    assert (found.attachments, texts(found.content, "resource")) == ({}, [])


def test_the_alert_of_another_is_read_with_a_word_of_caution() -> None:
    info = (
        "<language>en-CA</language><headline>Synthetic</headline><description>Words</description>"
        "<contact>Desk, 000-0000, desk@elsewhere.example</contact><audience>All</audience>"
        "<parameter><valueName>LAYER</valueName><value>1</value></parameter>"
        "<area><areaDesc>Sample County</areaDesc><geocode><valueName>SAME</valueName>"
        "<value>000000</value></geocode></area>"
    )
    found = decode(alert(info, source="desk"))
    assert codes(found) == ["WORDS_NOT_JUDGED"]
    record = read(alert(info, source="desk"))
    assert record.notice_id == "office@elsewhere.example/A-1"
    assert (record.texts[0].language, record.texts[0].text) == ("en-CA", "Words")
    assert (record.report_to.email, record.report_to.phone) == ("desk@elsewhere.example", "Desk, 000-0000")
    assert (record.place.text, record.place.division.value) == ("Sample County", "000000")
    kept = {(item.path, item.value) for item in record.provenance.unmapped}
    assert kept == {("alert/source", "desk"), ("info/audience", "All"), ("parameter/LAYER", "1")}


def test_an_update_of_another_is_about_the_alert_that_it_names() -> None:
    references = "office@elsewhere.example,A-1,2026-09-21T10:00:00-07:00"
    record = read(alert(msgType="Cancel", identifier="A-2", references=references))
    assert (record.notice_id, record.action) == ("office@elsewhere.example/A-1", notice_pb2.NOTICE_ACTION_WITHDRAW)
    assert record.effective_at.seconds == 1_790_010_000


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (alert(msgType="Ack"), "CAP_MESSAGE"),
        (alert(scope="Restricted"), "NOT_PUBLIC"),
        (alert(status="Draft"), "CAP_STATUS"),
        (alert(identifier=""), "RECORD_ID_MISSING"),
        (alert(msgType="Update"), "REFERENCES_UNKNOWN"),
        (alert("<description>11010120200101001X</description>"), "IDENTITY_NUMBER"),
        (alert(source="x" * 20_001), "FIELD_TOO_LONG"),
        (b'<alert xmlns="urn:oasis:names:tc:emergency:cap:1.9"/>', "CAP_VERSION"),
        (b'<info xmlns="urn:oasis:names:tc:emergency:cap:1.2"/>', "NOT_CAP"),
    ],
)
def test_what_can_be_no_notice_is_refused_by_a_code(content: bytes, code: str) -> None:
    found = decode(content)
    assert (found.records, code in codes(found)) == ((), True)


def test_a_time_without_its_zone_is_not_guessed() -> None:
    found = decode(alert("<expires>2026-09-21T10:00:00</expires>"))
    assert "TIME_NOT_READ" in codes(found)
