from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from adapters.base import IssueList, Limits, Severity
from adapters.syntax.hardened_xml import child_text, local_name, where
from adapters.syntax.xml_stream import MAX_CHILD_CHARACTERS, MAX_CHILD_TAGS, MAX_NAMES, XmlStream
from tests.unit.adapters.syntax.test_hardened_xml import ATTACKS

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITS = Limits()


class Endless(io.RawIOBase):
    """A file of parts that are made as they are read, so that no test needs the memory that it says is not needed."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = b""

    def seek(self, offset: int, whence: int = 0) -> int:
        assert (offset, whence) == (0, 0)
        return 0

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and (part := next(self._parts, b"")):
            self._rest += part
        piece, self._rest = self._rest[:size], self._rest[size:]
        return piece


def read(content: bytes, limits: Limits = LIMITS) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Name and text of every child of the root, and code and locator of every issue."""
    issues = IssueList()
    document = XmlStream(io.BytesIO(content), "R", limits, issues)
    children = [(local_name(child), child_text(child, "T") or child.text or "") for child in document.children()]
    assert all(issue.severity is Severity.REJECT_FILE for issue in issues.items)
    return children, [(issue.code, issue.locator) for issue in issues.items]


def refusal(parts: Iterator[bytes] | bytes, limits: Limits = LIMITS) -> tuple[str, str]:
    issues = IssueList()
    file = io.BytesIO(parts) if isinstance(parts, bytes) else Endless(parts)
    for _ in XmlStream(file, "R", limits, issues).children():  # type: ignore[arg-type] # it reads and seeks, no more
        pass
    (issue,) = issues.items
    return issue.code, issue.locator


def test_the_children_of_the_root_come_in_order_with_what_is_in_them() -> None:
    content = "<f a='1'><h>0</h><R><T>测</T></R> <i>1</i><R><T>2</T><R><T>3</T></R></R><j>4</j></f>".encode()
    assert read(content) == ([("h", "0"), ("R", "测"), ("i", "1"), ("R", "2"), ("j", "4")], [])


@pytest.mark.parametrize("content", [b"<f/>", b"<f><h/></f>", b"<R/>", b"<R><R/></R>"])
def test_a_document_without_records_still_has_a_root(content: bytes) -> None:
    issues = IssueList()
    document = XmlStream(io.BytesIO(content), "R", LIMITS, issues)
    assert len(list(document.children())) == content.count(b"<h/>") + content.count(b"<R><R/>")
    assert document.root is not None
    assert not issues.items


def test_many_records_are_told_whole_however_the_file_is_cut_into_pieces() -> None:
    content = b"<f>" + b"".join(b"<R><T>%d</T></R>\n" % number for number in range(30_000)) + b"</f>"
    children, issues = read(content)
    assert [text for _, text in children] == [str(number) for number in range(30_000)]
    assert not issues


def test_lines_beyond_two_bytes_are_counted_and_may_be_one_off() -> None:
    issues = IssueList()
    document = XmlStream(io.BytesIO(b"<f>" + b"\n" * 70_000 + b"<R>\n<T>1</T></R></f>"), "R", LIMITS, issues)
    assert [where(child) for child in document.children()] == ["line 70002"]


@pytest.mark.parametrize("content", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_document_type_declaration_is_refused_whatever_it_holds(content: bytes) -> None:
    assert refusal(content) == ("XML_DTD_REFUSED", "line 1")


@pytest.mark.parametrize("gap", range(65_530, 65_545))
def test_a_declaration_does_not_hide_between_two_pieces(gap: int) -> None:
    assert refusal(b" " * gap + b"\n<!DOCTYPE a><a/>") == ("XML_DTD_REFUSED", "line 2")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "gb18030"])
