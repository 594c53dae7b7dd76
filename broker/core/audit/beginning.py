"""The beginning of a bundle: its header, and the trust material to check it with.

These are the checks (1) and (2) of verification.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.audit.findings import Finding, error
from broker.core.bundle import (
    AuthorityCertificate,
    BundleHeader,
    DirectoryDocument,
    Frame,
    RevocationListFile,
)
from broker.core.errors import BundleInvalid, DirectoryInvalid, KeyHistoryBroken
from broker.core.keyhistory import KeyHistory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.bundle import BundleFrames
    from broker.core.policy import Directory


class FrameReader(NamedTuple):
    """Reads the bytes of a frame: all of it, or only whether it has records. The judge reads these."""

    read: Callable[[bytes], Frame]
    holds_records: Callable[[bytes], bool]


class BundleBeginning(NamedTuple):
    """What a bundle is, and the material to check it with."""

    header: BundleHeader
    directories: tuple[DirectoryDocument, ...]
    authorities: tuple[bytes, ...]
    revocation_lists: tuple[bytes, ...]


def read_beginning(frames: BundleFrames, reader: FrameReader) -> BundleBeginning:
    """Check (1): take the frames before the first partition.

    Raises:
        BundleInvalid: no header, or no directory.
    """
    header = reader.read(frames.take())
    if not isinstance(header, BundleHeader):
        message = "the bundle does not begin with its header"
        raise BundleInvalid(message)
    directories: list[DirectoryDocument] = []
    authorities: list[bytes] = []
    revocation_lists: list[bytes] = []
    while (data := frames.peek()) is not None:
        match reader.read(data):
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
    return BundleBeginning(header, tuple(directories), tuple(authorities), tuple(revocation_lists))


def sift_directories(
    documents: Sequence[DirectoryDocument], read: Callable[[bytes], Directory]
) -> tuple[tuple[DirectoryDocument, ...], tuple[Finding, ...]]:
    """Check (2): the directory versions that count, and what is wrong with each of the others.

    If somebody put a version into the log, or changed one there, an auditor must still be able to check everything
    else. A version that takes back what an agency stated of its encryption keys is named, and its rights count.

    Args:
        documents: in the order in which they came into force.
        read: reads a document that the pinned key signed. It raises DirectoryInvalid for any other.

    Raises:
        DirectoryInvalid: none counts.
    """
    kept: list[DirectoryDocument] = []
    broken: list[KeyHistoryBroken] = []
    history = KeyHistory()
    refusals: list[DirectoryInvalid] = []
    newest = -1
    for document in documents:
        try:
            directory = read(document.document)
        except DirectoryInvalid as refused:
            refusals.append(refused)
            continue
        if kept and (directory.version <= newest or document.in_force_from_ms < kept[-1].in_force_from_ms):
            refusals.append(DirectoryInvalid("it is older than the one before it"))
            continue
        newest = directory.version
        kept.append(document)
        try:
            history.add(directory)
        except KeyHistoryBroken as fault:
            broken.append(fault)
    if not kept:
        raise refusals[0]
    message = "a directory version in the bundle is passed over: "
    found = [error(item.reason, message + item.message) for item in refusals]
    for one in broken:
        which = f"version {one.details['version']}, key {one.details['key_id']}"
        found.append(error("KEY_HISTORY_BROKEN", f"{one.message}: {which}"))
    return tuple(kept), tuple(found)
