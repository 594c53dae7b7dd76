"""From an agency's files to receipts: inbox, decode, validate, sign, spool, publish.

A source file is moved to done/ only after all of its records are signed in the spool (``intake``). Its records leave
the spool only with a receipt or a refusal for good. What is refused goes to quarantine/ with the reason beside it. Each
record of a file is taken in once. If the same bytes come again, after a profile was mended, only the refused records
are taken in.
"""

from __future__ import annotations

import contextlib
import io
import re
import threading
import uuid
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

import structlog

from adapters import folders
from adapters.base import Issue, Severity
from adapters.edge.sending import send_spooled
from adapters.folders import Folders
from adapters.gateway.intake import Intake, StoppedError
from adapters.ownfiles import is_sealed, plain_name
from adapters.reading import FILE_CHANGED, Attachments, Further, IssueLog, SourceFile, open_source
from adapters.registry import adapters_of
from broker.core.errors import (
    AgeFileInvalid,
    AgeIdentityWrong,
    CaseExchangeError,
    HardwareKeyUnavailable,
    InputRefused,
    SetupInvalid,
    SpoolUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from adapters.base import Limits
    from adapters.edge.edge import Edge
    from adapters.edge.profile import GatewayConfig, Route
    from adapters.edge.sending import Settled
    from broker.client.publisher import Published

_log = structlog.get_logger("adapters.gateway.outbound")
_SUFFIX: Final = re.compile(r"\.[A-Za-z0-9]{1,5}")


class TakenIn(NamedTuple):
    """The result of taking in a source file.

    Attributes:
        records: how many records were spooled.
        issues: the first issues (``IssueLog``).
        refused: whether the file or one of its records was refused.
        further: the counts of the issues that are not in ``issues``.
    """

    records: int
    issues: tuple[Issue, ...]
    refused: bool
    further: tuple[Further, ...] = ()


class Outbound:
    """Takes files in, and publishes the records in the spool. For one task at a time, except ``stop``."""

    def __init__(self, edge: Edge, config: GatewayConfig, routes: Mapping[str, Route], limits: Limits) -> None:
        self._edge = edge
        self._config = config
        self._limits = limits
        self._stopped = threading.Event()
        self._intake = Intake(edge, routes, self._stopped)
        self._formats = adapters_of(config.formats, config.mapping)
        self._own = edge.own_files
        self.folders: Final = Folders(config.folder)
        self._inbox = folders.Inbox(self.folders.inbox)

    def stop(self) -> None:
        """Take in nothing more. Any thread may call it.

        A file that is being read is undone at its next record, and stays. One that was read to its end is taken in:
        what is not signed of it yet is signed after the next start.
        """
        self._stopped.set()

    def take_inbox(self) -> int:
        """Take in every file of the inbox that has not changed since the last call. Returns how many.

        A file that cannot be read stays there, and so does one whose age identity is not in the key folder (yet).

        Raises:
            SpoolUnavailable
            HardwareKeyUnavailable: the signing key is away. Nothing is lost: call it again when it is back.
        """
        taken = 0
        with contextlib.suppress(StoppedError):
            self._resume()
        for path in self._inbox.look():
            try:
                taken += self._take_and_move(path)
            except StoppedError:
                break
            except (OSError, InputRefused, SetupInvalid) as error:
                # The file's name may be a person's name, so it is not logged.
                remedy = error.remedy if isinstance(error, SetupInvalid | AgeIdentityWrong) else None
                cause = type(error).__name__
                _log.error("a file of the inbox cannot be moved or read", cause=cause, remedy=remedy)
        return taken

    def take(self, file: BinaryIO | bytes, attachments: Mapping[str, bytes]) -> TakenIn:
        """Decode a file, and sign and spool its records: all that are good, or none.

        Memory does not grow with a file that is read as a stream. Meanwhile everything else uses the spool.

        Args:
            file: open, seekable, and unchanged until this returns; or the file's content.
            attachments: the files that it may refer to, by name.

        Raises:
            SpoolUnavailable: nothing of the file was spooled.
            OSError: the file cannot be read. Nothing of it was spooled.
        """
        self._resume()
        return self._take(SourceFile(io.BytesIO(file) if isinstance(file, bytes) else file, self._limits), attachments)

    async def publish_spooled(self) -> list[Published | CaseExchangeError]:
        """All results of ``publishing``, as a list."""
        return [settled.result async for settled in self.publishing()]

    async def publishing(self) -> AsyncIterator[Settled]:
        """Publish the records in the spool that may go now, oldest first, until there is none.

        Yields:
            The result of each record: a receipt, a refusal for good, or a refusal that time cures.

        Raises:
            CaseExchangeError: the broker cannot be reached, or cannot accept now. What has no receipt stays spooled.
        """
        async for settled in send_spooled(self._edge, self._set_aside, self._config.retry_seconds):
            yield settled

    def _take(self, source: SourceFile, attachments: Mapping[str, bytes]) -> TakenIn:
        log = IssueLog()
        if source.sha256 is not None and self._edge.spool.seen_source(source.sha256):
            log.add(Issue(Severity.INFO, "SOURCE_REPEATED", "file", "the same bytes were taken in before"))
            return TakenIn(0, tuple(log.kept), refused=False)
        count = 0
        try:
            count = self._take_records(source, attachments, log)
        except (SpoolUnavailable, HardwareKeyUnavailable, OSError, StoppedError):
            raise
        except Exception as error:  # noqa: BLE001 - an adapter's defect must not hold back the other files
            _log.error("the adapter failed", reason="ADAPTER_FAILED", cause=type(error).__name__)
            message = "the adapter failed on the file: report this defect with the file's digest"
            log.add(Issue(Severity.REJECT_FILE, "ADAPTER_FAILED", "file", message))
        return TakenIn(count, tuple(log.kept), log.refused, log.further)

    def _take_records(self, source: SourceFile, attachments: Mapping[str, bytes], log: IssueLog) -> int:
        found = source.detect(self._formats)
        if found is None:
            message = "the file has none of the profile's formats; archives are not unpacked"
            log.add(Issue(Severity.REJECT_FILE, "FORMAT_UNKNOWN", "file", message))
            return 0
        with contextlib.closing(source.items(found, attachments)) as items:
            return self._intake.take(source.sha256 or b"", items, log)

    def _resume(self) -> None:
        """Go on with what an earlier process had read to its end."""
        for file, count, log in self._intake.resume():
            taken = TakenIn(count, tuple(log.kept), log.refused, log.further)
            _log.info("the rest of a file taken in", count=count, reason=",".join(_codes(taken)))
            if taken.refused:
                folders.write_reason(self.folders.quarantine, folders.taken_name(file.sha256), _reason(taken))

    def _take_and_move(self, path: Path) -> bool:
        with open_source(path, follow=False) as file:
            taken, sha256 = self._taken(path, file)
            if FILE_CHANGED in _codes(taken):
                _log.info("a file changed while it was read, so it waits")
                return False
            # The file's name may be a person's name: it is not logged, and a refused file is kept without it.
            name = (uuid.uuid4().hex if sha256 is None else folders.taken_name(sha256)) + _suffix(path)
            if not taken.refused:
                _log.info("file taken in", count=taken.records, reason=",".join(_codes(taken)))
                # If the file came again, its refused records are taken in now.
                folders.drop_reason(self.folders.quarantine, name)
            else:
                _log.warning("file or records of it refused", count=taken.records, reason=",".join(_codes(taken)))
                folders.write_reason(self.folders.quarantine, name, _reason(taken))
            # A large file takes minutes. Meanwhile a newer file may have replaced it: that one stays.
            self._own.move(path, (self.folders.quarantine if taken.refused else self.folders.done) / name, file)
        return True

    def _taken(self, path: Path, file: BinaryIO) -> tuple[TakenIn, bytes | None]:
        """The result, and the digest of the content, if it could be read. A sealed file is opened in memory only.

        Raises:
            AgeIdentityWrong, AgeIdentityMissing, KeyInvalid, ExtraMissing: it may be opened later, so it waits.
        """
        try:
            content = io.BytesIO(self._own.opened(file, self._limits.bytes)) if is_sealed(path) else file
        except AgeFileInvalid as error:
            return TakenIn(0, (Issue(Severity.REJECT_FILE, error.reason, "file", error.message),), refused=True), None
        source = SourceFile(content, self._limits)
        return self._take(source, Attachments(self.folders.attachments, self._limits.bytes, self._own)), source.sha256

    def _set_aside(self, record_id: str, refusal: CaseExchangeError, envelope: bytes) -> None:
        # Its file may be the only place that has it, and waits for somebody who mends it.
        sha256 = self._edge.spool.holds.source_of(record_id)
        for folder in (self.folders.done, self.folders.quarantine):
            if sha256:
                folders.count_anew(folder, sha256)
        folders.set_refused_aside(self.folders.quarantine, record_id, refusal, envelope)


def _suffix(path: Path) -> str:
    """The ending of a file's name in plain, if it can only be a file type and nothing about a person."""
    suffix = PurePath(plain_name(path)).suffix
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def _codes(taken: TakenIn) -> list[str]:
    return sorted({item.code for item in taken.issues} | {item.code for item in taken.further})


def _reason(taken: TakenIn) -> dict[str, object]:
    issues = [
        {"severity": item.severity.value, "code": item.code, "where": item.locator, "message": item.message}
        for item in taken.issues
    ]
    further = [{"severity": item.severity.value, "code": item.code, "count": item.times} for item in taken.further]
    return {"records_published": taken.records, "issues": issues, "further_issues": further}
