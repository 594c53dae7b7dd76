"""What a gateway has written into its outbox, as far as the notice board is concerned.

The gateway writes ``KIND-RECORD_ID.json`` (the adapter ``record-json``) after ``KIND-RECORD_ID.about.json``, both whole
or not at all, and acknowledges only then. What cannot be read is an issue, and the notices of its case are in doubt.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapters.base import IssueList, Limits, Source, kind_of
from adapters.public_notice.history import Filed
from adapters.records.record_json import ADAPTER as RECORD_JSON
from broker.core.errors import SetupInvalid
from broker.files import read_file

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.base import Issue, Record

_KINDS: Final = ("PublicNotice", "Correction", "Closure")
_ID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_NAME: Final = re.compile(rf"({'|'.join(_KINDS)})-({_ID})(\.[A-Za-z0-9.]+)")
_ABOUT: Final = ".about.json"
_MAX_ABOUT: Final = 1 << 20


class Outbox(NamedTuple):
    """The records that were found, the cases of those that could not be read, and why."""

    filed: tuple[Filed, ...]
    doubtful_cases: frozenset[str]
    issues: tuple[Issue, ...]


def read_outbox(folder: Path, limits: Limits) -> Outbox:
    """Read every notice, correction and closure in a gateway's outbox.

    Raises:
        SetupInvalid: no gateway has written anything into the folder, so it is no outbox, or not yet.
        OSError: the folder itself cannot be read.
    """
    issues = IssueList()
    filed: list[Filed] = []
    doubtful: set[str] = set()
    for path in sorted(folder.iterdir()):
        match = _NAME.fullmatch(path.name)
        if match is None or match[3] == _ABOUT:
            continue
        routing = _routing(folder / f"{match[1]}-{match[2]}{_ABOUT}", match[2], issues)
        found = _read(path, match[1], limits, issues) if match[3] == RECORD_JSON.suffix else None
        if match[3] != RECORD_JSON.suffix:
            issues.reject_file("FORMAT_NOT_READ", match[2], "the gateway's outbox_format is not record-json")
        if found is None:
            doubtful |= {routing.case_id} - {""}
        else:
            filed.append(Filed(found, match[2], *routing))
    if not filed and not issues.items and not any(folder.glob(f"*{_ABOUT}")):
        message = f"{folder} is no gateway's outbox: there is no file *{_ABOUT} in it"
        raise SetupInvalid(message)
    return Outbox(tuple(filed), frozenset(doubtful), tuple(issues.items))


class _Routing(NamedTuple):
    case_id: str
    publisher: str
    in_reply_to: str
    accepted_at_ms: int


def _read(path: Path, kind: str, limits: Limits, issues: IssueList) -> Record | None:
    record_id = path.name.removeprefix(f"{kind}-").removesuffix(RECORD_JSON.suffix)
    try:
        content = read_file(path, limits.bytes)
    except OSError:
        issues.reject_file("FILE_UNREADABLE", record_id, "the file cannot be read, or is too large")
        return None
    try:
        decoded = RECORD_JSON.decode(Source(content), limits)
    except Exception as defect:  # noqa: BLE001 - whatever it is, the others must be read
        issues.reject_file("ADAPTER_FAILED", record_id, f"the program failed on this record: {type(defect).__name__}")
        return None
    issues.add_within(record_id, decoded.issues)
    records = [item.record for item in decoded.records]
    if len(records) != 1 or kind_of(records[0]) != kind:
        issues.reject_file("FILE_UNREADABLE", record_id, f"the file does not hold one {kind}")
        return None
    return records[0]


def _routing(path: Path, record_id: str, issues: IssueList) -> _Routing:
    """Without them a record still counts; only what names its case cannot reach it."""
    facts: Any = None
    try:
        facts = json.loads(read_file(path, _MAX_ABOUT))
    except (OSError, ValueError, RecursionError):
        issues.warn("ROUTING_UNKNOWN", record_id, "the file beside it that names its case is missing or broken")
    known = facts if isinstance(facts, dict) else {}
    names = ("case_id", "publisher", "in_reply_to")
    case_id, publisher, in_reply_to = (value if isinstance(value := known.get(name), str) else "" for name in names)
    accepted = known.get("accepted_at_ms")
    return _Routing(case_id, publisher, in_reply_to, accepted if isinstance(accepted, int) else 0)
