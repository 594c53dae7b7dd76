from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING

import pytest

from broker.files import PUBLIC_FILE, FileState, read_file, replace_file

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_replaced_whole_and_is_private_unless_said_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "key"
    replace_file(path, b"old")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = FileState.of(path)
    replace_file(path, b"new", PUBLIC_FILE)
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert FileState.of(path) != before
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "in the way"
    folder.mkdir()
    with pytest.raises(OSError, match="in the way"):
        replace_file(folder, b"new")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_file_is_read_up_to_its_bound_and_refused_beyond(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(bytes(10))
    assert read_file(path, 10) == bytes(10)
    with pytest.raises(OSError, match="large") as caught:
        read_file(path, 9)
    assert caught.value.errno == errno.EFBIG
