"""An agency's own files, plain and sealed: what is written, read, opened and moved, and what each fault is."""

from __future__ import annotations

import io
import os
import stat
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adapters.folders import Folders, delivered, open_to_others, refused_name
from adapters.ownfiles import OwnFiles, is_sealed
from adapters.reading import Attachments
from broker.core.errors import AgeFileInvalid, AgeIdentityMissing
from broker.trust.agefiles import AgeSeal, make_identity

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
