"""An agency's own files, plain and sealed: what is written, read, opened and moved, and what each fault is."""

from __future__ import annotations

import io
import os
import stat
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapters.folders import Folders, delivered, open_to_others, refused_name
from adapters.ownfiles import OwnFiles, is_sealed, put_back
from adapters.reading import Attachments
from broker.core.errors import AgeFileInvalid, AgeIdentityMissing
from broker.trust.agefiles import AgeSeal, make_identity

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
CONTENT = b"SYNTHETIC content"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    make_identity(tmp_path / "keys", NOW)
    return tmp_path / "keys"


def rights(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_sealed_file_takes_the_place_of_the_plain_one_and_the_other_way_round(tmp_path: Path, keys: Path) -> None:
    path, sealed = tmp_path / "a.json", tmp_path / "a.json.age"
    plain_files, files = OwnFiles(keys), OwnFiles(keys, seals=True)
    plain_files.write(path, CONTENT)
    assert (path.exists(), sealed.exists(), rights(path)) == (True, False, 0o600)
    files.write(path, CONTENT)
    assert (path.exists(), sealed.exists(), rights(sealed)) == (False, True, 0o600)
    assert CONTENT not in sealed.read_bytes()
    # Whether new files are sealed does not matter for those that are.
    assert plain_files.read(sealed, 100) == files.read(sealed, 100) == CONTENT
    plain_files.write(path, CONTENT)
    assert (path.exists(), sealed.exists()) == (True, False)


def test_what_is_sealed_is_never_plain_on_the_disk(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte that is written to a file descriptor is looked at, whatever the name of its file."""
    written = bytearray()
    fsync = os.fsync

    def looked_at(descriptor: int) -> None:
        file = Path(f"/proc/self/fd/{descriptor}").resolve()
        if file.is_file():
            written.extend(file.read_bytes())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", looked_at)
    files, source = OwnFiles(keys, seals=True), tmp_path / "in.csv"
    files.write(tmp_path / "a.json", CONTENT)
    source.write_bytes(CONTENT)
    with source.open("rb") as file:
        files.move(source, tmp_path / "done.csv", file)
    assert written.count(b"age-encryption.org/v1") == 2
    assert CONTENT not in written
    assert not source.exists()
    assert files.read(tmp_path / "done.csv.age", 100) == CONTENT


def test_a_file_that_is_moved_is_for_its_owner_alone_sealed_or_not(tmp_path: Path, keys: Path) -> None:
    for files, name in ((OwnFiles(), "plain.csv"), (OwnFiles(keys, seals=True), "plain.csv.age")):
        source = tmp_path / "in.csv"
        source.write_bytes(CONTENT)
        source.chmod(0o644)
        files.move(source, tmp_path / "plain.csv")
        assert rights(tmp_path / name) == 0o600
        assert files.read(tmp_path / name, 100) == CONTENT
    # One that came sealed goes as it is.
    laid = tmp_path / "laid.csv.age"
    laid.write_bytes(AgeSeal(keys).seal(CONTENT))
    before = laid.read_bytes()
    OwnFiles(keys, seals=True).move(laid, tmp_path / "taken.csv")
    assert (tmp_path / "taken.csv.age").read_bytes() == before


@pytest.mark.parametrize("opened", [False, True])
def test_a_plain_file_that_calls_itself_sealed_is_sealed_when_it_is_moved(
    tmp_path: Path, keys: Path, *, opened: bool
) -> None:
    files, laid = OwnFiles(keys, seals=True), tmp_path / "in.csv.age"
    laid.write_bytes(CONTENT)
    with laid.open("rb") as file:
        file.read()
        files.move(laid, tmp_path / "refused.csv", file if opened else None)
    assert not laid.exists()
    assert AgeSeal(keys).open((tmp_path / "refused.csv.age").read_bytes()) == CONTENT


def test_if_it_cannot_be_sealed_the_file_stays_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    files, source = OwnFiles(tmp_path / "keys", seals=True), tmp_path / "in.csv"
    source.write_bytes(CONTENT)
    with pytest.raises(AgeIdentityMissing):
        files.move(source, tmp_path / "done.csv")
    with pytest.raises(AgeIdentityMissing):
        files.write(tmp_path / "a.json", CONTENT)
    with pytest.raises(AgeIdentityMissing):
        files.check()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["in.csv"]


NEWER = b"SYNTHETIC newer content"


def replacing(path: Path) -> None:
    """What a program does that puts a newer file under the same name."""
    path.with_name(".next").write_bytes(NEWER)
    path.with_name(".next").rename(path)


class _ReplacedMeanwhile(io.FileIO):
    """A file whose name gets a newer file while this one is read."""

    def read(self, size: int | None = -1, /) -> bytes:
        path = Path(str(self.name))
        if path.stat().st_ino == os.fstat(self.fileno()).st_ino:
            replacing(path)
        return super().read(-1 if size is None else size) or b""


def test_a_newer_file_that_came_while_the_former_was_sealed_stays(tmp_path: Path, keys: Path) -> None:
    files, source = OwnFiles(keys, seals=True), tmp_path / "in.csv"
    source.write_bytes(CONTENT)
    with _ReplacedMeanwhile(source) as file:
        files.move(source, tmp_path / "done.csv", file)
    assert source.read_bytes() == NEWER
    assert files.read(tmp_path / "done.csv.age", 100) == CONTENT


def test_a_newer_file_that_came_before_the_former_was_moved_stays(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(CONTENT)
    with source.open("rb") as file:
        replacing(source)
        OwnFiles().move(source, tmp_path / "done.csv", file)
    assert source.read_bytes() == NEWER
    assert not (tmp_path / "done.csv").exists()


def at_the_last_moment(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Act after a file was looked at, and before it is taken away."""
    made = tempfile.mkdtemp

    def acting(**named: Any) -> str:
        act()
        return str(made(**named))

    monkeypatch.setattr(tempfile, "mkdtemp", acting)


@pytest.mark.parametrize("seals", [False, True])
def test_a_newer_file_that_comes_at_the_last_moment_gets_its_name_again(
    tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, *, seals: bool
) -> None:
    files, folder = OwnFiles(keys, seals=seals), tmp_path / "inbox"
    folder.mkdir()
    source = folder / "in.csv"
    source.write_bytes(CONTENT)
    at_the_last_moment(monkeypatch, lambda: replacing(source))
    with source.open("rb") as file:
        files.move(source, tmp_path / "done.csv", file)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("in.csv", NEWER)]


def test_what_a_crash_left_aside_gets_its_name_again_and_takes_no_others_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    source = folder / "in.csv"
    source.write_bytes(CONTENT)

    class CrashError(Exception):
        pass

    def crash(*_: object, **__: object) -> None:
        raise CrashError

    with monkeypatch.context() as broken, source.open("rb") as file:
        at_the_last_moment(broken, lambda: replacing(source))
        broken.setattr(os, "link", crash)
        with pytest.raises(CrashError):
            OwnFiles().move(source, tmp_path / "done.csv", file)
    assert not source.exists()
    # A still newer one has the name by now: the other waits until it is free.
    source.write_bytes(CONTENT)
    put_back(folder)
    assert source.read_bytes() == CONTENT
    source.unlink()
    put_back(folder)
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("in.csv", NEWER)]


