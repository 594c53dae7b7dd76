"""Adapters: each turns the bytes of one agency format into records and issues, and records into bytes.

An adapter is a pure function. It never opens a file or a socket, and never asks for the time. It never raises because
of bad input: each fault becomes an issue with a code. No issue quotes the value of a field.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, Protocol, TypeAlias, get_args, runtime_checkable

from caseexchange.records.v1 import case_pb2, common_pb2, dna_pb2, notice_pb2, readdress_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from google.protobuf.message import Message

Record: TypeAlias = (
    case_pb2.CaseRecord
    | case_pb2.Tip
    | case_pb2.Closure
    | case_pb2.Correction
    | dna_pb2.SampleRequest
    | dna_pb2.StrProfile
    | dna_pb2.MatchNotification
    | dna_pb2.NoMatchResult
    | notice_pb2.PublicNotice
    | readdress_pb2.ReaddressRequest
)
RECORD_TYPES: Final[Mapping[str, type[Record]]] = MappingProxyType(
    {kind.DESCRIPTOR.name: kind for kind in get_args(Record)}
)
"""The message of each kind of record."""


class Severity(Enum):
    """How bad an issue is."""

    REJECT_FILE = "reject_file"
    REJECT_RECORD = "reject_record"
    WARN = "warn"
    INFO = "info"


class Issue(NamedTuple):
    """One fault or note about a file: a stable code, a place (line, row, element), and a text without field values."""

    severity: Severity
    code: str
    locator: str
    message: str

    @property
    def refuses(self) -> bool:
        """Whether a record or the whole file cannot be used."""
        return self.severity in {Severity.REJECT_FILE, Severity.REJECT_RECORD}


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits for reading a file.

    Attributes:
        bytes: most bytes of a file that is read whole.
        records: most records in such a file.
        streamed_bytes: most bytes of a file that is read as a stream (``StreamingAdapter``).
        streamed_records: most records in such a file.
        field_characters: most characters in one field.
        depth: most levels of nested elements.
    """

    bytes: int = 64 * 1024 * 1024
    records: int = 100_000
    streamed_bytes: int = 4 * 1024 * 1024 * 1024
    streamed_records: int = 20_000_000
    field_characters: int = 20_000
    depth: int = 32


@dataclass(frozen=True, slots=True)
class Source:
    """An unchanged file, and the files that it may refer to, by name."""

    content: bytes
    attachments: Mapping[str, bytes] = field(default_factory=dict)


class DecodedRecord(NamedTuple):
    """One record, the source's own number for the case or sample, and the record's place in the source.

    The number never becomes a routing field. The edge turns it into an opaque case id (adapters/edge/spool.py).
    """

    record: Record
    case_reference: str
    locator: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of reading. With a REJECT_FILE issue there are no records."""

    records: tuple[DecodedRecord, ...]
    issues: tuple[Issue, ...]
    source_sha256: bytes

    @property
    def rejected(self) -> bool:
        """Whether the whole file was refused."""
        return any(issue.severity is Severity.REJECT_FILE for issue in self.issues)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The result of writing. With a REJECT_FILE issue the content is empty. A WARN names a field that was left out."""

    content: bytes
    attachments: Mapping[str, bytes]
    issues: tuple[Issue, ...]


class Adapter(Protocol):
    """One agency format, both ways. Stateless; safe to call from any thread."""

    @property
    def name(self) -> str:
        """The adapter's name, on the command line and in provenance."""

    @property
    def media_type(self) -> str:
        """The media type of the files."""

    @property
    def suffix(self) -> str:
        """The suffix of the files, with the dot."""

    @property
    def decodes(self) -> frozenset[str]:
        """The kinds of record that it reads."""

    @property
    def encodes(self) -> frozenset[str]:
        """The kinds of record that it writes."""

    def sniff(self, content: bytes) -> bool:
        """Whether a file with this beginning may have this format. Fast."""

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """Read a file. Never raises because of its content. One bad record does not stop the others."""

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """Write records of the kinds in ``encodes``."""


@runtime_checkable
class StreamingAdapter(Adapter, Protocol):
    """For a format with files that may be larger than memory. It yields the records one by one."""

    def stream(
        self, file: BinaryIO, attachments: Mapping[str, bytes], limits: Limits
    ) -> Iterator[DecodedRecord | Issue]:
        """Yield the records and issues that ``decode`` would return, in the file's order.

        The memory needed does not grow with the file. A REJECT_FILE issue may come after records. It is then the last
        item, the whole file is refused, and no record counts.

        Args:
            file: seekable. It is read more than once, and must stay open and unchanged while it is read.
            attachments: the files that it may refer to, by name.
            limits: here ``streamed_bytes`` and ``streamed_records`` apply.
        """


