"""The one place where a file of any agency's format is read from disk: opened, hashed, told apart, decoded.

A format that is a ``StreamingAdapter`` is always read as a stream, so memory does not grow with its files. A file of
any other is read whole. What is larger than ``Limits.streamed_bytes`` or ``Limits.bytes`` is refused unread, and a file
that changes while it is read is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from adapters.base import DecodedRecord, Issue, Severity, Source, StreamingAdapter
from adapters.registry import SNIFFED_BYTES, head_of, is_workbook
from broker.core.errors import InputRefused

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    from adapters.base import Adapter, Limits

MAX_ISSUES: Final = 1_000
"""Issues of one file that are kept in full; of the rest, only how many there were of each code."""
_PIECE: Final = 1 << 20


class Further(NamedTuple):
    """How many issues of one sort came after those that were kept."""

    severity: Severity
    code: str
    times: int


class IssueLog:
    """The issues of a file, in memory that is bounded whatever the file holds.

    Attributes:
        kept: the first ``MAX_ISSUES`` in full, and the one that refused the file, if one did.
        rejected: whether the file as a whole was refused.
        refused: whether anything was: a record, or the file.
    """

    def __init__(self) -> None:
        self.kept: list[Issue] = []
        self.rejected = False
        self.refused = False
        self._further: Counter[tuple[Severity, str]] = Counter()

    def add(self, issue: Issue) -> None:
        """Take note of an issue."""
        self.rejected |= issue.severity is Severity.REJECT_FILE
        self.refused |= issue.refuses
        if len(self.kept) < MAX_ISSUES or issue.severity is Severity.REJECT_FILE:
            self.kept.append(issue)
        else:
            self._further[issue.severity, issue.code] += 1

    @property
    def further(self) -> tuple[Further, ...]:
        """What is not among the kept, counted; codes are fixed words, so these are few."""
        return tuple(Further(*sort, times) for sort, times in self._further.most_common())


class SourceFile:
    """A file that is open for reading.

    Attributes:
        head: what of it adapters are asked about (``registry.head_of``).
        sha256: of all of it; None where it is larger than anything that is read here, and was not read for that.
    """

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        """Read the file once, for its digest.

        Args:
            file: seekable; it has to stay open, and as it is, while records of it are read.
            limits: of which ``streamed_bytes`` is the most that is ever read of a file.

        Raises:
            OSError: it cannot be read.
        """
        self._file = file
        self._limits = limits
        self._stamp = _stamp(file)
        self._size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.head: Final = self._head()
        self.sha256: Final = self._digest() if self._size <= limits.streamed_bytes else None

    def detect(self, adapters: Iterable[Adapter]) -> Adapter | None:
        """The first of these adapters that takes the file for its own."""
        return next((found for found in adapters if found.sniff(self.head)), None)

    def items(self, found: Adapter, attachments: Mapping[str, bytes]) -> Generator[DecodedRecord | Issue, None, None]:
        """What an adapter tells of the file, in order. A REJECT_FILE issue is the last, and undoes all records.

        Raises:
            OSError: the file cannot be read.
        """
        for item in self._items(found, attachments):
            yield item
            if isinstance(item, Issue) and item.severity is Severity.REJECT_FILE:
                return
        if _stamp(self._file) != self._stamp:
            yield Issue(Severity.REJECT_FILE, "FILE_CHANGED", "file", "the file changed while it was read")

    def _items(self, found: Adapter, attachments: Mapping[str, bytes]) -> Iterator[DecodedRecord | Issue]:
        most = self._limits.streamed_bytes if isinstance(found, StreamingAdapter) else self._limits.bytes
        if self._size > most:
            yield Issue(Severity.REJECT_FILE, "FILE_TOO_LARGE", "file", f"larger than {most} bytes")
            return
        if isinstance(found, StreamingAdapter):
            yield from found.stream(self._file, attachments, self._limits)
            return
        self._file.seek(0)
        decoded = found.decode(Source(self._file.read(self._limits.bytes), attachments), self._limits)
        yield from decoded.issues
        yield from decoded.records

    def _head(self) -> bytes:
        beginning = self._file.read(SNIFFED_BYTES)
        whole = is_workbook(beginning) and self._size <= self._limits.bytes
        return head_of(beginning + self._file.read(self._size)) if whole else beginning

    def _digest(self) -> bytes:
        digest = hashlib.sha256()
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            digest.update(piece)
        return digest.digest()


class Attachments(Mapping[str, bytes]):
    """The files in a folder by name, read when asked for. No name leads out of the folder, and none makes it raise."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def __getitem__(self, name: str) -> bytes:
        if not is_file_name(name):
            raise KeyError(name)
        try:
            with _open(self._folder / name, follow=False) as file:
                content = file.read(self._max_bytes + 1)
        except OSError:
            raise KeyError(name) from None
        if len(content) > self._max_bytes:
            raise KeyError(name)
        return content

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def is_file_name(name: str) -> bool:
    """Whether a name, from a stranger's file perhaps, is that of a file in a folder: no path, no NUL, not too long."""
    plain = name not in {"", ".", ".."} and not any(mark in name for mark in "/\\\0")
    return plain and len(name.encode("utf-8", "surrogatepass")) <= 255  # noqa: PLR2004 - NAME_MAX of file systems


@contextlib.contextmanager
def open_source(path: Path, *, follow: bool = True) -> Iterator[BinaryIO]:
    """Open a file that somebody named.

    Raises:
        InputRefused: it cannot be opened or read. The message does not name it: its name may be a person's.
    """
    try:
        with _open(path, follow=follow) as file:
            yield file
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or type(error).__name__}"
        raise InputRefused(message) from error


def _open(path: Path, *, follow: bool) -> BinaryIO:
    # Not waiting for a pipe's other end: what is no regular file is refused, as a stream reads its file twice.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        message = "not a regular file"
        raise OSError(0, message)
    return file


def _stamp(file: BinaryIO) -> tuple[int, int] | None:
    """What differs once a file was written to; None of one that is in memory."""
    try:
        facts = os.fstat(file.fileno())
    except io.UnsupportedOperation:
        return None
    return facts.st_size, facts.st_mtime_ns
