from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lxml import etree, html
from PIL import Image

from adapters.public_notice.history import End, Filed, NoticeBoard, Standing, Version, fold
from adapters.public_notice.noticeboard.atom import NAMESPACE as ATOM
from adapters.public_notice.noticeboard.atom import TOMBSTONES, entry_id
from adapters.public_notice.noticeboard.frame import HEADER_POLICY, META_POLICY, Settings
from adapters.public_notice.noticeboard.pages import ON_A_PAGE, slug
from adapters.public_notice.noticeboard.site import Site, make_site
from caseexchange.records.v1 import common_pb2, notice_pb2
from tests.support.exhibits import exhibits
from tests.support.notices import EPOCH_SECONDS, correction, drawing, filed, notice, photo, record_id

if TYPE_CHECKING:
    from collections.abc import Iterable

GUIDE = Path(__file__).parents[5] / "docs" / "noticeboard.md"
NOW = datetime.fromtimestamp(EPOCH_SECONDS + 86400, UTC)
URL = "https://notices.example/"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><!--&amp;]]>\u202e"


def site(*items: Filed, url: str = URL, exercise: bool = False) -> Site:
    return make_site(fold(items, NOW), Settings(url, NOW, exercise))


def documents(found: Site) -> Iterable[tuple[str, html.HtmlElement]]:
    for name, content in found.files.items():
        if name.endswith(".html"):
            yield name, html.document_fromstring(content.decode())


def codes(found: Site) -> set[str]:
    return {issue.code for issue in found.issues}


def hostile() -> notice_pb2.PublicNotice:
    return notice(
        notice_id=f"{HOSTILE}/1",
        place=common_pb2.Place(text=HOSTILE),
        features=[common_pb2.Feature(kind=kind, text=HOSTILE) for kind in common_pb2.FeatureKind.values()],
        texts=[
            notice_pb2.LocalisedText(language=language, headline=HOSTILE, text=HOSTILE) for language in ("zh", "en")
        ],
        report_to=common_pb2.Contact(organisation=HOSTILE, phone="javascript:alert(1)", email='x@y" onclick="z'),
        photos=[photo(drawing())],
    )


def test_a_notice_is_on_the_list_and_on_a_page_of_its_own_in_both_languages() -> None:
    found = site(filed(notice(photos=[photo(drawing())]), 0))
    assert found.issues == ()
    for folder, words in (
        ("zh", ("女", "看上去5–7岁", "寻找她的家人")),
        ("en", ("Female", "looks 5–7 years old", "Looking")),
    ):
        one = found.files[f"{folder}/notice/{slug('notices.example/SYN-0001')}.html"].decode()
        for text in (found.files[f"{folder}/index.html"].decode(), one):
            assert all(word in text for word in (*words, "虚构省样例县"))
        assert 'href="tel:00000000009"' in one
        assert 'href="mailto:office@notices.example"' in one
        assert "左眉上有一颗小痣" in one
        assert "notices.example/SYN-0001" in one


def test_a_history_of_mental_illness_is_on_no_page_alert_or_feed_and_every_other_feature_has_a_heading() -> None:
    kinds = [kind for kind in common_pb2.FeatureKind.values() if kind]
    item = notice(features=[common_pb2.Feature(kind=kind, text=f"SYN-FEATURE-{kind}.") for kind in kinds])
    found = site(filed(item, 0))
    assert [(issue.code, issue.locator) for issue in found.issues] == [
        ("FEATURE_NOT_PUBLIC", f"{record_id(0)}, features[{kinds.index(common_pb2.FEATURE_KIND_MENTAL)}]")
    ]
    everything = b"".join([*found.files.values(), *(shown.SerializeToString() for shown in found.notices)])
    for kind in kinds:
        assert (f"SYN-FEATURE-{kind}.".encode() in everything) is (kind != common_pb2.FEATURE_KIND_MENTAL)
    for folder, headings, other in (
        ("zh", ("牙齿特征", "生活习惯"), "其他特征"),
        ("en", ("Teeth", "Habits"), "Other features"),
    ):
        page = found.files[f"{folder}/notice/{slug(item.notice_id)}.html"].decode()
        assert all(heading in page for heading in headings)
        assert other not in page


