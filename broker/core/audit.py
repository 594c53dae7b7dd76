"""Judge a whole replay: complete, and nothing in it dropped, inserted, reordered or handed astray.

Batches are judged one by one (broker/core/judge.py); here, over all of them:

1. the header names the exchange whose directory is pinned
2. each partition's checkpoint is signed by a log key of the directory, and names that partition: CHECKPOINT_INVALID
3. its entries stand in order, and hash, with what lies left and right of the period, to the signed root:
   TREE_MISMATCH. So none is missing, extra or changed
4. no record stands twice: RECORD_REPEATED
5. each publisher's numbers to each recipient run on: SEQUENCE_REPEATED, SEQUENCE_GAP
6. what the audit stream says was delivered went to agencies that the record was addressed to: DELIVERY_ASTRAY
7. the period, the partitions and the counts are those that the header and the last frame promise
"""

from __future__ import annotations

import itertools
from base64 import b64encode
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.checkpoint import Checkpoint, checkpoint_origin, parse_note, verify_note
from broker.core.errors import CheckpointInvalid, ProofInvalid
from broker.core.findings import Delivery, Finding, Severity, error, warning
from broker.core.merkle import CompactRange, range_coordinates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from broker.core.bundle import BundleEnd, BundleHeader, PartitionEnd, PartitionStart
    from broker.core.findings import BatchReport, EntryFacts
    from broker.core.policy import Directory
    from broker.core.streams import Position, StreamPartition

MAX_FINDINGS: Final = 1000
"""Findings kept; the rest are only counted."""