def test_what_is_put_back_comes_from_no_folder_behind_a_link(tmp_path: Path, keys: Path) -> None:
    folder, before = tmp_path / "inbox", sorted(keys.iterdir())
    folder.mkdir()
    (folder / ".taking-linked").symlink_to(keys)
    (folder / ".taking-file").write_bytes(b"")
    put_back(folder)
    assert sorted(keys.iterdir()) == before
    assert sorted(path.name for path in folder.iterdir()) == [".taking-file", ".taking-linked"]


def test_a_file_that_cannot_be_linked_gets_its_name_again_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.csv"
    source.write_bytes(CONTENT)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refused)
    at_the_last_moment(monkeypatch, lambda: replacing(source))
    with source.open("rb") as file:
        OwnFiles().move(source, tmp_path / "done.csv", file)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("in.csv", NEWER)]


def test_a_plain_edge_needs_no_identity_and_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyrage", None)
    files = OwnFiles()
    files.check()
    files.write(tmp_path / "a.json", CONTENT)
    assert files.read(tmp_path / "a.json", 100) == CONTENT
    (tmp_path / "b.age").write_bytes(b"age-encryption.org/v1\n")
    with pytest.raises(AgeIdentityMissing, match="no key folder is named"):
        files.read(tmp_path / "b.age", 100)


def test_a_sealed_file_is_bounded_before_it_is_opened(tmp_path: Path, keys: Path) -> None:
    files, seal = OwnFiles(keys), AgeSeal(keys)
    for size in (0, 1 << 16, 1 << 20):
        assert len(files.opened(io.BytesIO(seal.seal(bytes(size))), size)) == size
    with pytest.raises(AgeFileInvalid, match="more than 1000 bytes"):
        files.opened(io.BytesIO(seal.seal(bytes(1 << 16))), 1000)
    large = tmp_path / "large.age"
    large.write_bytes(seal.seal(bytes(1 << 16)))
    with pytest.raises(OSError, match="File too large"):
        files.read(large, 1000)


def test_an_attachment_may_lie_there_sealed_and_one_that_does_not_open_is_missing(tmp_path: Path, keys: Path) -> None:
    (tmp_path / "a.png.age").write_bytes(AgeSeal(keys).seal(CONTENT))
    (tmp_path / "b.png.age").write_bytes(b"age-encryption.org/v1\n")
    assert Attachments(tmp_path, 100, OwnFiles(keys)).get("a.png") == CONTENT
    assert Attachments(tmp_path, 100, OwnFiles(keys)).get("b.png") is None
    assert Attachments(tmp_path, len(CONTENT) - 1, OwnFiles(keys)).get("a.png") is None
    assert Attachments(tmp_path, 100).get("a.png") is None


def test_names_mean_the_same_for_sealed_files(tmp_path: Path) -> None:
    found = Folders(tmp_path)
    path = found.outbox / "Tip-00000000-0000-7000-8000-000000000001.json.age"
    path.write_bytes(b"")
    (found.outbox / "Tip-00000000-0000-7000-8000-000000000001.about.json").write_bytes(b"{}")
    (only,) = delivered(found.outbox)
    assert (only.path, only.kind, only.suffix) == (path, "Tip", ".json")
    assert is_sealed(only.path)
    assert refused_name(found.quarantine / "ab.csv.age") == refused_name(found.quarantine / "ab.csv.reason.json")


def test_a_folder_that_others_can_open_is_named(tmp_path: Path) -> None:
    found = Folders(tmp_path)
    assert open_to_others(*found.all) == []
    found.outbox.chmod(0o750)
    assert open_to_others(*found.all) == [found.outbox]
