"""The laboratory as a process: profiles come as files into one folder, results go as files into another.

Beside a gateway, the folder of results is the gateway's inbox. The profiles come from the laboratory's own system, or
from the outbox of a gateway. Put files in by renaming them.

A file is moved only after its profiles are durable and its results are written. After a crash in between, it is read
again: its profiles are kept once, and its results are written again, with the same match numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from datetime import timedelta
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from adapters import folders
from adapters.base import Limits, Source
from adapters.national_dna_database.laboratory.search.results import records_file
from adapters.ownfiles import OwnFiles, plain_name
from adapters.registry import detect
from adapters.retention import RetentionConfig, sweep_folders
from adapters.terminal import issue_facts
from broker.core.errors import InputRefused, SetupInvalid
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path
    from typing import Any, BinaryIO

    from adapters.national_dna_database.laboratory.search.search import Laboratory

_DIGEST_CHARACTERS: Final = 16
_SWEEP_EVERY: Final = timedelta(hours=1)


class LaboratoryService:
    """See the module. For one process.

    Raises (every method):
        OSError: a folder cannot be used.
        SetupInvalid: the database cannot be used. The file that was being read stays where it was.
    """

    def __init__(
        self,
        laboratory: Laboratory,
        profiles: Path,
        results: Path,
        limits: Limits,
        agency: str = "",
        *,
        keep_days: float = 0,
        own: OwnFiles | None = None,
    ) -> None:
        """Make the folders. ``agency``: see ``of_sender``. ``keep_days``: how long read files stay; 0: always.

        ``own`` opens what is sealed, and writes the results. Without it nothing is sealed.
        """
        self._own = own or OwnFiles()
        self._laboratory = laboratory
        self._profiles = profiles
        self._results = results
        self._limits = limits
        self._agency = agency
        self._retention = RetentionConfig(done_days=keep_days, quarantine_days=keep_days)
        self._swept: datetime | None = None
        self._done = profiles / "done"
        self._quarantine = profiles / "quarantine"
        folders.make(self._done, self._quarantine, results)

    def take_all(self, now: datetime, stopped: Callable[[], bool] = lambda: False) -> int:
        """Read every file that is in the folder now, until stopped. Returns how many were there.

        What was kept long enough is deleted first.
        """
        if self._swept is None or now - self._swept >= _SWEEP_EVERY:
            sweep_folders(self._profiles, self._retention, int(now.timestamp() * 1000))
            self._swept = now
        waiting = folders.waiting(self._profiles)
        for path in waiting:
            if stopped():
                break
            # It stays open until it is moved: then a newer file of the same name is never taken for it.
            with _opened(path) as file:
                try:
                    self._take(path, file, now)
                except (OSError, SetupInvalid):
                    raise
                except Exception as defect:  # noqa: BLE001 - whatever it is, the other files must be taken
                    name = f"{uuid.uuid4().hex}{PurePath(plain_name(path)).suffix}"
                    why = f"the program failed on this file: {type(defect).__name__}"
                    refused = [{"code": "ADAPTER_FAILED", "where": "file", "message": why}]
                    folders.write_reason(self._quarantine, name, refused)
                    self._own.move(path, self._quarantine / name, file)
        return len(waiting)

    def _take(self, path: Path, file: BinaryIO | None, now: datetime) -> None:
        content, refused = self._read(path, file)
        profiles: list[dna_pb2.StrProfile] = []
        if content is not None:
            found, issues = _decoded(content, self._limits)
            refused += issues
            profiles = [of_sender(profile, path, self._agency) for profile in found]
        added = self._laboratory.add(profiles, now)
        refused += [{"code": "PROFILE_UNUSABLE", "where": barcode, "message": why} for barcode, why in added.refused]
        digest = hashlib.sha256(content or b"").hexdigest()[:_DIGEST_CHARACTERS]
        if added.kept:
            results = [self._laboratory.search(barcode) for barcode in added.kept]
            self._own.write(self._results / f"dna-{digest}.json", records_file(results))
        plain = PurePath(plain_name(path))
        name = f"{plain.stem}-{digest}{plain.suffix}"
        if refused:
            folders.write_reason(self._quarantine, name, refused)
        # With one refused profile, the whole file goes to quarantine/, where somebody will look at it.
        self._own.move(path, (self._quarantine if refused else self._done) / name, file)

    def _read(self, path: Path, file: BinaryIO | None) -> tuple[bytes | None, list[dict[str, Any]]]:
        try:
            return self._own.read(path, self._limits.bytes, file), []
        except InputRefused as error:
            return None, [{"code": error.reason, "where": "file", "message": error.message}]
        except OSError as error:
            return None, [{"code": "FILE_UNREADABLE", "where": "file", "message": error.strerror or ""}]


def _opened(path: Path) -> contextlib.AbstractContextManager[BinaryIO | None]:
    """The file, open. None: it cannot be opened, and whoever reads it finds out why."""
    try:
        return path.open("rb")
    except OSError:
        return contextlib.nullcontext()


def of_sender(profile: dna_pb2.StrProfile, path: Path, agency: str) -> dna_pb2.StrProfile:
    """The profile, with its barcode and case number as AGENCY/NUMBER if a gateway received it from another agency.

    So no agency can replace another's profile, or put a sample into another's family. Returns the same message.

    Args:
        profile: is changed.
        path: the file that it comes from.
        agency: our own id. Our own numbers stay as they are.
    """
    sender = folders.sender_of(path)
    if sender not in {"", agency}:
        profile.barcode = f"{sender}/{profile.barcode}"
        profile.case_number = f"{sender}/{profile.case_number}" if profile.case_number else ""
    return profile


def _decoded(content: bytes, limits: Limits) -> tuple[list[dna_pb2.StrProfile], list[dict[str, Any]]]:
    adapter = detect(content)
    if adapter is None or "StrProfile" not in adapter.decodes:
        return [], [{"code": "FORMAT_UNKNOWN", "where": "file", "message": "the format does not carry profiles"}]
    decoded = adapter.decode(Source(content), limits)
    refused = [issue for issue in decoded.issues if issue.refuses]
    profiles = [item.record for item in decoded.records if isinstance(item.record, dna_pb2.StrProfile)]
    return profiles, issue_facts(refused)
