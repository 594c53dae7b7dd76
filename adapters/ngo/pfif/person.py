"""Turns a case's fields into a PFIF person. Each field that a person cannot carry is a warning with a code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.base import populated
from adapters.ngo.pfif.fields import (
    HOME,
    ISO_DIVISION,
    NOTE,
    OWN_FORMATS,
    PERSON,
    STATUSES,
    UNMAPPED_PERSON,
    UNNAMED,
    date_numbers,
    is_time,
)
from adapters.ngo.pfif.read import SEXES, lines_of, names_of
from adapters.syntax.hardened_xml import is_name
from adapters.values.pictures import is_safe_address, photo_name
from caseexchange.records.v1 import case_pb2, common_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapters.base import IssueList

LONG_AGO: Final = "1970-01-01T00:00:00Z"
"""PFIF needs times that a record may not have. A receiver overwrites the entry date; any past expiry means expired."""
SEX_TEXT: Final = {sex: text for text, sex in SEXES.items()}
_CARRIED: Final = frozenset(
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
_FIRST_EASTERN: Final = "\u2e80"
"""From this character on, scripts put the family name first, without a blank."""


def case_fields(
    record: case_pb2.CaseRecord, locator: str, attachments: dict[str, bytes], issues: IssueList
) -> dict[str, str]:
    """The fields of a case, by PFIF's names."""
    for path in sorted(populated(record) - _CARRIED):
        if not path.startswith("provenance"):
            not_carried(issues, f"{locator}.{path}", "the format has no field for this")
    if record.kind != case_pb2.CASE_KIND_MISSING_CHILD or record.status != case_pb2.CASE_STATUS_OPEN:
        not_carried(issues, f"{locator}.kind", "in this format every person is missing")
    if not record.local_id:
        issues.warn("RECORD_ID_MISSING", f"{locator}.local_id", "the person is written without the id that PFIF needs")
    unmapped = kept_fields(record.provenance, UNMAPPED_PERSON, locator, issues)
    source_date = unmapped.get("source_date", "")
    if not is_time(source_date):
        issues.warn("DEFAULT_WRITTEN", f"{locator}, source_date", "the format needs a time, and the record has none")
        source_date = LONG_AGO
    return {
        **unmapped,
        "person_record_id": record.local_id,
        "source_date": source_date,
        "description": record.narrative,
        "sex": sex_text(record.sex, f"{locator}.sex", issues),
        "age": age_text(record.age) if record.HasField("age") else "",
        "date_of_birth": _birth(record.birth, f"{locator}.birth", issues),
        "profile_urls": _lines(record.profile_urls, f"{locator}.profile_urls", issues),
        "photo_url": photo_url(record.photos, locator, attachments, issues),
        **_name_fields(record, locator, issues),
        **_home_fields(record.household, unmapped, locator, issues),
        **_contact_fields(record.contacts, locator, issues),
    }


def not_carried(issues: IssueList, where: str, message: str) -> None:
    """Warn that a field is not written."""
    issues.warn("FIELD_NOT_CARRIED", where, message)


def kept_fields(source: common_pb2.Provenance, names: Sequence[str], locator: str, issues: IssueList) -> dict[str, str]:
    """The unmapped fields of a record that was read from PFIF.

    Those of other formats are not written, because nobody has checked whether an NGO may see them.
    """
    fields: dict[str, str] = {}
    for item in source.unmapped:
        own = item.path in names or (is_name(item.path) and item.path not in {*PERSON, *NOTE, "note"})
        strange = (item.path == "expiry_date" and not is_time(item.value)) or (
            item.path == "status" and item.value not in STATUSES
        )
        if strange:
            not_carried(issues, f"{locator}, {item.path}", "the format does not allow this in the field")
        elif source.source_format in OWN_FORMATS and own and item.path not in fields:
            fields[item.path] = item.value
        else:
            not_carried(issues, f"{locator}.provenance.unmapped", "unmapped fields of another source are not written")
    return fields


def sex_text(sex: common_pb2.Sex.ValueType, where: str, issues: IssueList) -> str:
    """A sex in PFIF's words."""
    if sex and sex not in SEX_TEXT:
        not_carried(issues, where, "the format has only female, male and other")
    return SEX_TEXT.get(sex, "")


