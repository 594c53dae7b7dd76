"""Folders that a program of an agency makes through the library, without the command that sets the umask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from adapters.edge.spool import Spool
from adapters.folders import Folders
from broker.messagelog.sqlite import ownerlock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def _open_umask() -> Iterator[None]:
    former = os.umask(0)
    yield
    os.umask(former)


MAKERS: dict[str, Callable[[Path], object]] = {
    "folders": Folders,
    "spool": lambda folder: Spool(folder / "spool.db").close(),
    "log": lambda folder: ownerlock.unlock(ownerlock.lock(folder / "log.db")),
}


@pytest.mark.usefixtures("_open_umask")
@pytest.mark.parametrize("maker", MAKERS)
def test_every_folder_that_is_made_is_private(tmp_path: Path, maker: str) -> None:
    MAKERS[maker](tmp_path / "a" / "b" / "c")
    made = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(made) >= 3
    assert {path.stat().st_mode & 0o777 for path in made} == {0o700}
