"""How a record is cut into sections. Each section can be withheld from a recipient separately.

A section is a partial message of the record's type. All sections merged are the record again. Every field belongs to
exactly one section. The directory's rights use the names of the sections that are given here.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from google.protobuf.message import DecodeError

from adapters.base import RECORD_TYPES, Record, kind_of
from broker.core.errors import EnvelopeMalformed

if TYPE_CHECKING:
    from collections.abc import Mapping

_CASE: Final = {
    "case": (
        "kind",
        "event",
        "status",
        "local_id",
        "event_date",
        "event_place",
        "found_date",
        "found_place",
        "blood_sampled",
        "handling_organ",
    ),
    "description": ("sex", "age", "height", "weight", "blood_group", "features"),
    # Free text may contain names.
    "identity": ("narrative", "names", "birth", "documents", "ethnicity", "household", "profile_urls", "residence"),
    "contact": ("contacts",),
    "photos": ("photos",),
    "provenance": ("provenance",),
}
_REPLACEMENT: Final = "replacement"

SECTIONS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = MappingProxyType(
    {
        "CaseRecord": _CASE,
        "Tip": {
            "tip": ("local_id", "text", "seen", "place"),
            "contact": ("reporter",),
            "photos": ("photos",),
            "provenance": ("provenance",),
        },
        "Closure": {
            "closure": ("outcome", "date", "match_record_id", "local_id"),
            "identity": ("names",),
            "provenance": ("provenance",),
        },
        "Correction": {
            "correction": ("target_record_id", "kind", "reason"),
            # The replacement of a case has the sections of a case.
            **{
                section: tuple(f"{_REPLACEMENT}.{name}" for name in names)
                for section, names in _CASE.items()
                if section != "provenance"
            },
            "provenance": (f"{_REPLACEMENT}.provenance", "provenance"),
        },
        "SampleRequest": {
            "sample": ("barcode", "role", "specimen", "collected"),
            "provenance": ("provenance",),
        },
        "StrProfile": {
            "profile": (
                "barcode",
                "role",
                "category",
                "kit",
                "laboratory",
                "destination",
                "submitted_by",
                "submitted_at",
                "case_number",
                "source_id",
                "partial",
                "batch",
                "comment",
                "source",
                "other_numbers",
                "loci",
            ),
            "provenance": ("provenance",),
        },
        "MatchNotification": {
            "match": (
                "match_id",
                "stage",
                "relationship",
                "barcodes",
                "likelihood_ratio",
                "log10_likelihood_ratio",
                "loci_compared",
                "loci_mismatched",
                "search",
                "reported_hit",
            ),
            "provenance": ("provenance",),
        },
        "NoMatchResult": {
            "result": ("barcode", "reason", "search", "standing_search", "public_notice_eligible", "errors"),
            "provenance": ("provenance",),
        },
        "PublicNotice": {
            "notice": (
                "notice_id",
                "action",
                "sex",
                "age",
                "place",
                "features",
                "texts",
                "report_to",
                "effective_at",
                "expires_at",
            ),
            "photos": ("photos",),
            "provenance": ("provenance",),
        },
        "ReaddressRequest": {
            "request": ("lost_key_id", "record_ids"),
            "provenance": ("provenance",),
        },
    }
)
"""The fields by kind and section."""


def section_type(kind: str) -> str:
    """The type in a section's descriptor."""
    return RECORD_TYPES[kind].DESCRIPTOR.full_name


def split(record: Record) -> dict[str, bytes]:
    """Serialise a record, once, section by section. Sections without content are left out."""
    sections: dict[str, bytes] = {}
    for section, names in SECTIONS[kind_of(record)].items():
        part = type(record)()
        for name in names:
            _copy(record, part, name)
        data = part.SerializeToString(deterministic=True)
        if data:
            sections[section] = data
    return sections


def join(kind: str, sections: Mapping[str, bytes]) -> Record:
    """Put a record together from the sections that its recipient has.

    Raises:
        EnvelopeMalformed: the kind is unknown, a section is not of this kind, or it has a field of another section.
    """
    table = SECTIONS.get(kind)
    if table is None:
        message = "this kind of record is not known here"
        raise EnvelopeMalformed(message)
    record = RECORD_TYPES[kind]()
    for section, data in sections.items():
        part = RECORD_TYPES[kind]()
        try:
            part.ParseFromString(data)
        except DecodeError as error:
            message = f"the section {section} is not a part of a {kind}"
            raise EnvelopeMalformed(message) from error
        # A field in another section would bypass the rights, which name sections.
        if section not in table or split(part).keys() - {section}:
            message = f"the section {section} of a {kind} has a field of another section"
            raise EnvelopeMalformed(message)
        record.MergeFrom(part)  # type: ignore[arg-type] # both are of the one type of this kind
    return record


def _copy(source: Record, target: Record, path: str) -> None:
    if path.startswith(f"{_REPLACEMENT}."):
        if source.HasField("replacement"):  # type: ignore[arg-type] # only a Correction's table has such a path
            source, target = source.replacement, target.replacement  # type: ignore[union-attr]
            _copy(source, target, path.removeprefix(f"{_REPLACEMENT}."))
        return
    descriptor = source.DESCRIPTOR.fields_by_name[path]
    value = getattr(source, path)
    # Setting a field, even to its default, would make the message around it present.
    if descriptor.is_repeated:
        if value:
            getattr(target, path).extend(value)
    elif descriptor.message_type is not None:
        if source.HasField(path):  # type: ignore[arg-type]
            getattr(target, path).CopyFrom(value)
    elif value:
        setattr(target, path, value)
