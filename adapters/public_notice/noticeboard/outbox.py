"""Reads a gateway's outbox for the notice board.

The gateway writes ``KIND-RECORD_ID.json`` (the adapter ``record-json``) after ``KIND-RECORD_ID.about.json``. It writes
each whole or not at all, and only then acknowledges. A file that cannot be read is an issue, and the notices of its
case are not shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from adapters import folders
from adapters.base import IssueList, Limits, Source, kind_of
from adapters.folders import About
from adapters.ownfiles import OwnFiles
from adapters.public_notice.history import Filed
from adapters.records.record_json import ADAPTER as RECORD_JSON
from broker.core.errors import InputRefused, SetupInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from adapters.base import Issue, Record
    from adapters.folders import DeliveredFile

_KINDS: Final = ("PublicNotice", "Correction", "Closure")


class Outbox(NamedTuple):
    """The records, what is known of records that cannot be read, and of records that notices answer; and issues."""

    filed: tuple[Filed, ...]
    unreadable: tuple[About, ...]
    others: Mapping[str, About]
    issues: tuple[Issue, ...]


def read_outbox(folder: Path, limits: Limits, own: OwnFiles | None = None) -> Outbox:
    """Read every notice, correction and closure in a gateway's outbox.

    Args:
        folder: the outbox.
        limits: of each file.
        own: opens what is sealed. Without it nothing can be opened that is.

    Raises:
        SetupInvalid: no gateway has written anything into the folder, so it is not an outbox, or not yet. Or a file is
            sealed, and there is no identity to open any with: then the old site is better than one without notices.
        OSError: the folder itself cannot be read.
    """
    issues = IssueList()
    filed: list[Filed] = []
    unreadable: list[About] = []
    others: dict[str, DeliveredFile] = {}
    for file in folders.delivered(folder):
        if file.kind not in _KINDS:
            others[file.record_id] = file
            continue
        about = _about(folder, file, issues)
        found = _read(file, limits, issues, own or OwnFiles()) if file.suffix == RECORD_JSON.suffix else None
        if file.suffix != RECORD_JSON.suffix:
            issues.reject_file("FORMAT_NOT_READ", file.record_id, "the gateway's outbox_format is not record-json")
        if found is None:
            unreadable.append(about)
        else:
            filed.append(Filed(found, file.record_id, about))
    if not filed and not issues.items and not folders.is_outbox(folder):
        message = f"{folder} is not the outbox of a gateway: it has no file *.about.json"
        raise SetupInvalid(message)
    answered = (others[item.about.in_reply_to] for item in filed if item.about.in_reply_to in others)
    found_others = {file.record_id: _about(folder, file, issues) for file in answered}
    return Outbox(tuple(filed), tuple(unreadable), found_others, tuple(issues.items))


def _read(file: DeliveredFile, limits: Limits, issues: IssueList, own: OwnFiles) -> Record | None:
    try:
        content = own.read(file.path, limits.bytes)
    except InputRefused as error:
        issues.reject_file(error.reason, file.record_id, error.message)
        return None
    except OSError:
        issues.reject_file("FILE_UNREADABLE", file.record_id, "the file cannot be read, or is too large")
        return None
    try:
        decoded = RECORD_JSON.decode(Source(content), limits)
    except Exception as defect:  # noqa: BLE001 - whatever it is, the others must be read
        issues.reject_file(
            "ADAPTER_FAILED", file.record_id, f"the program failed on this record: {type(defect).__name__}"
        )
        return None
    issues.add_within(file.record_id, decoded.issues)
    records = [item.record for item in decoded.records]
    if len(records) != 1 or kind_of(records[0]) != file.kind:
        issues.reject_file("FILE_UNREADABLE", file.record_id, f"the file does not contain exactly one {file.kind}")
        return None
    return records[0]


def _about(folder: Path, file: DeliveredFile, issues: IssueList) -> About:
    """The routing fields. Without them a record still counts, but records that name its case cannot affect it."""
    known = folders.read_about(folder, file.kind, file.record_id)
    if known is None:
        issues.warn("ROUTING_UNKNOWN", file.record_id, "the file beside it that names its case is missing or broken")
    return known or About(record_id=file.record_id, kind=file.kind, case_id="", publisher="")
