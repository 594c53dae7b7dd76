"""Verify a replay bundle, in the order of its frames, without trusting its maker.

beginning.py does (1) and (2).

1. the bundle begins with its header, then trust material with a directory. Otherwise nothing can be checked
2. a directory version counts if the pinned key signed it, and it is newer and came into force later than the last one:
   DIRECTORY_INVALID or KEY_STATEMENT_INVALID for each that does not count. If none counts, nothing can be checked.
   KEY_HISTORY_BROKEN for each that takes back what an agency stated of its encryption keys in an earlier one
3. a directory names each authority: CERTIFICATE_INVALID
4. what witnesses have cosigned (witnesses.py), and the times that are proved (times.py)
5. frames are in their places and can be read: BUNDLE_INVALID. A batch of records is judged alone
   (judge.py), a partition when its frames are complete (partition.py)
6. the frames before the last one are those of its digest: BUNDLE_DAMAGED, or BUNDLE_INVALID if the exchange signed them
   all the same. If they are and a broker made the bundle, the exchange signed them: BUNDLE_ALTERED. Nothing follows the
   last frame
7. the whole bundle is complete, and every delivery was to a recipient (whole.py). A proof of one record
   has that record and no other (proof.py)

The caller provides what needs files, keys or processes: the frames' bytes, the readers of frames and directories, and
the judge of batches, which may work elsewhere and later.
"""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from broker.core.audit.findings import BatchReport, Compared, Finding, Stated, error
from broker.core.audit.proof import ProofAudit
from broker.core.audit.times import TimesAudit
from broker.core.audit.whole import NOTHING, BundleAudit
from broker.core.audit.witnesses import WitnessAudit
from broker.core.bundle import (
    BundleEnd,
    BundleSource,
    Frame,
    PartitionEnd,
    PartitionLeaves,
    PartitionRecords,
    PartitionStart,
    StrayRecord,
    TimestampedCheckpoint,
)
from broker.core.errors import BundleInvalid, CaseExchangeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.audit.beginning import BundleBeginning, FrameReader
    from broker.core.audit.brought import Brought
    from broker.core.audit.judge import BatchJudge
    from broker.core.audit.received import ReceivedBook
    from broker.core.audit.report import AuditReport
    from broker.core.bundle import BundleDigest, BundleFrames
    from broker.core.envelope import Signature
    from broker.core.inforce import DirectoryVersion
    from broker.core.streams import StreamPartition
    from broker.core.tree.checkpoint import SignatureCheck

    Judge: TypeAlias = Callable[[StreamPartition, bytes], Callable[[], BatchReport]]
    """Starts to judge the batch in a frame. The result waits for the report, or raises why there is none."""


def judge_frame(judge: BatchJudge, reader: FrameReader, partition: StreamPartition, data: bytes) -> BatchReport:
    """Judge the records in a frame.

    Raises:
        CaseExchangeError: the frame cannot be read as records.
    """
    frame = reader.read(data)
    if not isinstance(frame, PartitionRecords):
        message = "a frame of the bundle is not the records that it begins like"
        raise BundleInvalid(message)
    return judge.judge(partition, frame)


