"""What every adapter is: a pure function between the bytes of an agency's format and records, with coded issues.

An adapter never opens a file, a socket or a clock, and never raises on bad input: a file that cannot be read is an
issue too. No issue quotes what a person's field holds.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple, Protocol, TypeAlias, get_args, runtime_checkable

from caseexchange.records.v1 import case_pb2, common_pb2, dna_pb2, notice_pb2

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
)
RECORD_TYPES: Final[Mapping[str, type[Record]]] = MappingProxyType(
    {kind.DESCRIPTOR.name: kind for kind in get_args(Record)}
)
"""The message of each kind of record."""


class Severity(Enum):
    """What an issue means for what was read."""

    REJECT_FILE = "reject_file"
    REJECT_RECORD = "reject_record"
    WARN = "warn"
    INFO = "info"


class Issue(NamedTuple):
    """One thing to be known about a file: a stable code, where (line, row, element), and words without a value."""

    severity: Severity
    code: str
    locator: str
    message: str

    @property
    def refuses(self) -> bool:
        """Whether something of the file cannot be used, or all of it."""
        return self.severity in {Severity.REJECT_FILE, Severity.REJECT_RECORD}


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a file is read.

    Attributes:
        bytes: of a file that is read whole.
        records: in it.
        streamed_bytes: of a file that is read as a stream (``StreamingAdapter``).
        streamed_records: in it.
        field_characters: in one field.
        depth: of nested elements.
    """

    bytes: int = 64 * 1024 * 1024
    records: int = 100_000
    streamed_bytes: int = 4 * 1024 * 1024 * 1024
    streamed_records: int = 20_000_000
    field_characters: int = 20_000
    depth: int = 32


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it came, and the files that it may refer to, by name."""

    content: bytes
    attachments: Mapping[str, bytes] = field(default_factory=dict)


class DecodedRecord(NamedTuple):
    """One record, the number by which its source knows the case or sample, and where it stood in the source.

    The number never becomes a routing field: the edge turns it into an opaque case id (adapters/edge/spool.py).
    """

    record: Record
    case_reference: str
    locator: str


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was read. With a REJECT_FILE issue there are no records."""

    records: tuple[DecodedRecord, ...]
    issues: tuple[Issue, ...]
    source_sha256: bytes

    @property
    def rejected(self) -> bool:
        """Whether the file as a whole was refused."""
        return any(issue.severity is Severity.REJECT_FILE for issue in self.issues)


@dataclass(frozen=True, slots=True)
class Encoded:
    """What was written. With a REJECT_FILE issue the content is empty; a WARN names what the format cannot carry."""

    content: bytes
    attachments: Mapping[str, bytes]
    issues: tuple[Issue, ...]


class Adapter(Protocol):
    """One agency format, both ways. Stateless; safe to call from any thread."""

    @property
    def name(self) -> str:
        """Its name on the command line and in provenance."""

    @property
    def media_type(self) -> str:
        """Of the files."""

    @property
    def suffix(self) -> str:
        """Of the files, with the dot."""

    @property
    def decodes(self) -> frozenset[str]:
        """Kinds of record that it reads."""

    @property
    def encodes(self) -> frozenset[str]:
        """Kinds of record that it writes."""

    def sniff(self, content: bytes) -> bool:
        """Whether a file that begins like this may be of this format. Cheap."""

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """Read a file. Never raises on what it holds; accepts record by record."""

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:
        """Write records of the kinds that it encodes."""


@runtime_checkable
class StreamingAdapter(Adapter, Protocol):
    """A format whose files may be larger than memory: its records are told one after the other."""

    def stream(
        self, file: BinaryIO, attachments: Mapping[str, bytes], limits: Limits
    ) -> Iterator[DecodedRecord | Issue]:
        """What ``decode`` tells of a file, in the file's order, in memory that does not grow with the file.

        A REJECT_FILE issue may come after records, and is the last thing that comes: the whole file is refused, and
        what came before it does not count.

        Args:
            file: seekable, and read more than once. It stays as it is, and open, while it is read.
            attachments: the files that it may refer to, by name.
            limits: of which ``streamed_bytes`` and ``streamed_records`` count here.
        """


