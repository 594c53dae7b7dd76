"""Judge a whole replay: whether it is complete, in order and unchanged, and who got the records.

Part of verification.py. Batches are judged one by one (judge.py). This module judges them together:

1. the header names the exchange of the pinned directory, and the bundle has the directory versions that were in force
   when its records were accepted: HEADER_INVALID, DIRECTORY_MISSING
2. a log key of the directory signed each partition's checkpoint, and the checkpoint names that partition:
   CHECKPOINT_INVALID
3. the leaves that the bundle lists for the partition, with the hashes left and right of the period, give the signed
   root: TREE_MISMATCH. Each leaf matches the entry at its position, and there are no other entries: RECORD_MISSING,
   RECORD_CHANGED, RECORD_INSERTED. The entries are in order and of the log that the checkpoint names: OUT_OF_ORDER,
   LOG_CHANGED
4. no record is there twice: RECORD_REPEATED
5. the numbers of each publisher's system to each recipient have no gaps. In a replay of the whole log they begin with
   1, and they do not fall within a case: SEQUENCE_REPEATED, SEQUENCE_GAP, SEQUENCE_FALLS, NOT_YET_COVERED
   (sequences.py)
6. the audit stream names deliveries only to agencies that the record was addressed to, with the sections that the
   directory of that time let them have: DELIVERY_ASTRAY, SECTION_NOT_ALLOWED (deliveries.py)
7. the period, the partitions and the counts are those that the header and the last frame promise
8. what the auditor brings agrees with the bundle (brought.py): RECEIPT_BROKEN, RECEIPT_UNCOVERED,
   LOG_FORKED, LOG_ROLLED_BACK

Findings come partition by partition, and within each in order of position (partition.py does (2) and
(3)). So the first finding with a position names the first bad position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.audit.beyondends import beyond_ends
from broker.core.audit.brought import Brought, judge_brought, leave_unjudged
from broker.core.audit.broughtreceipts import BroughtReport
from broker.core.audit.deliveries import DeliveryAudit
from broker.core.audit.erasures import ErasureAudit
from broker.core.audit.fates import Fates
from broker.core.audit.findings import MAX_FINDINGS, Finding, Republished, error, warning
from broker.core.audit.handovers import handovers
from broker.core.audit.partition import PartitionAudit
from broker.core.audit.received import judge_received
from broker.core.audit.report import AuditReport, PartitionReport
from broker.core.audit.sequences import COVERED_WITHIN_MS, CaseOrder, Sequences
from broker.core.audit.supplements import SupplementAudit
from broker.core.incarnations import Incarnations
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.audit.findings import BatchReport, EntryFacts
    from broker.core.audit.received import ReceivedBook
    from broker.core.bundle import BundleEnd, BundleHeader, PartitionEnd, PartitionLeaves, PartitionStart, StrayRecord
    from broker.core.inforce import DirectoryVersion
    from broker.core.policy import Directory
    from broker.core.streams import Position


NOTHING: Final = Brought()


class BundleAudit:
    """Takes a bundle's frames, and the reports on its batches, in the order of the bundle."""

    def __init__(
        self,
        header: BundleHeader,
        directory: Directory,
        verifiers: Mapping[tuple[str, bytes], Callable[[bytes, bytes], bool]],
        *,
        directories_from_ms: int,
        brought: Brought = NOTHING,
        versions: Sequence[DirectoryVersion] = (),
        received: ReceivedBook | None = None,
    ) -> None:
        """Begin.

        Args:
            header: the first frame.
            directory: the newest directory in the bundle.
            verifiers: the log keys, by name and id.
            directories_from_ms: when the oldest directory in the bundle came into force.
            brought: what the auditor brings.
            versions: the directory versions, in the order in which they came into force.
            received: what recipients say that they were handed.
        """
        self._received = received
        self._header = header
        self._brought = brought
        self._brought_report = BroughtReport(
            checkpoints=len(brought.checkpoints), unproved_checkpoints=brought.unproved + len(brought.beyond_end)
        )
        self._directories_from_ms = directories_from_ms
        self._directory_missing = False
        self._broken_off = False
        self._trust_domain = directory.trust_domain
        self._promised = directory.partitions
        self._verifiers = verifiers
        self._incarnations = directory.incarnations
        self._declared = Incarnations(directory.incarnations)
        self._findings: list[Finding] = []
        self._left_out = 0
        self._partition: PartitionAudit | None = None
        self._partitions: list[PartitionReport] = []
        self._record_ids: dict[bytes, Position] = {}
        self._case_order = CaseOrder()
        self._supplements = SupplementAudit()
        within_ms = COVERED_WITHIN_MS if brought.covered_within_ms is None else brought.covered_within_ms
        self._sequences = Sequences(header.created_at_ms, whole=header.whole, covered_within_ms=within_ms)
        self._deliveries = DeliveryAudit(versions)
        self._erasures = ErasureAudit(header)
        self._fates = Fates()
        self._republished: list[Republished] = []
        self._records = self._withheld = 0
        # (1) Which exchange.
        if header.trust_domain != directory.trust_domain:
            self.add(error("HEADER_INVALID", "the bundle's header names another exchange than the directory"))

    def add(self, finding: Finding) -> None:
        """Add a finding that was made elsewhere."""
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(finding)
        else:
            self._left_out += 1

    def start_partition(self, start: PartitionStart) -> None:
        """Begin a partition: check (2)."""
        self._end_unfinished()
        if any(report.partition == start.partition for report in self._partitions):
            self.add(error("BUNDLE_INVALID", f"the partition {start.partition} stands twice in the bundle"))
        self._partition = PartitionAudit(
            start,
            self._header,
            self._trust_domain,
            self._verifiers,
            [seen for seen in self._brought.checkpoints if seen.partition == start.partition],
            declared=self._declared,
        )

    def add_leaves(self, listed: PartitionLeaves) -> None:
        """Take the next leaves of the current partition."""
        if self._partition is None:
            self.add(error("BUNDLE_INVALID", "leaves stand outside of a partition"))
        else:
            self._partition.add_leaves(listed)
            if self._brought.receipts is not None:
                self._brought.receipts.list_leaves(self._partition.partition, listed.leaves)

    def add_batch(self, report: BatchReport) -> None:
        """Take the report on a batch of the current partition."""
        partition = self._partition
        if partition is None:
            self.add(error("BUNDLE_INVALID", "records stand outside of a partition"))
            return
        partition.add_batch(report)
        for facts in report.facts:
            self._take(partition, facts)
        self._records += len(report.leaves)
        self._deliveries.take(report.deliveries)
        self._deliveries.take_proofs(report.proofs)
        self._erasures.take(report.erasures)
        self._sequences.take_refusals(report.refusals)
        self._republished += report.republished
        if self._received is not None:
            self._received.meet(report.facts)
        if self._brought.receipts is not None:
            self._brought.receipts.meet(report.leaves)
            self._brought.receipts.stand(report.facts)
            self._brought.receipts.came_again([again.record_id for again in report.republished])
        self._fates.take(report)

    def add_unreadable(self, code: str, message: str) -> None:
        """Take a batch that cannot be read. The finding has the place where it must stand."""
        if self._partition is None:
            self.add(error(code, message))
        else:
            self._partition.add(error(code, message, position=self._partition.next_expected))

    @property
    def reached(self) -> Position | None:
        """The position of the last entry of the current partition so far."""
        return None if self._partition is None else self._partition.reached

    def add_stray(self, stray: StrayRecord) -> None:
        """Take a stray of the current partition."""
        if self._partition is None:
            self.add(error("BUNDLE_INVALID", "a stray stands outside of a partition"))
        else:
            self._partition.add_stray(stray)

    def end_partition(self, end: PartitionEnd) -> None:
        """End the current partition: check (3)."""
        partition, self._partition = self._partition, None
        if partition is None:
            self.add(error("BUNDLE_INVALID", "a partition ends that was not begun"))
            return
        report = partition.end(end)
        self._brought_report.continued += partition.earlier.continued
        self._brought_report.closed += partition.earlier.closed
        self._brought_report.continued_partitions += partition.earlier.continues_records
        self._take_findings(partition)
        if self._brought.receipts is not None and (report is None or not report.proved):
            self._brought.receipts.distrust(partition.partition)
        if report is not None:
            self._partitions.append(report)

    def finish(self, end: BundleEnd | None, frames: int) -> AuditReport:
        """End the bundle: checks (5) to (7).

        Args:
            end: the closing frame, or None if there is none.
            frames: the number of frames before it.
        """
        self._end_unfinished()
        if end is None:
            self.add(error("BUNDLE_INVALID", "the bundle breaks off before its last frame"))
        elif (end.frames, end.records) != (frames, self._records):
            self.add(error("BUNDLE_INVALID", "the bundle's last frame promises other numbers of frames or records"))
        if self._directory_missing:
            message = "the directory that was in force at the beginning is not here; the first that is stood in for it"
            self.add(error("DIRECTORY_MISSING", message))
        self._check_partitions()
        for finding in (*self._sequences.findings(), *self._deliveries.findings(), *self._erasures.findings()):
            self.add(finding)
        broken_off = end is None or self._broken_off
        if broken_off:
            # What is missing here may only be missing on the auditor's disk. That accuses nobody.
            leave_unjudged(self._brought, self._brought_report)
        else:
            shown = {item.partition: item.shown() for item in self._partitions}
            judge_brought(self._brought, self._header, shown, self._brought_report, self.add, declared=self._declared)
        received = judge_received(
            self._received, self._header, self._deliveries, self.add, broken_off=broken_off, declared=self._incarnations
        )
        for finding in beyond_ends(self._brought.beyond_end):
            self.add(finding)
        if self._header.has_period:
            message = "that no record at the edges of the period was left out can be told from a full replay only"
            self.add(warning("PERIOD_EDGES", message))
        return AuditReport(
            self._header,
            tuple(self._partitions),
            self._records,
            self._withheld,
            len(self._deliveries.deliveries),
            self._fates.unprocessed,
            tuple(self._fates.void),
            tuple(self._republished),
            tuple(self._fates.skipped),
            tuple(self._findings),
            self._left_out,
            self._brought_report,
            handovers(self._deliveries.deliveries, self._record_ids),
            broken_off=broken_off,
            refused_numbers=self._sequences.explained,
            received=received,
        )

    def _take(self, partition: PartitionAudit, facts: EntryFacts) -> None:
        if facts.accepted_at_ms < self._directories_from_ms - CHANGE_OF_DIRECTORY_MS:
            self._directory_missing = True
        # (4) Once.
        record_id = bytes.fromhex(facts.record_id.replace("-", ""))
        if record_id in self._record_ids:
            partition.add(error("RECORD_REPEATED", "the record stands twice", facts.record_id, facts.position))
        self._record_ids.setdefault(record_id, facts.position)
        self._withheld += facts.withheld_sections
        self._deliveries.take_record(facts)
        self._erasures.take_record(facts)
        self._sequences.take(facts)
        for finding in (*self._case_order.take(facts), *self._supplements.take(facts, record_id)):
            partition.add(finding)

    def _take_findings(self, partition: PartitionAudit) -> None:
        for place, finding in enumerate(partition.findings()):
            # The first bad position of each partition is always reported, even if there are many findings elsewhere.
            if place == 0:
                self._findings.append(finding)
            else:
                self.add(finding)
        self._left_out += partition.findings_left_out

    def _end_unfinished(self) -> None:
        if self._partition is not None:
            self._broken_off = True
            self._partition.break_off()
            self._take_findings(self._partition)
            self._partition = None

    def _check_partitions(self) -> None:
        """Check that every promised stream is there, with all its partitions from 0 on: as many as the directory says.

        A proof has one partition. If the directory does not say it, the last ones may be missing.
        """
        for stream in () if self._header.proved_record else self._header.streams:
            numbers = sorted(item.partition.partition for item in self._partitions if item.partition.stream == stream)
            if numbers != list(range(self._promised.get(stream, len(numbers)))) or not numbers:
                self.add(error("BUNDLE_INVALID", f"the bundle lacks a partition of the stream {stream}"))
        for item in self._partitions:
            if item.partition.stream not in self._header.streams:
                self.add(error("BUNDLE_INVALID", f"the header does not promise the stream {item.partition.stream}"))
