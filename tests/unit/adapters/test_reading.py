from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import pytest

from adapters.base import DecodedRecord, Issue, Limits, Severity, Source
from adapters.national_dna_database.cmf.adapter import ADAPTER as CMF
from adapters.ngo.pfif.adapter import ADAPTER as PFIF
from adapters.provincial_police.table.csv_adapter import ADAPTER as POLICE
from adapters.public_notice.cap.adapter import ADAPTER as CAP
from adapters.reading import MAX_ISSUES, Attachments, IssueLog, SourceFile, is_file_name, open_source
from broker.core.errors import InputRefused

ROOT = Path(__file__).parents[3]
INPUT = ROOT / "deploy" / "demo" / "input"
OUTSIDE = ("../secret", "/etc/hostname", "secret", "x" * 300, "a\0b", "..", ".", "a/../../secret", "..\\secret")


def items(found: object, content: bytes, limits: Limits | None = None) -> list[DecodedRecord | Issue]:
    return list(SourceFile(io.BytesIO(content), limits or Limits()).items(found, {}))  # type: ignore[arg-type] # adapters


def test_a_file_is_read_whole_where_its_format_is_no_stream() -> None:
    content = (INPUT / "missing-child.pfif.xml").read_bytes()
    whole = PFIF.decode(Source(content), Limits())
    assert items(PFIF, content) == [*whole.issues, *whole.records]


def test_a_file_that_is_too_large_to_be_read_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with open_source(path) as file:
        source = SourceFile(file, Limits())
        assert source.sha256 is None
        for found in (PFIF, CMF):
            (issue,) = source.items(found, {})
            assert isinstance(issue, Issue)
            assert (issue.severity, issue.code) == (Severity.REJECT_FILE, "FILE_TOO_LARGE")


def test_a_file_has_the_digest_of_all_its_bytes() -> None:
    content = b"x" * 5_000_000
    assert SourceFile(io.BytesIO(content), Limits()).sha256 == hashlib.sha256(content).digest()


@pytest.mark.parametrize("found", [CMF, PFIF], ids=["streamed", "whole"])
def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path, found: object) -> None:
    path = tmp_path / "growing"
    path.write_bytes((INPUT / ("profiles.cmf.xml" if found is CMF else "missing-child.pfif.xml")).read_bytes())
    with open_source(path) as file:
        told = SourceFile(file, Limits()).items(found, {})  # type: ignore[arg-type] # an adapter
        assert isinstance(next(told), DecodedRecord)
        with path.open("ab") as more:
            more.write(b" ")
        *_, last = told
    assert isinstance(last, Issue)
    assert (last.severity, last.code) == (Severity.REJECT_FILE, "FILE_CHANGED")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputRefused, match="not a regular file"), open_source(tmp_path / "pipe"):
        pass


def test_a_file_that_cannot_be_opened_is_refused_without_its_name(tmp_path: Path) -> None:
    with pytest.raises(InputRefused) as caught, open_source(tmp_path / "测试儿童"):
        pass
    assert "测试" not in caught.value.message


def test_a_link_is_not_followed_where_that_is_not_wanted(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(INPUT / "closure.json")
    with open_source(tmp_path / "link") as file:
        assert file.read(1) == b"{"
    with pytest.raises(InputRefused), open_source(tmp_path / "link", follow=False):
        pass


def test_issues_beyond_the_first_thousand_are_counted_by_code() -> None:
    log = IssueLog()
    for number in range(MAX_ISSUES):
        log.add(Issue(Severity.WARN, "A", f"line {number}", "words"))
    assert (log.refused, log.further) == (False, ())
    for _ in range(5):
        log.add(Issue(Severity.INFO, "A", "line 1", "words"))
        log.add(Issue(Severity.INFO, "A", "line 1", "words"))
        log.add(Issue(Severity.REJECT_RECORD, "B", "line 1", "words"))
    assert len(log.kept) == MAX_ISSUES
    assert log.further == ((Severity.INFO, "A", 10), (Severity.REJECT_RECORD, "B", 5))
    assert (log.refused, log.rejected) == (True, False)
    log.add(Issue(Severity.REJECT_FILE, "C", "file", "words"))
    assert log.kept[-1].code == "C"
    assert log.rejected


@pytest.mark.parametrize("name", [*OUTSIDE, "", "字" * 86, "\udcff" * 100])
def test_names_that_are_no_names_of_files_lead_nowhere(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "attachments"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    found = Attachments(folder, 100)
    assert found.get(name) is None
    assert found.get("link") is None


def test_names_of_files_are_read_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "照片.png").write_bytes(b"x" * 100)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    assert Attachments(tmp_path, 100)["照片.png"] == b"x" * 100
    assert Attachments(tmp_path, 99).get("照片.png") is None
    assert Attachments(tmp_path, 100).get("folder") is None
    assert Attachments(tmp_path, 100).get("pipe") is None
    assert is_file_name("字" * 85)


def pictures(folder: Path, name: str) -> list[int]:
    """How many pictures each of two formats reads, where a record names one so."""
    attachments = Attachments(folder, 1000)
    police = f"AJBH,AJLB,XM,XP\r\nSYN-1,1,测试,{name}\r\n".encode()
    resource = f"<resource><mimeType>image/png</mimeType><uri>{name}</uri></resource></info>".encode()
    cap = (ROOT / "adapters" / "public_notice" / "samples" / "child-notice.cap.xml").read_bytes()
    found = []
    for reader, content in ((POLICE, police), (CAP, cap.replace(b"</info>", resource, 1))):
        decoded = reader.decode(Source(content, attachments), Limits())
        assert decoded.records
        photos = [photo for item in decoded.records for photo in getattr(item.record, "photos", ())]
        found.append(sum(bool(photo.content) for photo in photos))
    return found


@pytest.mark.parametrize("name", [name for name in OUTSIDE if "\0" not in name])
def test_no_file_reaches_another_by_the_name_of_a_picture(tmp_path: Path, name: str) -> None:
    picture = b"\x89PNG\r\n\x1a\nsecret"
    (tmp_path / "secret").write_bytes(picture)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "near.png").write_bytes(picture)
    assert pictures(folder, "near.png") == [1, 1]
    assert pictures(folder, name) == [0, 0]
