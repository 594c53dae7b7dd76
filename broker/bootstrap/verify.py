"""Verify a bundle offline: files and keys to the pure judgement of broker/core/audit.py.

Signatures cost most of it, so batches are judged by as many processes as there are processors.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.audit import AuditReport, BundleAudit
from broker.core.bundle import (
    AuthorityCertificate,
    BundleDigest,
    BundleEnd,
    BundleHeader,
    DirectoryDocument,
    Frame,
    PartitionEnd,
    PartitionRecords,
    PartitionStart,
    RevocationListFile,
)
from broker.core.checkpoint import VerifierKey
from broker.core.errors import BundleInvalid, CaseExchangeError, DirectoryInvalid
from broker.core.findings import BatchReport, DirectoryVersion, error
from broker.core.judge import BatchJudge
from broker.trust.directory import open_directory
from broker.trust.keyring import DirectoryKeyring
from broker.trust.keys import load_verification_key
from broker.trust.revocation import RevocationLists
from broker.trust.signing import note_verifier
from broker.wire.bundle import frame_from, read_frames
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from broker.core.envelope import Signature
    from broker.core.streams import StreamPartition

_RECORDS_TAG: Final = b"\x32"
"""How a frame of records begins (field 6 of BundleFrame): such frames go to the judges unparsed."""
_ONE_PROCESS_BYTES: Final = 4 * 1024 * 1024
"""Bundles up to this size are judged here: starting processes would take longer."""


class _Trust(NamedTuple):
    """What a judge is made from. Picklable."""

    governance_key: Path
    directories: tuple[DirectoryDocument, ...]
    authorities: tuple[bytes, ...]
    revocation_lists: tuple[bytes, ...]

    def versions(self) -> list[DirectoryVersion]:
        """The directory versions, each signed by the pinned key, with their certificates.

        Raises:
            DirectoryInvalid, RevocationListInvalid, CertificateInvalid
        """
        key = load_verification_key(self.governance_key)
        versions: list[DirectoryVersion] = []
        for document in self.directories:
            directory = open_directory(document.document, key)
            revocations = RevocationLists(self.revocation_lists, directory.signing_authorities, grace_ms=0)
            keyring = DirectoryKeyring(directory, revocations)
            versions.append(DirectoryVersion(document.in_force_from_ms, directory, keyring))
        return versions


def verify_bundle(path: Path, governance_key: Path, progress: Callable[[int], None]) -> AuditReport:
    """Check a bundle against the pinned governance key, and nothing else.

    Args:
        path: the bundle file.
        governance_key: the public key (PEM) that signs directories.
        progress: told of every stretch of the file that has been dealt with, in bytes.

    Raises:
        BundleInvalid: the file is no bundle, or its beginning cannot be read: nothing could be checked.
        DirectoryInvalid: the bundle's directory is not signed by the pinned key: nothing could be checked.
        KeyInvalid, RevocationListInvalid, CertificateInvalid: as their names say.
    """
    try:
        with path.open("rb") as file:
            frames = _Frames(read_frames(file))
            header, trust = _beginning(frames, governance_key)
            versions = trust.versions()
            _check_order(versions)
            audit = BundleAudit(header, versions[-1].directory, _log_keys(versions))
            _check_authorities(audit, trust, versions)
            own = BatchJudge(versions, ProtobufCodec())
            with _judges(own, trust, path.stat().st_size) as judge:
                end = _follow(frames, audit, judge, own.check_exchange, progress)
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


def _beginning(frames: _Frames, governance_key: Path) -> tuple[BundleHeader, _Trust]:
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
    return header, _Trust(governance_key, tuple(directories), tuple(authorities), tuple(revocation_lists))


def _check_order(versions: list[DirectoryVersion]) -> None:
    for earlier, later in itertools.pairwise(versions):
        rises = earlier.directory.version < later.directory.version
        if not rises or earlier.in_force_from_ms > later.in_force_from_ms:
            message = "the bundle's directory versions are not in order"
            raise DirectoryInvalid(message)


def _check_authorities(audit: BundleAudit, trust: _Trust, versions: list[DirectoryVersion]) -> None:
    listed = {authority for version in versions for authority in version.directory.signing_authorities}
    if not set(trust.authorities) <= listed:
        audit.add(error("CERTIFICATE_INVALID", "the bundle holds an authority that no signed directory names"))


def _log_keys(versions: list[DirectoryVersion]) -> dict[tuple[str, bytes], Callable[[bytes, bytes], bool]]:
    keys = [VerifierKey.parse(text) for version in versions for text in version.directory.log_keys]
    return {(key.name, key.key_id): note_verifier(key.public_key) for key in keys}


def _follow(
    frames: _Frames,
    audit: BundleAudit,
    judge: Callable[[StreamPartition, bytes], Future[BatchReport]],
    check_exchange: Callable[[bytes, Signature], None],
    progress: Callable[[int], None],
) -> BundleEnd | None:
    """Take the rest of the bundle in its order; what cannot be read is a finding, and ends it."""
    waiting: deque[tuple[Future[BatchReport], int]] = deque()
    partition: StreamPartition | None = None

    def settle(keep: int) -> None:
        while len(waiting) > keep:
            report, size = waiting.popleft()
            audit.add_batch(report.result())
            progress(size)

    most = 4 * (os.cpu_count() or 1)
    try:
        while (data := frames.peek()) is not None:
            if data.startswith(_RECORDS_TAG) and partition is not None:
                waiting.append((judge(partition, data), len(data)))
                settle(most)
                frames.take()
                continue
            settle(0)
            frame = frame_from(data)
            if isinstance(frame, BundleEnd):
                _check_end(frame, frames, audit, check_exchange)
            frames.take()
            progress(len(data))
            if isinstance(frame, BundleEnd):
                if frames.peek() is not None:
                    audit.add(error("BUNDLE_INVALID", "something follows the bundle's last frame"))
                return frame
            partition = _place(frame, audit, partition)
    except CaseExchangeError as failure:
        settle(0)
        audit.add(error(failure.reason, failure.message))
    settle(0)
    return None


def _check_end(
    end: BundleEnd, frames: _Frames, audit: BundleAudit, check_exchange: Callable[[bytes, Signature], None]
) -> None:
    try:
        check_exchange(frames.digest.message(), end.signature)
    except CaseExchangeError as failure:
        message = f"the exchange did not sign this bundle as it is: {failure.message}"
        audit.add(error("BUNDLE_ALTERED", message))


def _place(frame: Frame, audit: BundleAudit, partition: StreamPartition | None) -> StreamPartition | None:
    match frame:
        case PartitionStart():
            audit.start_partition(frame)
            return frame.partition
        case PartitionEnd():
            audit.end_partition(frame)
            return None
        case _:
            audit.add(error("BUNDLE_INVALID", "a frame stands where it does not belong"))
            return partition


@contextlib.contextmanager
def _judges(
    own: BatchJudge, trust: _Trust, size: int
) -> Iterator[Callable[[StreamPartition, bytes], Future[BatchReport]]]:
    if size <= _ONE_PROCESS_BYTES:

        def here(partition: StreamPartition, data: bytes) -> Future[BatchReport]:
            done: Future[BatchReport] = Future()
            try:
                done.set_result(_judge(own, partition, data))
            except CaseExchangeError as failure:
                done.set_exception(failure)
            return done

        yield here
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(mp_context=context, initializer=_start_judge, initargs=(trust,)) as pool:
        yield lambda partition, data: pool.submit(_judge_there, partition, data)


def _judge(judge: BatchJudge, partition: StreamPartition, data: bytes) -> BatchReport:
    frame = frame_from(data)
    if not isinstance(frame, PartitionRecords):
        message = "a frame of the bundle is not the records that it begins like"
        raise BundleInvalid(message)
    return judge.judge(partition, frame)


_own_judge: BatchJudge


def _start_judge(trust: _Trust) -> None:
    # A worker process has exactly one judge for its whole life; executors offer no other place for it.
    global _own_judge  # noqa: PLW0603
    _own_judge = BatchJudge(trust.versions(), ProtobufCodec())


def _judge_there(partition: StreamPartition, data: bytes) -> BatchReport:
    return _judge(_own_judge, partition, data)
