"""The folders by which an agency's programs hand on files, and the names in them.

- ``inbox``: files to be taken in, and under ``attachments`` the files that they refer to. A file is put in by renaming
  it there; while its name begins with ``.`` or ``~``, it is not finished.
- ``outbox``: what was delivered, as ``KIND-RECORD_ID`` with the format's suffix. Beside it, and written first, stands
  ``KIND-RECORD_ID.about.json`` with what the exchange says of it.
- ``done``, ``quarantine``: the files that were taken in, and those that were refused. Beside what was refused stands
  ``NAME.reason.json``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapters.base import RECORD_TYPES
from broker.files import read_file, replace_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_UNFINISHED: Final = (".", "~")
_ABOUT: Final = ".about.json"
_REASON: Final = ".reason.json"
_MAX_ABOUT: Final = 1 << 20
_ID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_DELIVERED: Final = re.compile(rf"({'|'.join(RECORD_TYPES)})-({_ID})(\.[A-Za-z0-9.]+)")


class Folders:
    """A gateway's folders. All are made, for their owner alone."""

    def __init__(self, root: Path) -> None:
        self.inbox: Final = root / "inbox"
        self.attachments: Final = self.inbox / "attachments"
        self.outbox: Final = root / "outbox"
        self.done: Final = root / "done"
        self.quarantine: Final = root / "quarantine"
        make(self.attachments, self.outbox, self.done, self.quarantine)


class DeliveredFile(NamedTuple):
    """A record in an outbox, by the parts of its name."""

    path: Path
    kind: str
    record_id: str
    suffix: str


def make(*folders: Path) -> None:
    """Make folders that are not there yet, for their owner alone."""
    for folder in folders:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def waiting(folder: Path) -> list[Path]:
    """The files to be taken in that lie in a folder now, by name: finished, no links, no word about another file."""
    return [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith(_UNFINISHED)
        and not path.name.endswith(_ABOUT)
        and not path.is_symlink()
        and path.is_file()
    ]


def delivered_path(outbox: Path, kind: str, record_id: str, suffix: str) -> Path:
    """Where a record that was delivered is written."""
    return outbox / f"{kind}-{record_id}{suffix}"


def delivered(outbox: Path) -> list[DeliveredFile]:
    """The records in an outbox, by name."""
    found = ((path, _DELIVERED.fullmatch(path.name)) for path in sorted(outbox.iterdir()))
    return [DeliveredFile(path, *match.groups()) for path, match in found if match is not None and match[3] != _ABOUT]


def is_outbox(folder: Path) -> bool:
    """Whether a gateway has written anything into a folder."""
    return any(folder.glob(f"*{_ABOUT}"))


def write_about(outbox: Path, kind: str, record_id: str, facts: Mapping[str, object]) -> None:
    """Write what the exchange says of a record, durably."""
    replace_file(delivered_path(outbox, kind, record_id, _ABOUT), _json(facts))


def read_about(outbox: Path, kind: str, record_id: str) -> dict[str, Any] | None:
    """What the exchange says of a record; None where that is missing or cannot be read."""
    try:
        facts = json.loads(read_file(delivered_path(outbox, kind, record_id, _ABOUT), _MAX_ABOUT))
    except (OSError, ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None


def write_reason(quarantine: Path, name: str, facts: object) -> None:
    """Write why a file or record of this name was refused, durably."""
    replace_file(quarantine / f"{name}{_REASON}", _json(facts))


def drop_reason(quarantine: Path, name: str) -> None:
    """Remove the reason: the file came again, and was taken in."""
    (quarantine / f"{name}{_REASON}").unlink(missing_ok=True)


def _json(facts: object) -> bytes:
    return json.dumps(facts, indent=1).encode() + b"\n"
