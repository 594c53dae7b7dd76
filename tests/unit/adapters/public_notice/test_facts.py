from __future__ import annotations

from typing import Literal

import pytest

from adapters.public_notice import facts
from adapters.public_notice.words import EN, ZH
from caseexchange.records.v1 import common_pb2, notice_pb2
from tests.support.notices import notice

NUMBER = "11010120200101001X"


@pytest.mark.parametrize(
    "text",
    [
        f"身份证{NUMBER}",
        NUMBER.lower(),
        "110101 20200101 001X",
        "110101-20200101-0011",
        "１１０１０１２０２００１０１００１Ｘ",
        "旧证号110101200101001。",
    ],
)
def test_an_identity_number_in_any_guise_is_found_wherever_it_stands(text: str) -> None:
    places = (
        notice(notice_id=f"x/{text}"),
        notice(place=common_pb2.Place(text=text)),
        notice(features=[common_pb2.Feature(text=text)]),
        notice(texts=[notice_pb2.LocalisedText(headline=text)]),
        notice(texts=[notice_pb2.LocalisedText(text=text)]),
        notice(report_to=common_pb2.Contact(organisation=text)),
    )
    assert {facts.must_not_be_public(item) for item in places} == {"IDENTITY_NUMBER"}


@pytest.mark.parametrize(
    "text", ["D8S1179: 12,14", "基因座D21S11", "TH01 9.3", "th01", "Penta E", "PentaD", "DYS391 10"]
)
def test_a_locus_is_found(text: str) -> None:
    assert facts.must_not_be_public(notice(features=[common_pb2.Feature(text=text)])) == "LOCUS"


@pytest.mark.parametrize(
    "text", ["电话 010-1234-5678", "2026-11-20 至 2027-11-20", "样例县001号", "a coat of size D8", "1234567890123456"]
)
def test_other_numbers_and_words_are_not_taken_for_them(text: str) -> None:
    assert facts.must_not_be_public(notice(texts=[notice_pb2.LocalisedText(text=text)])) is None


@pytest.mark.parametrize(
    ("least", "greatest", "apparent", "chinese", "english"),
    [
        (5, 7, 1, "看上去5–7岁", "looks 5–7 years old"),
        (9, 9, 0, "9岁", "9 years old"),
        (0, 1, 0, "0–1岁", "0–1 years old"),
    ],
)
def test_an_age_band_is_told_in_both_languages(
    least: int, greatest: int, apparent: Literal[0, 1], chinese: str, english: str
) -> None:
    item = notice(age=common_pb2.AgeRange(least=least, greatest=greatest, apparent=bool(apparent)))
    assert (facts.age(item, ZH), facts.age(item, EN)) == (chinese, english)


def test_without_an_age_or_a_sex_nothing_is_made_up() -> None:
    item = notice(age=None, sex=None)
    assert (facts.age(item, ZH), facts.who(item, ZH), facts.who(item, EN)) == ("", "孩子", "child")


def test_who_has_grown_up_is_not_called_a_child() -> None:
    item = notice(age=common_pb2.AgeRange(least=19, greatest=23))
    assert (facts.who(item, ZH), facts.who(item, EN)) == ("女子", "woman")


def test_an_appeal_is_told_in_the_language_asked_for_or_else_as_it_is() -> None:
    only_chinese = notice(texts=[notice_pb2.LocalisedText(language="zh-Hans", headline="寻找家人", text="内容")])
    assert facts.appeal(only_chinese, "zh-CN") == ("寻找家人", "内容", "zh-CN")
    assert facts.appeal(only_chinese, "en") == ("Do you know this girl?", "内容", "zh-CN")
    assert facts.appeal(notice(texts=[]), "en") == ("Do you know this girl?", "", "en")
    assert facts.appeal(notice(), "en").headline == "Looking for her family"
