from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from adapters.public_notice.noticeboard import folder as module
from adapters.public_notice.noticeboard.folder import replace_folder
from broker.core.errors import SetupInvalid


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def anywhere(folder: Path) -> set[bytes]:
    """What any file in or beside the site holds."""
    return {Path(base, name).read_bytes() for base, _, names in os.walk(folder.parent) for name in names}


def test_a_folder_holds_what_was_given_and_nothing_of_before(site: Path) -> None:
    replace_folder(site, {"index.html": b"one", "photos/child.jpg": b"a child", "a/b/c.html": b"deep"})
    assert tree(site) == {"index.html": b"one", "photos/child.jpg": b"a child", "a/b/c.html": b"deep"}
    replace_folder(site, {"index.html": b"two"})
    assert tree(site) == {"index.html": b"two"}
    assert anywhere(site) == {b"two", b""}


def test_everyone_may_read_it(site: Path) -> None:
    replace_folder(site, {"photos/x.jpg": b""})
    assert [path.stat().st_mode & 0o777 for path in (site, site / "photos", site / "photos/x.jpg")] == [
        0o755,
        0o755,
        0o644,
    ]


def test_an_empty_folder_that_was_made_for_it_is_taken(site: Path) -> None:
    site.mkdir()
    replace_folder(site, {"index.html": b""})
    assert site.is_symlink()


@pytest.mark.parametrize("what", ["folder", "link", "file"])
def test_what_somebody_else_put_there_is_not_replaced(site: Path, what: str) -> None:
    mine = site if what == "folder" else site.with_name("mine")
    mine.mkdir()
    (mine / "letter").write_bytes(b"mine")
    if what == "link":
        site.symlink_to("mine")
    if what == "file":
        site.write_bytes(b"mine")
    with pytest.raises(SetupInvalid):
        replace_folder(site, {"index.html": b""})
    assert (mine / "letter").read_bytes() == b"mine"


def test_a_site_whose_name_begins_the_same_is_left_alone(site: Path) -> None:
    other = site.with_name("site.board-abcdefgh")
    for folder in (other, site.with_name("sit"), site, other):
        replace_folder(folder, {"index.html": folder.name.encode()})
    assert [(folder / "index.html").read_bytes() for folder in (other, site)] == [b"site.board-abcdefgh", b"site"]


def test_what_a_killed_run_left_is_removed_by_the_next(site: Path) -> None:
    left = site.with_name(".site.board-abcdefgh")
    left.mkdir()
    (left / "child.jpg").write_bytes(b"a child")
    replace_folder(site, {"index.html": b""})
    assert anywhere(site) == {b""}


def test_a_run_that_fails_leaves_the_site_as_it_was_and_nothing_beside_it(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_folder(site, {"index.html": b"old"})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_point", full)
    with pytest.raises(OSError, match="No space"):
        replace_folder(site, {"index.html": b"new"})
    assert tree(site) == {"index.html": b"old"}
    assert anywhere(site) == {b"old", b""}


def test_two_runs_do_not_write_at_once(site: Path) -> None:
    with site.with_name(".site.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(SetupInvalid, match="another run"):
            replace_folder(site, {})


def test_a_folder_in_no_folder_is_refused(site: Path) -> None:
    with pytest.raises(SetupInvalid):
        replace_folder(site / "below", {})
