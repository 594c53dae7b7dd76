"""Every encryption key that directory versions at hand list for an agency, and whether any version takes one back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.bootstrap.judges import FRAMES, Trust
from broker.core.audit.beginning import read_beginning
from broker.core.bundle import BundleFrames
from broker.core.errors import BundleInvalid, DirectoryInvalid, KeyHistoryBroken
from broker.core.keyhistory import KeyHistory
from broker.files import read_file
from broker.trust.directory import MAX_DIRECTORY_BYTES, learn_successions, open_directory
from broker.trust.governance import Governance
from broker.wire.bundle import read_frames

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.core.encryptionkeys import EncryptionKey
    from broker.core.policy import Directory

_DOCUMENT: Final = b"{"


class StatedKey(NamedTuple):
    """A key as the last of the versions at hand has it that lists it, with the first and the last such version."""

    key: EncryptionKey
    first_version: int
    last_version: int


class StatedKeys(NamedTuple):
    """The keys of an agency in some versions, the oldest first, and what is wrong with the versions."""

    versions: tuple[int, ...]
    keys: tuple[StatedKey, ...]
    broken: tuple[KeyHistoryBroken, ...]


def stated_keys(files: Sequence[Path], roots: Sequence[Path], agency: str) -> StatedKeys:
    """Read directories and the beginnings of bundles.

    Args:
        files: directory documents, and bundles, which have every version that was in force.
        roots: files with the public keys (PEM) that sign directories.
        agency: its id.

    Raises:
        DirectoryInvalid: no pinned key signed a document, or it is malformed.
        BundleInvalid: a file is neither.
    """
    governance = Governance.load(*roots)
    documents = [document for file in files for document in _documents(file, tuple(roots))]
    learn_successions(documents, governance)
    opened = {open_directory(document, governance).version: document for document in documents}
    directories = [open_directory(opened[version], governance) for version in sorted(opened)]
    found: dict[bytes, StatedKey] = {}
    for directory in directories:
        for key in _keys(directory, agency):
            first = found[key.key_id].first_version if key.key_id in found else directory.version
            found[key.key_id] = StatedKey(key, first, directory.version)
    keys = sorted(found.values(), key=lambda stated: (stated.key.not_before_ms, stated.key.key_id))
    return StatedKeys(tuple(sorted(opened)), tuple(keys), tuple(_broken(directories)))


def _keys(directory: Directory, agency: str) -> tuple[EncryptionKey, ...]:
    member = directory.agencies.get(agency)
    return () if member is None else member.encryption_keys


def _broken(directories: Sequence[Directory]) -> list[KeyHistoryBroken]:
    history, broken = KeyHistory(), []
    for directory in directories:
        try:
            history.add(directory)
        except KeyHistoryBroken as error:
            broken.append(error)
    return broken


def _documents(file: Path, roots: tuple[Path, ...]) -> list[bytes]:
    try:
        with file.open("rb") as opened:
            if opened.read(len(_DOCUMENT)) != _DOCUMENT:
                opened.seek(0)
                trust, _ = Trust.of(read_beginning(BundleFrames(read_frames(opened)), FRAMES), roots)
                return [found.document for found in trust.directories]
        return [read_file(file, MAX_DIRECTORY_BYTES)]
    except OSError as error:
        message = f"{file.name} cannot be read: {error.strerror}"
        raise DirectoryInvalid(message) from error
    except BundleInvalid as error:
        message = f"{file.name} is neither a directory nor a bundle: {error.message}"
        raise BundleInvalid(message) from error
