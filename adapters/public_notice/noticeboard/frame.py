"""What all pages of the notice board share: head, navigation, link to the other language, foot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.public_notice.facts import LANGUAGES, ZONE
from adapters.public_notice.noticeboard.markup import Child, Node, page, tag
from adapters.public_notice.words import WORDS

if TYPE_CHECKING:
    from datetime import datetime

    from adapters.public_notice.words import Words

META_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'"
)
"""The content security policy in the pages: only this site's style sheet and pictures are allowed."""
HEADER_POLICY: Final = f"{META_POLICY}; frame-ancestors 'none'"
"""What a web server should send as well. Only a header can say who may frame a page (CSP 3, section 3.3)."""


class Settings(NamedTuple):
    """The settings of a run for the whole site.

    Attributes:
        url: the site's address with a slash at its end; "" if it is not known.
        now: when the site is made.
        exercise: whether everything in it is invented.
    """

    url: str
    now: datetime
    exercise: bool = False


def framed(settings: Settings, words: Words, path: str, title: str, *content: Child) -> bytes:
    """A page. ``path`` is its place below the language's folder, such as ``notice/1234.html``."""
    up = "../" * (path.count("/") + 1)
    head = tag(
        "head",
        *_meta(up, title),
        *_alternates(settings, path, up),
        tag(
            "link",
            rel="alternate",
            type="application/atom+xml",
            title=words.notices,
            href=f"{up}{words.folder}/atom.xml",
        ),
    )
    body = tag(
        "body",
        tag("a", words.skip, class_="skip", href="#content"),
        _exercise(words) if settings.exercise else None,
        _header(words, path, up),
        tag("main", *content, id="content", tabindex="-1"),
        _footer(settings, words, up),
    )
    return page(tag("html", head, body, lang=words.language))


def welcome(settings: Settings, count: int) -> bytes:
    """The first page: both languages, side by side."""
    halves = [_half(WORDS[language], count) for language in LANGUAGES]
    head = tag("head", *_meta("", " · ".join(WORDS[name].site for name in LANGUAGES)))
    body = tag(
        "body",
        _exercise(*(WORDS[name] for name in LANGUAGES)) if settings.exercise else None,
        tag("main", *halves, class_="welcome", id="content"),
        class_="first",
    )
    return page(tag("html", head, body, lang=LANGUAGES[0]))


def lost(settings: Settings) -> bytes:
    """The page that a web server should send if a page is gone. Its links work everywhere if the address is known."""
    root = settings.url
    parts = [
        tag(
            "section",
            tag("h1", words.gone),
            tag("p", words.gone_text),
            tag("p", tag("a", words.back, class_="button", href=f"{root}{words.folder}/index.html")),
            lang=words.language,
        )
        for words in (WORDS[name] for name in LANGUAGES)
    ]
    head = tag("head", *_meta(root, " · ".join(WORDS[name].gone for name in LANGUAGES)))
    body = tag("body", tag("main", *parts, class_="welcome gone", id="content"), class_="first")
    return page(tag("html", head, body, lang=LANGUAGES[0]))


def _half(words: Words, count: int) -> Node:
    title = tag("h1", words.site) if words.language == LANGUAGES[0] else tag("h2", words.site, class_="h1")
    return tag(
        "section",
        _mark("") if words.language == LANGUAGES[0] else None,
        title,
        tag("p", words.tagline, class_="lead"),
        tag(
            "p",
            tag("a", words.notices, class_="button", href=f"{words.folder}/index.html"),
            tag("a", words.help, class_="quiet", href=f"{words.folder}/help.html"),
            class_="ways",
        ),
        tag("p", words.counts[count != 1].format(count=count), class_="count"),
        lang=words.language,
    )


def _exercise(*languages: Words) -> Node:
    notes = (tag("p", words.exercise, lang=words.language) for words in languages)
    return tag("aside", *notes, class_="exercise", aria_label=" · ".join(words.exercise_label for words in languages))


def _mark(up: str) -> Node:
    return tag("img", src=f"{up}icon.png", alt="", width="96", height="96", class_="mark")


def _meta(up: str, title: str) -> list[Node]:
    return [
        tag("meta", charset="utf-8"),
        # First, so that it applies to everything after it.
        tag("meta", http_equiv="Content-Security-Policy", content=META_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        # Search engines keep copies, and a copy would outlive a withdrawal.
        tag("meta", name="robots", content="noarchive, noimageindex"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("link", rel="stylesheet", href=f"{up}style.css"),
        tag("link", rel="icon", href=f"{up}icon.png", type="image/png"),
    ]


def _alternates(settings: Settings, path: str, up: str) -> list[Node]:
    root = settings.url or up
    return [
        tag("link", rel="alternate", hreflang=language, href=f"{root}{WORDS[language].folder}/{path}")
        for language in LANGUAGES
    ]


def _header(words: Words, path: str, up: str) -> Node:
    here = f"{up}{words.folder}/"

    def item(text: str, target: str) -> Node:
        return tag("li", tag("a", text, href=here + target, aria_current="page" if target == path else None))

    def switch(other: Words) -> Node:
        target = f"{up}{other.folder}/{path}"
        return tag("li", tag("a", other.language_name, href=target, lang=other.language, hreflang=other.language))

    others = [switch(WORDS[name]) for name in LANGUAGES if name != words.language]
    return tag(
        "header",
        tag("a", _mark(up), words.site, class_="site", href=f"{here}index.html"),
        tag(
            "nav",
            tag("ul", item(words.notices, "index.html"), item(words.help, "help.html"), *others),
            aria_label=words.menu,
        ),
        class_="top",
    )


def _footer(settings: Settings, words: Words, up: str) -> Node:
    local = settings.now.astimezone(ZONE)
    return tag(
        "footer",
        tag("p", words.privacy),
        tag(
            "p",
            tag("a", words.feed, href=f"{up}{words.folder}/atom.xml"),
            tag(
                "span",
                words.updated.format(time=local.strftime("%Y-%m-%d %H:%M %z")),
            ),
            class_="small",
        ),
    )
