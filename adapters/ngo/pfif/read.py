"""Turns PFIF's fields into records. What has no place in a record is kept as unmapped, by the name of 1.4."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from adapters.ngo.pfif.fields import (
    HOME,
    ISO_DIVISION,
    STATUSES,
    UNMAPPED_NOTE,
    UNMAPPED_PERSON,
    UNNAMED,
    date_numbers,
    is_time,
)
from caseexchange.records.v1 import case_pb2, common_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapters.base import IssueList

_AGE: Final = re.compile(r"([0-9]{1,3})(?:-([0-9]{1,3}))?")
_PLACEHOLDER: Final = frozenset({"person_record_id", "entry_date", "expiry_date", "source_date"})
_TIMES: Final = frozenset({"expiry_date", "source_date"})
_GREATEST_AGE: Final = 150
_ADULT: Final = 18
SEXES: Final = {"female": common_pb2.SEX_FEMALE, "male": common_pb2.SEX_MALE, "other": common_pb2.SEX_OTHER}


def case_of(fields: Mapping[str, str], locator: str, issues: IssueList) -> case_pb2.CaseRecord:
    """A person's record."""
    record = case_pb2.CaseRecord(
        kind=case_pb2.CASE_KIND_MISSING_CHILD,
        status=case_pb2.CASE_STATUS_OPEN,
        local_id=fields["person_record_id"],
        narrative=fields.get("description", ""),
    )
    record.names.extend(names_of(fields))
    _sex_and_age(record, fields, locator, issues)
    if "date_of_birth" in fields:
        record.birth.CopyFrom(_date(fields["date_of_birth"], f"{locator}, date_of_birth", issues))
    home = record.household
    if any(name in fields for name in (*HOME, "home_state", "home_postal_code", "home_country")):
        home.text = ", ".join(fields[name] for name in HOME if name in fields)
        home.postal_code, home.country = fields.get("home_postal_code", ""), fields.get("home_country", "")
        if "home_state" in fields:
            home.division.system, home.division.value = ISO_DIVISION, fields["home_state"]
    if "photo_url" in fields:
        record.photos.add(url=fields["photo_url"])
    record.profile_urls.extend(lines_of(fields.get("profile_urls", "")))
    if any(name in fields for name in ("author_name", "author_email", "author_phone", "source_name")):
        record.contacts.add(
            name=fields.get("author_name", ""),
            email=fields.get("author_email", ""),
            phone=fields.get("author_phone", ""),
            organisation=fields.get("source_name", ""),
        )
    _keep(record.provenance, fields, UNMAPPED_PERSON, locator, issues)
    return record


def tip_of(fields: Mapping[str, str], person_id: str, locator: str, issues: IssueList) -> case_pb2.Tip:
    """A note's record. The person that it is about is kept in its provenance.

    So is the time when it was written, because this is not the time when the person was seen.
    """
    tip = case_pb2.Tip(local_id=fields["note_record_id"], text=fields.get("text", ""))
    if fields.get("status", "information_sought") not in STATUSES:
        issues.warn("STATUS_UNKNOWN", f"{locator}, status", "not a status of PFIF; its text is kept")
    if "linked_person_record_id" in fields:
        message = "the note says that two records are about one person; both are kept unchanged"
        issues.warn("PERSONS_LINKED", f"{locator}, linked_person_record_id", message)
    if "last_known_location" in fields:
        tip.place.text = fields["last_known_location"]
    if any(name in fields for name in ("author_name", "author_email", "author_phone")):
        tip.reporter.name = fields.get("author_name", "")
        tip.reporter.email, tip.reporter.phone = fields.get("author_email", ""), fields.get("author_phone", "")
    if "photo_url" in fields:
        tip.photos.add(url=fields["photo_url"])
    known = {**fields, "person_record_id": person_id} if person_id else fields
    _keep(tip.provenance, known, UNMAPPED_NOTE, locator, issues)
    return tip


