"""The terms of an audit: findings, the facts of an entry, and what a judge needs from outside the core."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from sys import maxsize
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from broker.core.events import DeadLetterMade, RecordsParked, SubscriptionBegun
from broker.core.former import ReceiptReader
from broker.core.inforce import SignerEnd
from broker.core.supplements import Repeats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.audit.erasureorder import ErasureOrder
    from broker.core.envelope import Envelope
    from broker.core.events import AuditEvent, Pointer, SubscriptionEvent
    from broker.core.reigns import OfReign
    from broker.core.streams import Position, StreamPartition


MAX_FINDINGS: Final = 1000
"""How many findings are kept. Further findings are only counted."""


class Severity(Enum):
    """What a finding means."""

    ERROR = "error"
    """Something is not what it should be."""
    WARNING = "warning"
    """This bundle alone cannot show whether something is as it should be."""


class Stated(StrEnum):
    """What a finding compares: who states it, and of what."""

    RECORD_HERE = "record_here"
    RECORD_RECEIPT = "record_receipt"
    RECORD_ID_HERE = "record_id_here"
    CERTIFICATE = "certificate"
    LEAF_SIGNED = "leaf_signed"
    LEAF_HERE = "leaf_here"
    LEAF_RECEIPT = "leaf_receipt"
    STRAY_HERE = "stray_here"
    ROOT_SIGNED = "root_signed"
    ROOT_LISTED = "root_listed"
    ROOT_SEEN = "root_seen"
    SIZE_SIGNED = "size_signed"
    SIZE_SEEN = "size_seen"
    LOG_HERE = "log_here"
    LOG_SEEN = "log_seen"
    DIGEST_WRITTEN = "digest_written"
    DIGEST_HERE = "digest_here"


class Compared(NamedTuple):
    """One of the things that contradict each other: a hash in hexadecimal, a root in base64, a number or a name."""

    stated: Stated
    value: str


class Finding(NamedTuple):
    """One thing that is wrong, its record if there is one, and what contradicts what, where that can be shown."""

    severity: Severity
    code: str
    message: str
    record_id: str = ""
    position: Position | None = None
    compared: tuple[Compared, ...] = ()


class FindingsByPosition:
    """The findings of one partition in order of position, then those without a position.

    If there are too many, those with the lowest positions are kept. So the first bad position is never lost.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[int, int, Finding]] = []
        self._added = 0

    def add(self, finding: Finding) -> None:
        """Add a finding."""
        offset = maxsize if finding.position is None else finding.position.offset
        # The number keeps findings of one position in the order in which they were made.
        insort(self._kept, (offset, self._added, finding))
        self._added += 1
        del self._kept[MAX_FINDINGS:]

    def leave_out(self, number: int) -> None:
        """Count findings that were left out elsewhere."""
        self._added += number

    def __iter__(self) -> Iterator[Finding]:
        return (finding for _, _, finding in self._kept)

    @property
    def left_out(self) -> int:
        """How many findings were not kept."""
        return self._added - len(self._kept)


class Reader(ReceiptReader, Protocol):
    """Turns bytes into core types."""

    def decode_audit_events(self, data: bytes) -> list[AuditEvent]:
        """Read an audit record's section, or raise EnvelopeMalformed."""


class RecordedDelivery(NamedTuple):
    """A copy that left the broker at ``at_ms`` (epoch ms) without these sections, as told in the record ``told_at``."""

    agency: str
    position: Position
    told_at: Position
    withheld_sections: tuple[str, ...] = ()
    at_ms: int = 0


class RefusedNumbers(NamedTuple):
    """What was refused of a publisher's system: a record's numbers by recipient. None: ``things`` were only counted."""

    publisher: str
    system: str
    numbers: tuple[tuple[str, int], ...]
    things: int


class Unprocessed(NamedTuple):
    """A record that a subscription of an agency has not processed and reads no more, as the audit stream records it.

    ``refused`` is the code of the agency's refusal. It is empty for a dead letter, and for a record that is ``parked``
    behind one. ``discarded`` is the code with which the agency discarded a dead letter. ``reason`` is that of a
    dead letter which no delivery failed for: LOG_CORRUPT, the log had lost or changed the record.
    """

    agency: str
    subscription: str
    position: Position
    refused: str
    reason: str = ""
    parked: bool = False
    discarded: str = ""


class FinishedLater(NamedTuple):
    """A record that was a dead letter or parked was delivered again, and is finished."""

    agency: str
    subscription: str
    position: Position


