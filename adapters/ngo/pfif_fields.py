"""PFIF's fields by version, in the order in which 1.4 writes them. Source: zesty.ca/pfif, versions 1.1 to 1.4."""

from __future__ import annotations

from typing import Final

NAMESPACE_STEM: Final = "http://zesty.ca/pfif/"
VERSIONS: Final = ("1.1", "1.2", "1.3", "1.4")
WRITTEN: Final = "1.4"
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
"""Names of earlier versions, and what 1.4 calls the same."""
