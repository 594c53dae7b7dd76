"""Writes notices as CAP 1.2 (OASIS, July 2010): one document for each message, one info for each language.

An update or a cancellation names every earlier message of its notice by sender, identifier and time. So a receiver
that missed a message in between still removes the right ones.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.public_notice import facts
from adapters.public_notice.history import moment
from adapters.public_notice.words import WORDS
from adapters.syntax.hardened_xml import add, new_root, serialise
from caseexchange.records.v1 import common_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from lxml import etree

    from adapters.public_notice.words import Words
    from caseexchange.records.v1 import notice_pb2

NAMESPACE: Final = "urn:oasis:names:tc:emergency:cap:1.2"
MEDIA_TYPE: Final = "application/cap+xml"
SEXES: Final = {common_pb2.SEX_MALE: "male", common_pb2.SEX_FEMALE: "female", common_pb2.SEX_OTHER: "other"}
SEX: Final = "case-exchange:sex"
AGE_LEAST: Final = "case-exchange:age-least"
AGE_GREATEST: Final = "case-exchange:age-greatest"
AGE_APPARENT: Final = "case-exchange:age-apparent"
FEATURE: Final = "case-exchange:feature"
TEXT: Final = "case-exchange:text"
_NOT_IN_A_TRIPLE: Final = re.compile(r"[\s,<&]")


class Reference(NamedTuple):
    """The name of a message: the triple of section 3.2.1, ``references``."""

    sender: str
    identifier: str
    sent: datetime

    def __str__(self) -> str:
        return f"{self.sender},{self.identifier},{stamp(self.sent)}"


class Resource(NamedTuple):
    """A picture in a file beside the message."""

    uri: str
    media_type: str
    content: bytes


class Message(NamedTuple):
    """One message. ``notice`` is None if nothing may be said about it any more: a cancellation."""

    own: Reference
    notice: notice_pb2.PublicNotice | None
    notice_id: str
    earlier: tuple[Reference, ...] = ()
    resources: tuple[Resource, ...] = ()
    web: str = ""
    exercise: bool = False


def stamp(time: datetime) -> str:
    """A time in CAP's form: with its zone in numbers, never Z."""
    return time.astimezone(facts.ZONE).strftime("%Y-%m-%dT%H:%M:%S+08:00")


def can_name(text: str) -> bool:
    """Whether a text can be a sender or an identifier: no blanks, commas, < or & (section 3.2.1)."""
    return bool(text) and not _NOT_IN_A_TRIPLE.search(text)


def sender_of(notice_id: str, publisher: str = "") -> str:
    """The sender of a notice: the domain at the beginning of its number, or else the agency that published it."""
    domain, slash, _ = notice_id.partition("/")
    return domain if slash and can_name(domain) else publisher


def cap_document(message: Message) -> bytes:
    """The document of a message."""
    root = new_root(NAMESPACE, "alert")
    add(root, "identifier", message.own.identifier)
    add(root, "sender", message.own.sender)
    add(root, "sent", stamp(message.own.sent))
    add(root, "status", "Exercise" if message.exercise else "Actual")
    add(root, "msgType", "Cancel" if message.notice is None else "Update" if message.earlier else "Alert")
    add(root, "scope", "Public")
    if message.exercise:
        # Section 3.2.1, status: the note of an exercise says which exercise it is.
        add(root, "note", f"{WORDS['zh-CN'].exercise} {WORDS['en'].exercise}")
    if message.earlier:
        add(root, "references", " ".join(str(item) for item in message.earlier))
    if can_name(message.notice_id):
        add(root, "incidents", message.notice_id)
    if message.notice is not None:
        for language in _languages(message.notice):
            _info(root, message, message.notice, language)
    return serialise(root)