def age_text(age: common_pb2.AgeRange) -> str:
    """Years, or a span of years. Zero is an age: a baby's."""
    return str(age.least) if age.least == age.greatest else f"{age.least}-{age.greatest}"


def photo_url(
    photos: Sequence[common_pb2.Photo], locator: str, attachments: dict[str, bytes], issues: IssueList
) -> str:
    """The name of the one picture that PFIF has room for. Its bytes go into ``attachments``."""
    if not photos:
        return ""
    first = photos[0]
    if len(photos) > 1 or first.content:
        not_carried(issues, f"{locator}.photos", "the format has room for one picture, in a file beside it")
    if not first.content:
        if is_safe_address(first.url):
            return first.url
        not_carried(issues, f"{locator}.photos", "an address that is not for the web is not written")
        return ""
    name = photo_name(first.content, first.media_type)
    attachments[name] = first.content
    return name


def _name_fields(record: case_pb2.CaseRecord, locator: str, issues: IssueList) -> dict[str, str]:
    legal = [name for name in record.names if name.kind == common_pb2.NAME_KIND_LEGAL]
    aliases = [name for name in record.names if name.kind == common_pb2.NAME_KIND_ALIAS]
    rest = [name for name in record.names if name.kind not in {common_pb2.NAME_KIND_LEGAL, common_pb2.NAME_KIND_ALIAS}]
    first = legal[0] if legal else common_pb2.PersonName()
    fields = {
        "full_name": "\n".join(name.full for name in legal if name.full),
        "given_name": first.given,
        "family_name": first.family,
        "alternate_names": "\n".join(name.full for name in [*aliases, *rest]),
    }
    # Compare with what a reader gets: a name may be empty, or have a line break or blanks around it.
    if names_of(fields) != list(record.names):
        not_carried(issues, f"{locator}.names", "the format has full names, then other names, and no more")
    if not fields["full_name"] and (first.given or first.family):
        issues.warn("NAME_COMPOSED", f"{locator}.names", "the format needs a full name: it is made of the parts")
        fields["full_name"] = _composed(first)
    return {**fields, "full_name": fields["full_name"] or UNNAMED}


def _composed(name: common_pb2.PersonName) -> str:
    if max(name.family + name.given) >= _FIRST_EASTERN:
        return name.family + name.given
    return f"{name.given} {name.family}".strip()


def _birth(date: common_pb2.PartialDate, where: str, issues: IssueList) -> str:
    numbers = (date.year, date.month, date.day)
    # The beginning of a span would be read as the date. A lunar date would be read as another day.
    one_day = date.calendar == common_pb2.CALENDAR_GREGORIAN and not date.HasField("end")
    if one_day and date.original_text and date_numbers(date.original_text) == numbers:
        return date.original_text
    text = f"{date.year:04}" + (f"-{date.month:02}" if date.month else "") + (f"-{date.day:02}" if date.day else "")
    usable = one_day and date_numbers(text) == numbers
    if date.original_text or (date.year and not usable):
        not_carried(issues, where, "the format has only Gregorian years, months and days, and no spans")
    return text if usable else ""


def _home_fields(
    home: common_pb2.Place, unmapped: Mapping[str, str], locator: str, issues: IssueList
) -> dict[str, str]:
    fields = {"home_postal_code": home.postal_code, "home_country": home.country}
    if home.division.value and home.division.system == ISO_DIVISION:
        fields["home_state"] = home.division.value
    elif home.division.value:
        not_carried(issues, f"{locator}.household.division", "the format has only divisions of ISO 3166-2")
    if home.text != ", ".join(unmapped[name] for name in HOME if name in unmapped):
        fields |= {"home_street": home.text, "home_neighborhood": "", "home_city": ""}
    return fields


def _contact_fields(contacts: Sequence[common_pb2.Contact], locator: str, issues: IssueList) -> dict[str, str]:
    first = contacts[0] if contacts else common_pb2.Contact()
    if len(contacts) > 1 or first.role or first.relation or first.HasField("address"):
        not_carried(issues, f"{locator}.contacts", "the format has one author, without role, relation or address")
    return {
        "author_name": first.name,
        "author_email": first.email,
        "author_phone": first.phone,
        "source_name": first.organisation,
    }


def _lines(items: Sequence[str], where: str, issues: IssueList) -> str:
    text = "\n".join(items)
    if lines_of(text) != list(items):
        not_carried(issues, where, "the format has one value on each line")
    return text
