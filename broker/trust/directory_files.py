"""The directory in a file that governance's process replaces, with a copy of the newest version seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

import structlog

from broker.core.errors import DirectoryInvalid, KeyHistoryBroken
from broker.files import FileState, read_file
from broker.trust.directory import MAX_DIRECTORY_BYTES, PinnedDirectory, learn_successions, open_directory
from broker.trust.kept import Kept

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.keyhistory import KeyHistory
    from broker.ports import Clock
    from broker.trust.governance import Governance

_log = structlog.get_logger("broker.trust")
_DAY_MS: Final = 24 * 3_600_000


class DirectoryFile(PinnedDirectory):
    """The newest directory seen in a file that governance's process replaces, also before a restart."""

    def __init__(
        self,
        path: Path,
        governance: Governance,
        clock: Clock,
        kept: Path | None = None,
        history: KeyHistory | None = None,
    ) -> None:
        """Read the file. An older version than the copy holds, or another of the same number, does not come into force.

        Args:
            path: the file.
            governance: the pinned keys.
            clock: shows when a directory has expired.
            kept: where the copy of the newest version is. None: a restart forgets what was in force.
            history: what versions of earlier times said of encryption keys.

        Raises:
            DirectoryInvalid: the file is unreadable, or holds no directory that governance signed.
            KeyHistoryBroken: by the history, the file may not come into force, and there is no copy.
        """
        self._path = path
        self._seen = _state(path)
        self._kept = None if kept is None else Kept(kept, MAX_DIRECTORY_BYTES)
        if self._kept is not None and (copy := self._kept.read()):
            # Before the file: what governance's keys were when the program ended counts first.
            learn_successions([copy], governance)
        super().__init__(read_document(path), governance, clock, history)
        if self._kept is None:
            self._remember(self._latest)
        else:
            self._go_on(self._kept)
        self._warned_ms = -_DAY_MS
        self._warn()

    def offer(self, document: bytes) -> bool:
        """See ``PinnedDirectory``. A newer version is copied."""
        newer = super().offer(document)
        if newer and self._kept is not None:
            self._kept.write(document)
        return newer

    def _tell(self, broken: KeyHistoryBroken) -> None:
        text = "a directory version took back a key statement"
        _log.error(text, reason=broken.reason, cause=broken.message, **broken.details)

    def _go_on(self, kept: Kept) -> None:
        """Begin with what was in force before the restart, unless the file has a newer version.

        Raises KeyHistoryBroken if the file may not come into force, and nothing was in force before.
        """
        in_file, former = self._latest, None
        if copy := kept.read():
            try:
                former = open_directory(copy, self._governance)
            except DirectoryInvalid as error:
                # As after another key was pinned.
                _log.error("the copy of the directory cannot be used", reason=error.reason, cause=error.message)
        if former is None:
            self._remember(in_file)
            kept.write(in_file.document)
            return
        # It was in force. If it is faulty, it is told of, and a newer one must be able to take its place.
        self._remember_accepted(former)
        self._latest = former
        if former.version < in_file.version:
            try:
                self._remember(in_file)
            except KeyHistoryBroken as error:
                _log.error("the directory file is not used", reason=error.reason, cause=error.message, **error.details)
            else:
                self._latest = in_file
                kept.write(in_file.document)
        elif former.document != in_file.document:
            text = "the directory file is older than what was in force, or differs from it: it is not used"
            _log.error(text, reason=DirectoryInvalid.reason, version=in_file.version, seen=former.version)

    def reload(self) -> bool:
        """Read the file again if it changed. Return whether there is a newer version now. For one task at a time.

        Raises:
            DirectoryInvalid: as ``offer``, or the file is unreadable. The version in force stays.
        """
        state = _state(self._path)
        newer = False
        if state != self._seen:
            newer = self.offer(read_document(self._path))
            self._seen = state
        self._warn()
        return newer

    def _warn(self) -> None:
        """Say once a day that the directory in force expires soon. After that, nothing is allowed any more."""
        now_ms = self._clock.now_ms()
        if self._latest.expires_soon(now_ms) and now_ms - self._warned_ms >= _DAY_MS:
            self._warned_ms = now_ms
            days = max(0, self._latest.expires_at_ms - now_ms) // _DAY_MS
            _log.warning("the directory expires soon: get the next version from governance", days_left=days)


def _state(path: Path) -> FileState:
    try:
        return FileState.of(path)
    except OSError as error:
        _refuse_unreadable(path, error)


def read_document(path: Path) -> bytes:
    """Read a directory's file.

    Raises:
        DirectoryInvalid: it cannot be read.
    """
    try:
        return read_file(path, MAX_DIRECTORY_BYTES)
    except OSError as error:
        _refuse_unreadable(path, error)


def _refuse_unreadable(path: Path, error: OSError) -> NoReturn:
    message = f"{path.name} cannot be read as a directory: {error.strerror}"
    raise DirectoryInvalid(message) from error
