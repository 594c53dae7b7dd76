from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from lxml import etree

from adapters.public_notice import facts
from adapters.public_notice.noticeboard.command import noticeboard
from broker.core.errors import SetupInvalid
from caseexchange.records.v1 import notice_pb2
from tests.support.exhibits import exhibits
from tests.support.notices import closure, correction, drawing, file_into, filed, notice, photo, record_id

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    file_into(tmp_path / "outbox", *exhibits())
    return tmp_path


def run(folder: Path, *options: str) -> Result:
    arguments = ["--from", str(folder / "outbox"), "--to", str(folder / "site"), *options]
    return CliRunner().invoke(noticeboard, arguments)


def pictures(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*.jpg")}


def test_one_command_makes_the_site(folder: Path) -> None:
    result = run(folder, "--url", "https://notices.example")
    assert (result.exit_code, result.stdout.partition(";")[0]) == (0, "notices shown: 6, gone: 0")
    assert "https://notices.example/zh/notice/" in (folder / "site" / "zh" / "atom.xml").read_text()
    assert len(pictures(folder)) == 6


def test_the_pfif_feed_has_every_notice_by_its_number_and_of_one_that_is_gone_the_placeholder(folder: Path) -> None:
    run(folder, "--url", "https://notices.example", "--exercise")
    feed = etree.parse(folder / "site" / "pfif.xml").getroot()
    persons = {person.findtext("{*}person_record_id"): person for person in feed.iterfind("{*}person")}
    assert len(persons) == 6
    shown = persons[notice(1).notice_id]
    assert (shown.findtext("{*}photo_url") or "").startswith("https://notices.example/photos/")
    assert "Exercise" in (shown.findtext("{*}description") or "")
    assert all("NEVER-SHOWN" not in text for text in feed.itertext())
    file_into(folder / "outbox", filed(notice(1, "WITHDRAW"), 9, "case-0"))
    run(folder, "--url", "https://notices.example")
    persons = {
        person.findtext("{*}person_record_id"): person
        for person in etree.parse(folder / "site" / "pfif.xml").getroot().iterfind("{*}person")
    }
    gone = persons[notice(1).notice_id]
    fields = {etree.QName(field).localname for field in gone}
    assert fields == {"person_record_id", "entry_date", "expiry_date", "source_date"}


@pytest.mark.parametrize("number", range(3))
def test_after_one_more_run_a_child_who_is_home_is_nowhere_on_the_disk(folder: Path, number: int) -> None:
    run(folder)
    before = pictures(folder)
    assert any("寻找她的家人".encode() in path.read_bytes() for path in (folder / "site").rglob("*.html"))
    end = [
        filed(correction(record_id(0)), 9, "case-0"),
        filed(closure(), 9, "case-0"),
        filed(notice(1, "WITHDRAW"), 9, "case-0"),
    ][number]
    file_into(folder / "outbox", end)
    assert run(folder).stdout.startswith("notices shown: 5, gone: 1")
    assert len(before - pictures(folder)) == 1
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name != "outbox":
            assert "寻找她的家人".encode() not in path.read_bytes(), path


def test_what_is_left_out_is_named_and_ends_with_1(folder: Path) -> None:
    file_into(folder / "outbox", filed(notice(7, photos=[photo(drawing()[:900])]), 7))
    result = run(folder)
    assert result.exit_code == 1
    assert "PICTURE_BROKEN" in result.stderr
    assert "寻找" not in result.output


def test_a_withdrawn_child_comes_off_though_another_notice_cannot_be_rendered(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails: a text in a third language without a headline once did (KeyError)."""
    run(folder)
    third = [notice_pb2.LocalisedText(language="ug", text="SYN-THIRD")]
    file_into(folder / "outbox", filed(notice(8, texts=third), 8), filed(notice(1, "WITHDRAW"), 9, "case-0"))
    assert run(folder).stdout.startswith("notices shown: 6, gone: 1")
    appeal = facts.appeal

    def fails(item: notice_pb2.PublicNotice, language: str) -> facts.Appeal:
        if any(text.text == "SYN-THIRD" for text in item.texts):
            raise KeyError(language)
        return appeal(item, language)

    monkeypatch.setattr(facts, "appeal", fails)
    file_into(folder / "outbox", filed(notice(2, "WITHDRAW"), 10, "case-1"))
    result = run(folder)
    assert (result.exit_code, result.stdout.partition(";")[0]) == (1, "notices shown: 4, gone: 2")
    assert "ADAPTER_FAILED" in result.stderr


def test_a_folder_that_is_not_the_commands_own_is_left_alone(folder: Path) -> None:
    (folder / "site").mkdir()
    (folder / "site" / "letter").write_bytes(b"mine")
    result = run(folder)
    assert isinstance(result.exception, SetupInvalid)
    assert (folder / "site" / "letter").read_bytes() == b"mine"


def test_an_address_that_is_none_is_refused(folder: Path) -> None:
    assert isinstance(run(folder, "--url", "javascript:x").exception, SetupInvalid)


def test_a_folder_that_is_no_outbox_leaves_the_board_as_it_is(folder: Path) -> None:
    run(folder)
    before = pictures(folder)
    (folder / "other").mkdir()
    (folder / "other" / "notes.json").write_text("{}")
    result = CliRunner().invoke(noticeboard, ["--from", str(folder / "other"), "--to", str(folder / "site")])
    assert isinstance(result.exception, SetupInvalid)
    assert pictures(folder) == before
