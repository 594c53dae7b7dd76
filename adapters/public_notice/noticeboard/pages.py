"""The pages of the notice board: the list, one page for each notice, and how to help."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.public_notice import facts
from adapters.public_notice.history import Standing, moment
from adapters.public_notice.noticeboard.frame import Settings, framed
from adapters.public_notice.noticeboard.markup import Node, tag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapters.public_notice.words import Words
    from caseexchange.records.v1 import common_pb2, notice_pb2

ON_A_PAGE: Final = 24
_PHONE: Final = re.compile(r"\+?[0-9][0-9 ()-]{2,30}")
_EMAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}")
_SLUG_DIGITS: Final = 20


class Shot(NamedTuple):
    """A picture of the site."""

    name: str
    width: int
    height: int


class Entry(NamedTuple):
    """A notice on the board: its present content, as the public may see it, and its pictures."""

    standing: Standing
    notice: notice_pb2.PublicNotice
    shots: tuple[Shot, ...]

    @property
    def path(self) -> str:
        """The path of its page, below a language's folder."""
        return f"notice/{slug(self.standing.notice_id)}.html"


def slug(notice_id: str) -> str:
    """A name for a notice's page: the same for every version, and without any meaning."""
    return hashlib.sha256(notice_id.encode()).hexdigest()[:_SLUG_DIGITS]


def list_pages(settings: Settings, words: Words, entries: Sequence[Entry]) -> dict[str, bytes]:
    """The list, by path below the language's folder, with a limited number of notices on each page."""
    pages = max(1, -(-len(entries) // ON_A_PAGE))
    found: dict[str, bytes] = {}
    for number in range(pages):
        part = entries[number * ON_A_PAGE : (number + 1) * ON_A_PAGE]
        intro = tag(
            "div",
            tag("h1", words.current),
            tag("p", words.tagline, class_="lead"),
            tag("p", words.counts[len(entries) != 1].format(count=len(entries)), class_="count"),
            class_="intro",
        )
        cards = tag("ul", *(_card(words, entry) for entry in part), class_="cards")
        found[_page_path(number)] = framed(
            settings,
            words,
            _page_path(number),
            f"{words.notices} · {words.site}",
            intro,
            cards if part else tag("p", words.none, class_="none"),
            _pager(words, number, pages),
        )
    return found


def notice_page(settings: Settings, words: Words, entry: Entry) -> bytes:
    """One notice."""
    notice = entry.notice
    said = facts.appeal(notice, words.language)
    features = _features(words, notice.features)
    article = tag(
        "article",
        _gallery(words, entry),
        tag(
            "div",
            tag("h1", said.headline),
            _facts(words, entry),
            tag("p", said.text, class_="text", lang=said.text_language) if said.text else None,
            *([tag("h2", words.recognise), features] if features else []),
            class_="appeal",
        ),
        _report(words, entry),
        class_="notice",
    )
    back = tag("p", tag("a", words.back, href="../index.html"), class_="back")
    title = f"{said.headline} · {words.site}"
    return framed(settings, words, entry.path, title, back, article)


def help_page(settings: Settings, words: Words) -> bytes:
    """How to help, and why there are no names."""
    steps = [tag("li", tag("h2", name), tag("p", text)) for name, text in words.help_steps]
    content = tag(
        "article",
        tag("h1", words.help),
        tag("p", words.help_lead, class_="lead"),
        tag("ol", *steps, class_="steps"),
        tag("p", words.danger, class_="danger"),
        tag("h2", words.please_not),
        tag("ul", *(tag("li", text) for text in words.please_nots)),
        tag("h2", words.own_child),
        tag("p", words.own_child_text),
        tag("h2", words.why),
        tag("p", words.why_text),
        class_="prose",
    )
    return framed(settings, words, "help.html", f"{words.help} · {words.site}", content)


def _page_path(number: int) -> str:
    return "index.html" if number == 0 else f"page-{number + 1}.html"


def _pager(words: Words, number: int, pages: int) -> Node | None:
    if pages == 1:
        return None
    newer = tag("a", words.newer, rel="prev", href=_page_path(number - 1)) if number else None
    older = tag("a", words.older, rel="next", href=_page_path(number + 1)) if number + 1 < pages else None
    here = tag("span", words.page_of.format(page=number + 1, pages=pages))
    return tag("nav", newer, here, older, class_="pager", aria_label=words.pages)


def _card(words: Words, entry: Entry) -> Node:
    notice = entry.notice
    said = facts.appeal(notice, words.language)
    where = facts.place(notice)
    # In spans, so that a line breaks between them and not in an age.
    parts = [part for part in (words.sexes.get(notice.sex, ""), facts.age(notice, words)) if part]
    who = [tag("span", part + (words.separator if part is not parts[-1] else "")) for part in parts]
    return tag(
        "li",
        tag(
            "article",
            # The heading's link covers the card. The picture says no more than the words beside it.
            _image(entry.shots[0], "", "../photos/") if entry.shots else tag("div", words.no_photo, class_="blank"),
            tag(
                "div",
                tag("h2", tag("a", said.headline, href=entry.path)),
                tag("p", *who) if who else None,
                tag("p", where, class_="where", lang=facts.language_of(where)) if where else None,
                class_="body",
            ),
            class_="card",
        ),
    )


def _image(shot: Shot, alt: str, folder: str) -> Node:
    return tag("img", src=folder + shot.name, alt=alt, width=str(shot.width), height=str(shot.height), decoding="async")


def _gallery(words: Words, entry: Entry) -> Node:
    summary = facts.summary(entry.notice, words)
    if not entry.shots:
        return tag("div", words.no_photo, class_="blank gallery")
    if len(entry.shots) == 1:
        alts = [words.photo_of.format(summary=summary)]
    else:
        alts = [words.photo_number.format(number=number + 1, summary=summary) for number in range(len(entry.shots))]
    images = (_image(shot, alt, "../../photos/") for shot, alt in zip(entry.shots, alts, strict=True))
    return tag("div", *images, class_="gallery")


def _facts(words: Words, entry: Entry) -> Node:
    notice = entry.notice
    where = facts.place(notice)
    since = moment(notice.effective_at) or entry.standing.current.sent
    until = moment(notice.expires_at)
    rows: list[tuple[str, str, str | None]] = [
        (words.sex, words.sexes.get(notice.sex, words.not_stated), None),
        (words.age, facts.age(notice, words) or words.not_stated, None),
        (words.place, where or words.not_stated, facts.language_of(where) if where else None),
        (words.published, facts.day(since, words), None),
    ]
    if until is not None:
        rows.append((words.until, facts.day(until, words), None))
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value, lang=language)) for name, value, language in rows),
        class_="facts",
    )


