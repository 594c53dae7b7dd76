"""Judge batches of a bundle, by as many processes as there are processors: signatures cost most of a verification."""

from __future__ import annotations

import contextlib
import multiprocessing
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.bundle import BundleSource, DirectoryDocument, PartitionRecords
from broker.core.errors import BundleInvalid, CaseExchangeError, DirectoryInvalid
from broker.core.findings import BatchReport, Finding, error
from broker.core.inforce import DirectoryVersion
from broker.core.judge import BatchJudge
from broker.trust.directory import open_directory
from broker.trust.keyring import DirectoryKeyring
from broker.trust.keys import load_verification_key
from broker.trust.revocation import RevocationLists
from broker.wire.codec import ProtobufCodec
from broker.wire.frames import frame_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from broker.core.streams import StreamPartition

_ONE_PROCESS_BYTES: Final = 4 * 1024 * 1024
"""Bundles up to this size are judged here: starting processes would take longer."""


class Trust(NamedTuple):
    """What a judge is made from. Picklable."""

    governance_key: Path
    source: BundleSource
    directories: tuple[DirectoryDocument, ...]
    authorities: tuple[bytes, ...]
    revocation_lists: tuple[bytes, ...]

    def sifted(self) -> tuple[Trust, list[Finding]]:
        """Without the directory versions that prove nothing, and what is wrong with each of them.

        A version that somebody put into the log, or changed there, must not keep an auditor from checking the rest.

        Raises:
            DirectoryInvalid: none is left.
            KeyInvalid: the pinned key cannot be used.
        """
        key = load_verification_key(self.governance_key)
        kept: list[DirectoryDocument] = []
        refusals: list[DirectoryInvalid] = []
        newest = -1
        for document in self.directories:
            try:
                version = open_directory(document.document, key).version
            except DirectoryInvalid as refused:
                refusals.append(refused)
                continue
            if kept and (version <= newest or document.in_force_from_ms < kept[-1].in_force_from_ms):
                refusals.append(DirectoryInvalid("it is older than the one before it"))
                continue
            newest = version
            kept.append(document)
        if not kept:
            raise refusals[0]
        message = "a directory version in the bundle is passed over: "
        return self._replace(directories=tuple(kept)), [error(item.reason, message + item.message) for item in refusals]

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


@contextlib.contextmanager
def judges(
    own: BatchJudge, trust: Trust, size: int
) -> Iterator[Callable[[StreamPartition, bytes], Future[BatchReport]]]:
    """A function that has a partition's serialised batch judged: by ``own``, or where the bundle is large by others."""
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


def _start_judge(trust: Trust) -> None:
    # A worker process has exactly one judge for its whole life; executors offer no other place for it.
    global _own_judge  # noqa: PLW0603
    _own_judge = BatchJudge(trust.versions(), ProtobufCodec(), trust.source)


def _judge_there(partition: StreamPartition, data: bytes) -> BatchReport:
    return _judge(_own_judge, partition, data)
