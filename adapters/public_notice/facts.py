"""The facts of a notice, in words for the public, and the check for what must not be in its text."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.public_notice.words import WORDS, Words
from caseexchange.records.v1 import common_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caseexchange.records.v1 import notice_pb2

ZONE: Final = timezone(timedelta(hours=8))
"""China Standard Time. It has no summer time."""
LANGUAGES: Final = ("zh-CN", "en")
_ADULT: Final = 18
_IDENTITY_NUMBER: Final = re.compile(r"(?<![0-9])(?:[0-9]{17}[0-9Xx]|[0-9]{15})(?![0-9])")
_LOCUS: Final = re.compile(
    r"\b(?:D[0-9]{1,2}S[0-9]{2,4}|DYS[0-9]{2,3}|CSF1PO|TPOX|TH01|vWA|FGA|SE33|Penta ?[DE]|AMEL(?:OGENIN)?)\b",
    re.IGNORECASE | re.ASCII,
)
_BETWEEN_DIGITS: Final = re.compile(r"(?<=[0-9])[ \u00a0-](?=[0-9Xx])")
_EASTERN: Final = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")


class Appeal(NamedTuple):
    """A headline and a text, and the language of the text."""

    headline: str
    text: str
    text_language: str


def must_not_be_public(notice: notice_pb2.PublicNotice) -> str | None:
    """The code of something in a notice's own text that must not be published, or None.

    Codes: IDENTITY_NUMBER, LOCUS. A program cannot find names among other words, so the publisher must do this.
    """
    for text in _words_of(notice):
        plain = unicodedata.normalize("NFKC", text)
        if _IDENTITY_NUMBER.search(_BETWEEN_DIGITS.sub("", plain)):
            return "IDENTITY_NUMBER"
        if _LOCUS.search(plain):
            return "LOCUS"
    return None


def _words_of(notice: notice_pb2.PublicNotice) -> Iterator[str]:
    yield from (notice.notice_id, notice.place.text, notice.place.division.display, notice.report_to.organisation)
    yield from (feature.text for feature in notice.features)
    for text in notice.texts:
        yield from (text.headline, text.text)


def appeal(notice: notice_pb2.PublicNotice, language: str) -> Appeal:
    """The appeal in a language. If it has none, a headline made of the facts, and the text in another language."""
    stem = language.partition("-")[0]
    texts = [text for text in notice.texts if text.text or text.headline]
    own = next((text for text in texts if text.language.lower().partition("-")[0] == stem), None)
    headline = (
        own.headline
        if own is not None and own.headline
        else fallback_headline(notice, WORDS.get(language, WORDS["en"]))
    )
    if own is not None and own.text:
        return Appeal(headline, own.text, language)
    other = next((text for text in texts if text.text), None)
    return Appeal(headline, other.text if other else "", language_of(other.text) if other else language)


def fallback_headline(notice: notice_pb2.PublicNotice, words: Words) -> str:
    """A headline for a notice that has none in this language."""
    return words.headline.format(who=who(notice, words))


def who(notice: notice_pb2.PublicNotice, words: Words) -> str:
    """``girl``, ``woman``, ``child`` …: only what sex and age say."""
    grown = notice.HasField("age") and notice.age.least >= _ADULT
    table = words.adults if grown else words.children
    return table.get(notice.sex, table[common_pb2.SEX_UNSPECIFIED])


def age(notice: notice_pb2.PublicNotice, words: Words) -> str:
    """The age band; "" if it is not stated."""
    if not notice.HasField("age"):
        return ""
    band = notice.age
    span = str(band.least) if band.least >= band.greatest else f"{band.least}–{band.greatest}"
    return (words.apparent_age if band.apparent else words.stated_age).format(span=span)


def place(notice: notice_pb2.PublicNotice) -> str:
    """The place in the publisher's words, or the name of its division."""
    return notice.place.text or notice.place.division.display


def summary(notice: notice_pb2.PublicNotice, words: Words) -> str:
    """The person, the age and the place, on one line."""
    return words.separator.join(filter(None, (who(notice, words), age(notice, words), place(notice))))


def day(time: datetime, words: Words) -> str:
    """A day in China, in words."""
    local = time.astimezone(ZONE)
    return words.day.format(year=local.year, month=words.months[local.month - 1], day=local.day)


def language_of(text: str) -> str:
    """The language of a text, for screen readers: Chinese if it has any Chinese character, else English."""
    return "zh-CN" if _EASTERN.search(text) else "en"
