"""Write the report of a verification: what ``verify --report`` does."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from broker.bootstrap.reportfacts import report_facts
from broker.cli.report.view import View
from broker.cli.report.words import Words
from broker.core.errors import BundleInvalid, SetupInvalid
from broker.extras import needed
from broker.files import FileState, replace_file
from broker.trust.system import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.core.auditreport import AuditReport


class ReportFile:
    """A report that is to be written when its bundle is verified.

    Raises:
        ExtraMissing: Jinja2 is not installed.
        SetupInvalid: the file exists already.
    """

    def __init__(self, path: Path, language: str, bundle: Path) -> None:
        with needed():
            from broker.cli.report.page import page  # noqa: PLC0415 - only who wants a report needs Jinja2
        self._page = page
        self._path = path
        self._words = Words(language)
        self._bundle = bundle
        self._refuse_to_overwrite()
        self._state = FileState.of(bundle)

    def write(
        self, report: AuditReport, roots: tuple[Path, ...], brought: Sequence[Path], witness_policy: Path | None
    ) -> None:
        """Write the report of the bundle's verification.

        Args:
            report: what was found.
            roots: the pinned keys.
            brought: the files of receipts and checkpoints that were brought, and folders of checkpoints.
            witness_policy: the file of the witnesses, or None.

        Raises:
            BundleInvalid: the bundle changed meanwhile.
            SetupInvalid: the file exists by now, or cannot be written.
        """
        files = brought if witness_policy is None else (*brought, witness_policy)
        facts = report_facts(self._bundle, roots, brought=files, witness_policy=witness_policy)
        if FileState.of(self._bundle) != self._state:
            message = "the bundle changed while it was verified, so a report could be of another one"
            raise BundleInvalid(message)
        program = f"case-exchange {version('case-exchange')}"
        data = self._page(View(report, facts, self._words, SystemClock().now_ms(), program))
        self._refuse_to_overwrite()
        try:
            replace_file(self._path, data)
        except OSError as error:
            message = f"{self._path} cannot be written: {error.strerror}"
            raise SetupInvalid(message) from error

    def _refuse_to_overwrite(self) -> None:
        if self._path.exists() or self._path.is_symlink():
            message = f"{self._path} exists already; a report is evidence and is never overwritten"
            raise SetupInvalid(message)
