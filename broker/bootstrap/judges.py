"""Judge batches of a bundle in one process for each processor, because signatures cost most of a verification."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.audit.beginning import DirectoryInUse, FrameReader, sift_directories, take_brought
from broker.core.audit.judge import BatchJudge
from broker.core.audit.verification import judge_frame
from broker.core.bundle import DirectoryDocument
from broker.core.errors import DirectoryInvalid
from broker.core.inforce import DirectoryVersion
from broker.trust.directory import learn_successions, open_directory
from broker.trust.governance import Governance
from broker.trust.keyring import DirectoryKeyring
from broker.trust.revocation import RevocationLists
from broker.wire.codec import ProtobufCodec
from broker.wire.frames import frame_from, holds_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from broker.core.audit.beginning import BundleBeginning
    from broker.core.audit.findings import BatchReport, Finding
    from broker.core.audit.verification import Judge
    from broker.core.bundle import BundleSource
    from broker.core.policy import Directory
    from broker.core.streams import StreamPartition

FRAMES: Final = FrameReader(frame_from, holds_records)
_ONE_PROCESS_BYTES: Final = 4 * 1024 * 1024
"""Bundles up to this size are judged in this process. To start others would take longer."""


class Newer(NamedTuple):
    """What an auditor brings that may be newer than what the bundle has: a signed directory, and revocation lists.

    ``read_at_ms`` is the auditor's own time (epoch milliseconds).
    """

    directory: bytes | None = None
    revocation_lists: tuple[bytes, ...] = ()
    read_at_ms: int = 0


NOTHING_NEWER: Final = Newer()


class Trust(NamedTuple):
    """The material to make a judge from. Picklable.

    ``made_at_ms``: when the bundle was made, as it says. ``newer``: a directory that the auditor has brought, if it is
    newer than those of the bundle. It decides only what is later than both itself and the bundle, and what the newest
    directory decides: log keys and their ends, incarnations, and the certificates of the exchange.
    """

    roots: tuple[Path, ...]
    source: BundleSource
    directories: tuple[DirectoryDocument, ...]
    authorities: tuple[bytes, ...]
    revocation_lists: tuple[bytes, ...]
    made_at_ms: int | None = None
    newer: DirectoryDocument | None = None

    @classmethod
    def of(
        cls, beginning: BundleBeginning, roots: tuple[Path, ...], newer: Newer = NOTHING_NEWER
    ) -> tuple[Trust, tuple[Finding, ...]]:
        """The material of a bundle that counts, and what is wrong with its other directories.

        Args:
            beginning: the bundle's first frames.
            roots: files with the pinned public keys (PEM).
            newer: what the auditor brings.

        Raises:
            DirectoryInvalid: no pinned key signed a directory in the bundle, or the one that was brought.
            RevocationListInvalid: a list is malformed, or of an authority that the bundle's newest directory does not
                name.
            KeyInvalid
        """
        governance = Governance.load(*roots)
        # The auditor's own first: the first hand-over of governance's key counts.
        brought = [] if newer.directory is None else [newer.directory]
        learn_successions([*brought, *(found.document for found in beginning.directories)], governance)
        read = functools.partial(open_directory, governance=governance)
        directories, passed_over = sift_directories(beginning.directories, read, beginning.header.created_at_ms)
        header, authorities, lists = beginning.header, beginning.authorities, beginning.revocation_lists
        trust = cls(roots, header.source, directories, authorities, lists, header.created_at_ms)
        in_bundle = read(directories[-1].document)
        if newer.revocation_lists:
            trust = trust._replace(revocation_lists=_newest(lists, newer.revocation_lists, in_bundle))
        if newer.directory is None:
            return trust, passed_over
        try:
            found, other = take_brought(read(newer.directory), in_bundle, newer.read_at_ms)
        except DirectoryInvalid as refused:
            message = f"the directory that was brought does not count: {refused.message}"
            raise DirectoryInvalid(message) from refused
        if found:
            at_ms = max(found.issued_at_ms, header.created_at_ms, directories[-1].in_force_from_ms)
            trust = trust._replace(newer=DirectoryDocument(newer.directory, at_ms))
        return trust, (*passed_over, *other)

    def versions(self) -> list[DirectoryVersion]:
        """The directory versions, each signed by governance, with their certificates.

        Raises:
            DirectoryInvalid, RevocationListInvalid, CertificateInvalid
        """
        governance = self._governance()
        versions: list[DirectoryVersion] = []
        for document in self._documents():
            directory = open_directory(document.document, governance)
            versions.append(DirectoryVersion(document.in_force_from_ms, directory, self._keyring(directory)))
        return versions

    def in_use(self, directories: Sequence[Directory], newer: Newer) -> DirectoryInUse:
        """Which directory is the newest of these, which are those of ``versions``, and where it is from."""
        newest, in_bundle = directories[-1], directories[len(self.directories) - 1]
        brought = None if newer.directory is None else open_directory(newer.directory, self._governance()).version
        return DirectoryInUse(newest.version, newest.issued_at_ms, in_bundle.version, brought)

    def version_reader(self) -> Callable[[bytes], DirectoryVersion]:
        """Give the function that reads a directory that is not in the bundle, or raises why it does not count.

        The version is taken to be in force from its time of issue on.
        """
        governance = self._governance()

        def read(document: bytes) -> DirectoryVersion:
            directory = open_directory(document, governance)
            return DirectoryVersion(directory.issued_at_ms, directory, self._keyring(directory))

        return read

    def _governance(self) -> Governance:
        governance = Governance.load(*self.roots)
        # In the same order as ``of``.
        *own, last = self._documents()
        documents = [*own, last] if self.newer is None else [last, *own]
        learn_successions([document.document for document in documents], governance)
        return governance

    def _documents(self) -> tuple[DirectoryDocument, ...]:
        return self.directories if self.newer is None else (*self.directories, self.newer)

    def _keyring(self, directory: Directory) -> DirectoryKeyring:
        return DirectoryKeyring(
            directory, RevocationLists(self.revocation_lists, directory.signing_authorities, grace_ms=0)
        )


def _newest(of_bundle: Sequence[bytes], brought: Sequence[bytes], directory: Directory) -> tuple[bytes, ...]:
    """Of each authority the newer list."""
    read = functools.partial(RevocationLists, authorities=directory.signing_authorities, grace_ms=0)
    found = dict(read(of_bundle).by_authority())
    for authority, listed in read(brought).by_authority().items():
        if authority not in found or found[authority].number < listed.number:
            found[authority] = listed
    return tuple(listed.der for listed in found.values())


@contextlib.contextmanager
def judges(own: BatchJudge, trust: Trust, size: int) -> Iterator[Judge]:
    """Give the function that starts to judge a batch: with ``own``, or in other processes for a large bundle."""
    if size <= _ONE_PROCESS_BYTES:
        yield lambda partition, data: functools.partial(judge_frame, own, FRAMES, partition, data)
        return

    def judge(partition: StreamPartition, data: bytes) -> Callable[[], BatchReport]:
        # To submit a batch may start a process.
        with _interrupts_wait():
            return pool.submit(_judge_there, partition, data).result

    with judging_processes(trust) as pool:
        try:
            yield judge
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def judging_processes(trust: Trust) -> ProcessPoolExecutor:
    """Processes that each have a judge. They import this module and what it needs, and the program that was started."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(mp_context=context, initializer=_start_judge, initargs=(trust,))


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """A process that is started inside never sees Ctrl-C, from its first moment on. This one sees it afterwards.

    A terminal sends Ctrl-C to all of them. A judge that still loads would print where it was.
    """
    # Its start would end the wait.
    resource_tracker.ensure_running()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


_own_judge: BatchJudge


def _start_judge(trust: Trust) -> None:
    # A worker process has exactly one judge for its whole life. Executors offer no other place for it.
    global _own_judge  # noqa: PLW0603
    _own_judge = BatchJudge(trust.versions(), ProtobufCodec(), trust.source, made_at_ms=trust.made_at_ms)


def _judge_there(partition: StreamPartition, data: bytes) -> BatchReport:
    return judge_frame(_own_judge, FRAMES, partition, data)
