"""How long files stay in an agency's folders, and the sweep that deletes the older ones.

A file's age counts from when it came into its folder, whatever its writer says of its own time. What belongs together
goes together:

- ``done``: each file alone
- ``inbox/attachments``: while the inbox is empty, and no old file stays because of its records
- ``quarantine``: a file with its reason, or a delivered record with its reason
- ``outbox``: all records of a case, and of the cases that they name, when the newest of them is old enough. So a
  Closure is never deleted before the notice that it withdrew. A picture goes with the last record that names it.
  Records whose ``.about.json`` is lost stay. A sealed record that nobody can open (its identity was destroyed, or it
  was cut or changed) names no more than its ``.about.json`` does, and a warning counts these

A source file in ``done`` or ``quarantine`` stays while a record of it has neither a receipt nor a refusal: nothing else
may have its content. When a record is refused, the age of its file counts anew (``folders.count_anew``). So who stores
a refusal has to do that first.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import structlog

from adapters import folders
from adapters.ownfiles import OwnFiles, plain_name
from adapters.values.pictures import is_digest_name
from broker.config.loader import Section, setting
from broker.core.errors import AgeFileInvalid, AgeIdentityWrong, CaseExchangeError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

_log = structlog.get_logger("adapters.retention")
_DAY_MS: Final = 86_400_000
_SWEEP_SECONDS: Final = 3600.0
_MILLION: Final = 1_000_000
_WORDS: Final = frozenset({"Correction", "Closure"})
_SPEAKING: Final = _WORDS | {"PublicNotice"}
"""Kinds of which a record can end what another one shows."""
_NAMES: Final = re.compile(rb'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|"noticeId": *"[^"]*"')
"""What a record may have in common with one of another case: ids, and in record-json the number of a notice."""
_MOST_OF_A_RECORD: Final = 1 << 27


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


def sweep_folders(
    root: Path,
    days: RetentionConfig,
    now_ms: int,
    unsettled: Callable[[], Collection[bytes]] = tuple,
    own: OwnFiles | None = None,
) -> Swept:
    """Delete what is older in ``done``, ``quarantine`` and ``outbox`` of a folder. One that does not exist is empty.

    Args:
        root: the folder of a gateway, a program or a laboratory.
        days: how long files stay.
        now_ms: milliseconds since the Unix epoch, UTC.
        unsettled: gives the digests of the source files with records that have neither a receipt nor a refusal.
        own: opens what is sealed. Without it nothing is.

    Raises:
        OSError: a file cannot be deleted. Those before it are.
        SpoolUnavailable: from ``unsettled``. Nothing was deleted.
        AgeIdentityMissing, KeyInvalid, ExtraMissing: nothing sealed can be opened, and there are sealed files in the
            outbox. Nothing of it was deleted.
    """
    files = own or OwnFiles()
    done, quarantine, outbox = (
        _Older(now_ms, each, files) for each in (days.done_days, days.quarantine_days, days.outbox_days)
    )
    taken, refused = done.files(root / "done"), quarantine.refused(root / "quarantine")
    needed = {folders.taken_name(sha256) for sha256 in unsettled()} if taken or refused else set()
    kept = {path for path in (*taken, *refused) if path.name[: folders.TAKEN_DIGITS] in needed}
    attachments = [] if kept or _files(root / "inbox") else done.files(root / "inbox" / "attachments")
    return Swept(
        done.delete(path for path in (*taken, *attachments) if path not in kept),
        quarantine.delete(path for path in refused if path not in kept),
        outbox.delivered(root / "outbox"),
    )


async def keep_swept(
    root: Path,
    days: RetentionConfig,
    now_ms: Callable[[], int],
    unsettled: Callable[[], Collection[bytes]],
    own: OwnFiles,
) -> None:
    """Sweep now and every hour, until cancelled. What was deleted is logged as numbers: names may be of persons."""
    while True:
        try:
            swept = await asyncio.to_thread(sweep_folders, root, days, now_ms(), unsettled, own)
            if any(swept):
                _log.info("files that were kept long enough are deleted", **swept._asdict())
        except OSError as error:
            _log.error("files that were kept long enough stay", reason=error.strerror or type(error).__name__)
        except CaseExchangeError as error:
            _log.error("files that were kept long enough stay", reason=error.reason, remedy=error.remedy)
        await asyncio.sleep(_SWEEP_SECONDS)


class _Older:
    """The files of one folder that came into it before a time."""

    def __init__(self, now_ms: int, days: float, own: OwnFiles) -> None:
        self._own = own
        self._closed = 0
        self._before_ns = (now_ms - int(days * _DAY_MS)) * _MILLION if days > 0 else 0

    def files(self, folder: Path) -> list[Path]:
        return list(filter(self._is_old, _files(folder))) if self._before_ns else []

    def refused(self, folder: Path) -> list[Path]:
        """A file that came again has a new reason: so the newer of the two counts for both."""
        by_stem: dict[str, list[Path]] = {}
        for path in _files(folder) if self._before_ns else ():
            by_stem.setdefault(folders.refused_name(path), []).append(path)
        return [path for group in by_stem.values() if all(map(self._is_old, group)) for path in group]

    def delivered(self, folder: Path) -> int:
        """Delete records that are old, and what belongs to them. Returns how many files these were."""
        if not self._before_ns or not folder.is_dir():
            return 0
        found = [file for file in folders.delivered(folder) if _is_file(file.path)]
        records = [(file, folders.read_about(folder, file.kind, file.record_id)) for file in found]
        together = _Together()
        for file, about in records:
            together.join(file.record_id, *self._named(file, about))
        if self._closed:
            _log.warning(
                "records in outbox/ that nobody can open go with their own case",
                count=self._closed,
                remedy=AgeIdentityWrong.remedy,
            )
        staying = {
            together.of(file.record_id)
            for file, about in records
            if about is None or not about.case_id or not self._is_old(file.path)
        }
        stale = [file for file, _ in records if together.of(file.record_id) not in staying]
        # A word goes after what it speaks of: if the sweep ends in between, what was withdrawn must not be shown again.
        stale.sort(key=lambda file: file.kind in _WORDS)
        deleted = 0
        for file in stale:
            about_path = folders.about_path(folder, file.kind, file.record_id)
            deleted += _unlink(file.path) + _unlink(about_path)
        kept = [about for file, about in records if together.of(file.record_id) in staying]
        named = [about.attachments if about is not None else None for about in kept]
        if None not in named:
            needed = {name for names in named for name in names or ()}
            deleted += self.delete(
                path for path in _files(folder) if is_digest_name(plain_name(path)) and plain_name(path) not in needed
            )
        return deleted

    def delete(self, paths: Iterable[Path]) -> int:
        """Delete files that are old. One that came anew since it was looked at stays."""
        return sum(_unlink(path) for path in paths if self._is_old(path))

    def _named(self, file: folders.DeliveredFile, about: folders.About | None) -> Iterable[str]:
        """The case of a record, and the records that it names. Names of both are ids, and no two are the same."""
        names = {about.case_id, about.in_reply_to, about.supersedes} if about is not None else set()
        # Only an old one can be deleted before what it ends. It may name a record of another case.
        if file.kind in _SPEAKING and self._is_old(file.path):
            try:
                names |= {name.decode() for name in _NAMES.findall(self._own.read(file.path, _MOST_OF_A_RECORD))}
            except FileNotFoundError:
                pass
            except (AgeIdentityWrong, AgeFileInvalid):
                # The programs that show what is here cannot open it either. It must not hold the whole outbox for ever.
                self._closed += 1
        return names - {""}

    def _is_old(self, path: Path) -> bool:
        try:
            # The status changes when a file is renamed into its folder. Its content may be much older.
            return path.lstat().st_ctime_ns < self._before_ns
        except FileNotFoundError:
            return False


class _Together:
    """Which names belong together."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def join(self, first: str, *others: str) -> None:
        for other in others:
            self._above[self.of(other)] = self.of(first)

    def of(self, name: str) -> str:
        """One of the names that belong together with this one, the same for all of them."""
        path = [name]
        while (above := self._above.get(path[-1], path[-1])) != path[-1]:
            path.append(above)
        self._above.update(dict.fromkeys(path[:-1], path[-1]))
        return path[-1]


def _unlink(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        return True
    return False


def _files(folder: Path) -> list[Path]:
    """The files in a folder. If there is no such folder: none."""
    return [path for path in sorted(folder.iterdir()) if _is_file(path)] if folder.is_dir() else []


def _is_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