def test_a_notice_that_cannot_be_rendered_is_left_out_and_told_of_and_the_board_goes_on() -> None:
    board = fold([*(filed(notice(number), number) for number in (1, 2, 3)), filed(correction(record_id(3)), 4)], NOW)
    # No clock in China can show such a time.
    never = datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))
    bad = Standing("SYN-BAD", "cn-ministry", versions=[Version(notice(photos=[photo(drawing())]), record_id(9), never)])
    ended = Standing("SYN-END", "cn-ministry", versions=bad.versions, end=End(record_id(10), never))
    found = make_site(NoticeBoard((bad, *board.shown), (*board.gone, ended), ()), Settings(URL, NOW, exercise=False))
    alone = make_site(board, Settings(URL, NOW, exercise=False))
    assert found.files == alone.files
    assert (found.shown, found.notices) == (2, alone.notices)
    assert slug("notices.example/SYN-0003") not in str(found.files.keys())
    assert [(issue.code, issue.locator, issue.refuses) for issue in found.issues] == [
        ("ADAPTER_FAILED", record_id(9), True)
    ] * 2


def test_a_text_in_a_third_language_needs_no_headline() -> None:
    found = site(filed(notice(texts=[notice_pb2.LocalisedText(language="ug", text="SYN-TEXT")]), 0))
    assert found.issues == ()
    (alert,) = (etree.fromstring(content) for name, content in found.files.items() if name.startswith("cap/"))
    headlines = [item.text for item in alert.iter("{*}headline")]
    assert len(headlines) == 3
    assert headlines[2] == headlines[1]


def test_the_name_of_whoever_is_to_be_told_is_nowhere() -> None:
    assert not any(b"NEVER-SHOWN" in content for content in site(filed(notice(), 0)).files.values())


@pytest.mark.parametrize("items", [exhibits(), [filed(hostile(), 0)]], ids=["exhibits", "hostile"])
def test_no_page_has_a_script_a_style_a_handler_a_form_or_anything_from_elsewhere(items: list[Filed]) -> None:
    for name, document in documents(site(*items, url="")):
        for element in document.iter(etree.Element):
            assert element.tag not in {"script", "style", "iframe", "object", "embed", "form", "input", "svg"}, name
            assert not [key for key in element.attrib if key.startswith("on") or key == "style"], name
            for key in ("href", "src"):
                address = element.get(key, "")
                assert address.startswith(("tel:", "mailto:")) or ":" not in address, name
                assert not address.startswith("//"), name


def test_every_page_states_its_policy_before_anything_that_it_loads() -> None:
    assert META_POLICY.startswith("default-src 'none';")
    assert "unsafe" not in META_POLICY
    for name, document in documents(site(*exhibits())):
        head = list(document.head)
        policy = next(index for index, item in enumerate(head) if item.get("http-equiv") == "Content-Security-Policy")
        assert head[policy].get("content") == META_POLICY, name
        assert all(item.tag == "meta" for item in head[:policy]), name


def test_the_documented_header_is_the_pages_own_policy_and_forbids_frames() -> None:
    assert f"{META_POLICY}; frame-ancestors 'none'" == HEADER_POLICY
    assert f"Content-Security-Policy: {HEADER_POLICY}\n" in GUIDE.read_text()


def test_whatever_a_notice_says_is_text_on_the_page() -> None:
    found = site(filed(hostile(), 0))
    for folder in ("zh", "en"):
        page = found.files[f"{folder}/notice/{slug(hostile().notice_id)}.html"].decode()
        document = html.document_fromstring(page)
        assert document.xpath("string(//h1)") == HOSTILE.rstrip("\u202e")
        assert len(document.findall(".//img")) == 2
        assert not document.xpath("//a[starts-with(@href, 'tel:') or starts-with(@href, 'mailto:')]")
    for name, content in found.files.items():
        if name.endswith(".xml"):
            etree.fromstring(content)


def test_every_link_leads_to_a_page_that_is_there() -> None:
    found = site(*exhibits(), url="")
    for name, document in documents(found):
        if name == "404.html":
            continue
        base = name.split("/")[:-1]
        for element in document.iter("a", "img", "link"):
            address = (element.get("href") or element.get("src") or "").partition("#")[0]
            if not address or address.startswith(("tel:", "mailto:")):
                continue
            parts = list(base)
            for part in address.split("/"):
                parts = parts[:-1] if part == ".." else [*parts, part]
            assert "/".join(parts) in found.files, f"{name}: {address}"


def test_a_long_list_is_divided_into_pages() -> None:
    found = site(*(filed(notice(number), number) for number in range(ON_A_PAGE + 1)))
    assert found.files["zh/index.html"].count(b"<article") == ON_A_PAGE
    assert found.files["zh/page-2.html"].count(b"<article") == 1
    assert b'href="page-2.html"' in found.files["zh/index.html"]
    assert b'href="index.html"' in found.files["zh/page-2.html"]


def test_an_empty_board_says_so() -> None:
    found = site()
    assert "目前没有公开的启事" in found.files["zh/index.html"].decode()
    assert "There are no public notices" in found.files["en/index.html"].decode()


