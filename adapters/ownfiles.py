"""An agency's own plain files, as its folders hold them: as they are, or sealed to the agency in the age format.

A sealed file has the suffix ``.age`` behind its name. Whatever is written sealed is never plain on the disk, also not
for a moment. What lies sealed in a folder is opened in memory only.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker.core.errors import AgeFileInvalid, AgeIdentityMissing
from broker.files import PRIVATE_FILE, replace_file
from broker.trust.agefiles import AgeSeal, begins_sealed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

SEALED: Final = ".age"
_CHUNK: Final = 4096
"""A sealed file is larger by a header, below this, and by 16 bytes in 65,536: one in this many."""
_ASIDE: Final = ".taking-"
"""How the names of folders begin in which a file is looked at before it goes: nobody else puts one there."""


class OwnFiles:
    """See the module. Safe to call from any thread."""

    def __init__(self, key_folder: Path = Path(), *, seals: bool = False) -> None:
        """Open what is sealed with the identities of a key folder.

        Args:
            key_folder: an empty path: there is none, and nothing sealed can be opened.
            seals: whether what is written is sealed, to the newest identity.
        """
        self._seal = None if key_folder == Path() else AgeSeal(key_folder)
        self._seals = seals

    def check(self) -> None:
        """Find out, before there is anything to write, whether it can be sealed.

        Raises:
            AgeIdentityMissing, KeyInvalid, ExtraMissing: if it is to be sealed.
        """
        if self._seals:
            self._age().seal(b"")

    def write(self, path: Path, content: bytes) -> None:
        """Replace a file durably. If it is sealed, its name ends with ``.age``; the other form of it is removed.

        Raises:
            OSError: it cannot be written. The old file stays.
            AgeIdentityMissing, KeyInvalid, ExtraMissing: it cannot be sealed.
        """
        sealed = sealed_path(path)
        if self._seals:
            replace_file(sealed, self._age().seal(content))
        else:
            replace_file(path, content)
        (path if self._seals else sealed).unlink(missing_ok=True)

    def read(self, path: Path, max_bytes: int, file: BinaryIO | None = None) -> bytes:
        """The content of a file, sealed or not, of at most ``max_bytes``. ``file``: it is open, and read from there on.

        Raises:
            OSError: it cannot be read; EFBIG if it is larger.
            AgeFileInvalid, AgeIdentityWrong, AgeIdentityMissing, KeyInvalid, ExtraMissing: it cannot be opened.
        """
        most = _most_sealed(max_bytes) if is_sealed(path) else max_bytes
        with path.open("rb") if file is None else contextlib.nullcontext(file) as source:
            content = source.read(most + 1)
        if is_sealed(path) and len(content) <= most:
            content = self._age().open(content)
        if len(content) > max_bytes:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return content

    def opened(self, file: BinaryIO, max_bytes: int) -> bytes:
        """The content of a sealed file that is open for reading.

        Raises:
            OSError: it cannot be read.
            AgeFileInvalid: also if it is larger.
            AgeIdentityWrong, AgeIdentityMissing, KeyInvalid, ExtraMissing
        """
        most = _most_sealed(max_bytes)
        sealed = file.read(most + 1)
        content = self._age().open(sealed) if len(sealed) <= most else None
        if content is None or len(content) > max_bytes:
            message = f"a sealed file of more than {max_bytes} bytes is not opened in memory: lay it in plain"
            raise AgeFileInvalid(message)
        return content

    def move(self, path: Path, target: Path, file: BinaryIO | None = None) -> None:
        """Move a file to its place, sealed if it is to be. Nobody else can open it there.

        If a newer file has its name by now, that one stays.

        Args:
            path: its name now.
            target: its name then, without ``.age``.
            file: the same file, open and seekable. Without it, the one that has the name now is moved.

        Raises:
            OSError: it cannot be moved. It stays where it was, or gets its name again (``put_back``).
            AgeIdentityMissing, KeyInvalid, ExtraMissing: it cannot be sealed. The same holds.
        """
        # If another user laid it, its folder alone protects it.
        with contextlib.suppress(PermissionError):
            if file is None:
                path.chmod(PRIVATE_FILE)
            else:
                os.fchmod(file.fileno(), PRIVATE_FILE)
        place = sealed_path(target) if self._seals or is_sealed(path) else target
        if not self._seals and file is None:
            path.replace(place)
            return
        with path.open("rb") if file is None else contextlib.nullcontext(file) as source:
            # A file may be plain, whatever its name says.
            if not self._seals or (is_sealed(path) and begins_sealed(source)):
                _take_away(path, source, place)
            else:
                source.seek(0)
                replace_file(place, functools.partial(self._age().seal_stream, source))
                _take_away(path, source)

    def _age(self) -> AgeSeal:
        if self._seal is None:
            message = "no key folder is named, so nothing can be sealed or opened"
            raise AgeIdentityMissing(message)
        return self._seal


def is_sealed(path: Path) -> bool:
    """Whether a file is sealed, by its name."""
    return path.name.endswith(SEALED)


def sealed_path(path: Path) -> Path:
    """The name that a file has when it is sealed."""
    return path.with_name(path.name + SEALED)


def plain_name(path: Path) -> str:
    """The name that a file has in plain."""
    return path.name.removesuffix(SEALED)


def _most_sealed(max_bytes: int) -> int:
    return max_bytes + max_bytes // _CHUNK + _CHUNK


def put_back(folder: Path) -> None:
    """Give files that a crash left aside in a folder their names again. For the process that moves files out of it.

    What cannot be put back waits for a later call: also if another file has the name by now.
    """
    for aside in folder.glob(f"{_ASIDE}*"):
        with contextlib.suppress(OSError):
            _put_back(aside)


def _take_away(path: Path, file: BinaryIO, place: Path | None = None) -> None:
    """Move or remove a file, if it still has its name."""
    if not os.path.samestat(os.fstat(file.fileno()), path.lstat()):
        return
    # A newer file may get the name after this look. So what is taken away is looked at where no other file comes.
    aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=path.parent))
    try:
        with _folder(aside) as at:
            os.rename(path, path.name, dst_dir_fd=at)
            taken = os.stat(path.name, dir_fd=at, follow_symlinks=False)
            if not os.path.samestat(os.fstat(file.fileno()), taken):
                return
            if place is None:
                os.unlink(path.name, dir_fd=at)
            else:
                os.rename(path.name, place, src_dir_fd=at)
    finally:
        _put_back(aside)


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    """A folder, open. Who else can write beside it cannot make another one of it by a link."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _put_back(aside: Path) -> None:
    with _folder(aside) as at:
        for name in os.listdir(at):  # noqa: PTH208 - pathlib takes no descriptor
            path = aside.parent / name
            try:
                # Unlike a rename, a link never takes the place of another file.
                os.link(name, path, src_dir_fd=at, follow_symlinks=False)
            except FileExistsError:
                continue
            except OSError:
                # Not every file system has links, and not every user may link the files of another.
                if not os.path.lexists(path):
                    os.rename(name, path, src_dir_fd=at)
            else:
                os.unlink(name, dir_fd=at)
    with contextlib.suppress(OSError):
        aside.rmdir()
