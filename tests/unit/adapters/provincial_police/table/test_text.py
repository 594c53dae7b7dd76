"""Text traps of police exports: each has bytes as a case system writes them. All data are synthetic."""

from __future__ import annotations

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Limits, Severity, Source
from adapters.provincial_police.table.csv_adapter import ADAPTER
from adapters.provincial_police.table.text import PRIVATE, cleaned, guard_formula, one_dot, parts_of, unguard_formula
from adapters.syntax.text import encode_text, find_encoding, head_text
from caseexchange.records.v1 import case_pb2, common_pb2
from tests.support.police import issue_codes, only_case, table


def io_of(content: bytes) -> io.BytesIO:
    return io.BytesIO(content)


HEAD = b"AJBH,AJLB,XM\r\nSYN-1,2,"
FOUR_BYTES = {"㛃": "8230b731", "𠮷": "9534b235", "𬮿": "9933b435"}


@pytest.mark.parametrize(("character", "written"), FOUR_BYTES.items())
def test_characters_of_four_bytes_are_read_as_they_are(character: str, written: str) -> None:
    data = bytes.fromhex(written)
    assert len(data) == 4
    assert only_case(HEAD + "测试".encode("gb18030") + data + b"\r\n").names[0].full == f"测试{character}"


@pytest.mark.parametrize(("private", "standard"), PRIVATE.items())
@pytest.mark.parametrize("encoding", ["gb18030", "utf-8"])
def test_private_characters_of_older_mappings_become_the_standard_ones(
    private: int, standard: int, encoding: str
) -> None:
    content = table({"AJBH": "SYN-1", "AJLB": "2", "JYAQ": f"虚构{chr(private)}"}, encoding=encoding)
    found = ADAPTER.decode(Source(content), Limits())
    assert only_case(content).narrative == f"虚构{chr(standard)}"
    assert issue_codes(found, Severity.INFO) == {"PRIVATE_CHARACTER_MAPPED"}


def test_the_table_of_private_characters_is_that_of_the_standard() -> None:
    assert len(PRIVATE) == 18 + 6 + 1
    vertical = [chr(standard) for standard in PRIVATE.values() if 0xFE10 <= standard <= 0xFE19]
    # Byte for byte: A6D9 to A6DF, A6EC, A6ED and A6F3 are the vertical forms of these.
    old = [bytes.fromhex(f"a6{byte:02x}").decode("gb18030") for byte in (*range(0xD9, 0xE0), 0xEC, 0xED, 0xF3)]
    assert [unicodedata.normalize("NFKC", character.translate(PRIVATE)) for character in old] == [
        ",",
        "。",
        "、",
        ":",
        ";",
        "!",
        "?",
        "〖",
        "〗",
        "...",
    ]
    assert len(vertical) == 10
    ideographs = bytes.fromhex("fe59fe61fe66fe67fe6dfe7efe90fea0").decode("gb18030").translate(PRIVATE)
    assert ideographs == "".join(map(chr, range(0x9FB4, 0x9FBC)))


def test_a_private_character_that_nobody_knows_is_a_warning_and_stays() -> None:
    content = table({"AJBH": "SYN-1", "AJLB": "2", "JYAQ": "\ue000"})
    assert only_case(content).narrative == "\ue000"
    assert issue_codes(ADAPTER.decode(Source(content), Limits()), Severity.WARN) == {"PRIVATE_CHARACTER"}


def test_blanks_of_every_width_around_a_cell_are_none_of_it() -> None:
    content = table({"AJBH": "\u3000SYN-1\u00a0", "AJLB": "\u2003２\u200b", "XM": "\ufeff\u3000测试 甲\u200f\t"})
    record = only_case(content)
    assert (record.local_id, record.kind, record.names[0].full) == (
        "SYN-1",
        case_pb2.CASE_KIND_MISSING_CHILD,
        "测试 甲",
    )