def test_pictures_are_encoded_anew_without_what_their_camera_said() -> None:
    content = drawing()
    assert b"SECRET" in content
    found = site(filed(notice(photos=[photo(content)]), 0))
    (name,) = (name for name in found.files if name.startswith("photos/"))
    assert found.files[name] != content
    assert not any(b"SECRET" in item for item in found.files.values())
    with Image.open(io.BytesIO(found.files[name])) as image:
        assert image.format == "JPEG"


def test_a_broken_picture_is_refused_by_a_code_and_the_notice_is_shown_without() -> None:
    broken = photo(b"\xff\xd8\xff" + b"not a picture")
    elsewhere = common_pb2.Photo(url="https://elsewhere.example/child.jpg")
    found = site(filed(notice(photos=[broken, elsewhere]), 0))
    assert codes(found) == {"PICTURE_BROKEN", "PICTURE_ELSEWHERE"}
    assert found.shown == 1
    assert not any(name.startswith("photos/") or b"elsewhere.example" in item for name, item in found.files.items())


def test_a_notice_with_an_identity_number_or_a_locus_is_refused_whole() -> None:
    for text, code in (("11010120200101001X", "IDENTITY_NUMBER"), ("D8S1179 12", "LOCUS")):
        item = notice(photos=[photo(drawing())], features=[common_pb2.Feature(text=text)])
        found = site(filed(item, 0))
        assert (found.shown, codes(found)) == (0, {code})
        assert not any(name.startswith(("photos/", "cap/", "zh/notice", "en/notice")) for name in found.files)


def test_of_a_withdrawn_notice_nothing_is_left_but_its_number() -> None:
    shown = notice(photos=[photo(drawing())])
    published = filed(shown, 0)
    before, after = site(published), site(published, filed(correction(record_id(0)), 1))
    removed = set(before.files) - set(after.files)
    assert {name.split("/")[0] for name in removed} == {"zh", "en", "photos", "cap"}
    for content in after.files.values():
        for words in (
            "寻找她的家人",
            "Looking for her family",
            "样例县",
            "小痣",
            slug(shown.notice_id),
            "000-0000-0009",
        ):
            assert words.encode() not in content
    tombstone = etree.fromstring(after.files["zh/atom.xml"]).find(f"{{{TOMBSTONES}}}deleted-entry")
    assert tombstone is not None
    assert tombstone.get("ref") == entry_id(shown.notice_id)
    assert tombstone.get("when") == "2025-06-15T15:07:40Z"


def test_two_children_with_one_picture_share_it_until_both_are_gone() -> None:
    items = [filed(notice(number, photos=[photo(drawing())]), number, f"case-{number}") for number in (0, 1)]
    one = site(*items, filed(notice(0, "WITHDRAW"), 2))
    none = site(*items, filed(notice(0, "WITHDRAW"), 2), filed(notice(1, "WITHDRAW"), 3))
    assert [sum(name.startswith("photos/") for name in found.files) for found in (one, none)] == [1, 0]


def test_a_feed_lists_every_notice_with_its_page_its_alert_and_its_pictures() -> None:
    found = site(*exhibits())
    for folder in ("zh", "en"):
        feed = etree.fromstring(found.files[f"{folder}/atom.xml"])
        entries = feed.findall(f"{{{ATOM}}}entry")
        assert len(entries) == 6
        for link in feed.iter(f"{{{ATOM}}}link"):
            assert str(link.get("href")).removeprefix(URL) in found.files
        for parent in (feed, *entries):
            for name in ("id", "title", "updated"):
                assert parent.findtext(f"{{{ATOM}}}{name}")


def test_the_same_board_makes_the_same_feeds_and_alerts_whenever_it_is_made() -> None:
    board = fold(exhibits(), NOW)
    first, second = (make_site(board, Settings(URL, when)).files for when in (NOW, datetime.now(UTC)))
    assert {name for name in first if first[name] != second[name]} == {
        name for name in first if name.endswith(".html") and "/" in name
    }


def test_an_exercise_says_so_everywhere() -> None:
    serious, exercise = site(*exhibits()).files, site(*exhibits(), exercise=True).files
    assert serious.keys() == exercise.keys()
    for name, content in exercise.items():
        if name.endswith(".html") and name != "404.html":
            # The board's own words: the notices here say too that they are invented.
            words = ["本网站上的人物和图片都是虚构的".encode(), b"every person and picture on this site is invented"]
        elif name.startswith("cap/"):
            words = [b"<status>Exercise</status>"]
        else:
            continue
        assert any(word in content for word in words), name
        assert not any(word in serious[name] for word in words), name
