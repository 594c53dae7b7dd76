"""Opens, hashes, detects and decodes a file of any agency format. Files of agencies are read from disk only here.

A ``StreamingAdapter`` always reads its files as a stream, so memory does not grow with the file. Other adapters read
the whole file. A file that is larger than ``Limits.streamed_bytes`` or ``Limits.bytes`` is refused without decoding.
A file that changes while it is read is refused too.
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
from adapters.ownfiles import OwnFiles, sealed_path
from adapters.registry import SNIFFED_BYTES, head_of, is_workbook
from broker.core.errors import CaseExchangeError, InputRefused

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    from adapters.base import Adapter, Limits

ADAPTER_FAILED: Final = "ADAPTER_FAILED"
FILE_CHANGED: Final = "FILE_CHANGED"
MAX_ISSUES: Final = 1_000
"""How many issues of one file are kept in full. The others are only counted by code."""
_PIECE: Final = 1 << 20


class Further(NamedTuple):
    """How many more issues with one severity and code there were, which are not kept."""

    severity: Severity
    code: str
    times: int


class IssueLog:
    """The issues of a file. The memory has a fixed limit, for any file.

    Attributes:
        kept: the first ``MAX_ISSUES`` in full, and the issue that refused the file, if there is one.
        rejected: whether the whole file was refused.
        refused: whether a record or the file was refused.
    """

    def __init__(self) -> None:
        self.kept: list[Issue] = []
        self.rejected = False
        self.refused = False
        self._further: Counter[tuple[Severity, str]] = Counter()

    def add(self, issue: Issue) -> None:
        """Add an issue."""
        self.rejected |= issue.severity is Severity.REJECT_FILE
        self.refused |= issue.refuses
        if len(self.kept) < MAX_ISSUES or issue.severity is Severity.REJECT_FILE:
            self.kept.append(issue)
        else:
            self._further[issue.severity, issue.code] += 1

    @property
    def further(self) -> tuple[Further, ...]:
        """The counts of the issues that are not kept. There are few, because codes are fixed words."""
        return tuple(Further(*sort, times) for sort, times in self._further.most_common())


class SourceFile:
    """A file that is open for reading.

    Attributes:
        head: the part that ``sniff`` gets (``registry.head_of``).
        sha256: the digest of the whole file, or None if the file is too large to be read.
    """

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        """Read the file once, for its digest.

        Args:
            file: seekable. It must stay open and unchanged while its records are read.
            limits: ``streamed_bytes`` is the largest file that is read at all.

        Raises:
            OSError: the file cannot be read.
        """
        self._file = file
        self._limits = limits
        self._stamp = _stamp(file)
        self._size = file.seek(0, io.SEEK_END)
        file.seek(0)
        self.head: Final = self._head()
        self.sha256: Final = self._digest() if self._size <= limits.streamed_bytes else None

    def detect(self, adapters: Iterable[Adapter]) -> Adapter | None:
        """The first of these adapters that takes the file for its own format, or None."""
        return next((found for found in adapters if found.sniff(self.head)), None)

    def items(self, found: Adapter, attachments: Mapping[str, bytes]) -> Generator[DecodedRecord | Issue, None, None]:
        """Yield an adapter's records and issues, in order. After a REJECT_FILE issue nothing follows or counts.

        Issue: ADAPTER_FAILED, if the adapter raises an exception.

        Raises:
            OSError: the file cannot be read.
        """
        try:
            for item in self._items(found, attachments):
                yield item
                if isinstance(item, Issue) and item.severity is Severity.REJECT_FILE:
                    return
        except OSError:
            raise
        except Exception as defect:  # noqa: BLE001 - an adapter's defect must not hold back other files
            # The exception's text may quote the file.
            message = f"the adapter failed ({type(defect).__name__}): report this defect with the file's digest"
            yield Issue(Severity.REJECT_FILE, ADAPTER_FAILED, "file", message)
            return
        if _stamp(self._file) != self._stamp:
            yield Issue(Severity.REJECT_FILE, FILE_CHANGED, "file", "the file changed while it was read")

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
    """The files in a folder, by name. A file is read when it is needed.

    A name that leads out of the folder, or that cannot be read, counts as missing. A file may be sealed instead, as
    ``NAME.age``. One that cannot be opened counts as missing, too.
    """

    def __init__(self, folder: Path, max_bytes: int, own: OwnFiles | None = None) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._own = own or OwnFiles()

    def __getitem__(self, name: str) -> bytes:
        if not is_file_name(name):
            raise KeyError(name)
        try:
            content = self._read(self._folder / name)
        except (OSError, CaseExchangeError):
            raise KeyError(name) from None
        if len(content) > self._max_bytes:
            raise KeyError(name)
        return content

    def _read(self, path: Path) -> bytes:
        with contextlib.suppress(FileNotFoundError), _open(path, follow=False) as file:
            return file.read(self._max_bytes + 1)
        with _open(sealed_path(path), follow=False) as file:
            return self._own.opened(file, self._max_bytes)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def is_file_name(name: str) -> bool:
    """Whether a name can be that of a file in a folder: no path, no NUL, not too long. Strangers may have chosen it."""
    plain = name not in {"", ".", ".."} and not any(mark in name for mark in "/\\\0")
    return plain and len(name.encode("utf-8", "surrogatepass")) <= 255  # noqa: PLR2004 - NAME_MAX of file systems


@contextlib.contextmanager
def open_source(path: Path, *, follow: bool = True) -> Iterator[BinaryIO]:
    """Open a file.

    Raises:
        InputRefused: it cannot be opened or read. The message leaves out the file's name, which may name a person.
    """
    try:
        with _open(path, follow=follow) as file:
            yield file
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or type(error).__name__}"
        raise InputRefused(message) from error


def _open(path: Path, *, follow: bool) -> BinaryIO:
    # O_NONBLOCK: do not wait for the other end of a pipe. Only regular files are allowed, because a stream reads twice.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        message = "not a regular file"
        raise OSError(0, message)
    return file


def _stamp(file: BinaryIO) -> tuple[int, int] | None:
    """Size and time of the last change, or None for a file in memory."""
    try:
        facts = os.fstat(file.fileno())
    except io.UnsupportedOperation:
        return None
    return facts.st_size, facts.st_mtime_ns