def test_full_width_digits_letters_and_marks_are_read_as_what_they_are() -> None:
    record = only_case(
        table(
            {
                "AJBH": "SYN-1",
                "AJLB": "２",
                "XBDM": "１",
                "GMSFHM": "９９９９９９２０１８０１０２００１ｘ",
                "SG": "１２３ｃｍ",
                "NL": "５－７",
                "SZSJ": "２０２６年１１月３日１４：３０",
            }
        )
    )
    assert record.documents[0].number == "99999920180102001X"
    assert (record.sex, record.height.value) == (common_pb2.SEX_MALE, 123)
    assert (record.age.least, record.age.greatest) == (5, 7)
    assert (record.event_date.year, record.event_date.month, record.event_date.day) == (2026, 11, 3)


def test_ideographic_commas_separate_what_a_cell_lists() -> None:
    assert parts_of("甲、 乙，丙；丁;戊,,") == ["甲", "乙", "丙", "丁", "戊"]
    record = only_case(table({"AJBH": "SYN-1", "AJLB": "2", "BM": "甲甲、小甲"}))
    assert [item.full for item in record.names] == ["甲甲", "小甲"]


@pytest.mark.parametrize("dot", "·•‧∙⋅・･．")
def test_every_dot_in_a_minority_name_becomes_one_dot(dot: str) -> None:
    content = table({"AJBH": "SYN-1", "AJLB": "2", "XM": f"测试{dot}儿童甲"}, encoding="utf-8")
    assert only_case(content).names[0].full == "测试·儿童甲"
    expected = set() if dot == "·" else {"NAME_DOT"}
    assert issue_codes(ADAPTER.decode(Source(content), Limits())) == expected


def test_the_dot_of_gb_2312_is_that_dot_and_a_dot_elsewhere_stays() -> None:
    assert b"\xa1\xa4".decode("gb18030") == "·"
    assert one_dot("J. Test") == "J. Test"


@pytest.mark.parametrize("name", ["、.、", "甲、.乙", "（甲）．乙", "甲.", "・甲", "甲.\u3000乙", "甲・・乙"])
def test_a_dot_beside_a_mark_or_a_blank_is_not_the_dot_of_a_name(name: str) -> None:
    assert one_dot(name) == name


@pytest.mark.parametrize("character", ["々", "〇", "ー", "\ue815", "\U00031350", "葛\U000e0100"])
def test_rare_characters_are_characters_of_a_name(character: str) -> None:
    assert one_dot(f"{character}.{character}") == f"{character}·{character}"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM", "'=1", "＝1", "plain", "'quoted", ""])
def test_no_cell_is_a_formula_and_the_guard_can_be_taken_off(text: str) -> None:
    guarded = guard_formula(text)
    assert guarded[:1] not in {"=", "+", "-", "@", "＝"}
    assert unguard_formula(guarded) == text


@pytest.mark.parametrize(
    ("content", "name", "skipped"),
    [
        (b"abc", "utf-8", 0),
        ("测试".encode(), "utf-8", 0),
        ("测试".encode("gb18030"), "gb18030", 0),
        ("测试".encode("utf-8-sig"), "utf-8", 3),
        ("\ufeff模".encode("gb18030"), "gb18030", 4),
        (b"a" * ((1 << 18) - 1) + "测".encode(), "utf-8", 0),
        (b"a" * ((1 << 18) - 3) + "𠮷".encode("gb18030") + "测".encode("gb18030"), "gb18030", 0),
        (b"a" * (1 << 18) + "测试".encode("gb18030"), "gb18030", 0),
    ],
)
def test_the_encoding_is_found_over_the_whole_file_in_a_strict_order(content: bytes, name: str, skipped: int) -> None:
    found = find_encoding(io_of(content))
    assert not isinstance(found, str)
    assert (found.name, found.skipped) == (name, skipped)


def test_a_marked_file_is_never_read_in_another_encoding() -> None:
    assert find_encoding(io_of(b"\xef\xbb\xbf" + "测试".encode("gb18030") + b"\xff")) == "ENCODING_UNKNOWN"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"), max_size=40))
def test_what_is_encoded_is_told_from_utf_8(text: str) -> None:
    content = encode_text(text)
    found = find_encoding(io_of(content))
    assert not isinstance(found, str)
    assert content[found.skipped :].decode(found.name) == text
    assert head_text(content) == text


def test_a_text_without_strange_characters_is_not_changed() -> None:
    assert cleaned("测试儿童甲𠮷") == ("测试儿童甲𠮷", False, False)