def withdrawal_of(fields: Mapping[str, str], locator: str, issues: IssueList) -> case_pb2.Correction:
    """An expired person's record. From the person's id, the edge knows which record it withdraws.

    It withdraws and does not erase: if a public page expires, the records of the police must not be deleted.
    """
    record = case_pb2.Correction(kind=case_pb2.CORRECTION_KIND_WITHDRAW, reason="expired at its source")
    record.replacement.local_id = fields["person_record_id"]
    _keep(record.provenance, {"expiry_date": fields["expiry_date"]}, UNMAPPED_PERSON, locator, issues)
    return record


def has_expired(fields: Mapping[str, str]) -> bool:
    """Whether a person's own fields say that it has expired. There is no clock here.

    Either only ids and dates are left, or the data were left by mistake and the dates are those of the expiry or later.
    """
    expiry = fields.get("expiry_date", "")
    if expiry and fields.keys() <= _PLACEHOLDER:
        return True
    dates = [fields.get(name, "") for name in ("source_date", "entry_date")]
    return is_time(expiry) and any(is_time(text) and text[:19] >= expiry[:19] for text in dates)


def names_of(fields: Mapping[str, str]) -> list[common_pb2.PersonName]:
    """A person's names: the full names, the first one with its parts, then the other names."""
    given, family = fields.get("given_name", ""), fields.get("family_name", "")
    # 1.1 and 1.2 have only the parts. A full name would be more than the source says.
    lines = [line for line in lines_of(fields.get("full_name", "")) if line != UNNAMED] or (
        [""] if given or family else []
    )
    names = [common_pb2.PersonName(kind=common_pb2.NAME_KIND_LEGAL, full=full) for full in lines]
    if names:
        names[0].given, names[0].family = given, family
    aliases = lines_of(fields.get("alternate_names", ""))
    return [*names, *(common_pb2.PersonName(kind=common_pb2.NAME_KIND_ALIAS, full=full) for full in aliases)]


def _sex_and_age(record: case_pb2.CaseRecord, fields: Mapping[str, str], locator: str, issues: IssueList) -> None:
    if "sex" in fields:
        record.sex = SEXES.get(fields["sex"].lower(), common_pb2.SEX_UNSPECIFIED)
        if not record.sex:
            issues.warn("SEX_UNKNOWN", f"{locator}, sex", "not female, male or other; its text is kept")
            record.provenance.unmapped.add(path="sex", value=fields["sex"])
    if "age" in fields:
        match = _AGE.fullmatch(fields["age"])
        if match is None or not int(match[1]) <= int(match[2] or match[1]) <= _GREATEST_AGE:
            issues.warn("AGE_NOT_READ", f"{locator}, age", "not an age in years, or a span of ages; its text is kept")
            record.provenance.unmapped.add(path="age", value=fields["age"])
            return
        record.age.least, record.age.greatest = int(match[1]), int(match[2] or match[1])
        if record.age.least >= _ADULT:
            issues.warn("AGE_OF_ADULT", f"{locator}, age", "read as a child's case, but the person is an adult now")


def _date(text: str, locator: str, issues: IssueList) -> common_pb2.PartialDate:
    date = common_pb2.PartialDate(original_text=text)
    numbers = date_numbers(text)
    if numbers is None:
        issues.warn("DATE_NOT_READ", locator, "not a date of PFIF, or an impossible one; its text is kept")
        return date
    date.year, date.month, date.day = numbers
    date.calendar = common_pb2.CALENDAR_GREGORIAN
    return date


def _keep(
    target: common_pb2.Provenance, fields: Mapping[str, str], names: tuple[str, ...], locator: str, issues: IssueList
) -> None:
    for name in names:
        if name in _TIMES and name in fields and not is_time(fields[name]):
            issues.warn(
                "TIME_NOT_READ", f"{locator}, {name}", "not a time of PFIF, or an impossible one; kept as it is"
            )
        if name in fields:
            target.unmapped.add(path=name, value=fields[name])
    for name, value in fields.items():
        if name.startswith("?"):
            issues.info("FIELD_UNKNOWN", locator, "PFIF does not have this field; it is kept as it is")
            target.unmapped.add(path=name.removeprefix("?"), value=value)


def lines_of(text: str) -> list[str]:
    """The values of a field that may have several: one on each line, without blanks around it."""
    return [line.strip() for line in text.splitlines() if line.strip()]
