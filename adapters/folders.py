"""The folders through which an agency's programs exchange files, and the names of these files.

- ``inbox``: files to be taken in. The files that they refer to are under ``attachments``. Put a file in by renaming it.
  Names that programs give to partial uploads mean: not finished. Such a file waits until it is renamed.
- ``outbox``: delivered records, as ``KIND-RECORD_ID`` with the format's suffix. Before each, a file
  ``KIND-RECORD_ID.about.json`` is written: what the exchange knows about the record.
- ``done``: files that were taken in.
- ``quarantine``: files that were refused, each with a file ``NAME.reason.json``.

A file of any of them may be sealed (``ownfiles``): its name then ends with ``.age``. What lies beside it
(``.about.json``, ``.reason.json``) never is: it names ids, codes and places, and no content.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from adapters.base import RECORD_TYPES
from adapters.ownfiles import plain_name, put_back
from broker.files import FileState, make_private, read_file, replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.errors import CaseExchangeError

_UNFINISHED: Final = re.compile(r"[.~].*|.*(?:~|\.(?:crdownload|filepart|part|tmp))", re.DOTALL | re.IGNORECASE)
_ABOUT: Final = ".about.json"
_REASON: Final = ".reason.json"
ENVELOPE: Final = ".envelope"
"""The suffix of a record in a quarantine, as it was delivered, or as this agency signed it."""
TAKEN_DIGITS: Final = 32
_MAX_ABOUT: Final = 1 << 20
_ID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_DELIVERED: Final = re.compile(rf"({'|'.join(RECORD_TYPES)})-({_ID})(\.[A-Za-z0-9.]+)")


class Folders:
    """A gateway's folders. All are made, and only their owner can open them."""

    def __init__(self, root: Path) -> None:
        self.inbox: Final = root / "inbox"
        self.attachments: Final = self.inbox / "attachments"
        self.outbox: Final = root / "outbox"
        self.done: Final = root / "done"
        self.quarantine: Final = root / "quarantine"
        make(*self.all)

    @property
    def all(self) -> tuple[Path, ...]:
        """Every folder that holds files."""
        return self.inbox, self.attachments, self.outbox, self.done, self.quarantine


class DeliveredFile(NamedTuple):
    """A record in an outbox, with the parts of its file name. ``suffix`` is its format's, also if it is sealed."""

    path: Path
    kind: str
    record_id: str
    suffix: str


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What the exchange knows about a delivered record, and what its file does not hold of it.

    Attributes:
        accepted_at_ms: when the exchange accepted it; 0 where an earlier release wrote the file.
        corrects_of_others: the kinds of other agencies' records for which a Correction or Closure of this publisher
            counts, by the directory (``may_correct``). For records of its own publisher it always counts.
        not_obeyed: why this Correction or Closure does not count here, as a code; empty where it counts.
        supplement: the id of the supplement that the file was made from. Empty: of the record itself.
        withheld_sections: sections that this copy does not have: this agency has no right to them, or they were erased.
        erased_sections: those of them that the publisher had erased from the log, as the exchange says.
        not_carried: codes of the issues with which the file was written.
        attachments: names of the files beside it that it needs. None where an earlier release wrote the file.
    """

    record_id: str = ""
    kind: str = ""
    case_id: str
    publisher: str
    in_reply_to: str = ""
    supersedes: str = ""
    accepted_at_ms: int = 0
    corrects_of_others: tuple[str, ...] = ()
    not_obeyed: str = ""
    withheld_sections: tuple[str, ...] = ()
    erased_sections: tuple[str, ...] = ()
    not_carried: tuple[str, ...] = ()
    attachments: tuple[str, ...] | None = None
    supplement: str = ""

    def obeys(self, word: About) -> bool:
        """Whether a Correction or Closure counts for this record.

        If the agency's own file beside one of the two is lost, it counts: nobody else can remove such a file, and what
        was withdrawn must not be shown.
        """
        return "" in {self.publisher, word.publisher} or (
            word.publisher == self.publisher or self.kind in word.corrects_of_others
        )


def make(*folders: Path) -> None:
    """Make the folders that do not exist. Only their owner can open them."""
    for folder in folders:
        make_private(folder)


def open_to_others(*folders: Path) -> list[Path]:
    """Those of these folders that others than their owner can open: not made here, or changed since."""
    return [folder for folder in folders if stat.S_IMODE(folder.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)]


def waiting(folder: Path) -> dict[Path, FileState]:
    """The files in a folder that may be taken in, sorted by name: finished, no links, and no ``.about.json``.

    For the process that takes them.
    """
    put_back(folder)
    found: dict[Path, FileState] = {}
    for path in sorted(folder.iterdir()):
        if not _UNFINISHED.fullmatch(path.name) and not path.name.endswith(_ABOUT):
            # Its writer may remove it meanwhile.
            with contextlib.suppress(FileNotFoundError):
                if not path.is_symlink() and path.is_file():
                    found[path] = FileState.of(path)
    return found


class Inbox:
    """A folder into which other programs put files. For one task at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[Path, FileState] = {}

    def look(self) -> list[Path]:
        """The files that can be taken in: ``waiting``, and unchanged since the last look.

        Between two looks, leave the writer of a file time to go on.
        """
        former, self._seen = self._seen, waiting(self._folder)
        return [path for path, state in self._seen.items() if former.get(path) == state]


