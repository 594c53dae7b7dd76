"""Judge one partition of a replay: signed, complete and in order. Checks (2) and (3) of whole.py.

The findings of a partition come in order of position, so the first of them names the first bad position.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

from broker.core.audit.earlier import EarlierTrees, stated_root
from broker.core.audit.findings import FindingsByPosition, Stated, error
from broker.core.audit.leaves import LeafCheck
from broker.core.audit.report import PartitionReport
from broker.core.errors import CheckpointInvalid, ProofInvalid
from broker.core.incarnations import NONE_DECLARED
from broker.core.streams import Position
from broker.core.tree.checkpoint import Checkpoint, parse_note, verify_note
from broker.core.tree.origin import incarnation_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from broker.core.audit.brought import BroughtCheckpoint
    from broker.core.audit.findings import BatchReport, EntryFacts, Finding
    from broker.core.bundle import BundleHeader, PartitionEnd, PartitionLeaves, PartitionStart, StrayRecord
    from broker.core.incarnations import Incarnations
    from broker.core.streams import StreamPartition


class PartitionAudit:
    """Takes the frames of one partition, and the reports on its batches, in the order of the bundle."""

    def __init__(
        self,
        start: PartitionStart,
        header: BundleHeader,
        trust_domain: str,
        verifiers: Mapping[tuple[str, bytes], Callable[[bytes, bytes], bool]],
        brought: Sequence[BroughtCheckpoint] = (),
        *,
        declared: Incarnations = NONE_DECLARED,
    ) -> None:
        """Begin with the partition's first frame: check (2).

        ``brought``: its checkpoints that were seen elsewhere. ``declared``: the incarnations in the newest directory.
        """
        self.partition = start.partition
        self._first_index = start.first_index
        self._header = header
        self._declared = declared
        self.earlier = EarlierTrees(start, header, brought, declared)
        self._findings = FindingsByPosition()
        self._last: EntryFacts | None = None
        self._checkpoint: Checkpoint | None = None
        self._log_id: str | None = None
        self._leaves: LeafCheck | None = None
        try:
            self._checkpoint = _checkpoint(start, verifiers)
            self._log_id = incarnation_of(self._checkpoint.origin, trust_domain, start.partition)
            sizes = self.earlier.sizes(self._log_id)
            self._leaves = LeafCheck(start.partition, start.first_index, start.left_hashes, sizes)
        except (CheckpointInvalid, ProofInvalid) as refused:
            self.add(error(refused.reason, f"{start.partition}: {refused.message}"))

    def add(self, finding: Finding) -> None:
        """Add a finding that was made elsewhere."""
        self._findings.add(finding)

    @property
    def reached(self) -> Position | None:
        """The position of the last entry so far."""
        return None if self._last is None else self._last.position

    @property
    def next_expected(self) -> Position | None:
        """The position of the first leaf of this stretch that no entry stood for yet, as the bundle states it."""
        offset = None if self._leaves is None else self._leaves.next_expected
        return None if offset is None else Position(*self.partition, offset)

    def add_leaves(self, listed: PartitionLeaves) -> None:
        """Take the next leaves."""
        if self._leaves is not None:
            self._leaves.expect(listed)

    def add_batch(self, report: BatchReport) -> None:
        """Take the report on a batch."""
        for finding in report.findings:
            self.add(finding)
        for facts in report.facts:
            self._follow(facts)
        if self._leaves is not None:
            for leaf in report.leaves:
                self._leaves.compare(leaf)

    def add_stray(self, stray: StrayRecord) -> None:
        """Take a stray."""
        if stray.position.stream_partition != self.partition:
            self.add(error("MISPLACED", "the stray stands in another partition", position=stray.position))
            return
        if len(stray.value) == stray.value_size and sha256(stray.value).digest() != stray.value_sha256:
            self.add(error("BUNDLE_INVALID", "a stray's bytes are not those of its digest", position=stray.position))
        if self._leaves is not None:
            self._leaves.compare_stray(stray)

    def end(self, end: PartitionEnd) -> PartitionReport | None:
        """Take the last frame: check (3). Without a valid checkpoint there is no report."""
        checkpoint, log_id, leaves = self._checkpoint, self._log_id, self._leaves
        if checkpoint is None or log_id is None or leaves is None:
            return None
        if end.end_index != leaves.listed_until:
            message = f"{self.partition}: the bundle promises leaves up to {end.end_index}, not {leaves.listed_until}"
            self.add(error("BUNDLE_INVALID", message))
        listed = leaves.root(checkpoint.size, end.right_hashes)
        proved = listed == checkpoint.root
        if proved:
            self._release(leaves)
            for finding in self.earlier.judge(checkpoint, log_id, leaves.roots):
                self.add(finding)
        else:
            self.add(_mismatch(self.partition, checkpoint, leaves, listed))
        # A proof of one record says nothing of the others.
        whole = not self._header.proved_record
        if whole and self._header.accepted_from_ms is None and self._first_index:
            self.add(error("RECORD_MISSING", f"{self.partition}: the bundle leaves out the log's beginning"))
        if whole and self._header.accepted_until_ms is None and end.end_index != checkpoint.size:
            self.add(error("RECORD_MISSING", f"{self.partition}: the bundle leaves out the log's end"))
        root = b64encode(checkpoint.root).decode()
        return PartitionReport(
            self.partition,
            log_id,
            checkpoint.size,
            root,
            self._first_index,
            end.end_index,
            leaves.last_offset,
            leaves.first_offset,
            proved,
        )

    def break_off(self) -> None:
        """Note that the bundle goes on, or ends, without this partition's last frame."""
        message = f"{self.partition}: the bundle breaks off within the partition"
        self.add(error("BUNDLE_INVALID", message, position=None if self._last is None else self._last.position))

    def findings(self) -> Iterator[Finding]:
        """The findings in order of position, then those without a position."""
        return iter(self._findings)

    @property
    def findings_left_out(self) -> int:
        """How many more findings there were."""
        return self._findings.left_out

    def _release(self, leaves: LeafCheck) -> None:
        """Add what the comparison found. The list of leaves is now shown to be the signed tree's."""
        # If a missing record has a receipt from a broker, the finding for the receipt names the record too.
        named = {(finding.code, finding.position) for finding in self._findings}
        for finding in leaves.findings:
            if (finding.code, finding.position) not in named:
                self.add(finding)
        self._findings.leave_out(leaves.findings.left_out)

    def _follow(self, facts: EntryFacts) -> None:
        last, self._last = self._last, facts
        if last is not None and (
            facts.position.offset <= last.position.offset or facts.accepted_at_ms < last.accepted_at_ms
        ):
            message = "the entry stands before the one that precedes it in the bundle"
            self.add(error("OUT_OF_ORDER", message, facts.record_id, facts.position))
        self._check_log(facts, last)
        begin, until = self._header.accepted_from_ms, self._header.accepted_until_ms
        if (begin is not None and facts.accepted_at_ms < begin) or (
            until is not None and facts.accepted_at_ms >= until
        ):
            self.add(error("OUT_OF_PERIOD", "the entry lies outside of the period", facts.record_id, facts.position))

    def _check_log(self, facts: EntryFacts, last: EntryFacts | None) -> None:
        """Check that the entry is of the log that its checkpoint names, or survives from a former incarnation."""
        between, current = self._declared.between, self._log_id
        if current is not None and facts.log_id != current and not between(self.partition, facts.log_id, current):
            message = "the entry is said to be of another incarnation of the log than its checkpoint"
            self.add(error("LOG_CHANGED", message, facts.record_id, facts.position))
            return
        begun = self._declared.begun(self.partition, facts.log_id)
        if begun is not None and facts.position.offset < begun.survives:
            message = "the entry is said to be of an incarnation that began after it"
            self.add(error("LOG_CHANGED", message, facts.record_id, facts.position))
        elif last is not None and (
            facts.epoch < last.epoch
            if facts.log_id == last.log_id
            else not between(self.partition, last.log_id, facts.log_id)
        ):
            message = "the entry is said to be of another log, or an earlier leader, than the one that precedes it"
            self.add(error("LOG_CHANGED", message, facts.record_id, facts.position))


def _checkpoint(
    start: PartitionStart, verifiers: Mapping[tuple[str, bytes], Callable[[bytes, bytes], bool]]
) -> Checkpoint:
    note = parse_note(start.note)
    verify_note(note, verifiers)
    return Checkpoint.parse(note.text)


def _mismatch(partition: StreamPartition, checkpoint: Checkpoint, leaves: LeafCheck, listed: bytes | None) -> Finding:
    message = (
        f"{partition}: the leaves listed are not those of the signed checkpoint of size {checkpoint.size}, so which "
        "record is missing, extra or changed cannot be told"
    )
    if leaves.first_stray is not None:
        message += f"; something that is no record is said to stand at {leaves.first_stray}"
    roots = [stated_root(Stated.ROOT_SIGNED, checkpoint.root)]
    if listed is not None:
        roots.append(stated_root(Stated.ROOT_LISTED, listed))
    return error("TREE_MISMATCH", message, compared=tuple(roots))
