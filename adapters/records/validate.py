"""The rules for a record. They are checked before it is signed, and again after it is opened.

Each format has its own rules; these are the exchange's rules for all of them. Faults are issues, located by field path.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp

from adapters.base import Issue, IssueList, Record, kind_of
from adapters.records.sections import SECTIONS
from adapters.values.alleles import UNNAMED, canonical_locus, is_canonical
from adapters.values.pictures import MEDIA_TYPES
from broker.core.body import is_uuid
from caseexchange.records.v1 import case_pb2, common_pb2, dna_pb2, notice_pb2, readdress_pb2

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from google.protobuf.descriptor import Descriptor, FieldDescriptor
    from google.protobuf.message import Message

MAX_PHOTOS: Final = 8
MAX_PHOTO_BYTES: Final = 1 << 20
MAX_REQUESTED: Final = 1000
_KEY_ID: Final = re.compile(r"[0-9a-f]{64}")
_FIRST_SECOND: Final = -62_135_596_800
_LAST_SECOND: Final = 253_402_300_799
_LAST_NANO: Final = 999_999_999
"""The limits of a Timestamp."""
_DECIMAL: Final = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?")
_LR_TOLERANCE: Final = 0.01
"""The most by which the text and the logarithm of a likelihood ratio may differ, as a logarithm: texts are rounded."""
_REQUIRED: Final = {
    "CaseRecord": ("kind", "local_id"),
    "Tip": ("text",),
    "Closure": ("outcome",),
    "Correction": ("kind",),
    "SampleRequest": ("barcode", "role"),
    "StrProfile": ("barcode", "loci"),
    "MatchNotification": ("match_id", "stage"),
    "NoMatchResult": ("barcode", "reason"),
    "PublicNotice": ("notice_id", "action"),
    "ReaddressRequest": ("record_ids",),
}

_FIGURE: Final = ("likelihood_ratio", "loci_compared")
_OF_A_FIGURE: Final = (*_FIGURE, "log10_likelihood_ratio", "loci_mismatched")


def check_record(record: Record, place: str, issues: IssueList) -> bool:
    """Validate a record from this place in a file, and add the issues. Returns whether it can be used."""
    found = validate(record)
    issues.add_within(place, found)
    return not any(issue.refuses for issue in found)


def validate(record: Record, withheld: Collection[str] = ()) -> list[Issue]:
    """The issues of a record. With severity REJECT_RECORD it must not be signed or used.

    Args:
        record: the record, or what a recipient has of it.
        withheld: the sections that the recipient does not have. What these would hold is not missed. What the copy does
            hold is judged as in a whole record.
    """
    kind, issues = kind_of(record), IssueList()
    absent = {name for section in withheld for name in SECTIONS[kind].get(section, ())}
    for name in _REQUIRED[kind]:
        if name not in absent and not getattr(record, name):
            issues.reject_record("FIELD_MISSING", name, f"a {kind} needs {name}")
    _times(record, "", issues)
    match record:
        case case_pb2.CaseRecord():
            _case(record, "", issues)
        case case_pb2.Correction():
            _case(record.replacement, "replacement.", issues)
        case case_pb2.Tip():
            _photos(record.photos, "photos", issues)
        case dna_pb2.StrProfile():
            _profile(record, issues)
        case dna_pb2.MatchNotification() if absent.isdisjoint(_FIGURE):
            _match(record, issues)
        case notice_pb2.PublicNotice():
            _photos(record.photos, "photos", issues)
        case readdress_pb2.ReaddressRequest():
            _request(record, issues)
    return issues.items


def _request(record: readdress_pb2.ReaddressRequest, issues: IssueList) -> None:
    # Nothing but ids has a place in it, so it cannot name a person.
    if len(record.record_ids) > MAX_REQUESTED or not all(map(is_uuid, record.record_ids)):
        issues.reject_record("RECORD_ID_INVALID", "record_ids", f"not a list of at most {MAX_REQUESTED} record ids")
    if record.lost_key_id and not _KEY_ID.fullmatch(record.lost_key_id):
        issues.reject_record("KEY_ID_INVALID", "lost_key_id", "not the id of an encryption key")


def _times(message: Message, prefix: str, issues: IssueList) -> None:
    """Check every time in a message, at any depth."""
    for field in _ways_to_times(message.DESCRIPTOR):
        value = getattr(message, field.name)
        if field.is_repeated:
            parts = [(f"{prefix}{field.name}[{number}]", part) for number, part in enumerate(value)]
        else:
            parts = [(prefix + field.name, value)] if message.HasField(field.name) else []
        for path, part in parts:
            if not isinstance(part, Timestamp):
                _times(part, f"{path}.", issues)
            elif not (_FIRST_SECOND <= part.seconds <= _LAST_SECOND and 0 <= part.nanos <= _LAST_NANO):
                issues.reject_record("TIME_INVALID", path, "not a time of the years 1 to 9999")


@functools.cache
def _ways_to_times(descriptor: Descriptor) -> tuple[FieldDescriptor, ...]:
    """The fields of a message that can hold a time, at any depth. Most messages have none, and are skipped."""
    return tuple(field for field in descriptor.fields if Timestamp.DESCRIPTOR in _within(field.message_type))


def _within(descriptor: Descriptor | None) -> set[Descriptor]:
    """The types of a message and of everything that can be in it. A type can contain itself."""
    found: set[Descriptor] = set()
    ahead = [descriptor]
    while ahead:
        item = ahead.pop()
        if item is not None and item not in found:
            found.add(item)
            ahead += [field.message_type for field in item.fields]
    return found


def _case(record: case_pb2.CaseRecord, prefix: str, issues: IssueList) -> None:
    for name in ("event_date", "found_date", "birth"):
        if record.HasField(name):
            _date(getattr(record, name), prefix + name, issues)
    if record.HasField("age") and not 0 <= record.age.least <= record.age.greatest <= 150:  # noqa: PLR2004 - years
        issues.reject_record("AGE_INVALID", f"{prefix}age", "an age is a span of years from 0 to 150")
    for name, measure in (("height", record.height), ("weight", record.weight)):
        if not _is_measure(measure):
            issues.reject_record(
                "MEASURE_INVALID", prefix + name, "not a number, or a range that ends before it begins"
            )
    _photos(record.photos, f"{prefix}photos", issues)


def _is_measure(measure: common_pb2.Measure) -> bool:
    greatest = measure.value_max or measure.value
    return 0 <= measure.value <= greatest < math.inf


def _date(date: common_pb2.PartialDate, path: str, issues: IssueList) -> None:
    ends = [date, date.end] if date.HasField("end") else [date]
    numbers = [(part.month, part.day) for part in ends]
    whole = all(0 <= month <= 12 and 0 <= day <= 31 for month, day in numbers)  # noqa: PLR2004 - months and days
    gap = any(day and not month for month, day in numbers)
    loose = any(part.month and not part.year for part in ends) and not date.original_text
    if not whole or gap or loose or date.end.HasField("end"):
        issues.reject_record("DATE_INVALID", path, "not a date, a part of a date, or a span of dates")


def _photos(photos: Iterable[common_pb2.Photo], path: str, issues: IssueList) -> None:
    listed = list(photos)
    if len(listed) > MAX_PHOTOS:
        issues.reject_record("PHOTOS_TOO_MANY", path, f"a record carries at most {MAX_PHOTOS} photos")
    for number, photo in enumerate(listed):
        where = f"{path}[{number}]"
        if not photo.content:
            if not photo.url:
                issues.reject_record("PHOTO_EMPTY", where, "a photo has neither bytes nor an address")
            continue
        if len(photo.content) > MAX_PHOTO_BYTES:
            issues.reject_record("PHOTO_TOO_LARGE", where, f"a photo has at most {MAX_PHOTO_BYTES} bytes")
        if photo.sha256 != hashlib.sha256(photo.content).digest():
            issues.reject_record("PHOTO_DIGEST", where, "the photo's bytes do not match its digest")
        if not photo.content.startswith(MEDIA_TYPES.get(photo.media_type, b"\0none")):
            issues.reject_record("PHOTO_TYPE", where, "the photo does not have the media type that it states")


def _profile(record: dna_pb2.StrProfile, issues: IssueList) -> None:
    seen: set[str] = set()
    for number, call in enumerate(record.loci):
        where = f"loci[{number}]"
        # If the source gives only a number for a locus, the locus is kept under that number.
        name = call.locus or call.reported_locus
        if not name or (call.locus != UNNAMED and canonical_locus(call.locus) != call.locus):
            issues.reject_record(
                "LOCUS_UNKNOWN", where, "the locus is not known here, or it does not have its usual name"
            )
            continue
        if name in seen:
            issues.reject_record("LOCUS_REPEATED", where, "the locus is in the profile twice")
        seen.add(name)
        if not call.alleles:
            issues.reject_record("ALLELE_MISSING", where, "the locus has no allele")
        for place, allele in enumerate(call.alleles):
            if not is_canonical(call.locus, allele):
                issues.reject_record("ALLELE_INVALID", f"{where}.alleles[{place}]", "not an allele of this locus")
            if allele.peak_height < 0:
                issues.reject_record("PEAK_HEIGHT_INVALID", f"{where}.alleles[{place}]", "the peak height is negative")


def _match(record: dna_pb2.MatchNotification, issues: IssueList) -> None:
    if not record.HasField("reported_hit"):
        for name in ("relationship", *_FIGURE):
            if not getattr(record, name):
                issues.reject_record("FIELD_MISSING", name, f"a match needs {name}, or a hit reported without a figure")
        _likelihood_ratio(record, issues)
        return
    # The source reported this hit without a figure, so a figure beside it is invented.
    if any(getattr(record, name) for name in _OF_A_FIGURE):
        issues.reject_record("LR_CONTRADICTION", "reported_hit", "a hit reported without a figure must not have one")
    if record.stage != dna_pb2.MATCH_STAGE_CANDIDATE:
        issues.reject_record("STAGE_INVALID", "stage", "a hit reported without a figure is a candidate")


def _likelihood_ratio(record: dna_pb2.MatchNotification, issues: IssueList) -> None:
    text = record.likelihood_ratio
    if not _DECIMAL.fullmatch(text):
        issues.reject_record("LR_INVALID", "likelihood_ratio", "a likelihood ratio is a decimal number as text")
        return
    mantissa, _, exponent = text.lower().partition("e")
    number = float(mantissa)
    logarithm = math.log10(number) + int(exponent or 0) if number else -math.inf
    if not math.isclose(logarithm, record.log10_likelihood_ratio, abs_tol=_LR_TOLERANCE):
        issues.reject_record("LR_CONTRADICTION", "log10_likelihood_ratio", "the logarithm does not match the text")
