"""Verify a bundle offline: the files, keys and processes for broker/core/audit/verification.py."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from broker.bootstrap.brought import bring, read_newer
from broker.bootstrap.judges import FRAMES, Trust, judges
from broker.bootstrap.received import bring_received
from broker.bootstrap.timestamps import times_audit
from broker.bootstrap.witnesspolicies import read_policy, witness_audit
from broker.core.audit.beginning import read_beginning
from broker.core.audit.judge import BatchJudge
from broker.core.audit.verification import BundleVerification
from broker.core.bundle import BundleFrames
from broker.core.errors import BundleInvalid
from broker.files import HashedReader
from broker.trust.logkeys import log_verifiers
from broker.wire.bundle import read_frames
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from broker.core.audit.report import AuditReport


def verify_bundle(
    path: Path,
    roots: tuple[Path, ...],
    progress: Callable[[int], None],
    *,
    receipts: Sequence[Path] = (),
    since: Sequence[Path] = (),
    witness_policy: Path | None = None,
    timestamp_authorities: Sequence[Path] = (),
    covered_within_ms: int | None = None,
    delivered: Sequence[Path] = (),
    directory: Path | None = None,
    revocation_lists: Sequence[Path] = (),
    digest: Callable[[str], None] | None = None,
) -> AuditReport:
    """Check a bundle against the pinned governance keys, and nothing else.

    Args:
        path: the bundle file.
        roots: files with the public keys (PEM) that sign directories.
        progress: called with the number of bytes of each finished part of the file.
        receipts: files of receipts that the auditor brings (broker/wire/receiptfile.py).
        since: files or folders of checkpoints that were seen elsewhere.
        witness_policy: the file of the witnesses that must have cosigned. None: those of the newest directory are told.
        timestamp_authorities: files of the timestamp authorities that the auditor pins. None: those of the directories.
        covered_within_ms: a record that was accepted so long before the bundle was made must be covered.
            None: 60 s before for missing numbers, 600 s before for receipts and timestamps.
        delivered: files in which recipients say what they were handed.
        directory: a signed directory that may be newer than those in the bundle. None: the newest in it counts.
        revocation_lists: files of revocation lists that may be newer than those in the bundle.
        digest: called at the end with the SHA-256 (hexadecimal) of the bytes that were verified. None: nothing is
            hashed beside.

    Raises:
        BundleInvalid: the file is not a bundle, or its beginning cannot be read. Nothing could be checked.
        DirectoryInvalid: no pinned key signed a directory in the bundle, or the one that was brought. Nothing could be
            checked.
        EvidenceFileInvalid: a file that was brought is of another kind.
        KeyInvalid, RevocationListInvalid, CertificateInvalid, WitnessPolicyInvalid: as their names say.
    """
    policy = None if witness_policy is None else read_policy(witness_policy)
    try:
        with path.open("rb") as file:
            hashed = None if digest is None else HashedReader(file)
            frames = BundleFrames(read_frames(hashed or file))
            beginning = read_beginning(frames, FRAMES)
            newer = read_newer(directory, revocation_lists)
            trust, passed_over = Trust.of(beginning, roots, newer)
            versions = trust.versions()
            directories = [version.directory for version in versions]
            verifiers = log_verifiers(directories)
            own = BatchJudge(versions, ProtobufCodec(), trust.source, made_at_ms=trust.made_at_ms)
            times = times_audit(directories, timestamp_authorities, covered_within_ms)
            with (
                bring(
                    receipts,
                    since,
                    versions,
                    verifiers,
                    beginning.header.created_at_ms,
                    read_version=trust.version_reader(),
                    covered_within_ms=covered_within_ms,
                ) as brought,
                bring_received(delivered, versions, beginning.header.created_at_ms) as received,
                judges(own, trust, path.stat().st_size) as judge,
            ):
                witnesses = witness_audit(policy, versions[-1].directory, verifiers, brought.checkpoints)
                verification = BundleVerification(
                    beginning,
                    versions,
                    passed_over,
                    verifiers,
                    own,
                    brought=brought,
                    witnesses=witnesses,
                    times=times,
                    received=received,
                )
                report = verification.follow(frames, FRAMES, judge, 4 * (os.cpu_count() or 1), progress)
            report = replace(report, directory=trust.in_use(directories, newer))
            if digest is not None and hashed is not None:
                digest(hashed.finish())
            return report
    except OSError as failure:
        message = f"the bundle, or a file that was brought, cannot be read: {failure.strerror}"
        raise BundleInvalid(message) from failure