def _features(words: Words, features: Sequence[common_pb2.Feature]) -> Node | None:
    groups: dict[int, list[str]] = {}
    for feature in features:
        if feature.text:
            kind = feature.kind if feature.kind in words.features else 0
            groups.setdefault(kind, []).append(feature.text)
    if not groups:
        return None
    rows = (
        tag("div", tag("dt", words.features[kind]), *(tag("dd", text, lang=facts.language_of(text)) for text in texts))
        for kind, texts in sorted(groups.items(), key=lambda item: item[0] or max(words.features) + 1)
    )
    return tag("dl", *rows, class_="features")


def _report(words: Words, entry: Entry) -> Node:
    contact = entry.notice.report_to
    rows: list[tuple[str, Node | str]] = []
    if contact.organisation:
        rows.append((words.office, tag("span", contact.organisation, lang=facts.language_of(contact.organisation))))
    if contact.phone:
        rows.append((words.telephone, _link("tel:", contact.phone, _PHONE)))
    if contact.email:
        rows.append((words.email, _link("mailto:", contact.email, _EMAIL)))
    reachable = bool(contact.phone or contact.email)
    rows.append((words.number, tag("span", entry.standing.notice_id, class_="number")))
    heading = f"report-{slug(entry.standing.notice_id)}"
    return tag(
        "section",
        tag("h2", words.know.format(who=facts.who(entry.notice, words)), id=heading),
        tag("p", words.contact_office if reachable else words.no_contact),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in rows), class_="contact"),
        tag("p", words.danger, class_="danger"),
        tag("p", words.care, class_="care"),
        class_="report",
        aria_labelledby=heading,
    )


def _link(scheme: str, text: str, form: re.Pattern[str]) -> Node | str:
    """A link to call or write to, if the text surely has the right form; otherwise only the text."""
    if not form.fullmatch(text):
        return text
    target = re.sub(r"[ ()-]", "", text) if scheme == "tel:" else text.replace("%", "%25").replace("?", "%3F")
    return tag("a", text, href=scheme + target)
