from __future__ import annotations

from dataclasses import replace

import pytest

from adapters.base import IssueList, Limits, Severity
from adapters.syntax.hardened_xml import (
    add,
    child_text,
    is_name,
    longest,
    new_root,
    parse_xml,
    serialise,
    unread,
    writable,
)

LIMITS = Limits()


def refusal(content: bytes, limits: Limits = LIMITS) -> tuple[str, str]:
    """Code and locator of the one issue for which a document is refused."""
    issues = IssueList()
    assert parse_xml(content, limits, issues) is None
    (issue,) = issues.items
    assert issue.severity is Severity.REJECT_FILE
    return issue.code, issue.locator


def text_in(content: bytes) -> str:
    issues = IssueList()
    root = parse_xml(content, LIMITS, issues)
    assert root is not None, issues.items
    assert not issues.items
    return root.text or ""


ATTACKS = {
    "an external entity": b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>',
    "a parameter entity": b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://synthetic.invalid/x">%x;]><a/>',
    "an external DTD": b'<!DOCTYPE a SYSTEM "http://synthetic.invalid/a.dtd"><a/>',
    "a public DTD": b'<!DOCTYPE a PUBLIC "-//SYNTHETIC//A" "http://synthetic.invalid/a.dtd"><a/>',
    "a bare doctype": b"<!DOCTYPE a><a/>",
    "a billion laughs": b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "'
    + b"&b;" * 10
    + b'"><!ENTITY d "'
    + b"&c;" * 10
    + b'">]><a>&d;</a>',
    "a quadratic blow-up": b'<!DOCTYPE a [<!ENTITY b "' + b"x" * 50_000 + b'">]><a>' + b"&b;" * 50_000 + b"</a>",
}


@pytest.mark.parametrize("content", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_document_type_declaration_is_refused_whatever_it_holds(content: bytes) -> None:
    assert refusal(content) == ("XML_DTD_REFUSED", "line 1")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "gb18030"])
def test_a_declaration_does_not_hide_behind_an_encoding(encoding: str) -> None:
    document = '<?xml version="1.0" encoding="gb18030"?>\n<!DOCTYPE a [<!ENTITY b "c">]>\n<a>&b;</a>'
    assert refusal(document.encode(encoding)) == ("XML_DTD_REFUSED", "line 2")


def test_a_refused_declaration_is_located_behind_a_comment() -> None:
    assert refusal(b"<!-- synthetic -->\n\n<!DOCTYPE a><a/>") == ("XML_DTD_REFUSED", "line 3")


def test_an_entity_that_nobody_declared_is_refused() -> None:
    assert refusal(b"<a>&b;</a>") == ("XML_MALFORMED", "line 1")


@pytest.mark.parametrize("nested", [33, 300, 200_000])
def test_a_tower_of_elements_is_refused(nested: int) -> None:
    assert refusal(b"<a>" * nested + b"</a>" * nested) == ("XML_TOO_DEEP", "line 1")


def test_elements_are_nested_up_to_the_limit() -> None:
    issues = IssueList()
    assert parse_xml(b"<a>" * 32 + b"</a>" * 32, LIMITS, issues) is not None
    assert not issues.items


def test_a_file_beyond_the_limit_is_refused_unread() -> None:
    assert refusal(b"<!DOCTYPE" + b" " * 100, replace(LIMITS, bytes=50)) == ("FILE_TOO_LARGE", "file")


def test_a_file_of_too_many_elements_is_refused_before_there_is_a_tree() -> None:
    assert refusal(b"<a>" + b"<b/>" * 4_000_000 + b"</a>") == ("XML_TOO_MANY_ELEMENTS", "file")


def test_attributes_count_as_elements_do() -> None:
    element = b"<b " + b" ".join(b'%c=""' % letter for letter in range(ord("a"), ord("k"))) + b"/>"
    assert refusal(b"<a>" + element * 370_000 + b"</a>") == ("XML_TOO_MANY_ELEMENTS", "file")


@pytest.mark.parametrize(
    ("content", "locator"),
    [
        (b"", "line 1"),
        (b" \n\t", "line 2"),
        (b"\xef\xbb\xbf", "line 1"),
        (b"no markup", "line 1"),
        (b"<a>\n<b>\n</a>", "line 3"),
        (b"<a/><b/>", "line 1"),
        (b"<a>\x08</a>", "line 1"),
        (b"<a>&#0;</a>", "line 1"),
        (b"<a b='1' b='2'/>", "line 1"),
    ],
)
def test_what_is_not_well_formed_is_refused_with_its_line(content: bytes, locator: str) -> None:
    assert refusal(content) == ("XML_MALFORMED", locator)


