"""Judge the receipts that an auditor brings to a bundle.

A receipt is the exchange's signed word that a record is durable at a position. The bundle keeps it if the very
leaf that the receipt names stands there: position, record id, digest, time and log. If not, it is one of these:

1. again: the record was lost, and its publisher published it again with a former receipt. It is listed as republished
2. outside: the bundle does not show the stream, or the time at which the record was accepted. The times are the word of
   the bundle's maker, so the position must be outside of the leaves that are shown, too. A proof shows one leaf
3. uncovered: it stands after what the newest checkpoint covers: RECEIPT_UNCOVERED, a warning. Ten minutes after its
   acceptance it is an error, for no broker goes on so long without a checkpoint
4. lost: it is of a former incarnation of the log, which the directory declares, and does not survive in this one
   (broker/core/incarnations.py): RECEIPT_LOST_DECLARED, a warning. What survives has its leaf, and is compared
5. broken: the record is missing or stands elsewhere. RECEIPT_BROKEN. If the signed tree has the very leaf of the
   receipt, the exchange does not contradict itself, and the message says so

A receipt that the exchange did not sign, or that cannot be read, is unproved. It counts for nothing and accuses nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from broker.core.audit.findings import Compared, Stated, error, warning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from broker.core.audit.findings import EntryFacts, EntryLeaf, Finding
    from broker.core.bundle import BundleHeader, BundleLeaf
    from broker.core.incarnations import Incarnations, Passage
    from broker.core.streams import Position, StreamPartition

UNCOVERED_AT_MOST_MS: Final = 600_000
"""So long after its acceptance, a checkpoint covers every record of an honest log. No broker may be configured to go on
longer without one (``checkpoints.evidence_bound_seconds``)."""


class Instead(NamedTuple):
    """What a bundle has at the position of a receipt: the signed tree's leaf, and the record there. Empty: nothing."""

    leaf: bytes = b""
    record_id: str = ""
    record_sha256: bytes = b""


NOTHING_INSTEAD: Final = Instead()


class UnmetReceipt(NamedTuple):
    """A receipt whose leaf the bundle does not have. ``elsewhere`` is a position where its record stands instead.

    ``leaf`` is the hash of the leaf that it names, and ``record_sha256`` the digest of its record. ``signed``: the
    signed tree has this very leaf, so only the record's bytes are missing or changed. ``instead``: what is there.
    """

    record_id: str
    position: Position
    log_id: str
    accepted_at_ms: int
    elsewhere: str
    again: bool
    leaf: bytes = b""
    signed: bool = False
    record_sha256: bytes = b""
    instead: Instead = NOTHING_INSTEAD


class ReceiptBook(Protocol):
    """The receipts that count, each once. It may hold very many, so it keeps them outside of memory."""

    @property
    def receipts(self) -> int:
        """How many receipts count."""

    @property
    def unproved(self) -> int:
        """How many were brought that do not count."""

    def meet(self, leaves: Sequence[EntryLeaf]) -> None:
        """Take leaves of the bundle, in any order."""

    def stand(self, facts: Iterable[EntryFacts]) -> None:
        """Take the records that stand in the bundle, in any order."""

    def list_leaves(self, partition: StreamPartition, leaves: Iterable[BundleLeaf]) -> None:
        """Take leaves that the bundle says the signed tree of a partition has."""

    def distrust(self, partition: StreamPartition) -> None:
        """Forget what ``list_leaves`` said of this partition: the leaves are not those of the signed tree."""

    def came_again(self, record_ids: Sequence[str]) -> None:
        """Take the ids of records that were published again."""

    def unmet(self) -> Iterator[UnmetReceipt]:
        """The receipts whose leaves were not taken, in order of position."""


class ShownPartition(NamedTuple):
    """The offsets of the first and last leaf that a bundle shows (None, -1: none), and if the tree ends there.

    ``log_id`` is the incarnation of the log.
    """

    first_offset: int | None
    last_offset: int
    to_the_end: bool
    log_id: str


@dataclass(slots=True)
class BroughtReport:
    """What became of what was brought: numbers of receipts, then of checkpoints.

    ``receipts`` is None if none were brought. ``kept``, ``again``, ``outside``, ``uncovered``, ``lost`` and ``broken``
    add up to it, or ``not_judged`` is all of them, because the bundle breaks off. Of the ``checkpoints``, ``continued``
    are prefixes of what the bundle shows. In ``continued_partitions`` there is one that is not empty. ``closed`` are of
    former incarnations, and cover what is declared as lost.
    """

    receipts: int | None = None
    unproved: int = 0
    kept: int = 0
    again: int = 0
    outside: int = 0
    uncovered: int = 0
    lost: int = 0
    broken: int = 0
    not_judged: int = 0
    checkpoints: int = 0
    continued: int = 0
    continued_partitions: int = 0
    closed: int = 0
    unproved_checkpoints: int = 0


