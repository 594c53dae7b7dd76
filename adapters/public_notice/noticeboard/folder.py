"""Replaces the site's folder as a whole: a reader sees all of the old site or all of the new one.

The folder's name is a link. A run writes a new folder beside it (``.NAME.board-…``), points the link to it in one step,
and then removes every other such folder, also those of a run that was killed. So after a good run nothing is left on
the disk that is not in the site. The files are not forced to the disk one by one: after a power cut, the next run makes
them again.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from broker.core.errors import SetupInvalid
from broker.files import PUBLIC_FILE, sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PUBLIC_FOLDER: Final = 0o755


def replace_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a folder that contains these files, by their paths in it, and no others.

    Raises:
        SetupInvalid: something is there that is not a site of an earlier run, or another run is active.
        OSError: it cannot be written. The old content stays.
    """
    # normpath, because resolve() would follow the link that is to be replaced.
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - as said
    with _alone(folder):
        _check(folder)
        fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_prefix(folder)))
        try:
            _write(fresh, files)
            _point(folder, fresh)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        for other in list(folder.parent.iterdir()):
            if other.name != fresh.name and _is_ours(folder, other.name) and not other.is_symlink():
                shutil.rmtree(other)
        sync_folder(folder.parent)


def _prefix(folder: Path) -> str:
    return f".{folder.name}.board-"


def _is_ours(folder: Path, name: str) -> bool:
    """Whether a run made a folder for this site, and not for a site with a name that only begins the same."""
    return re.fullmatch(rf"{re.escape(_prefix(folder))}[a-z0-9_]{{8}}", name) is not None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a site's folder. Otherwise each of two runs would remove the other's files."""
    if not folder.parent.is_dir():
        message = f"{folder.parent} is not a folder"
        raise SetupInvalid(message)
    with (folder.parent / f".{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another run is writing {folder}"
            raise SetupInvalid(message) from error
        yield


def _check(folder: Path) -> None:
    """Refuse to replace anything that was not made here."""
    if folder.is_symlink():
        target = Path(os.readlink(folder))  # noqa: PTH115 - as text: where it leads need not exist
        if not _is_ours(folder, str(target)):
            message = f"{folder} is a link to something that this command did not make"
            raise SetupInvalid(message)
    elif folder.is_dir():
        try:
            folder.rmdir()
        except OSError as error:
            message = f"{folder} is a folder that this command did not make; name one that does not exist"
            raise SetupInvalid(message) from error
    elif folder.exists():
        message = f"{folder} is not a folder"
        raise SetupInvalid(message)


def _write(root: Path, files: Mapping[str, bytes]) -> None:
    folders = {root}
    for name, content in files.items():
        path = root / name
        for parent in reversed(path.relative_to(root).parents[:-1]):
            (root / parent).mkdir(exist_ok=True)
            folders.add(root / parent)
        with path.open("xb") as file:
            file.write(content)
            os.fchmod(file.fileno(), PUBLIC_FILE)
    for folder in folders:
        folder.chmod(_PUBLIC_FOLDER)


def _point(folder: Path, fresh: Path) -> None:
    link = fresh.parent / f"{fresh.name}.link"
    link.symlink_to(fresh.name)
    try:
        link.replace(folder)
    except BaseException:
        link.unlink(missing_ok=True)
        raise