def _languages(notice: notice_pb2.PublicNotice) -> list[str]:
    """The two languages of the notice board, then the other languages of the notice's texts."""
    known = {language.partition("-")[0] for language in facts.LANGUAGES}
    others = (text.language for text in notice.texts if text.language.lower().partition("-")[0] not in known)
    return list(dict.fromkeys([*facts.LANGUAGES, *filter(_LANGUAGE.fullmatch, others)]))


_LANGUAGE: Final = re.compile(r"[a-zA-Z]{1,8}(-[a-zA-Z0-9]{1,8})*")


def _info(root: etree._Element, message: Message, notice: notice_pb2.PublicNotice, language: str) -> None:
    words = WORDS.get(language, WORDS["en"])
    said = facts.appeal(notice, language)
    info = add(root, "info")
    add(info, "language", language)
    add(info, "category", "Rescue")
    add(info, "event", words.event)
    add(info, "responseType", "Monitor")
    # Nothing is added that the record does not say.
    for name in ("urgency", "severity", "certainty"):
        add(info, name, "Unknown")
    for name, time in (("effective", moment(notice.effective_at)), ("expires", moment(notice.expires_at))):
        if time is not None:
            add(info, name, stamp(time))
    _texts(info, notice, words, said)
    if message.web:
        add(info, "web", message.web)
    contact = contact_text(notice.report_to)
    if contact:
        add(info, "contact", contact)
    _parameters(info, notice, said)
    for number, resource in enumerate(message.resources, 1):
        _resource(info, resource, words.photo_number.format(number=number, summary=facts.summary(notice, words)))
    _area(info, notice)


def contact_text(contact: common_pb2.Contact) -> str:
    """How to reach an office, in the one text that an alert has for it."""
    return ", ".join(filter(None, (contact.phone, contact.email)))


def _texts(info: etree._Element, notice: notice_pb2.PublicNotice, words: Words, said: facts.Appeal) -> None:
    if notice.report_to.organisation:
        add(info, "senderName", notice.report_to.organisation)
    add(info, "headline", said.headline)
    lines = [facts.summary(notice, words), said.text, *(feature.text for feature in notice.features)]
    add(info, "description", "\n".join(filter(None, lines)))
    add(info, "instruction", f"{words.contact_office} {words.care} {words.danger}")


def _parameters(info: etree._Element, notice: notice_pb2.PublicNotice, said: facts.Appeal) -> None:
    """The facts of the text again, for programs (section 3.2.2, parameter)."""
    values: list[tuple[str, str]] = [(TEXT, said.text)] if said.text else []
    if notice.sex in SEXES:
        values.append((SEX, SEXES[notice.sex]))
    if notice.HasField("age"):
        values += [(AGE_LEAST, str(notice.age.least)), (AGE_GREATEST, str(notice.age.greatest))]
        values.append((AGE_APPARENT, str(notice.age.apparent).lower()))
    values += [(f"{FEATURE}-{feature.kind}", feature.text) for feature in notice.features if feature.text]
    _pairs(info, "parameter", values)


def _pairs(parent: etree._Element, name: str, values: Sequence[tuple[str, str]]) -> None:
    for key, value in values:
        pair = add(parent, name)
        add(pair, "valueName", key)
        add(pair, "value", value)


def _resource(info: etree._Element, resource: Resource, about: str) -> None:
    element = add(info, "resource")
    add(element, "resourceDesc", about)
    add(element, "mimeType", resource.media_type)
    add(element, "size", str(len(resource.content)))
    add(element, "uri", resource.uri)
    # Section 3.2.3 prescribes SHA-1. It only detects a damaged copy, and nothing else relies on it.
    add(element, "digest", hashlib.sha1(resource.content, usedforsecurity=False).hexdigest())


def _area(info: etree._Element, notice: notice_pb2.PublicNotice) -> None:
    where = facts.place(notice)
    if not where:
        return
    area = add(info, "area")
    add(area, "areaDesc", where)
    division = notice.place.division
    if division.system and division.value:
        _pairs(area, "geocode", [(division.system, division.value)])