class ReceiptsJudge(NamedTuple):
    """Judges receipts, when the whole bundle was taken.

    ``header``: what the bundle promises. ``shown``: each partition that it shows. ``declared``: the incarnations in its
    newest directory. ``covered_within_ms``: see ``Brought``.
    """

    header: BundleHeader
    shown: Mapping[StreamPartition, ShownPartition]
    declared: Incarnations
    covered_within_ms: int

    def judge(self, book: ReceiptBook, report: BroughtReport, add: Callable[[Finding], None]) -> None:
        """Judge the receipts in a book, which has met what the bundle has. Findings come in order of position."""
        report.receipts, report.unproved = book.receipts, book.unproved
        longest_ms = 0
        for item in book.unmet():
            leaf = (Compared(Stated.LEAF_RECEIPT, item.leaf.hex()),)
            part = self.shown.get(item.position.stream_partition)
            passage = self._passage(item, part)
            another = part is not None and item.log_id != part.log_id and passage is None
            lost = passage is not None and passage.lost(item.position.offset, item.accepted_at_ms)
            if item.again or (item.elsewhere and lost):
                report.again += 1
            elif _not_proved(item, self.header, part, lost=lost) or _outside(item, self.header, part):
                report.outside += 1
            elif lost:
                report.lost += 1
            elif not item.elsewhere and not another and _is_last(part) and _beyond(item, part):
                report.uncovered += 1
                waited_ms = self.header.created_at_ms - item.accepted_at_ms
                if waited_ms > self.covered_within_ms:
                    add(error("RECEIPT_UNCOVERED", not_covered(waited_ms), item.record_id, item.position, leaf))
                else:
                    longest_ms = max(longest_ms, waited_ms, 1)
            else:
                report.broken += 1
                wrong = _what_is_wrong(item, another=another)
                add(error("RECEIPT_BROKEN", wrong, item.record_id, item.position, _both(item)))
        report.kept = report.receipts - report.again - report.outside - report.uncovered - report.lost - report.broken
        for finding in _in_all(report, longest_ms):
            add(finding)

    def _passage(self, item: UnmetReceipt, part: ShownPartition | None) -> Passage | None:
        """How the directory declares that the log of a receipt became the one that is shown."""
        if part is None:
            return None
        return self.declared.between(item.position.stream_partition, item.log_id, part.log_id)


def _in_all(report: BroughtReport, longest_ms: int) -> Iterator[Finding]:
    """The warnings about receipts that are counted, and not named one by one."""
    if longest_ms:
        message = f"some records with a receipt are {not_covered(longest_ms)} at most. Replay once more"
        yield warning("RECEIPT_UNCOVERED", message)
    if report.lost:
        message = (
            f"{report.lost} records with a receipt are lost with a former incarnation of the log, as the directory "
            "declares, and were not published again"
        )
        yield warning("RECEIPT_LOST_DECLARED", message)
    if report.unproved:
        message = (
            f"{report.unproved} receipts that were brought do not count: they cannot be read, or no directory in "
            "the bundle or beside them lists the key for the exchange"
        )
        yield warning("RECEIPT_UNPROVED", message)


def not_covered(waited_ms: int) -> str:
    """The words for a record with a receipt, so long (ms) after its acceptance, that no checkpoint covers."""
    return f"not covered by a checkpoint for {waited_ms // 1000} s"


def _not_proved(item: UnmetReceipt, header: BundleHeader, part: ShownPartition | None, *, lost: bool) -> bool:
    """Whether the bundle proves one record, and the receipt is for another one that the shown leaf does not contradict.

    ``lost``: it is lost as declared, so the leaf may stand at its position.
    """
    if header.proved_record in {"", item.record_id}:
        return False
    return lost or part is None or item.position.offset != part.last_offset


def _outside(item: UnmetReceipt, header: BundleHeader, part: ShownPartition | None) -> bool:
    if item.position.stream not in header.streams:
        return item.record_id != header.proved_record
    begin, until = header.accepted_from_ms, header.accepted_until_ms
    before = begin is not None and item.accepted_at_ms < begin
    after = item.accepted_at_ms > header.created_at_ms or (until is not None and item.accepted_at_ms >= until)
    return (before and _ahead_of(item, part)) or (after and _beyond(item, part))


def _ahead_of(item: UnmetReceipt, part: ShownPartition | None) -> bool:
    """Whether the receipt's position is before the first leaf that the bundle shows of the partition."""
    return part is None or part.first_offset is None or item.position.offset < part.first_offset


def _beyond(item: UnmetReceipt, part: ShownPartition | None) -> bool:
    """Whether the receipt's position is after the last leaf that the bundle shows of the partition."""
    return part is None or item.position.offset > part.last_offset


def _is_last(part: ShownPartition | None) -> bool:
    """Whether the last leaf that the bundle shows is the last one that the checkpoint covers."""
    return part is None or part.to_the_end


def _what_is_wrong(item: UnmetReceipt, *, another: bool) -> str:
    promised = "the exchange gave a receipt for this record at this position"
    if item.signed:
        missing = f"stands at {item.elsewhere}" if item.elsewhere else "is missing or changed"
        return f"{promised}, and the signed tree has it there, too. In the log or in this bundle the record {missing}"
    if another and not item.elsewhere:
        wrong = "of another incarnation of the log, and no directory declares that it was lost"
        return f"{promised} {wrong}{_instead(item)}"
    return f"{promised}, and it {f'stands at {item.elsewhere}' if item.elsewhere else 'is not there'}{_instead(item)}"


def _instead(item: UnmetReceipt) -> str:
    """What stands there, in words."""
    there = item.instead
    if there.record_id == item.record_id:
        return f". The record there has its id and other bytes, with the SHA-256 {there.record_sha256.hex()}"
    if there.record_id:
        return f". The record {there.record_id} stands there instead, with the SHA-256 {there.record_sha256.hex()}"
    if there.leaf:
        return ". The signed tree has another leaf there, and this bundle has no record for it that can be read"
    return ""


def _both(item: UnmetReceipt) -> tuple[Compared, ...]:
    """What the receipt says, and what the signed tree and the bundle have at its position."""
    there = item.instead
    found = [
        (Stated.RECORD_RECEIPT, item.record_sha256.hex()),
        (Stated.LEAF_RECEIPT, item.leaf.hex()),
        (Stated.LEAF_SIGNED, there.leaf.hex()),
        (Stated.RECORD_ID_HERE, there.record_id),
        (Stated.RECORD_HERE, there.record_sha256.hex()),
    ]
    return tuple(Compared(stated, value) for stated, value in found if value)