def test_a_declaration_does_not_hide_behind_an_encoding(encoding: str) -> None:
    document = '<?xml version="1.0" encoding="gb18030"?>\n<!DOCTYPE a [<!ENTITY b "c">]>\n<a>&b;</a>'
    assert refusal(document.encode(encoding)) == ("XML_DTD_REFUSED", "line 2")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_characters_that_two_pieces_share_are_read(encoding: str) -> None:
    text = "𠮷" * 50_000
    stated = "utf-8" if encoding == "utf-8-sig" else encoding
    content = f'<?xml version="1.0" encoding="{stated}"?>\n<f> <R>{text}</R></f>'.encode(encoding)
    assert read(content) == ([("R", text)], [])


@pytest.mark.parametrize("nested", [33, 300, 200_000])
@pytest.mark.parametrize("name", [b"a", b"R"])
def test_a_tower_of_elements_is_refused(nested: int, name: bytes) -> None:
    tower = b"<%s>" % name * nested + b"</%s>" % name * nested
    assert refusal(tower) == ("XML_TOO_DEEP", "line 1")


def test_elements_are_nested_up_to_the_limit() -> None:
    children, issues = read(b"<f>" + b"<R>" * 31 + b"</R>" * 31 + b"</f>")
    assert (len(children), issues) == (1, [])


def test_a_file_beyond_the_limit_is_refused() -> None:
    assert refusal(b"<f>" + b" " * 100 + b"</f>", replace(LIMITS, streamed_bytes=50)) == ("FILE_TOO_LARGE", "file")


def endless(*parts: bytes) -> Iterator[bytes]:
    yield from parts[:-1]
    while True:
        yield parts[-1]


@pytest.mark.parametrize(
    "parts",
    [
        (b"<f><R>", b"<T>1</T>" * 10_000),
        (b"<f>", b"<h/>" * 10_000),
        (b"<f><R><T>", b"x" * 100_000),
        (b"<f>", b" " * 100_000),
        (b"<f><R a='", b"x" * 100_000),
        (b"<f><!--", b"x" * 100_000),
        (b"", b"x" * 100_000),
    ],
)
def test_an_element_without_end_is_refused_before_it_fills_the_memory(parts: tuple[bytes, ...]) -> None:
    code, _ = refusal(endless(*parts))
    assert code in {"XML_RECORD_TOO_LARGE", "XML_MALFORMED"}


def test_an_element_of_many_small_ones_is_refused() -> None:
    content = b"<f><R>" + b"<T/>" * 2 * MAX_CHILD_TAGS + b"</R></f>"
    assert len(content) < MAX_CHILD_CHARACTERS
    assert refusal(content) == ("XML_RECORD_TOO_LARGE", "line 1")


@pytest.mark.parametrize(
    "part", ["<R><T{0}/></R>", "<R><T t{0}=''/></R>", "<R><T xmlns='urn:{0}'/></R>", "<R><T xmlns:x{0}='urn:t'/></R>"]
)
def test_names_without_end_are_refused_for_the_parser_keeps_them(part: str) -> None:
    made = (part.format(number).encode() for number in range(10 * MAX_NAMES))
    assert refusal(iter((b"<f>", *made)))[0] == "XML_TOO_MANY_NAMES"


def test_the_bounds_are_those_that_the_guide_states() -> None:
    assert (MAX_CHILD_CHARACTERS, MAX_CHILD_TAGS, MAX_NAMES) == (8 * 1024 * 1024, 100_000, 10_000)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no markup",
        b"<f><R></f>",
        b"<f><R/>",
        b"<f/><f/>",
        b"<f><R>&b;</R></f>",
        b"<f><R>\x08</R></f>",
        b"<f><R b='1' b='2'/></f>",
    ],
)
def test_what_is_not_well_formed_is_refused_with_its_line(content: bytes) -> None:
    assert refusal(content) == ("XML_MALFORMED", "line 1")


@pytest.mark.parametrize(
    "content", [b"<f>\0</f>", b"<f>\xff</f>", b"\0", b'<?xml version="1.0" encoding="utf-7"?><f/>', b"<f>\xe6"]
)
def test_bytes_that_are_not_text_in_their_encoding_are_refused(content: bytes) -> None:
    assert refusal(content) == ("XML_ENCODING", "line 1")
