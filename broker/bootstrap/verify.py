"""Verify a bundle offline: files and keys to the pure judgement of broker/core/audit.py."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from broker.bootstrap.judges import Trust, judges
from broker.core.audit import AuditReport, BundleAudit
from broker.core.bundle import (
    AuthorityCertificate,
    BundleDigest,
    BundleEnd,
    BundleHeader,
    BundleSource,
    DirectoryDocument,
    Frame,
    PartitionEnd,
    PartitionLeaves,
    PartitionRecords,
    PartitionStart,
    RevocationListFile,
    StrayRecord,
)
from broker.core.errors import BundleInvalid, CaseExchangeError
from broker.core.findings import BatchReport, DirectoryVersion, error
from broker.core.judge import BatchJudge
from broker.trust.logkeys import log_verifiers
from broker.wire.bundle import read_frames
from broker.wire.codec import ProtobufCodec
from broker.wire.frames import frame_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from broker.core.envelope import Signature
    from broker.core.streams import StreamPartition

_RECORDS_TAG: Final = b"\x32"
"""How a frame of records mostly begins (field 6 of BundleFrame): such frames go to the judges unparsed."""


def verify_bundle(path: Path, governance_key: Path, progress: Callable[[int], None]) -> AuditReport:
    """Check a bundle against the pinned governance key, and nothing else.

    Args:
        path: the bundle file.
        governance_key: the public key (PEM) that signs directories.
        progress: told of every stretch of the file that has been dealt with, in bytes.

    Raises:
        BundleInvalid: the file is no bundle, or its beginning cannot be read: nothing could be checked.
        DirectoryInvalid: no directory in the bundle is signed by the pinned key: nothing could be checked.
        KeyInvalid, RevocationListInvalid, CertificateInvalid: as their names say.
    """
    try:
        with path.open("rb") as file:
            frames = _Frames(read_frames(file))
            header, trust = _beginning(frames, governance_key)
            trust, passed_over = trust.sifted()
            versions = trust.versions()
            from_ms = versions[0].in_force_from_ms
            verifiers = log_verifiers([version.directory for version in versions])
            audit = BundleAudit(header, versions[-1].directory, verifiers, directories_from_ms=from_ms)
            for finding in passed_over:
                audit.add(finding)
            _check_authorities(audit, trust, versions)
            own = BatchJudge(versions, ProtobufCodec(), header.source)

            def check_end(end: BundleEnd) -> None:
                _check_end(header, end, frames.digest, audit, own.check_exchange)

            with judges(own, trust, path.stat().st_size) as judge:
                end = _follow(frames, audit, judge, check_end, progress)
            return audit.finish(end, frames.read - (end is not None))
    except OSError as failure:
        message = f"the bundle cannot be read: {failure.strerror}"
        raise BundleInvalid(message) from failure


class _Frames:
    """Frames one by one, counted, with a look at the next."""

    def __init__(self, frames: Iterator[bytes]) -> None:
        self._frames = frames
        self._next: bytes | None = next(frames, None)
        self.digest = BundleDigest()
        self.read = 0

    def peek(self) -> bytes | None:
        return self._next

    def take(self) -> bytes:
        taken, self._next = self._next, next(self._frames, None)
        if taken is None:
            message = "the bundle breaks off"
            raise BundleInvalid(message)
        self.read += 1
        self.digest.add(taken)
        return taken


def _beginning(frames: _Frames, governance_key: Path) -> tuple[BundleHeader, Trust]:
    header = frame_from(frames.take())
    if not isinstance(header, BundleHeader):
        message = "the bundle does not begin with its header"
        raise BundleInvalid(message)
    directories: list[DirectoryDocument] = []
    authorities: list[bytes] = []
    revocation_lists: list[bytes] = []
    while (data := frames.peek()) is not None:
        match frame_from(data):
            case DirectoryDocument() as document:
                directories.append(document)
            case AuthorityCertificate(der):
                authorities.append(der)
            case RevocationListFile(document):
                revocation_lists.append(document)
            case _:
                break
        frames.take()
    if not directories:
        message = "the bundle holds no directory, so nothing in it can be checked"
        raise BundleInvalid(message)
    return header, Trust(governance_key, header.source, tuple(directories), tuple(authorities), tuple(revocation_lists))


def _check_authorities(audit: BundleAudit, trust: Trust, versions: list[DirectoryVersion]) -> None:
    listed = {authority for version in versions for authority in version.directory.signing_authorities}
    if not set(trust.authorities) <= listed:
        audit.add(error("CERTIFICATE_INVALID", "the bundle holds an authority that no signed directory names"))


def _follow(
    frames: _Frames,
    audit: BundleAudit,
    judge: Callable[[StreamPartition, bytes], Future[BatchReport]],
    check_end: Callable[[BundleEnd], None],
    progress: Callable[[int], None],
) -> BundleEnd | None:
    """Take the rest of the bundle in its order. What cannot be read is a finding; other than records, it ends it."""
    waiting: deque[tuple[Future[BatchReport] | Frame, int]] = deque()
    partition: StreamPartition | None = None

    def settle(keep: int) -> None:
        while len(waiting) > keep:
            step, size = waiting.popleft()
            _settle(step, audit)
            progress(size)

    most = 4 * (os.cpu_count() or 1)
    try:
        while (data := frames.peek()) is not None:
            if data.startswith(_RECORDS_TAG) and partition is not None:
                waiting.append((judge(partition, data), len(data)))
            elif isinstance(frame := frame_from(data), BundleEnd):
                settle(0)
                check_end(frame)
                frames.take()
                if frames.peek() is not None:
                    audit.add(error("BUNDLE_INVALID", "something follows the bundle's last frame"))
                return frame
            elif isinstance(frame, PartitionRecords) and partition is not None:
                # Protobuf lets fields that this version does not know stand before it.
                waiting.append((judge(partition, data), len(data)))
            else:
                partition = _partition_after(frame, partition)
                waiting.append((frame, len(data)))
            settle(most)
            frames.take()
        settle(0)
    except CaseExchangeError as failure:
        settle(0)
        audit.add(error(failure.reason, failure.message))
    return None


def _settle(step: Future[BatchReport] | Frame, audit: BundleAudit) -> None:
    match step:
        case Future():
            try:
                audit.add_batch(step.result())
            except CaseExchangeError as failure:
                audit.add(error(failure.reason, failure.message))
        case PartitionStart():
            audit.start_partition(step)
        case PartitionLeaves():
            audit.add_leaves(step)
        case StrayRecord():
            audit.add_stray(step)
        case PartitionEnd():
            audit.end_partition(step)
        case _:
            audit.add(error("BUNDLE_INVALID", "a frame stands where it does not belong"))


def _partition_after(frame: Frame, partition: StreamPartition | None) -> StreamPartition | None:
    match frame:
        case PartitionStart():
            return frame.partition
        case PartitionEnd():
            return None
        case _:
            return partition


def _check_end(
    header: BundleHeader,
    end: BundleEnd,
    digest: BundleDigest,
    audit: BundleAudit,
    check_exchange: Callable[[bytes, Signature], None],
) -> None:
    if end.signature is not None:
        try:
            check_exchange(digest.message(), end.signature)
        except CaseExchangeError as failure:
            message = f"the exchange did not sign this bundle as it is: {failure.message}"
            audit.add(error("BUNDLE_ALTERED", message))
    elif header.source is BundleSource.BROKER:
        audit.add(error("BUNDLE_ALTERED", "a broker made this bundle, it says, and the exchange did not sign it"))
