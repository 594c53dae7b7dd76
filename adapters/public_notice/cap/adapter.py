"""The adapter ``cap``: reads Common Alerting Protocol 1.1 and 1.2, and writes 1.2 (OASIS CAP-V1.2, July 2010).

A file is one alert: the newest message of one notice. An update or a cancellation must name the earlier messages. So it
is written from the whole history of the notice, oldest first. Without the history it is refused, and a gateway keeps
the record as JSON. The notice board has the history, and writes these alerts too.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final
from uuid import NAMESPACE_URL, uuid5

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source, provenance
from adapters.public_notice.cap.read import notice_of, reached_by, refusal
from adapters.public_notice.cap.write import (
    MEDIA_TYPE,
    NAMESPACE,
    Message,
    Reference,
    Resource,
    can_name,
    cap_document,
    contact_text,
    sender_of,
)
from adapters.public_notice.facts import must_not_be_public
from adapters.public_notice.history import moment
from adapters.public_notice.picture import MEDIA_TYPE as PICTURE
from adapters.public_notice.picture import clean_picture
from adapters.records.publicity import for_the_public
from adapters.records.validate import check_record
from adapters.syntax.hardened_xml import local_name, longest, namespace, parse_xml, where
from adapters.values.pictures import photo_name
from caseexchange.records.v1 import notice_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxml import etree

_STEM: Final = "urn:oasis:names:tc:emergency:cap:"
_VERSIONS: Final = ("1.1", "1.2")
_ACTIONS: Final = frozenset(notice_pb2.NoticeAction.values()) - {notice_pb2.NOTICE_ACTION_UNSPECIFIED}

NAME: Final = "cap"


class Cap:
    """See the module."""

    name: Final = NAME
    media_type: Final = MEDIA_TYPE
    suffix: Final = ".cap.xml"
    decodes: Final = frozenset({"PublicNotice"})
    encodes: Final = frozenset({"PublicNotice"})

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        return _STEM.encode() in content

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        records: list[DecodedRecord] = []
        root = parse_xml(source.content, limits, issues)
        version = None if root is None else _version(root, issues)
        if root is not None and version is not None:
            record = _read(root, version, source, limits, issues)
            records = [] if record is None else [record]
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """See ``Adapter``."""
        issues = IssueList()
        attachments: dict[str, bytes] = {}
        notices = [record for record in records[: limits.records] if isinstance(record, notice_pb2.PublicNotice)]
        if len(notices) != len(records):
            issues.reject_file("KIND_NOT_CARRIED", "file", "the format carries only public notices, up to the limit")
        elif len({notice.notice_id for notice in notices}) != 1:
            issues.reject_file("ONE_NOTICE_A_FILE", "file", "a file is one alert: one notice with its earlier messages")
        message = None if issues.items else _message(notices, attachments, issues)
        return issues.encoded(b"" if message is None else cap_document(message), attachments)


def _version(root: etree._Element, issues: IssueList) -> str | None:
    if local_name(root) != "alert" or not namespace(root).startswith(_STEM):
        issues.reject_file("NOT_CAP", where(root), "the document is not an alert element in a CAP namespace")
        return None
    version = namespace(root).removeprefix(_STEM)
    if version not in _VERSIONS:
        issues.reject_file("CAP_VERSION", where(root), f"CAP is read in the versions {', '.join(_VERSIONS)}")
        return None
    return version


def _read(
    root: etree._Element, version: str, source: Source, limits: Limits, issues: IssueList
) -> DecodedRecord | None:
    locator = where(root)
    if longest(root) > limits.field_characters:
        issues.reject_record("FIELD_TOO_LONG", locator, f"a field has more than {limits.field_characters} characters")
        return None
    refused = refusal(root)
    if refused is not None:
        issues.reject_record(refused[0], locator, refused[1])
        return None
    notice, identifier = notice_of(root, source.attachments, issues)
    digest = hashlib.sha256(source.content).digest()
    notice.provenance.MergeFrom(provenance(NAME, version, identifier, digest))
    usable = check_record(notice, locator, issues)
    code = must_not_be_public(notice)
    if code is not None:
        issues.reject_record(code, locator, "the alert's text has something that must not be published")
    return DecodedRecord(notice, notice.notice_id, locator) if usable and code is None else None


def _message(
    notices: Sequence[notice_pb2.PublicNotice], attachments: dict[str, bytes], issues: IssueList
) -> Message | None:
    """The newest message, with references to those since the notice was last published."""
    earlier: list[Reference] = []
    for number, notice in enumerate(notices):
        own = _reference(notice, f"records[{number}]", issues)
        if own is None:
            return None
        if notice.action == notice_pb2.NOTICE_ACTION_PUBLISH:
            earlier.clear()
        elif not earlier:
            issues.reject_record(
                "REFERENCES_UNKNOWN", f"records[{number}]", "an update or a cancellation must name the earlier messages"
            )
            return None
        earlier.append(own)
    last = notices[-1]
    if last.action == notice_pb2.NOTICE_ACTION_WITHDRAW:
        return Message(earlier[-1], None, last.notice_id, tuple(earlier[:-1]))
    code = must_not_be_public(last)
    if code is not None:
        issues.reject_record(code, f"records[{len(notices) - 1}]", "the notice's text must not be published")
        return None
    if last.report_to.name or last.report_to.HasField("address"):
        issues.warn("FIELD_NOT_CARRIED", "report_to", "an alert names only the office, without a person or an address")
    if reached_by(contact_text(last.report_to)) != (last.report_to.phone, last.report_to.email):
        issues.warn("FIELD_NOT_CARRIED", "report_to", "an alert has one text for numbers and an address, with commas")
    shown = for_the_public(last, f"records[{len(notices) - 1}]", issues)
    return Message(earlier[-1], shown, last.notice_id, tuple(earlier[:-1]), _resources(last, attachments, issues))


def _reference(notice: notice_pb2.PublicNotice, where: str, issues: IssueList) -> Reference | None:
    sender, sent = sender_of(notice.notice_id), moment(notice.effective_at)
    if notice.action not in _ACTIONS:
        issues.reject_record("ACTION_UNKNOWN", where, "a notice must be published, updated or withdrawn")
    elif not can_name(sender):
        issues.reject_record("CAP_SENDER", where, "the notice's number does not begin with its publisher's domain")
    elif sent is None:
        issues.reject_record("SENT_UNKNOWN", where, "the format needs a time, and the notice has no beginning")
    else:
        key = f"{NAMESPACE}:{notice.notice_id}:{notice.action}:{sent.isoformat()}"
        return Reference(sender, str(uuid5(NAMESPACE_URL, key)), sent)
    return None


def _resources(
    notice: notice_pb2.PublicNotice, attachments: dict[str, bytes], issues: IssueList
) -> tuple[Resource, ...]:
    """The pictures as the public may see them. They are files beside this one."""
    found: list[Resource] = []
    for number, photo in enumerate(notice.photos):
        picture = clean_picture(photo.content) if photo.content else "PICTURE_ELSEWHERE"
        if isinstance(picture, str):
            issues.warn(picture, f"photos[{number}]", "the picture is left out")
            continue
        name = photo_name(picture.content, PICTURE)
        attachments[name] = picture.content
        found.append(Resource(name, PICTURE, picture.content))
    return tuple(found)


ADAPTER: Final = Cap()
