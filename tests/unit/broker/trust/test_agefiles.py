"""Files that are sealed to an agency itself: what opens them, and what each fault is called."""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from broker.core.errors import AgeFileInvalid, AgeIdentityMissing, AgeIdentityWrong, ExtraMissing, KeyInvalid
from broker.trust.agefiles import AgeSeal, identities, make_identity

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
CONTENT = "SYNTHETIC 王小明 D3S1358 15,17".encode()


class _Raw(io.RawIOBase):
    """What a descriptor gives, whatever it is of: Python opens no folder as a file."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        data = os.read(self._descriptor, len(memoryview(buffer)))
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def folder_with(tmp_path: Path, name: str = "keys") -> Path:
    make_identity(tmp_path / name, NOW)
    return tmp_path / name


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 200_000])
def test_what_is_sealed_opens_whole_and_holds_no_plain_text(tmp_path: Path, size: int) -> None:
    seal, content = AgeSeal(folder_with(tmp_path)), (CONTENT * (size // len(CONTENT) + 1))[:size]
    sealed = seal.seal(content)
    assert seal.open(sealed) == content
    assert sealed.startswith(b"age-encryption.org/v1\n-> X25519 ")
    assert CONTENT not in sealed
    streamed = io.BytesIO()
    seal.seal_stream(io.BytesIO(content), streamed)
    assert seal.open(streamed.getvalue()) == content


def test_an_identity_is_for_its_owner_alone_and_says_what_it_is(tmp_path: Path) -> None:
    made = make_identity(tmp_path / "keys", NOW)
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700
    text = made.path.read_text()
    assert text.startswith(f"# created: 2026-01-31T08:00:00Z\n# public key: {made.recipient}\nAGE-SECRET-KEY-1")
    assert "AGE-SECRET-KEY" not in repr(made)
    assert made.path.name == f"{made.identity_id}.identity"


def test_new_files_are_sealed_to_the_newest_identity_and_all_of_them_open(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    old, seal = make_identity(folder, NOW), AgeSeal(folder)
    before = seal.seal(CONTENT)
    new = make_identity(folder, NOW + timedelta(days=30))
    after = seal.seal(CONTENT)
    assert [one.recipient for one in identities(folder)] == [new.recipient, old.recipient]
    assert [seal.open(each) for each in (before, after)] == [CONTENT, CONTENT]
    # One is destroyed: what was sealed to it is gone, and the rest is not.
    old.path.unlink()
    assert seal.open(after) == CONTENT
    with pytest.raises(AgeIdentityWrong, match="none of the 1 identities in keys opens it"):
        seal.open(before)


def test_an_identity_of_age_keygen_counts_by_its_time_in_any_zone(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    other = make_identity(tmp_path / "other", NOW)
    foreign = other.path.read_text().replace("2026-01-31T08:00:00Z", "2026-01-31T16:00:01+08:00")
    (folder / "laptop.identity").write_text(foreign)
    (folder / "laptop.identity").chmod(0o600)
    assert identities(folder)[0].path.name == "laptop.identity"


def test_without_an_identity_nothing_is_sealed_or_opened(tmp_path: Path) -> None:
    sealed = AgeSeal(folder_with(tmp_path)).seal(CONTENT)
    (tmp_path / "none").mkdir()
    with pytest.raises(AgeIdentityMissing):
        AgeSeal(tmp_path / "none").seal(CONTENT)
    with pytest.raises(AgeIdentityMissing):
        AgeSeal(tmp_path / "none").open(sealed)
    with pytest.raises(KeyInvalid):
        AgeSeal(tmp_path / "nowhere").open(sealed)


def test_what_is_sealed_to_another_agency_is_not_opened(tmp_path: Path) -> None:
    sealed = AgeSeal(folder_with(tmp_path, "theirs")).seal(CONTENT)
    with pytest.raises(AgeIdentityWrong):
        AgeSeal(folder_with(tmp_path)).open(sealed)


@pytest.mark.parametrize("size", [1, 65_537, 200_000])
def test_a_full_disk_is_told_as_what_it_is(tmp_path: Path, size: int) -> None:
    seal = AgeSeal(folder_with(tmp_path))
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(OSError, match="No space left") as told:
        seal.seal_stream(io.BytesIO(bytes(size)), full)
    assert told.value.errno == errno.ENOSPC


def test_a_file_that_cannot_be_read_is_told_as_what_it_is(tmp_path: Path) -> None:
    seal, folder = AgeSeal(folder_with(tmp_path)), os.open(tmp_path, os.O_RDONLY)
    with io.BufferedReader(_Raw(folder)) as source, pytest.raises(IsADirectoryError):
        seal.seal_stream(source, io.BytesIO())


def test_a_file_that_was_cut_at_any_place_or_changed_opens_not_even_in_part(tmp_path: Path) -> None:
    seal = AgeSeal(folder_with(tmp_path))
    sealed = seal.seal(CONTENT * 3000)
    header = sealed.index(b"\n---") + 60
    cuts = [*range(len(sealed) - 20, len(sealed)), *range(header), 65_600, 65_800]
    for cut in cuts:
        with pytest.raises((AgeFileInvalid, AgeIdentityWrong)):
            seal.open(sealed[:cut])
    for place in [*range(header), header + 40, len(sealed) - 1]:
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises((AgeFileInvalid, AgeIdentityWrong)):
            seal.open(bytes(changed))
    for more in (b"\0", sealed):
        with pytest.raises(AgeFileInvalid):
            seal.open(sealed + more)


def test_cut_changed_and_foreign_files_have_a_reason_that_says_so(tmp_path: Path) -> None:
    seal = AgeSeal(folder_with(tmp_path))
    sealed = seal.seal(CONTENT)
    with pytest.raises(AgeFileInvalid, match="cut or changed"):
        seal.open(sealed[:-1])
    for content in (b"", b"PK\x03\x04", b"age-encryption.org/v2\n", b"-----BEGIN AGE ENCRYPTED FILE-----\n"):
        with pytest.raises(AgeFileInvalid, match="not a file in the age format"):
            seal.open(content)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# created: 2026-01-31T08:00:00Z\n",
        "# created: yesterday\n{secret}\n",
        "# created: 2026-01-31T08:00:00\n{secret}\n",
        "{secret}\n",
        "# created: 2026-01-31T08:00:00Z\n{secret}\n{secret}\n",
        "# created: 2026-01-31T08:00:00Z\nAGE-SECRET-KEY-1QQQ\n",
        "# created: 2026-01-31T08:00:00Z\nAGE-SECRET-KEY-PQ-1QQQ\n",
    ],
)
def test_a_file_that_is_no_identity_is_told_without_its_content_and_closes_no_other(tmp_path: Path, text: str) -> None:
    folder, seal = folder_with(tmp_path), AgeSeal(tmp_path / "keys")
    sealed = seal.seal(CONTENT)
    secret = make_identity(tmp_path / "other", NOW).path.read_text().splitlines()[2]
    bad = folder / "bad.identity"
    bad.write_text(text.format(secret=secret))
    bad.chmod(0o600)
    with capture_logs() as logs:
        assert seal.open(sealed) == CONTENT
    (told,) = [line for line in logs if line["event"] == "an identity cannot be used"]
    assert told["reason"] == "KEY_INVALID"
    assert "SECRET" not in str(told)


def test_an_identity_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    next(folder.iterdir()).chmod(0o640)
    with capture_logs() as logs, pytest.raises(AgeIdentityMissing):
        AgeSeal(folder).seal(CONTENT)
    assert "accessible to others" in logs[0]["cause"]


def test_without_the_library_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_with(tmp_path)
    sealed = AgeSeal(folder).seal(CONTENT)
    monkeypatch.setitem(sys.modules, "pyrage", None)
    seal = AgeSeal(folder)
    with pytest.raises(ExtraMissing, match=r"case-exchange\[age\]"):
        seal.open(sealed)
    with pytest.raises(ExtraMissing):
        seal.seal(b"")
    with pytest.raises(ExtraMissing):
        make_identity(folder, NOW)