@runtime_checkable
class MappableAdapter(Adapter, Protocol):
    """A format whose files name their columns differently from place to place: a mapping file says how."""

    def with_mapping(self, text: str) -> Adapter:
        """The adapter that reads files by this mapping. Docs of the format say how one is written.

        Raises:
            MappingInvalid: names every fault with its line.
        """


def collect(items: Iterable[DecodedRecord | Issue], source_sha256: bytes) -> Decoded:
    """A stream as a whole: what a streaming adapter's ``decode`` returns."""
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
    """Collects issues; what a decoder writes into."""

    def __init__(self) -> None:
        self.items: list[Issue] = []

    def reject_file(self, code: str, locator: str, message: str) -> None:
        """Nothing of the file can be used."""
        self.items.append(Issue(Severity.REJECT_FILE, code, locator, message))

    def reject_record(self, code: str, locator: str, message: str) -> None:
        """This record cannot be used; the others can."""
        self.items.append(Issue(Severity.REJECT_RECORD, code, locator, message))

    def warn(self, code: str, locator: str, message: str) -> None:
        """Used, but somebody should look."""
        self.items.append(Issue(Severity.WARN, code, locator, message))

    def info(self, code: str, locator: str, message: str) -> None:
        """Worth knowing."""
        self.items.append(Issue(Severity.INFO, code, locator, message))

    def add_within(self, place: str, issues: Iterable[Issue]) -> None:
        """Add what was found within a place of the file: its path goes on (``records[3].loci``), or follows a line."""
        joint = "." if place.endswith("]") else ", "
        self.items.extend(issue._replace(locator=f"{place}{joint}{issue.locator}") for issue in issues)

    @property
    def refuses(self) -> bool:
        """Whether one of the issues refuses a record or the file."""
        return any(issue.refuses for issue in self.items)

    @property
    def refuses_file(self) -> bool:
        """Whether one of the issues refuses the file as a whole."""
        return any(issue.severity is Severity.REJECT_FILE for issue in self.items)

    def taken(self) -> list[Issue]:
        """What was collected since this was called last: for a stream, which tells issues as it goes."""
        items, self.items = self.items, []
        return items

    def decoded(self, records: Sequence[DecodedRecord], content: bytes) -> Decoded:
        """Close the list over what was read."""
        kept = () if self.refuses_file else tuple(records)
        return Decoded(kept, tuple(self.items), hashlib.sha256(content).digest())

    def encoded(self, content: bytes, attachments: Mapping[str, bytes]) -> Encoded:
        """Close the list over what was written."""
        if self.refuses_file:
            return Encoded(b"", {}, tuple(self.items))
        return Encoded(content, dict(attachments), tuple(self.items))


def not_written(why: str) -> Encoded:
    """What the adapter of a format that is only read answers to being asked to write (FORMAT_NOT_WRITTEN)."""
    issues = IssueList()
    issues.reject_file("FORMAT_NOT_WRITTEN", "file", why)
    return issues.encoded(b"", {})


def placed(records: Sequence[Record], limits: Limits, issues: IssueList) -> Iterator[tuple[str, Record]]:
    """Records to be written, each with its place (``records[3]``), up to the limit. Code: TOO_MANY_RECORDS."""
    if len(records) > limits.records:
        issues.reject_file("TOO_MANY_RECORDS", "file", f"more than {limits.records} records")
    for place, record in enumerate(records[: limits.records]):
        yield f"records[{place}]", record


def kind_of(record: Record) -> str:
    """The kind of a record: its message's name."""
    return record.DESCRIPTOR.name


def provenance(adapter: str, version: str, local_id: str, content_sha256: bytes) -> common_pb2.Provenance:
    """Where a record comes from."""
    return common_pb2.Provenance(
        source_format=adapter,
        source_format_version=version,
        source_record_id=local_id,
        source_sha256=content_sha256,
    )


def populated(message: Message, prefix: str = "") -> set[str]:
    """The paths of every field that holds something, as ``event_place.text``; repeated fields by their own name."""
    found: set[str] = set()
    for descriptor, value in message.ListFields():
        path = prefix + descriptor.name
        if descriptor.message_type is None or descriptor.is_repeated:
            found.add(path)
        else:
            found |= populated(value, path + ".") or {path}
    return found