class BundleVerification:
    """Checks (3) to (7). For one bundle."""

    def __init__(
        self,
        beginning: BundleBeginning,
        versions: Sequence[DirectoryVersion],
        passed_over: Sequence[Finding],
        verifiers: Mapping[tuple[str, bytes], SignatureCheck],
        own: BatchJudge,
        *,
        brought: Brought = NOTHING,
        witnesses: WitnessAudit | None = None,
        times: TimesAudit | None = None,
        received: ReceivedBook | None = None,
    ) -> None:
        """Begin.

        Args:
            beginning: what the bundle is, and its trust material.
            versions: the directory versions that count.
            passed_over: what is wrong with those that do not.
            verifiers: the log keys that the versions list, by name and id.
            own: checks the exchange's signature.
            brought: what the auditor brings.
            witnesses: judges what witnesses have cosigned. None: there are none.
            times: judges times by timestamps and cosignatures. None: timestamps are not checked.
            received: what recipients say that they were handed.
        """
        self._witnesses = witnesses or WitnessAudit(None, verifiers)
        self._header = beginning.header
        self._times = times or TimesAudit()
        self._proof = ProofAudit(beginning.header)
        self._own = own
        self._audit = BundleAudit(
            beginning.header,
            versions[-1].directory,
            verifiers,
            directories_from_ms=versions[0].in_force_from_ms,
            brought=brought,
            versions=versions,
            received=received,
        )
        for finding in passed_over:
            self._audit.add(finding)
        # (3) Authorities that a directory names.
        listed = {authority for version in versions for authority in version.directory.signing_authorities}
        if not set(beginning.authorities) <= listed:
            message = "the bundle holds an authority that no signed directory names"
            self._audit.add(error("CERTIFICATE_INVALID", message))

    def follow(
        self, frames: BundleFrames, reader: FrameReader, judge: Judge, ahead: int, progress: Callable[[int], None]
    ) -> AuditReport:
        """Take the rest of the bundle in its order, and report on the whole.

        Args:
            frames: from the first partition on.
            reader: reads frames.
            judge: judges batches.
            ahead: how many frames may wait for their turn while batches are judged.
            progress: called with the number of bytes of each finished frame.
        """
        end = self._follow(frames, reader, judge, ahead, progress)
        report = self._audit.finish(end, frames.taken - (end is not None))
        return self._proof.finish(replace(report, witnesses=self._witnesses.report(), times=self._times.report()))

    def _follow(
        self, frames: BundleFrames, reader: FrameReader, judge: Judge, ahead: int, progress: Callable[[int], None]
    ) -> BundleEnd | None:
        """Follow the frames. An unreadable frame is a finding. Unless it has records, it ends the bundle."""
        waiting: deque[tuple[Callable[[], BatchReport] | Frame, int]] = deque()
        partition: StreamPartition | None = None

        def settle(keep: int) -> None:
            while len(waiting) > keep:
                step, size = waiting.popleft()
                self._settle(step)
                progress(size)

        try:
            while (data := frames.peek()) is not None:
                if partition is not None and reader.holds_records(data):
                    waiting.append((judge(partition, data), len(data)))
                elif isinstance(frame := reader.read(data), BundleEnd):
                    settle(0)
                    self._check_end(frame, frames.digest)
                    frames.take()
                    if frames.peek() is not None:
                        self._audit.add(error("BUNDLE_INVALID", "something follows the bundle's last frame"))
                    return frame
                elif isinstance(frame, PartitionRecords) and partition is not None:
                    # Protobuf allows unknown fields before it.
                    waiting.append((judge(partition, data), len(data)))
                else:
                    partition = _partition_after(frame, partition)
                    waiting.append((frame, len(data)))
                settle(ahead)
                frames.take()
            settle(0)
        except CaseExchangeError as failure:
            settle(0)
            where = "" if partition is None else f"; the one before it is of {self._audit.reached or partition}"
            self._audit.add(error(failure.reason, f"{failure.message}{where}"))
            self._skip_to_end(frames, reader)
        return None

    def _skip_to_end(self, frames: BundleFrames, reader: FrameReader) -> None:
        """Pass over what follows an unreadable frame, to tell a bundle that was damaged on its way."""
        with contextlib.suppress(CaseExchangeError):
            while (data := frames.peek()) is not None:
                digest, message = frames.digest.sha256(), frames.digest.message()
                frames.take()
                if frames.peek() is None and isinstance(end := reader.read(data), BundleEnd):
                    self._check_digest(end, digest, message)

    def _check_digest(self, end: BundleEnd, digest: bytes, message: bytes) -> bool:
        """Whether the bundle is as it was made, as far as its digest tells. ``message`` is what the exchange signs."""
        if not end.sha256 or end.sha256 == digest:
            return True
        # The maker wrote the digest. It must not pass off its own bytes as damaged on their way.
        if end.signature is not None and self._refusal(message, end.signature) is None:
            text = "the exchange signed the bundle as it is, but wrote the digest of other bytes into its last frame"
            self._audit.add(error("BUNDLE_INVALID", text))
        else:
            text = "the bundle is not as it was made: it was damaged or changed on its way"
            both = (Compared(Stated.DIGEST_WRITTEN, end.sha256.hex()), Compared(Stated.DIGEST_HERE, digest.hex()))
            self._audit.add(error("BUNDLE_DAMAGED", text, compared=both))
        return False

    def _refusal(self, message: bytes, signature: Signature) -> CaseExchangeError | None:
        """Why the exchange's signature does not hold. None: it does."""
        try:
            self._own.check_exchange(message, signature)
        except CaseExchangeError as failure:
            return failure
        return None

    def _settle(self, step: Callable[[], BatchReport] | Frame) -> None:
        # (4), (5) Each in its place.
        match step:
            case PartitionStart():
                self._audit.start_partition(step)
                self._add(self._witnesses.take(step))
                self._times.start(step, self._witnesses.current)
            case TimestampedCheckpoint():
                self._add(self._times.take(step))
            case PartitionLeaves():
                self._audit.add_leaves(step)
                self._witnesses.take_leaves(step)
                self._times.take_leaves(step)
            case StrayRecord():
                self._audit.add_stray(step)
            case PartitionEnd():
                self._audit.end_partition(step)
            case _ if callable(step):
                try:
                    report = step()
                except CaseExchangeError as failure:
                    self._audit.add_unreadable(failure.reason, failure.message)
                else:
                    self._audit.add_batch(report)
                    self._proof.take(report)
                    self._add(self._witnesses.take_batch(report, self._header.created_at_ms))
                    self._add(self._times.take_batch(report, self._header.created_at_ms))
            case _:
                self._audit.add(error("BUNDLE_INVALID", "a frame stands where it does not belong"))

    def _add(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            self._audit.add(finding)

    def _check_end(self, end: BundleEnd, digest: BundleDigest) -> None:
        # (6) The bundle is as it was made, and the exchange signed every byte.
        if not self._check_digest(end, digest.sha256(), digest.message()):
            return
        if end.signature is not None:
            if (failure := self._refusal(digest.message(), end.signature)) is not None:
                message = f"the exchange did not sign this bundle as it is: {failure.message}"
                self._audit.add(error("BUNDLE_ALTERED", message))
        elif self._header.source is BundleSource.BROKER:
            message = "a broker made this bundle, it says, and the exchange did not sign it"
            self._audit.add(error("BUNDLE_ALTERED", message))


def _partition_after(frame: Frame, partition: StreamPartition | None) -> StreamPartition | None:
    match frame:
        case PartitionStart():
            return frame.partition
        case PartitionEnd():
            return None
        case _:
            return partition
