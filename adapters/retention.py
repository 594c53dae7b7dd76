"""How long files stay in an agency's folders, and the sweep that deletes the older ones.

A file's age counts from when it came into its folder, whatever its writer says of its own time. What belongs together
goes together:

- ``done``: each file alone, and those in ``inbox/attachments``
- ``quarantine``: a file with its reason, or a delivered record with its reason
- ``outbox``: all records of a case, when the newest of them is old enough. So a Closure is never deleted before the
  notice that it withdrew. A picture goes with the last record that names it. Records whose ``.about.json`` is lost stay
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import structlog

from adapters import folders
from adapters.values.pictures import is_digest_name
from broker.config.loader import Section, setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

_log = structlog.get_logger("adapters.retention")
_DAY_MS: Final = 86_400_000
_SWEEP_SECONDS: Final = 3600.0
_MILLION: Final = 1_000_000
_WORDS: Final = frozenset({"Correction", "Closure"})


class RetentionConfig(Section, frozen=True, kw_only=True):
    """[retention]: when files of the agency's folders are deleted."""

    done_days: Annotated[float, setting("files in done/; 0: they stay", least=0, most=36500)] = 0.0
    quarantine_days: Annotated[float, setting("files in quarantine/; 0: they stay", least=0, most=36500)] = 0.0
    outbox_days: Annotated[
        float,
        setting("records in outbox/, by cases; a notice board shows what is there; 0: they stay", least=0, most=36500),
    ] = 0.0


class Swept(NamedTuple):
    """How many files were deleted, by folder."""

    done: int
    quarantine: int
    outbox: int


def sweep_folders(root: Path, days: RetentionConfig, now_ms: int) -> Swept:
    """Delete what is older in ``done``, ``quarantine`` and ``outbox`` of a folder. One that does not exist is empty.

    Args:
        root: the folder of a gateway, a program or a laboratory.
        days: how long files stay.
        now_ms: milliseconds since the Unix epoch, UTC.

    Raises:
        OSError: a file cannot be deleted. Those before it are.
    """
    done, quarantine, outbox = (
        _Older(now_ms, each) for each in (days.done_days, days.quarantine_days, days.outbox_days)
    )
    return Swept(
        done.files(root / "done") + done.files(root / "inbox" / "attachments"),
        quarantine.refused(root / "quarantine"),
        outbox.delivered(root / "outbox"),
    )


async def keep_swept(root: Path, days: RetentionConfig, now_ms: Callable[[], int]) -> None:
    """Sweep now and every hour, until cancelled. What was deleted is logged as numbers: names may be of persons."""
    while True:
        try:
            swept = await asyncio.to_thread(sweep_folders, root, days, now_ms())
            if any(swept):
                _log.info("files that were kept long enough are deleted", **swept._asdict())
        except OSError as error:
            _log.error("files that were kept long enough stay", reason=error.strerror or type(error).__name__)
        await asyncio.sleep(_SWEEP_SECONDS)


class _Older:
    """Deletes the files of one folder that came into it before a time. Each method returns how many these were."""

    def __init__(self, now_ms: int, days: float) -> None:
        self._before_ns = (now_ms - int(days * _DAY_MS)) * _MILLION if days > 0 else 0

    def files(self, folder: Path) -> int:
        return self._delete(filter(self._is_old, _files(folder))) if self._before_ns else 0

    def refused(self, folder: Path) -> int:
        """A file that came again has a new reason: so the newer of the two counts for both."""
        by_stem: dict[str, list[Path]] = {}
        for path in _files(folder) if self._before_ns else ():
            by_stem.setdefault(folders.refused_name(path), []).append(path)
        return self._delete(path for group in by_stem.values() if all(map(self._is_old, group)) for path in group)

    def delivered(self, folder: Path) -> int:
        if not self._before_ns or not folder.is_dir():
            return 0
        cases: dict[str, list[tuple[folders.DeliveredFile, folders.About | None]]] = {}
        for file in folders.delivered(folder):
            about = folders.read_about(folder, file.kind, file.record_id)
            cases.setdefault(about.case_id if about is not None else "", []).append((file, about))
        stale: list[folders.DeliveredFile] = []
        kept: list[folders.About | None] = []
        for case_id, records in cases.items():
            if case_id and all(self._is_old(file.path) for file, _ in records):
                stale += [file for file, _ in records]
            else:
                kept += [about for _, about in records]
        # A word goes after what it speaks of: if the sweep ends in between, what was withdrawn must not be shown again.
        stale.sort(key=lambda file: file.kind in _WORDS)
        paths = [path for file in stale for path in (file.path, folders.about_path(folder, file.kind, file.record_id))]
        named = [about.attachments if about is not None else None for about in kept]
        if None not in named:
            needed = {name for names in named for name in names or ()}
            paths += [
                path
                for path in _files(folder)
                if is_digest_name(path.name) and path.name not in needed and self._is_old(path)
            ]
        return self._delete(paths)

    def _is_old(self, path: Path) -> bool:
        try:
            # The status changes when a file is renamed into its folder. Its content may be much older.
            return path.lstat().st_ctime_ns < self._before_ns
        except FileNotFoundError:
            return False

    @staticmethod
    def _delete(paths: Iterable[Path]) -> int:
        deleted = 0
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
                deleted += 1
        return deleted


def _files(folder: Path) -> list[Path]:
    """The files in a folder. If there is no such folder: none."""
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if path.is_file() and not path.is_symlink()]