def delivered_path(outbox: Path, kind: str, record_id: str, suffix: str) -> Path:
    """The path of a delivered record."""
    return outbox / f"{kind}-{record_id}{suffix}"


def about_path(outbox: Path, kind: str, record_id: str) -> Path:
    """The path of what the exchange knows about a delivered record."""
    return delivered_path(outbox, kind, record_id, _ABOUT)


def delivered(outbox: Path) -> list[DeliveredFile]:
    """The records in an outbox, by name."""
    found = ((path, _DELIVERED.fullmatch(plain_name(path))) for path in sorted(outbox.iterdir()))
    return [DeliveredFile(path, *match.groups()) for path, match in found if match is not None and match[3] != _ABOUT]


def is_outbox(folder: Path) -> bool:
    """Whether a gateway has written anything into a folder."""
    return any(folder.glob(f"*{_ABOUT}"))


def write_about(outbox: Path, about: About) -> None:
    """Write what the exchange knows about a record, durably."""
    replace_file(about_path(outbox, about.kind, about.record_id), _json(msgspec.structs.asdict(about)))


def read_about(outbox: Path, kind: str, record_id: str) -> About | None:
    """What the exchange knows about a record, or None if the file is missing or cannot be read."""
    path = about_path(outbox, kind, record_id)
    try:
        return msgspec.json.decode(read_file(path, _MAX_ABOUT), type=About)
    except (OSError, ValueError, RecursionError):
        return None


def sender_of(path: Path) -> str:
    """The agency whose record a gateway wrote into this file. "" if no gateway wrote it.

    If the file beside it is lost, it is ``unknown``.
    """
    name = _DELIVERED.fullmatch(path.name)
    if name is None:
        return ""
    about = read_about(path.parent, name[1], name[2])
    return about.publisher if about is not None else "unknown"


def write_reason(quarantine: Path, name: str, facts: object) -> None:
    """Write why the file or record with this name was refused, durably."""
    replace_file(quarantine / f"{name}{_REASON}", _json(facts))


def set_refused_aside(quarantine: Path, name: str, refusal: CaseExchangeError, envelope: bytes) -> None:
    """Keep a record of this agency that was refused for good, as it was signed, and why, durably."""
    replace_file(quarantine / f"{name}{ENVELOPE}", envelope)
    write_reason(quarantine, name, {"reason": refusal.reason, "message": refusal.message, "remedy": refusal.remedy})


def refused_name(path: Path) -> str:
    """The name that a file in a quarantine has in common with its reason."""
    return plain_name(path).removesuffix(_REASON).removesuffix(ENVELOPE)


def taken_name(sha256: bytes) -> str:
    """The beginning of the name, in ``done`` or a quarantine, of the source file with this digest."""
    return sha256.hex()[:TAKEN_DIGITS]


def count_anew(folder: Path, sha256: bytes) -> None:
    """Let a source file look as if it had come into the folder now. If it is not there, nothing is done.

    Raises:
        OSError
    """
    for path in folder.glob(f"{taken_name(sha256)}*"):
        with contextlib.suppress(FileNotFoundError):
            state = path.lstat()
            # The times of its content stay. The one of its status is now.
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns), follow_symlinks=False)


def drop_reason(quarantine: Path, name: str) -> None:
    """Remove the reason, because the file came again and was taken in."""
    (quarantine / f"{name}{_REASON}").unlink(missing_ok=True)


def _json(facts: object) -> bytes:
    return json.dumps(facts, indent=1).encode() + b"\n"