class PartitionReport(NamedTuple):
    """One partition: its checkpoint, and which of the tree's leaves the bundle holds."""

    partition: StreamPartition
    tree_size: int
    root: str
    first_index: int
    end_index: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found. ``clean`` says that nothing is wrong, as far as the bundle can show."""

    header: BundleHeader
    partitions: tuple[PartitionReport, ...]
    records: int
    withheld_sections: int
    deliveries: int
    findings: tuple[Finding, ...]
    findings_left_out: int

    @property
    def clean(self) -> bool:
        """Whether no finding is an error."""
        return not self.findings_left_out and all(item.severity is not Severity.ERROR for item in self.findings)


class _Partition:
    """The partition begun last."""

    def __init__(self, start: PartitionStart, checkpoint: Checkpoint | None, tree: CompactRange | None) -> None:
        self.start = start
        self.checkpoint = checkpoint
        self.tree = tree
        self.records = 0
        self.last: EntryFacts | None = None


class BundleAudit:
    """Takes a bundle's frames, and the reports on its batches, in the order of the bundle."""

    def __init__(
        self,
        header: BundleHeader,
        directory: Directory,
        verifiers: Mapping[tuple[str, bytes], Callable[[bytes, bytes], bool]],
    ) -> None:
        """Begin with the first frame, the newest directory in the bundle, and its log keys by name and id."""
        self._header = header
        self._trust_domain = directory.trust_domain
        self._verifiers = verifiers
        self._findings: list[Finding] = []
        self._left_out = 0
        self._partition: _Partition | None = None
        self._partitions: list[PartitionReport] = []
        self._record_ids: set[bytes] = set()
        self._addressed: dict[Position, tuple[str, ...]] = {}
        self._sequences: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._deliveries: list[Delivery] = []
        self._records = 0
        self._withheld = 0
        # (1) Which exchange.
        if header.trust_domain != directory.trust_domain:
            self.add(error("HEADER_INVALID", "the bundle's header names another exchange than the directory"))

    def add(self, finding: Finding) -> None:
        """Take note of a finding made elsewhere."""
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(finding)
        else:
            self._left_out += 1

    def start_partition(self, start: PartitionStart) -> None:
        """A partition begins: check (2)."""
        self._end_unfinished()
        if any(report.partition == start.partition for report in self._partitions):
            self.add(error("BUNDLE_INVALID", f"the partition {start.partition} stands twice in the bundle"))
        checkpoint, tree = None, None
        try:
            checkpoint = self._checkpoint(start)
            tree = CompactRange(start.first_index, start.left_hashes)
        except (CheckpointInvalid, ProofInvalid) as refused:
            self.add(error(refused.reason, f"{start.partition}: {refused.message}"))
        self._partition = _Partition(start, checkpoint, tree)

    def add_batch(self, report: BatchReport) -> None:
        """A batch of the partition begun last, judged."""
        partition = self._partition
        if partition is None:
            self.add(error("BUNDLE_INVALID", "records stand outside of a partition"))
            return
        for finding in report.findings:
            self.add(finding)
        for facts in report.facts:
            self._take(partition, facts)
        for hashed in report.leaf_hashes:
            partition.records += 1
            if partition.tree is not None:
                partition.tree.append(hashed)
        self._records += len(report.leaf_hashes)
        self._deliveries += report.deliveries

    def end_partition(self, end: PartitionEnd) -> None:
        """The partition begun last ends: check (3)."""
        partition, self._partition = self._partition, None
        if partition is None:
            self.add(error("BUNDLE_INVALID", "a partition ends that was not begun"))
            return
        start, checkpoint = partition.start, partition.checkpoint
        if end.end_index != start.first_index + partition.records:
            message = f"{start.partition}: the bundle promises leaves up to {end.end_index} and has {partition.records}"
            self.add(error("RECORD_MISSING", message))
        if checkpoint is None or partition.tree is None:
            return
        root = self._root(partition, checkpoint.size, end)
        if root != checkpoint.root:
            message = (
                f"{start.partition}: the records are not those of the signed checkpoint of size {checkpoint.size}: "
                "one is missing, extra or changed"
            )
            self.add(error("TREE_MISMATCH", message))
        if self._header.accepted_from_ms is None and start.first_index:
            self.add(error("RECORD_MISSING", f"{start.partition}: the bundle leaves out the log's beginning"))
        if self._header.accepted_until_ms is None and end.end_index != checkpoint.size:
            self.add(error("RECORD_MISSING", f"{start.partition}: the bundle leaves out the log's end"))
        self._partitions.append(
            PartitionReport(
                start.partition,
                checkpoint.size,
                b64encode(checkpoint.root).decode(),
                start.first_index,
                end.end_index,
            )
        )

    def finish(self, end: BundleEnd | None, frames: int) -> AuditReport:
        """The bundle is over: checks (5) to (7).

        Args:
            end: the closing frame, or None where there is none.
            frames: how many frames stood before it.
        """
        self._end_unfinished()
        if end is None:
            self.add(error("BUNDLE_INVALID", "the bundle breaks off before its last frame"))
        elif (end.frames, end.records) != (frames, self._records):
            self.add(error("BUNDLE_INVALID", "the bundle's last frame promises other numbers of frames or records"))
        self._check_partitions()
        for finding in (*self._sequence_findings(), *self._delivery_findings()):
            self.add(finding)
        if self._header.accepted_from_ms is not None or self._header.accepted_until_ms is not None:
            message = "that no record at the edges of the period was left out can be told from a full replay only"
            self.add(warning("PERIOD_EDGES", message))
        return AuditReport(
            self._header,
            tuple(self._partitions),
            self._records,
            self._withheld,
            len(self._deliveries),
            tuple(self._findings),
            self._left_out,
        )

    def _checkpoint(self, start: PartitionStart) -> Checkpoint:
        note = parse_note(start.note)
        verify_note(note, self._verifiers)
        checkpoint = Checkpoint.parse(note.text)
        if checkpoint.origin != checkpoint_origin(self._trust_domain, start.partition):
            message = "the checkpoint is another partition's"
            raise CheckpointInvalid(message)
        return checkpoint

    def _take(self, partition: _Partition, facts: EntryFacts) -> None:
        last = partition.last
        if last is not None and (
            facts.position.offset <= last.position.offset or facts.accepted_at_ms < last.accepted_at_ms
        ):
            message = "the entry stands before the one that precedes it in the bundle"
            self.add(error("OUT_OF_ORDER", message, facts.record_id, facts.position))
        if last is not None and (facts.log_id != last.log_id or facts.epoch < last.epoch):
            message = "the entry is said to be of another log, or an earlier leader, than the one that precedes it"
            self.add(error("LOG_CHANGED", message, facts.record_id, facts.position))
        partition.last = facts
        begin, until = self._header.accepted_from_ms, self._header.accepted_until_ms
        if (begin is not None and facts.accepted_at_ms < begin) or (
            until is not None and facts.accepted_at_ms >= until
        ):
            self.add(error("OUT_OF_PERIOD", "the entry lies outside of the period", facts.record_id, facts.position))
        # (4) Once.
        record_id = bytes.fromhex(facts.record_id.replace("-", ""))
        if record_id in self._record_ids:
            self.add(error("RECORD_REPEATED", "the record stands twice", facts.record_id, facts.position))
        self._record_ids.add(record_id)
        self._withheld += facts.withheld_sections
        self._addressed[facts.position] = tuple(agency for agency, _ in facts.recipients)
        for agency, sequence in facts.recipients:
            self._sequences[facts.publisher, agency].append(sequence)

    def _root(self, partition: _Partition, size: int, end: PartitionEnd) -> bytes | None:
        tree = partition.tree
        if tree is None or tree.size > size:
            return None
        coordinates = range_coordinates(tree.size, size)
        if len(coordinates) != len(end.right_hashes):
            return None
        try:
            for (level, _), node in zip(coordinates, end.right_hashes, strict=True):
                tree.append_subtree(level, node)
        except ProofInvalid:
            return None
        return tree.root()

    def _end_unfinished(self) -> None:
        if self._partition is not None:
            message = f"{self._partition.start.partition}: the bundle breaks off within the partition"
            self.add(error("BUNDLE_INVALID", message, position=_position_of(self._partition.last)))
            self._partition = None

    def _check_partitions(self) -> None:
        """Every stream promised is there, with all its partitions from 0 on."""
        for stream in self._header.streams:
            numbers = sorted(item.partition.partition for item in self._partitions if item.partition.stream == stream)
            if numbers != list(range(len(numbers))) or not numbers:
                self.add(error("BUNDLE_INVALID", f"the bundle lacks a partition of the stream {stream}"))
        for item in self._partitions:
            if item.partition.stream not in self._header.streams:
                self.add(error("BUNDLE_INVALID", f"the header does not promise the stream {item.partition.stream}"))

    def _sequence_findings(self) -> Iterator[Finding]:
        for (publisher, recipient), numbers in sorted(self._sequences.items()):
            numbers.sort()
            for earlier, later in itertools.pairwise(numbers):
                if earlier == later:
                    message = f"{publisher} gave the number {later} to two records for {recipient}"
                    yield error("SEQUENCE_REPEATED", message)
                elif later != earlier + 1:
                    yield _gap(publisher, recipient, earlier + 1, later - 1)
            if self._header.accepted_from_ms is None and numbers[0] != 1:
                yield _gap(publisher, recipient, 1, numbers[0] - 1)

    def _delivery_findings(self) -> Iterator[Finding]:
        for delivery in self._deliveries:
            addressed = self._addressed.get(delivery.position)
            # A record outside of the bundle cannot be judged; that is no fault of the delivery.
            if addressed is not None and delivery.agency not in addressed:
                message = f"the record at {delivery.position} was delivered to {delivery.agency}, not addressed by it"
                yield error("DELIVERY_ASTRAY", message, position=delivery.told_at)


def _gap(publisher: str, recipient: str, first: int, last: int) -> Finding:
    numbers = f"number {first}" if first == last else f"numbers {first} to {last}"
    # A publisher's number is also used up by a record that was refused, so a gap alone accuses nobody.
    message = f"{numbers} of {publisher} to {recipient} are not here: never sent, refused, or outside of this bundle"
    return warning("SEQUENCE_GAP", message)


def _position_of(facts: EntryFacts | None) -> Position | None:
    return None if facts is None else facts.position
