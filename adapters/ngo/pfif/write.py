"""Writes records as PFIF 1.4. Public notices carry what the public may see. Withdrawals leave only ids and dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.base import populated
from adapters.ngo.pfif.fields import NAMESPACE_STEM, NOTE, PERSON, UNMAPPED_NOTE, UNNAMED, WRITTEN, is_time
from adapters.ngo.pfif.person import LONG_AGO, age_text, case_fields, kept_fields, not_carried, photo_url, sex_text
from adapters.records.publicity import for_the_public
from adapters.syntax.hardened_xml import add, new_root, serialise, writable
from caseexchange.records.v1 import case_pb2, notice_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from google.protobuf.timestamp_pb2 import Timestamp
    from lxml import etree

    from adapters.base import IssueList, Record

_NAMESPACE: Final = NAMESPACE_STEM + WRITTEN
_CARRIED_NOTICE: Final = frozenset(
    [
        "notice_id",
        "action",
        "sex",
        "age",
        "age.least",
        "age.greatest",
        "place.text",
        "features",
        "texts",
        "report_to.name",
        "report_to.phone",
        "report_to.email",
        "report_to.organisation",
        "effective_at",
        "effective_at.seconds",
        "expires_at",
        "expires_at.seconds",
        "photos",
    ]
)
_CARRIED_TIP: Final = frozenset(
    ["local_id", "text", "place.text", "reporter", "reporter.name", "reporter.email", "reporter.phone", "photos"]
)
_CARRIED_CLOSURE: Final = frozenset(["outcome", "local_id"])
_STATUS_OF_OUTCOME: Final = {
    case_pb2.OUTCOME_REUNITED: "believed_alive",
    case_pb2.OUTCOME_IDENTIFIED_NOT_RETURNED: "believed_alive",
    case_pb2.OUTCOME_DECLINED_BY_SUBJECT: "believed_alive",
    case_pb2.OUTCOME_DECEASED: "believed_dead",
}
_PUBLISHED: Final = frozenset({notice_pb2.NOTICE_ACTION_PUBLISH, notice_pb2.NOTICE_ACTION_UPDATE})
_WITHDRAWN: Final = frozenset({case_pb2.CORRECTION_KIND_WITHDRAW, case_pb2.CORRECTION_KIND_ERASE})


def write_file(records: Iterable[tuple[str, Record]], attachments: dict[str, bytes], issues: IssueList) -> bytes:
    """Write records, each with its place, into one document. Pictures go into ``attachments``, and are named in it."""
    out = _Writer(attachments, issues)
    for locator, record in records:
        match record:
            case case_pb2.CaseRecord():
                out.person(case_fields(record, locator, attachments, issues), locator)
            case notice_pb2.PublicNotice():
                out.notice(record, locator)
            case case_pb2.Correction():
                out.correction(record, locator)
            case case_pb2.Tip():
                out.tip(record, locator)
            case case_pb2.Closure():
                out.closure(record, locator)
            case _:
                issues.reject_record("KIND_NOT_CARRIED", locator, "the format carries no records of this kind")
    return serialise(out.root)


class _Writer:
    def __init__(self, attachments: dict[str, bytes], issues: IssueList) -> None:
        self.root = new_root(_NAMESPACE, "pfif")
        self._attachments = attachments
        self._issues = issues

    def person(self, fields: Mapping[str, str], locator: str) -> etree._Element:
        return self._write(add(self.root, "person"), fields, PERSON, locator)

    def notice(self, notice: notice_pb2.PublicNotice, locator: str) -> None:
        if notice.action == notice_pb2.NOTICE_ACTION_WITHDRAW:
            self.person(_placeholder(notice.notice_id), locator)
            return
        if notice.action not in _PUBLISHED:
            # The public sees only what is known to be for the public.
            self._issues.reject_record("ACTION_UNKNOWN", locator, "a notice must be published, updated or withdrawn")
            return
        notice = for_the_public(notice, locator, self._issues)
        self._stay_behind(populated(notice) - _CARRIED_NOTICE, locator)
        if any(text.language for text in notice.texts) or any(feature.kind for feature in notice.features):
            not_carried(self._issues, f"{locator}.texts", "the format has one description, without languages and kinds")
        person = self.person(self._notice_fields(notice, locator), locator)
        if notice.place.text:
            # A person's own place is the home. The place where a child was found or lost goes into a note.
            fields = {
                "note_record_id": f"{notice.notice_id}.place",
                "author_name": notice.report_to.organisation or notice.report_to.name,
                "source_date": self._time(notice.effective_at, f"{locator}.effective_at") or LONG_AGO,
                "last_known_location": notice.place.text,
                "text": "地点 (place)",
            }
            self._write(add(person, "note"), fields, NOTE, locator)

    def correction(self, record: case_pb2.Correction, locator: str) -> None:
        if record.reason:
            not_carried(self._issues, f"{locator}.reason", "the format has no field for this")
        if record.kind == case_pb2.CORRECTION_KIND_AMEND:
            fields = case_fields(record.replacement, f"{locator}.replacement", self._attachments, self._issues)
            self.person(fields, locator)
        elif record.kind in _WITHDRAWN:
            self.person(_placeholder(record.replacement.local_id or record.target_record_id), locator)
        else:
            self._issues.reject_record("KIND_UNKNOWN", locator, "a correction must amend, withdraw or erase")

    def tip(self, tip: case_pb2.Tip, locator: str) -> None:
        self._stay_behind(populated(tip) - _CARRIED_TIP, locator)
        kept = kept_fields(tip.provenance, UNMAPPED_NOTE, locator, self._issues)
        if not is_time(kept.get("source_date", "")):
            self._issues.warn("DEFAULT_WRITTEN", f"{locator}, source_date", "the format needs a time")
            kept["source_date"] = LONG_AGO
        fields = {
            **kept,
            "note_record_id": tip.local_id,
            "author_name": tip.reporter.name,
            "author_email": tip.reporter.email,
            "author_phone": tip.reporter.phone,
            "last_known_location": tip.place.text,
            "text": tip.text,
            "photo_url": photo_url(tip.photos, locator, self._attachments, self._issues),
        }
        self._note(fields, locator)

    def closure(self, closure: case_pb2.Closure, locator: str) -> None:
        """A note that says whether the person lives, and no more: a public page does not show how a case ended."""
        self._stay_behind(populated(closure) - _CARRIED_CLOSURE, locator)
        fields = {
            "note_record_id": f"{closure.local_id}.closure",
            "person_record_id": closure.local_id,
            "source_date": LONG_AGO,
            "author_name": "case-exchange",
            "status": _STATUS_OF_OUTCOME.get(closure.outcome, ""),
            "text": "结案 (the case is closed)",
        }
        self._note(fields, locator)

    def _note(self, fields: Mapping[str, str], locator: str) -> None:
        if not fields.get("person_record_id"):
            self._issues.reject_record("PERSON_UNKNOWN", locator, "a note at top level needs the id of its person")
            return
        self._write(add(self.root, "note"), fields, NOTE, locator)

    def _notice_fields(self, notice: notice_pb2.PublicNotice, locator: str) -> dict[str, str]:
        texts = [f"{text.headline}\n{text.text}".strip() for text in notice.texts]
        if notice.report_to.organisation and notice.report_to.name:
            not_carried(self._issues, f"{locator}.report_to.name", "the format has one author; it is the organisation")
        return {
            "person_record_id": notice.notice_id,
            "expiry_date": self._time(notice.expires_at, f"{locator}.expires_at"),
            "author_name": notice.report_to.organisation or notice.report_to.name,
            "author_email": notice.report_to.email,
            "author_phone": notice.report_to.phone,
            "source_date": self._time(notice.effective_at, f"{locator}.effective_at") or LONG_AGO,
            "full_name": UNNAMED,
            "description": "\n".join([*texts, *(feature.text for feature in notice.features)]),
            "sex": sex_text(notice.sex, f"{locator}.sex", self._issues),
            "age": age_text(notice.age) if notice.HasField("age") else "",
            "photo_url": photo_url(notice.photos, locator, self._attachments, self._issues),
        }

    def _time(self, time: Timestamp, where: str) -> str:
        if time == type(time)():
            return ""
        try:
            return time.ToDatetime().isoformat(timespec="seconds") + "Z"
        except (ValueError, OverflowError):
            not_carried(self._issues, where, "not a time of the years 1 to 9999")
            return ""

    def _stay_behind(self, paths: set[str], locator: str) -> None:
        for path in sorted(paths):
            if not path.startswith("provenance"):
                not_carried(self._issues, f"{locator}.{path}", "the format has no field for this")

    def _write(
        self, element: etree._Element, fields: Mapping[str, str], order: Sequence[str], locator: str
    ) -> etree._Element:
        for name in [*order, *(name for name in fields if name not in {*PERSON, *NOTE})]:
            text = fields.get(name, "")
            if writable(text).strip() != text:
                self._issues.warn(
                    "VALUE_CUT", f"{locator}, {name}", "the format cannot hold every character, or the blanks"
                )
            if text:
                add(element, name, text)
        return element


def _placeholder(record_id: str) -> dict[str, str]:
    """An expired person. Holders of a copy then remove the data (PFIF 1.3, "Data expiry")."""
    return {
        "person_record_id": record_id,
        "entry_date": LONG_AGO,
        "expiry_date": LONG_AGO,
        "source_date": LONG_AGO,
    }
