"""An agency's own plain files, as its folders hold them: as they are, or sealed to the agency in the age format.

A sealed file has the suffix ``.age`` behind its name. Whatever is written sealed is never plain on the disk, also not
for a moment. What lies sealed in a folder is opened in memory only.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker.core.errors import AgeFileInvalid, AgeIdentityMissing
from broker.files import PRIVATE_FILE, read_file, replace_file
from broker.trust.agefiles import AgeSeal

if TYPE_CHECKING:
    from typing import BinaryIO

SEALED: Final = ".age"
_CHUNK: Final = 4096
"""A sealed file is larger by a header, below this, and by 16 bytes in 65,536: one in this many."""


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

    def read(self, path: Path, max_bytes: int) -> bytes:
        """The content of a file, sealed or not, of at most ``max_bytes``.

        Raises:
            OSError: it cannot be read; EFBIG if it is larger.
            AgeFileInvalid, AgeIdentityWrong, AgeIdentityMissing, KeyInvalid, ExtraMissing: it cannot be opened.
        """
        if not is_sealed(path):
            return read_file(path, max_bytes)
        content = self._age().open(read_file(path, _most_sealed(max_bytes)))
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

        Args:
            path: its name now.
            target: its name then, without ``.age``.
            file: the same file, if it is open, seekable.

        Raises:
            OSError: it cannot be moved. It stays where it was.
            AgeIdentityMissing, KeyInvalid, ExtraMissing: it cannot be sealed. The same holds.
        """
        # If another user laid it, its folder alone protects it.
        with contextlib.suppress(PermissionError):
            if file is None:
                path.chmod(PRIVATE_FILE)
            else:
                os.fchmod(file.fileno(), PRIVATE_FILE)
        if not self._seals or is_sealed(path):
            path.replace(sealed_path(target) if is_sealed(path) else target)
            return
        with path.open("rb") if file is None else contextlib.nullcontext(file) as plain:
            plain.seek(0)
            replace_file(sealed_path(target), functools.partial(self._age().seal_stream, plain))
        path.unlink()

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
