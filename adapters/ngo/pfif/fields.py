"""PFIF's fields by version, in the order in which 1.4 writes them. Source: zesty.ca/pfif, versions 1.1 to 1.4."""

from __future__ import annotations

import re
from datetime import date
from textwrap import dedent
from typing import Final

NAMESPACE_STEM: Final = "http://zesty.ca/pfif/"
VERSIONS: Final = ("1.1", "1.2", "1.3", "1.4")
WRITTEN: Final = "1.4"
OWN_FORMATS: Final = frozenset({"pfif", "pfif-csv"})
"""If a record comes from one of these formats, its unmapped fields may be written again."""
RECORD_ID: Final = re.compile(r"[^/\s]+/\S+")
UNNAMED: Final = "未公开 (not public)"
"""Written if the record has no full name, because 1.3 and 1.4 need one. It is read as no name."""
PERSON: Final = (
    "person_record_id",
    "entry_date",
    "expiry_date",
    "author_name",
    "author_email",
    "author_phone",
    "source_name",
    "source_date",
    "source_url",
    "full_name",
    "given_name",
    "family_name",
    "alternate_names",
    "description",
    "sex",
    "date_of_birth",
    "age",
    "home_street",
    "home_neighborhood",
    "home_city",
    "home_state",
    "home_postal_code",
    "home_country",
    "photo_url",
    "profile_urls",
)
NOTE: Final = (
    "note_record_id",
    "person_record_id",
    "linked_person_record_id",
    "entry_date",
    "author_name",
    "author_email",
    "author_phone",
    "source_date",
    "author_made_contact",
    "status",
    "email_of_found_person",
    "phone_of_found_person",
    "last_known_location",
    "text",
    "photo_url",
)
RENAMED: Final = {
    "first_name": "given_name",
    "last_name": "family_name",
    "other": "description",
    "home_zip": "home_postal_code",
    "found": "author_made_contact",
}
"""Names of earlier versions, and the same in 1.4."""
STATUSES: Final = frozenset(
    {"information_sought", "is_note_author", "believed_alive", "believed_missing", "believed_dead"}
)
HOME: Final = ("home_street", "home_neighborhood", "home_city")
ISO_DIVISION: Final = "ISO 3166-2"
UNMAPPED_PERSON: Final = ("expiry_date", "source_date", "source_url", *HOME)
UNMAPPED_NOTE: Final = (
    "person_record_id",
    "linked_person_record_id",
    "source_date",
    "author_made_contact",
    "status",
    "email_of_found_person",
    "phone_of_found_person",
)
"""Fields that have no place in a record: kept as unmapped, and written again from there."""

_LABEL: Final = re.compile(r"([A-Za-z][\w -]{0,60}):\s*")
_DATE: Final = re.compile(r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2}))?)?")
_TIME: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?Z")


def plain_other(text: str) -> str:
    """The text of ``other``. Until 1.3 it had fields of its own: a label and a colon, then indented lines.

    The text below ``description:`` is returned as it is, other texts after their labels. Anything else is not changed.
    """
    blocks: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        label = _LABEL.fullmatch(line)
        if label:
            blocks.append((label[1], []))
        elif not blocks or line[:1].strip():
            return text
        else:
            blocks[-1][1].append(line)
    bodies = [(label, dedent("\n".join(lines)).strip()) for label, lines in blocks]
    return "\n".join(body if label == "description" else f"{label}: {body}" for label, body in bodies if body)


def date_numbers(text: str) -> tuple[int, int, int] | None:
    """Year, month and day of a possible date. Month and day are 0 if they are missing. None if it is not a date."""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    year, month, day = (int(number or 0) for number in match.groups())
    try:
        date(year, month if match[2] else 1, day if match[3] else 1)
    except ValueError:
        return None
    return year, month, day


def is_time(text: str) -> bool:
    """Whether a text is a possible time in PFIF's form."""
    return _TIME.fullmatch(text) is not None and date_numbers(text[:10]) is not None