def test_a_declaration_over_two_lines_does_not_move_the_lines_behind_it() -> None:
    assert refusal(b'<?xml version="1.0"\nencoding="UTF-8"?>\n<a>\n<b>') == ("XML_MALFORMED", "line 4")


@pytest.mark.parametrize(
    "content",
    [
        "<a>字</a>".encode("gb18030"),
        b"<a>\xff</a>",
        b"<a>\0</a>",
        b"\0",
        "<a/>".encode("utf-32"),
        "<a/>".encode("utf-16-le"),
        b"\xff\xfe<\0a",
        b"\xff\xfe<",
        b'<?xml version="1.0" encoding="UTF-16"?><a/>',
        b'<?xml version="1.0" encoding="no-such-encoding"?><a/>',
    ],
)
def test_bytes_that_are_not_text_in_their_encoding_are_refused(content: bytes) -> None:
    code, _ = refusal(content)
    assert code in {"XML_ENCODING", "XML_MALFORMED"}


@pytest.mark.parametrize(
    "codec", ["undefined", "idna", "punycode", "utf-7", "unicode_escape", "raw-unicode-escape", "hex", "zlib", "rot13"]
)
def test_a_codec_that_is_no_encoding_of_documents_is_refused(codec: str) -> None:
    content = rf'<?xml version="1.0" encoding="{codec}"?><a>\ud800</a>'
    assert refusal(content.encode()) == ("XML_ENCODING", "line 1")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<a>测试 𠮷</a>".encode(), "测试 𠮷"),
        ("<a>测试 𠮷</a>".encode("utf-8-sig"), "测试 𠮷"),
        ('<?xml version="1.0" encoding="UTF-16"?><a>测试 𠮷</a>'.encode("utf-16"), "测试 𠮷"),
        (b"\xfe\xff" + "<a>测试 𠮷</a>".encode("utf-16-be"), "测试 𠮷"),
        ("<?xml version='1.0' encoding='GB18030'?><a>测试 𠮷</a>".encode("gb18030"), "测试 𠮷"),
        ('<?xml version="1.0" encoding="GBK"?><a>测试</a>'.encode("gbk"), "测试"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'.encode("latin-1"), "é"),
        (b'\n <?xml version="1.0" encoding="UTF-8" standalone="yes"?><a>b</a>', "b"),
        (b"<a>b<!-- d -->c<?e f?></a>", "bc"),
        (b"<a><![CDATA[<b>]]></a>", "<b>"),
    ],
)
def test_text_is_read_in_the_encoding_that_it_states(content: bytes, text: str) -> None:
    assert text_in(content) == text


def test_what_is_written_is_read_again_and_always_the_same() -> None:
    root = new_root("urn:synthetic", "file")
    add(add(root, "record"), "name", "<测试 & \x08'text'>\r\n𠮷")
    written = serialise(root)
    assert written.startswith(b"<?xml version='1.0' encoding='UTF-8'?>\n<file xmlns=\"urn:synthetic\">")
    assert written == serialise(root)
    again = parse_xml(written, LIMITS, IssueList())
    assert again is not None
    assert child_text(again[0], "name") == "<测试 & 'text'>\r\n𠮷"


def test_characters_that_xml_cannot_hold_are_left_out_of_what_is_written() -> None:
    assert writable("a\0b\x08c\ufffed\ud800e\tf\n") == "abcde\tf\n"


@pytest.mark.parametrize("text", ["", "1a", "a b", "a:b", "{urn}a", "a" * 129, "某列", "a\n"])
def test_not_every_text_names_an_element(text: str) -> None:
    assert not is_name(text)


def test_what_is_not_known_is_listed_with_its_path() -> None:
    root = parse_xml(b'<a b="1" c="2"><d>3</d><e>4<f> 5 </f></e></a>', LIMITS, IssueList())
    assert root is not None
    assert list(unread(root, {"b", "d"})) == [("a/@c", "2"), ("a/e", "4 5")]


def test_the_longest_text_of_an_element_may_be_an_attribute() -> None:
    root = parse_xml(b'<a b="12345"><d>123</d></a>', LIMITS, IssueList())
    assert root is not None
    assert longest(root) == 5