@runtime_checkable
class MappableAdapter(Adapter, Protocol):
    """For a format in which every agency names its columns differently. A mapping file gives the names."""

    def with_mapping(self, text: str) -> Adapter:
        """The adapter that reads files with this mapping. The format's page in docs/ explains how to write one.

        Raises:
            MappingInvalid: the message names every fault with its line.
        """


def collect(items: Iterable[DecodedRecord | Issue], source_sha256: bytes) -> Decoded:
    """Collect a whole stream, so that a streaming adapter's ``decode`` can return it."""
    records: list[DecodedRecord] = []
    issues: list[Issue] = []
    for item in items:
        if isinstance(item, DecodedRecord):
            records.append(item)
        else:
            issues.append(item)
    rejected = any(issue.severity is Severity.REJECT_FILE for issue in issues)
    return Decoded(() if rejected else tuple(records), tuple(issues), source_sha256)


class IssueList:
    """Collects the issues of one file."""

    def __init__(self) -> None:
        self.items: list[Issue] = []

    def reject_file(self, code: str, locator: str, message: str) -> None:
        """Add: nothing in the file can be used."""
        self.items.append(Issue(Severity.REJECT_FILE, code, locator, message))

    def reject_record(self, code: str, locator: str, message: str) -> None:
        """Add: this record cannot be used; the others can."""
        self.items.append(Issue(Severity.REJECT_RECORD, code, locator, message))

    def warn(self, code: str, locator: str, message: str) -> None:
        """Add: it is used, but somebody should look at it."""
        self.items.append(Issue(Severity.WARN, code, locator, message))

    def info(self, code: str, locator: str, message: str) -> None:
        """Add: good to know."""
        self.items.append(Issue(Severity.INFO, code, locator, message))

    def add_within(self, place: str, issues: Iterable[Issue]) -> None:
        """Add the issues of a part of the file. ``place`` goes in front of each locator (``records[3].loci``)."""
        joint = "." if place.endswith("]") else ", "
        self.items.extend(issue._replace(locator=f"{place}{joint}{issue.locator}") for issue in issues)

    @property
    def refuses(self) -> bool:
        """Whether one of the issues refuses a record or the file."""
        return any(issue.refuses for issue in self.items)

    @property
    def refuses_file(self) -> bool:
        """Whether one of the issues refuses the whole file."""
        return any(issue.severity is Severity.REJECT_FILE for issue in self.items)

    def taken(self) -> list[Issue]:
        """The issues since the last call. A stream uses this to yield them early."""
        items, self.items = self.items, []
        return items

    def decoded(self, records: Sequence[DecodedRecord], content: bytes) -> Decoded:
        """The result of reading: these records with the issues collected."""
        kept = () if self.refuses_file else tuple(records)
        return Decoded(kept, tuple(self.items), hashlib.sha256(content).digest())

    def encoded(self, content: bytes, attachments: Mapping[str, bytes]) -> Encoded:
        """The result of writing: this content with the issues collected."""
        if self.refuses_file:
            return Encoded(b"", {}, tuple(self.items))
        return Encoded(content, dict(attachments), tuple(self.items))


def not_written(why: str) -> Encoded:
    """The result of ``encode`` for a format that can only be read (FORMAT_NOT_WRITTEN)."""
    issues = IssueList()
    issues.reject_file("FORMAT_NOT_WRITTEN", "file", why)
    return issues.encoded(b"", {})


def placed(records: Sequence[Record], limits: Limits, issues: IssueList) -> Iterator[tuple[str, Record]]:
    """Yield the records to be written, each with its place (``records[3]``), up to the limit.

    Issue: TOO_MANY_RECORDS.
    """
    if len(records) > limits.records:
        issues.reject_file("TOO_MANY_RECORDS", "file", f"more than {limits.records} records")
    for place, record in enumerate(records[: limits.records]):
        yield f"records[{place}]", record


def kind_of(record: Record) -> str:
    """The kind of a record: the name of its message."""
    return record.DESCRIPTOR.name


def provenance(adapter: str, version: str, local_id: str, content_sha256: bytes) -> common_pb2.Provenance:
    """The provenance of a record: where it comes from."""
    return common_pb2.Provenance(
        source_format=adapter,
        source_format_version=version,
        source_record_id=local_id,
        source_sha256=content_sha256,
    )


def populated(message: Message, prefix: str = "") -> set[str]:
    """The paths of all fields with a value, such as ``event_place.text``. A repeated field is one path."""
    found: set[str] = set()
    for descriptor, value in message.ListFields():
        path = prefix + descriptor.name
        if descriptor.message_type is None or descriptor.is_repeated:
            found.add(path)
        else:
            found |= populated(value, path + ".") or {path}
    return found
