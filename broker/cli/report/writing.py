"""Write the report of a verification: what ``verify --report`` does."""

from __future__ import annotations

import stat
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from broker.bootstrap.brought import files_in
from broker.bootstrap.reportfacts import HashedFile, hashed_file, report_facts
from broker.cli.report.view import View
from broker.cli.report.words import Words
from broker.core.errors import BundleInvalid, SetupInvalid
from broker.extras import needed
from broker.files import FileState, make_file
from broker.trust.system import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.core.audit.report import AuditReport


class JudgedFiles(NamedTuple):
    """What a verification reads: the bundle, the pinned keys, what was brought (see ``files_in``), and a policy.

    ``directory`` and ``revocations`` may be newer than what the bundle has.
    """

    bundle: Path
    roots: tuple[Path, ...]
    brought: Sequence[Path] = ()
    witness_policy: Path | None = None
    directory: Path | None = None
    revocations: Sequence[Path] = ()

    @property
    def all_brought(self) -> list[Path]:
        """Every file and folder that the auditor brought."""
        one_of_each = (self.witness_policy, self.directory)
        return [*self.brought, *self.revocations, *(path for path in one_of_each if path is not None)]

    def beside(self) -> list[Path]:
        """Every file but the bundle.

        Raises:
            EvidenceFileInvalid: as ``files_in`` does.
        """
        return [*self.roots, *files_in(self.all_brought)]


class ReportFile:
    """A report that is to be written when its bundle is verified.

    ``digest`` is called with what ``verify_bundle`` has hashed.

    Raises:
        ExtraMissing: Jinja2 is not installed.
        SetupInvalid: the file exists already, has no folder, or what is to be verified is not a usual file.
        EvidenceFileInvalid: a folder has no checkpoint.
    """

    def __init__(self, path: Path, language: str, judged: JudgedFiles) -> None:
        with needed():
            from broker.cli.report.page import page  # noqa: PLC0415 - only who wants a report needs Jinja2
        self._page = page
        self._path = path
        self._words = Words(language)
        self._judged = judged
        self._verified = ""
        if not path.parent.is_dir():
            message = f"{path.parent} is not a folder; make it first"
            raise SetupInvalid(message)
        # ``make_file`` refuses it, too. But then the verification, which may take an hour, is done.
        if path.exists() or path.is_symlink():
            self._refuse_to_overwrite()
        self._before = self._state()

    def digest(self, sha256: str) -> None:
        """Take the SHA-256 (hexadecimal) of what was verified."""
        self._verified = sha256

    def write(self, report: AuditReport) -> None:
        """Write the report of the bundle's verification.

        Raises:
            BundleInvalid: the bundle, or a file beside it, changed meanwhile.
            SetupInvalid: the file exists by now, or cannot be written.
        """
        judged = self._judged
        facts = report_facts(
            judged.bundle,
            judged.roots,
            brought=judged.all_brought,
            witness_policy=judged.witness_policy,
            directory=judged.directory,
            revocation_lists=judged.revocations,
        )
        if facts.bundle.sha256 != self._verified or self._state() != self._before:
            message = (
                "the bundle, a key or what was brought changed while it was verified, so a report could be of another "
                "one; verify it again"
            )
            raise BundleInvalid(message)
        program = f"case-exchange {version('case-exchange')}"
        data = self._page(View(report, facts, self._words, SystemClock().now_ms(), program))
        try:
            make_file(self._path, data)
        except FileExistsError:
            self._refuse_to_overwrite()
        except OSError as error:
            message = f"{self._path} cannot be written: {error.strerror}"
            raise SetupInvalid(message) from error

    def _refuse_to_overwrite(self) -> NoReturn:
        message = f"{self._path} exists already; a report is evidence and is never overwritten"
        raise SetupInvalid(message)

    def _state(self) -> tuple[FileState, list[tuple[FileState, HashedFile]]]:
        """The bundle and the other files as they are now.

        Raises:
            SetupInvalid: one cannot be read, or could give other bytes to the next reader.
        """
        beside = self._judged.beside()
        for path in (self._judged.bundle, *beside):
            if path.exists() and not stat.S_ISREG(path.stat().st_mode):
                message = f"{path.name} is not a usual file, so a report cannot say what it was; copy it into one"
                raise SetupInvalid(message)
        try:
            return FileState.of(self._judged.bundle), [(FileState.of(path), hashed_file(path)) for path in beside]
        except OSError as error:
            message = f"a file cannot be read: {error.strerror}"
            raise SetupInvalid(message) from error
