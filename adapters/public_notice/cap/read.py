"""Turns CAP alerts into notices. Other publishers' alerts name victims in free text, so a person must read it first."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Final

from adapters.public_notice.cap import write as cap
from adapters.syntax.hardened_xml import child_text, children, unread, where
from adapters.values.pictures import media_type_of
from caseexchange.records.v1 import common_pb2, notice_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from google.protobuf.timestamp_pb2 import Timestamp
    from lxml import etree

    from adapters.base import IssueList

_ACTIONS: Final = {
    "Alert": notice_pb2.NOTICE_ACTION_PUBLISH,
    "Update": notice_pb2.NOTICE_ACTION_UPDATE,
    "Cancel": notice_pb2.NOTICE_ACTION_WITHDRAW,
}
_STATUSES: Final = frozenset({"Actual", "Exercise"})
_DEFAULT_LANGUAGE: Final = "en-US"
_ALERT: Final = frozenset(
    {"identifier", "sender", "sent", "status", "msgType", "scope", "references", "incidents", "info", "Signature"}
)
_INFO: Final = frozenset(
    {"language", "headline", "description", "effective", "expires", "senderName", "contact", "parameter"}
    | {
        "resource",
        "area",
        "category",
        "event",
        "responseType",
        "urgency",
        "severity",
        "certainty",
        "instruction",
        "web",
    }
)
_OWN: Final = "case-exchange:"
_TRIPLE: Final = 3
_MAX_AGE: Final = 150
_AGE_DIGITS: Final = 3
_SEXES: Final = {name: sex for sex, name in cap.SEXES.items()}


def refusal(root: etree._Element) -> tuple[str, str] | None:
    """Code and message if an alert cannot be a notice, or None."""
    if child_text(root, "msgType") not in _ACTIONS:
        return "CAP_MESSAGE", "an alert must be published, updated or cancelled; this one is something else"
    if child_text(root, "scope") != "Public":
        return "NOT_PUBLIC", "the alert is not for the public"
    if child_text(root, "status") not in _STATUSES:
        return "CAP_STATUS", "the alert is a draft, a test, or for systems only"
    if not child_text(root, "identifier") or not child_text(root, "sender"):
        return "RECORD_ID_MISSING", "the alert has no identifier or no sender"
    if child_text(root, "msgType") != "Alert" and not _notice_id(root):
        return "REFERENCES_UNKNOWN", "the alert does not name the one that it updates or cancels"
    return None


def notice_of(
    root: etree._Element, attachments: Mapping[str, bytes], issues: IssueList
) -> tuple[notice_pb2.PublicNotice, str]:
    """An alert's notice, and the alert's own identifier."""
    notice = notice_pb2.PublicNotice(notice_id=_notice_id(root), action=_ACTIONS[child_text(root, "msgType")])
    infos = children(root, "info")
    for info in infos:
        values = _parameters(info)
        notice.texts.add(
            language=child_text(info, "language") or _DEFAULT_LANGUAGE,
            headline=child_text(info, "headline"),
            text=values.get(cap.TEXT, "" if _is_ours(values) else child_text(info, "description")),
        )
    if infos:
        _facts(notice, infos[0], attachments, issues)
        if not _is_ours(_parameters(infos[0])):
            issues.warn("WORDS_NOT_JUDGED", where(infos[0]), "the text may name a person: read it first")
    else:
        _time(notice.effective_at, child_text(root, "sent"), "sent", issues)
    if children(root, "Signature"):
        issues.info("SIGNATURE_NOT_CHECKED", where(root), "the alert's own signature is not checked and not kept")
    for path, value in [*unread(root, _ALERT), *(item for info in infos for item in unread(info, _INFO))]:
        notice.provenance.unmapped.add(path=path, value=value)
    return notice, child_text(root, "identifier")


def _notice_id(root: etree._Element) -> str:
    """The name of the notice in all of its messages."""
    incidents = child_text(root, "incidents").split()
    if len(incidents) == 1:
        return incidents[0]
    if child_text(root, "msgType") == "Alert":
        return f"{child_text(root, 'sender')}/{child_text(root, 'identifier')}"
    first = (child_text(root, "references").split() or [""])[0].split(",")
    return f"{first[0]}/{first[1]}" if len(first) == _TRIPLE else ""


def _parameters(info: etree._Element) -> dict[str, str]:
    return {child_text(item, "valueName"): child_text(item, "value") for item in children(info, "parameter")}


def _is_ours(values: Mapping[str, str]) -> bool:
    return any(name.startswith(_OWN) for name in values)


def _facts(
    notice: notice_pb2.PublicNotice, info: etree._Element, attachments: Mapping[str, bytes], issues: IssueList
) -> None:
    _time(notice.effective_at, child_text(info, "effective"), "effective", issues)
    _time(notice.expires_at, child_text(info, "expires"), "expires", issues)
    values = _parameters(info)
    notice.sex = _SEXES.get(values.get(cap.SEX, ""), common_pb2.SEX_UNSPECIFIED)
    least, greatest = values.get(cap.AGE_LEAST, ""), values.get(cap.AGE_GREATEST, "")
    if _is_age(least) and _is_age(greatest):
        notice.age.least, notice.age.greatest = int(least), int(greatest)
        notice.age.apparent = values.get(cap.AGE_APPARENT) == "true"
    for item in children(info, "parameter"):
        name, value = child_text(item, "valueName"), child_text(item, "value")
        kind = name.removeprefix(f"{cap.FEATURE}-")
        if kind != name and kind in {str(number) for number in common_pb2.FeatureKind.values()}:
            notice.features.add(kind=common_pb2.FeatureKind.ValueType(int(kind)), text=value)
        elif not name.startswith(_OWN):
            notice.provenance.unmapped.add(path=f"parameter/{name}", value=value)
    notice.report_to.organisation = child_text(info, "senderName")
    notice.report_to.phone, notice.report_to.email = reached_by(child_text(info, "contact"))
    _place(notice, info)
    for resource in children(info, "resource"):
        _photo(notice, child_text(resource, "uri"), attachments)


def reached_by(contact: str) -> tuple[str, str]:
    """The telephone numbers and the one e-mail address in an alert's text for both."""
    parts = [part.strip() for part in contact.split(",")]
    email = next((part for part in parts if "@" in part and " " not in part), "")
    return ", ".join(part for part in parts if part != email), email


def _place(notice: notice_pb2.PublicNotice, info: etree._Element) -> None:
    areas = children(info, "area")
    notice.place.text = "; ".join(filter(None, (child_text(area, "areaDesc") for area in areas)))
    for code in children(areas[0], "geocode")[:1] if areas else ():
        notice.place.division.system, notice.place.division.value = (
            child_text(code, "valueName"),
            child_text(code, "value"),
        )


def _photo(notice: notice_pb2.PublicNotice, uri: str, attachments: Mapping[str, bytes]) -> None:
    try:
        content = attachments[uri]
    except (KeyError, OSError, ValueError):
        content = b""
    media_type = media_type_of(content)
    if media_type is not None:
        notice.photos.add(content=content, media_type=media_type, sha256=hashlib.sha256(content).digest())
    elif uri:
        notice.photos.add(url=uri)


def _is_age(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _AGE_DIGITS and int(text) <= _MAX_AGE


def _time(target: Timestamp, text: str, name: str, issues: IssueList) -> None:
    if not text:
        return
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise ValueError  # noqa: TRY301 - a time without its zone is none
        target.FromDatetime(time)
    except (ValueError, OverflowError):
        issues.warn("TIME_NOT_READ", name, "not a time with its zone")