def said_by(pointer: Pointer) -> list[Unprocessed | FinishedLater]:
    """What a pointer says of its records."""
    agency, subscription = pointer.agency, pointer.subscription
    match pointer:
        case DeadLetterMade(position=position, reason=reason):
            return [Unprocessed(agency, subscription, position, "", reason)]
        case RecordsParked():
            return [Unprocessed(agency, subscription, at, "", parked=True) for at in pointer.positions()]
    return [FinishedLater(agency, subscription, at) for at in pointer.positions()]


class UnderReign(NamedTuple):
    """What a process told under a reign. Only who reads the audit stream in its order knows whether that is void.

    ``told`` is None where the reign begins.
    """

    reign: OfReign
    told: Unprocessed | FinishedLater | None = None


class Republished(NamedTuple):
    """A record that its publisher published again after the log had lost it: judged at its former receipt's time.

    The other attributes are what that receipt says: milliseconds since the Unix epoch, UTC.
    """

    record_id: str
    position: Position
    former_position: Position
    former_log_id: str
    former_accepted_at_ms: int


class Skipped(NamedTuple):
    """Records that a subscription is not sent by its agency's own order, as the audit stream records it at ``told_at``.

    Those of them that were addressed to the agency, and that the subscription had not finished, are ``records``. They
    stand from offset ``first`` on. ``order`` says what was ordered: created, sought, kinds changed or deleted.
    """

    agency: str
    subscription: str
    generation: int
    order: str
    partition: StreamPartition
    first: int
    records: int
    told_at: Position


class Ordered(NamedTuple):
    """An order about a subscription, as the audit stream records it, and what it skips if it has effect."""

    agency: str
    subscription: str
    generation: int
    skipped: tuple[Skipped, ...]

    @classmethod
    def of(cls, order: SubscriptionEvent, told_at: Position) -> Ordered:
        """What an event of the audit stream orders. One that skips nothing takes its number too."""
        what = order.cause.value if isinstance(order, SubscriptionBegun) else "deleted"
        name = (order.agency, order.subscription, order.generation)
        skipped = (
            Skipped(*name, what, moved.partition, min(moved.before, moved.to), moved.skipped, told_at)
            for moved in order.moved
            if moved.skipped
        )
        return cls(*name, tuple(skipped))


class EntryFacts(NamedTuple):
    """What the judgement of the whole bundle needs to know about one entry.

    ``sections``: name and audience of each one signed. ``again``: published again, with a former receipt that counts.
    ``erased``: sections that were, as its copy says. ``signer_end``: its certificate's later end. Times are epoch ms.
    """

    position: Position
    accepted_at_ms: int
    log_id: str
    epoch: int
    record_id: str
    publisher: str
    system: str
    kind: str
    recipients: tuple[tuple[str, int], ...]
    withheld_sections: int
    case_id: str = ""
    issued_at_ms: int = 0
    sections: tuple[tuple[str, frozenset[str]], ...] = ()
    record_sha256: bytes = b""
    again: bool = False
    erased: tuple[str, ...] = ()
    signer_end: SignerEnd = SignerEnd()
    repeats: Repeats = Repeats()


class EntryLeaf(NamedTuple):
    """The leaf hash of an entry in the bundle. ``record_id`` is empty if its body cannot be read."""

    position: Position
    record_id: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class BatchReport:
    """The results for one batch. Picklable, and small compared with the batch."""

    leaves: list[EntryLeaf]
    facts: list[EntryFacts]
    deliveries: list[RecordedDelivery]
    findings: list[Finding]
    unprocessed: list[Unprocessed | FinishedLater | UnderReign] = field(default_factory=list)
    republished: list[Republished] = field(default_factory=list)
    orders: list[Ordered] = field(default_factory=list)
    refusals: list[RefusedNumbers] = field(default_factory=list)
    proofs: list[RecordedDelivery] = field(default_factory=list)
    erasures: list[ErasureOrder] = field(default_factory=list)


def error(
    code: str, message: str, record_id: str = "", position: Position | None = None, compared: tuple[Compared, ...] = ()
) -> Finding:
    """A finding that something is not what it should be."""
    return Finding(Severity.ERROR, code, message, record_id, position, compared)


def warning(code: str, message: str, record_id: str = "", position: Position | None = None) -> Finding:
    """A finding that this bundle alone cannot show whether something is as it should be."""
    return Finding(Severity.WARNING, code, message, record_id, position)


def identified(envelope: Envelope) -> tuple[Compared, ...]:
    """Which record a finding is about, and which certificates its signatures name (the first two)."""
    certificates = (signature.certificate_sha256.hex() for signature in envelope.signatures[:2])
    record = Compared(Stated.RECORD_HERE, envelope.record_sha256.hex())
    return (record, *(Compared(Stated.CERTIFICATE, certificate) for certificate in certificates))
