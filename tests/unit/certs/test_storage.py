from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from broker.core.errors import SetupInvalid
from certs.storage import make_folder, write_private, write_public

if TYPE_CHECKING:
    from pathlib import Path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_file_is_its_owner_s_alone_even_where_it_replaces_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_private(path, b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", 0o600)


def test_a_public_file_can_be_read_by_all(tmp_path: Path) -> None:
    write_public(tmp_path / "a.pem", b"sample")
    assert mode(tmp_path / "a.pem") == 0o644


def test_new_folders_are_private_and_those_that_exist_stay_as_they_are(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    made = make_folder(tmp_path / "a" / "b")
    assert [mode(folder) for folder in (made, made.parent, tmp_path)] == [0o700, 0o700, 0o755]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(SetupInvalid, match="taken cannot be written"):
        write_private(tmp_path / "taken", b"sample")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]
    with pytest.raises(SetupInvalid):
        write_private(tmp_path / "missing" / "a.key", b"sample")
    write_public(tmp_path / "file", b"")
    with pytest.raises(SetupInvalid, match=r"the folder .* cannot be made"):
        make_folder(tmp_path / "file" / "below")
