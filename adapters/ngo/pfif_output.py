"""Records to PFIF 1.4. Public notices carry what the public may see; withdrawals leave only ids and dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.base import populated
from adapters.hardened_xml import add, new_root, serialise
from adapters.ngo.pfif_fields import NAMESPACE_STEM, NOTE, PERSON, WRITTEN
from adapters.ngo.pfif_input import HOME, ISO_DIVISION, SEXES, UNMAPPED_NOTE, UNMAPPED_PERSON
from adapters.photos import photo_name
from caseexchange.records.v1 import case_pb2, common_pb2, notice_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from lxml import etree

    from adapters.base import IssueList, Record

_NAMESPACE: Final = NAMESPACE_STEM + WRITTEN
_LONG_AGO: Final = "1970-01-01T00:00:00Z"
"""PFIF demands times that a record need not have. A receiver overwrites the entry date, and any past expiry is past."""
_UNNAMED: Final = "未公开 (not public)"
_SEX_TEXT: Final = {sex: text for text, sex in SEXES.items()}
_CARRIED_CASE: Final = frozenset(
    [
        "kind",
        "status",
        "local_id",
        "narrative",
        "names",
        "sex",
        "age.least",
        "age.greatest",
        "age",
        "birth.year",
        "birth.month",
        "birth.day",
        "birth.calendar",
        "birth.original_text",
        "household.text",
        "household.postal_code",
        "household.country",
        "household.division.system",
        "household.division.value",
        "photos",
        "profile_urls",
        "contacts",
    ]
)
_STATUS_OF_OUTCOME: Final = {
    case_pb2.OUTCOME_REUNITED: "believed_alive",
    case_pb2.OUTCOME_IDENTIFIED_NOT_RETURNED: "believed_alive",
    case_pb2.OUTCOME_DECLINED_BY_SUBJECT: "believed_alive",
    case_pb2.OUTCOME_DECEASED: "believed_dead",
}


def write_file(records: Sequence[Record], attachments: dict[str, bytes], issues: IssueList) -> bytes:
    """Write records into one document; pictures go into ``attachments`` and are named in it."""
    root = new_root(_NAMESPACE, "pfif")
    for place, record in enumerate(records):
        locator = f"records[{place}]"
        match record:
            case case_pb2.CaseRecord():
                _person(root, _case_fields(record, locator, attachments, issues), PERSON)
            case notice_pb2.PublicNotice():
                _person(root, _notice_fields(record, attachments), PERSON)
            case case_pb2.Correction():
                _person(root, _correction_fields(record, locator, attachments, issues), PERSON)
            case case_pb2.Tip():
                _note(root, _tip_fields(record, locator, attachments, issues), locator, issues)
            case case_pb2.Closure():
                _note(root, _closure_fields(record), locator, issues)
            case _:
                issues.reject_record("KIND_NOT_CARRIED", locator, "the format carries no record of this kind")
    return serialise(root)


def _person(root: etree._Element, fields: Mapping[str, str], order: Iterable[str]) -> None:
    _write(add(root, "person", ""), fields, order)


def _note(root: etree._Element, fields: Mapping[str, str], locator: str, issues: IssueList) -> None:
    if not fields.get("person_record_id"):
        issues.reject_record("PERSON_UNKNOWN", locator, "a note at top level needs the id of its person")
        return
    _write(add(root, "note", ""), fields, NOTE)


def _write(element: etree._Element, fields: Mapping[str, str], order: Iterable[str]) -> None:
    element.text = None
    names = [*order, *(name for name in fields if name not in {*PERSON, *NOTE})]
    for name in names:
        if fields.get(name):
            add(element, name, fields[name])


def _case_fields(
    record: case_pb2.CaseRecord, locator: str, attachments: dict[str, bytes], issues: IssueList
) -> dict[str, str]:
    for path in sorted(populated(record) - _CARRIED_CASE):
        if not path.startswith("provenance"):
            issues.warn("FIELD_NOT_CARRIED", f"{locator}.{path}", "the format has no field for this")
    if record.kind != case_pb2.CASE_KIND_MISSING_CHILD or record.status != case_pb2.CASE_STATUS_OPEN:
        issues.warn("FIELD_NOT_CARRIED", f"{locator}.kind", "every person of the format is one who is missing")
    unmapped = {item.path: item.value for item in record.provenance.unmapped}
    fields = {
        **{name: value for name, value in unmapped.items() if name in UNMAPPED_PERSON or name not in {*PERSON, *NOTE}},
        "person_record_id": record.local_id,
        "description": record.narrative,
        "sex": _SEX_TEXT.get(record.sex, ""),
        "age": _age(record.age),
        "date_of_birth": _date(record.birth),
        "home_postal_code": record.household.postal_code,
        "home_country": record.household.country,
        "profile_urls": "\n".join(record.profile_urls),
        "photo_url": _photo(record.photos, locator, attachments, issues),
    }
    fields.update(_name_fields(record, locator, issues))
    fields.update(_home_fields(record.household, unmapped, locator, issues))
    fields.update(_contact_fields(record.contacts, locator, issues))
    if not fields.get("source_date"):
        issues.warn("DEFAULT_WRITTEN", f"{locator}, source_date", "the format demands a time, and the record has none")
        fields["source_date"] = _LONG_AGO
    return fields


def _name_fields(record: case_pb2.CaseRecord, locator: str, issues: IssueList) -> dict[str, str]:
    legal = [name for name in record.names if name.kind == common_pb2.NAME_KIND_LEGAL]
    aliases = [name for name in record.names if name.kind == common_pb2.NAME_KIND_ALIAS]
    rest = [name for name in record.names if name.kind not in {common_pb2.NAME_KIND_LEGAL, common_pb2.NAME_KIND_ALIAS}]
    ordered = list(record.names) == [*legal, *aliases]
    parts = any(name.given or name.family for name in [*legal[1:], *aliases])
    if rest or parts or not ordered or any("\n" in name.full for name in record.names):
        issues.warn("FIELD_NOT_CARRIED", f"{locator}.names", "the format has full names, then other names, and no more")
    first = legal[0] if legal else common_pb2.PersonName()
    return {
        "full_name": "\n".join(name.full for name in legal),
        "given_name": first.given,
        "family_name": first.family,
        "alternate_names": "\n".join(name.full for name in [*aliases, *rest]),
    }


def _home_fields(
    home: common_pb2.Place, unmapped: Mapping[str, str], locator: str, issues: IssueList
) -> dict[str, str]:
    fields: dict[str, str] = {}
    if home.division.value and home.division.system == ISO_DIVISION:
        fields["home_state"] = home.division.value
    elif home.division.value:
        issues.warn("FIELD_NOT_CARRIED", f"{locator}.household.division", "the format has divisions of ISO 3166-2 only")
    if home.text != ", ".join(unmapped[name] for name in HOME if name in unmapped):
        fields |= {"home_street": home.text, "home_neighborhood": "", "home_city": ""}
    return fields


def _contact_fields(contacts: Sequence[common_pb2.Contact], locator: str, issues: IssueList) -> dict[str, str]:
    first = contacts[0] if contacts else common_pb2.Contact()
    if len(contacts) > 1 or first.relation or first.HasField("address"):
        issues.warn(
            "FIELD_NOT_CARRIED", f"{locator}.contacts", "the format has one author, without address or relation"
        )
    return {
        "author_name": first.name,
        "author_email": first.email,
        "author_phone": first.phone,
        "source_name": first.organisation,
    }


def _notice_fields(notice: notice_pb2.PublicNotice, attachments: dict[str, bytes]) -> dict[str, str]:
    if notice.action == notice_pb2.NOTICE_ACTION_WITHDRAW:
        return _placeholder(notice.notice_id)
    features = [feature.text for feature in notice.features]
    texts = [f"{text.headline}\n{text.text}" for text in notice.texts]
    fields = {
        "person_record_id": notice.notice_id,
        "expiry_date": notice.expires_at.ToDatetime().strftime("%Y-%m-%dT%H:%M:%SZ")
        if notice.HasField("expires_at")
        else "",
        "source_date": notice.effective_at.ToDatetime().strftime("%Y-%m-%dT%H:%M:%SZ")
        if notice.HasField("effective_at")
        else _LONG_AGO,
        "full_name": _UNNAMED,
        "description": "\n".join([*texts, *features]),
        "sex": _SEX_TEXT.get(notice.sex, ""),
        "age": _age(notice.age),
        "home_city": notice.place.text,
        "author_name": notice.report_to.organisation or notice.report_to.name,
        "author_phone": notice.report_to.phone,
        "author_email": notice.report_to.email,
    }
    for photo in notice.photos[:1]:
        fields["photo_url"] = photo_name(photo.sha256, photo.media_type)
        attachments[fields["photo_url"]] = photo.content
    return fields


def _correction_fields(
    record: case_pb2.Correction, locator: str, attachments: dict[str, bytes], issues: IssueList
) -> dict[str, str]:
    if record.kind == case_pb2.CORRECTION_KIND_AMEND:
        return _case_fields(record.replacement, f"{locator}.replacement", attachments, issues)
    return _placeholder(record.replacement.local_id or record.target_record_id)


def _placeholder(record_id: str) -> dict[str, str]:
    """An expired person: who holds a copy removes the data (PFIF 1.3, "Data expiry")."""
    return {
        "person_record_id": record_id,
        "entry_date": _LONG_AGO,
        "expiry_date": _LONG_AGO,
        "source_date": _LONG_AGO,
    }


def _tip_fields(tip: case_pb2.Tip, locator: str, attachments: dict[str, bytes], issues: IssueList) -> dict[str, str]:
    place = common_pb2.Place(text=tip.place.text)
    reporter = common_pb2.Contact(name=tip.reporter.name, email=tip.reporter.email, phone=tip.reporter.phone)
    if tip.place != place or tip.reporter != reporter:
        issues.warn("FIELD_NOT_CARRIED", f"{locator}.place", "the format has a place's and an author's plain text only")
    kept = {item.path: item.value for item in tip.provenance.unmapped}
    return {
        **{name: value for name, value in kept.items() if name in UNMAPPED_NOTE or name not in {*PERSON, *NOTE}},
        "note_record_id": tip.local_id,
        "source_date": tip.seen.original_text or _LONG_AGO,
        "author_name": tip.reporter.name,
        "author_email": tip.reporter.email,
        "author_phone": tip.reporter.phone,
        "last_known_location": tip.place.text,
        "text": tip.text,
        "photo_url": _photo(tip.photos, locator, attachments, issues),
    }


def _closure_fields(closure: case_pb2.Closure) -> dict[str, str]:
    return {
        "note_record_id": f"{closure.local_id}.closure",
        "person_record_id": closure.local_id,
        "source_date": _LONG_AGO,
        "author_name": "case-exchange",
        "status": _STATUS_OF_OUTCOME.get(closure.outcome, ""),
        "text": case_pb2.Outcome.Name(closure.outcome).removeprefix("OUTCOME_").replace("_", " ").lower(),
    }


def _photo(photos: Sequence[common_pb2.Photo], locator: str, attachments: dict[str, bytes], issues: IssueList) -> str:
    if not photos:
        return ""
    first = photos[0]
    if len(photos) > 1 or first.content:
        issues.warn(
            "FIELD_NOT_CARRIED", f"{locator}.photos", "the format names one picture, which lies beside the file"
        )
    if not first.content:
        return first.url
    name = photo_name(first.sha256, first.media_type)
    attachments[name] = first.content
    return name


def _age(age: common_pb2.AgeRange) -> str:
    if not age.least and not age.greatest:
        return ""
    return str(age.least) if age.least == age.greatest else f"{age.least}-{age.greatest}"


def _date(date: common_pb2.PartialDate) -> str:
    if date.original_text or not date.year:
        return date.original_text
    return f"{date.year:04}" + (f"-{date.month:02}" if date.month else "") + (f"-{date.day:02}" if date.day else "")
