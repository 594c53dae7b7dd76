from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner, Result

from adapters.base import Limits, Source
from adapters.folders import sender_of, write_about
from adapters.national_dna_database.laboratory.commands import dna
from adapters.national_dna_database.laboratory.kinship.mutation import MutationModel
from adapters.national_dna_database.laboratory.search.search import Added
from adapters.national_dna_database.laboratory.service import LaboratoryService
from adapters.ownfiles import OwnFiles
from adapters.records.record_json import ADAPTER as RECORD_JSON
from broker.core.errors import InputRefused, SetupInvalid
from broker.trust.agefiles import make_identity
from caseexchange.records.v1 import dna_pb2
from synthetic.dna import TABLE_FILE, Population, str_profile, synthetic_table
from tests.support.notices import about, record_id

TABLE = ("--frequencies", str(TABLE_FILE))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(dna, [str(argument) for argument in arguments], catch_exceptions=False)


def written(path: Path, *profiles: dna_pb2.StrProfile) -> Path:
    path.write_bytes(RECORD_JSON.encode(profiles, Limits()).content)
    return path


@pytest.fixture
def child_file(tmp_path: Path) -> Path:
    return written(tmp_path / "child.json", family()[0])


@pytest.fixture
def parents_file(tmp_path: Path) -> Path:
    return written(tmp_path / "parents.json", *family()[1:])


def family() -> tuple[dna_pb2.StrProfile, dna_pb2.StrProfile, dna_pb2.StrProfile]:
    people = Population(synthetic_table(), MutationModel(), Random(1))  # noqa: S311 - synthetic
    father, mother = people.stranger(), people.stranger()
    return (
        str_profile("SYN-C", people.child(father, mother)),
        str_profile("SYN-F", father, role=dna_pb2.SAMPLE_ROLE_FATHER, family="SYN-1"),
        str_profile("SYN-M", mother, role=dna_pb2.SAMPLE_ROLE_MOTHER, family="SYN-1"),
    )


def test_a_hit_is_written_for_the_gateway_and_the_police_re_compute_it(
    tmp_path: Path, child_file: Path, parents_file: Path
) -> None:
    base = ("--database", tmp_path / "lab.db", *TABLE)
    nothing = run("add", *base, "--out", tmp_path / "first.json", child_file)
    assert nothing.exit_code == 0
    (none,) = RECORD_JSON.decode(Source((tmp_path / "first.json").read_bytes()), Limits()).records
    assert isinstance(none.record, dna_pb2.NoMatchResult)
    hit = run("add", *base, "--out", tmp_path / "second.json", parents_file)
    assert "couple: SYN-C + SYN-F + SYN-M" in hit.output
    (match,) = RECORD_JSON.decode(Source((tmp_path / "second.json").read_bytes()), Limits()).records
    assert isinstance(match.record, dna_pb2.MatchNotification)
    people = ("--child", "SYN-C", "--father", "SYN-F", "--mother", "SYN-M")
    checked = run("check", *TABLE, *people, "--match", tmp_path / "second.json", child_file, parents_file)
    assert checked.exit_code == 0
    assert checked.output.endswith("as notified\n")
    other = run(
        "check", *TABLE, *people, "--mutation", "equal", "--match", tmp_path / "second.json", child_file, parents_file
    )
    assert other.exit_code == 1


def test_a_kept_sample_can_be_searched_with_again_and_withdrawn(
    tmp_path: Path, child_file: Path, parents_file: Path
) -> None:
    base = ("--database", tmp_path / "lab.db")
    kept = run("add", *base, *TABLE, "--no-search", child_file, parents_file)
    assert kept.exit_code == 0
    assert "3 profiles are new" in kept.output
    (found,) = json.loads(run("search", *base, *TABLE, "--json", "SYN-C").output)
    assert [item["question"] for item in found["supported"]] == ["couple"]
    (beside,) = json.loads(run("search", *base, *TABLE, "--json", "--known-parent", "SYN-M", "SYN-C").output)
    assert [item["question"] for item in beside["supported"]] == ["other parent"]
    assert run("withdraw", *base, "SYN-F").exit_code == 0
    assert run("withdraw", *base, "SYN-F").exit_code == 1
    with pytest.raises(InputRefused, match="no sample SYN-F"):
        run("search", *base, *TABLE, "SYN-F")


@pytest.mark.parametrize("command", [("search", *TABLE, "SYN-F"), ("withdraw", "SYN-F")], ids=["search", "withdraw"])
def test_a_mistyped_database_is_refused_and_none_is_made(tmp_path: Path, command: tuple[str, ...]) -> None:
    assert run(command[0], "--database", tmp_path / "lba.db", *command[1:]).exit_code == 2
    assert not list(tmp_path.iterdir())


def test_results_without_a_folder_are_refused_before_the_database_changes(tmp_path: Path, child_file: Path) -> None:
    with pytest.raises(SetupInvalid, match="is not a folder"):
        run("add", "--database", tmp_path / "lab.db", *TABLE, "--out", tmp_path / "missing" / "hits.json", child_file)
    assert not (tmp_path / "lab.db").exists()


def test_a_refused_profile_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    child, father, _ = family()
    father.category.value = "Forensic Mixture"
    result = run("add", "--database", tmp_path / "lab.db", *TABLE, written(tmp_path / "in.json", child, father))
    assert result.exit_code == 1
    assert "refused: SYN-F: more than one person's" in result.output
    assert "1 profiles are new, 1 refused" in result.output


def test_results_that_cannot_be_written_are_an_error(tmp_path: Path, child_file: Path) -> None:
    with pytest.raises(SetupInvalid, match="cannot be written"):
        run("add", "--database", tmp_path / "lab.db", *TABLE, "--out", tmp_path / "no" / "out.json", child_file)


# --- watching a folder ------------------------------------------------------------------------------------------------


def watch(folder: Path, results: Path, *more: str) -> Result:
    return run("watch", "--database", folder.parent / "lab.db", *TABLE, "--results", results, *more, folder)


def test_files_that_are_put_into_a_folder_are_taken_and_their_results_written(
    tmp_path: Path, child_file: Path, parents_file: Path
) -> None:
    folder, results = tmp_path / "typed", tmp_path / "inbox"
    folder.mkdir()
    child_file.replace(folder / "a.json")
    parents_file.replace(folder / "b.json")
    (folder / "a.about.json").write_text("{}", encoding="utf-8")
    (folder / ".unfinished.json").write_text("{", encoding="utf-8")
    assert watch(folder, results, "--once").exit_code == 0
    kinds = [
        type(item.record).__name__
        for path in results.iterdir()
        for item in RECORD_JSON.decode(Source(path.read_bytes()), Limits()).records
    ]
    assert sorted(kinds) == ["MatchNotification", "NoMatchResult"]
    assert sorted(path.name[:2] for path in (folder / "done").iterdir()) == ["a-", "b-"]
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == [".unfinished.json", "a.about.json"]


def test_no_agency_replaces_the_profile_of_another_with_the_same_barcode(tmp_path: Path) -> None:
    child, father, mother = family()
    people = Population(synthetic_table(), MutationModel(), Random(2))  # noqa: S311 - synthetic
    forged = str_profile("SYN-F", people.stranger(), role=dna_pb2.SAMPLE_ROLE_FATHER, family="SYN-1")
    outbox, results = tmp_path / "outbox", tmp_path / "inbox"
    outbox.mkdir()
    senders = ((child, "lab"), (father, "shanxi-police"), (mother, "shanxi-police"), (forged, "hebei-police"))
    for number, (profile, publisher) in enumerate(senders):
        path = written(outbox / f"StrProfile-{record_id(number)}.json", profile)
        known = about(profile, record_id(number), publisher=publisher)
        write_about(outbox, known)
        assert sender_of(path) == publisher
    assert watch(outbox, results, "--once", "--agency", "lab").exit_code == 0
    (found,) = json.loads(run("search", "--database", tmp_path / "lab.db", *TABLE, "--json", "SYN-C").output)
    (couple,) = found["supported"]
    assert (couple["child"], couple["father"], couple["mother"]) == (
        "SYN-C",
        "shanxi-police/SYN-F",
        "shanxi-police/SYN-M",
    )
    # Results that the gateway can route: by the number as its sender gave it.
    decoded = [RECORD_JSON.decode(Source(path.read_bytes()), Limits()) for path in results.iterdir()]
    references = {item.case_reference for file in decoded for item in file.records}
    assert references >= {"SYN-C", "hebei-police/SYN-F"}


def test_a_profile_of_which_the_gateways_own_file_is_lost_is_nobodys(tmp_path: Path) -> None:
    path = written(tmp_path / f"StrProfile-{record_id(1)}.json", family()[0])
    assert sender_of(path) == "unknown"
    assert sender_of(tmp_path / "typed.json") == ""


def test_a_file_taken_again_after_a_crash_is_kept_once_and_told_of_again_by_the_same_number(
    tmp_path: Path, child_file: Path, parents_file: Path
) -> None:
    folder, results = tmp_path / "typed", tmp_path / "inbox"
    numbers: list[set[str]] = []
    output = ""
    for _ in range(2):
        folder.mkdir(exist_ok=True)
        for path in (child_file, parents_file):
            (folder / path.name).write_bytes(path.read_bytes())
        output = watch(folder, results, "--once").output
        numbers.append(
            {
                item.record.match_id
                for path in results.iterdir()
                for item in RECORD_JSON.decode(Source(path.read_bytes()), Limits()).records
                if isinstance(item.record, dna_pb2.MatchNotification)
            }
        )
    assert "3 profiles" in output
    assert numbers[0] == numbers[1]
    assert len(numbers[0]) == 1


def test_what_cannot_be_used_is_put_aside_with_the_reason_and_what_can_is_searched(tmp_path: Path) -> None:
    folder, results = tmp_path / "typed", tmp_path / "inbox"
    folder.mkdir()
    child, father, _ = family()
    father.category.value = "Forensic Mixture"
    written(folder / "mixed.json", child, father)
    (folder / "other.txt").write_text("nothing", encoding="utf-8")
    assert watch(folder, results, "--once").exit_code == 0
    reasons = {
        path.name.split("-")[0]: json.loads(path.read_text(encoding="utf-8"))[0]["code"]
        for path in (folder / "quarantine").glob("*.reason.json")
    }
    assert reasons == {"mixed": "PROFILE_UNUSABLE", "other": "FORMAT_UNKNOWN"}
    assert len(list(results.iterdir())) == 1


def test_the_laboratory_runs_until_it_is_told_to_stop(tmp_path: Path, child_file: Path) -> None:
    folder, results = tmp_path / "typed", tmp_path / "inbox"
    folder.mkdir()
    command = Path(sys.executable).parent / "case-exchange"
    base = ("--database", str(tmp_path / "lab.db"), *TABLE, "--results", str(results), "--every", "0.1", str(folder))
    with subprocess.Popen([command, "dna", "watch", *base], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "laboratory on" in process.stdout.readline()
        child_file.replace(folder / "child.json")
        deadline = time.monotonic() + 30
        while not list((folder / "done").iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.terminate()
        assert process.wait(30) == 0
    assert len(list(results.iterdir())) == 1


class _DefectiveLaboratory:
    """Fails on its first file. No profile is known on which ours fails."""

    def __init__(self) -> None:
        self.added: list[dna_pb2.StrProfile] = []

    def add(self, profiles: list[dna_pb2.StrProfile], _: datetime) -> Added:
        if not self.added:
            self.added += profiles
            raise ZeroDivisionError(profiles[0].barcode)
        return Added((), (), ())


def test_a_file_on_which_the_program_fails_is_kept_aside_and_the_next_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "typed"
    service = LaboratoryService(_DefectiveLaboratory(), folder, tmp_path / "results", Limits())  # type: ignore[arg-type]
    for number, profile in enumerate(family()[:2]):
        written(folder / f"{number}.json", profile)
    assert service.take_all(datetime.now(UTC)) == 2
    (reason,) = (folder / "quarantine").glob("*.reason.json")
    assert json.loads(reason.read_text())[0]["code"] == "ADAPTER_FAILED"
    assert "SYN-" not in reason.read_text() + reason.name
    assert len(list((folder / "done").iterdir())) == 1


class _ReplacedMeanwhile:
    """A laboratory that takes so long that a newer file gets the same name. It knows every profile it was given."""

    def __init__(self, path: Path, newer: bytes) -> None:
        self._path = path
        self._newer = newer
        self.barcodes: list[str] = []

    def add(self, profiles: list[dna_pb2.StrProfile], _: datetime) -> Added:
        if not self.barcodes:
            self._path.with_name(".next").write_bytes(self._newer)
            self._path.with_name(".next").rename(self._path)
        self.barcodes += [profile.barcode for profile in profiles]
        return Added((), (), ())


@pytest.mark.parametrize("seals", [False, True])
def test_a_newer_file_of_the_same_name_is_read_too(tmp_path: Path, *, seals: bool) -> None:
    make_identity(tmp_path / "keys", datetime.now(UTC))
    folder, child, father = tmp_path / "typed", *family()[:2]
    newer = written(tmp_path / "newer", father).read_bytes()
    laboratory = _ReplacedMeanwhile(folder / "profiles.json", newer)
    own = OwnFiles(tmp_path / "keys", seals=seals)
    service = LaboratoryService(laboratory, folder, tmp_path / "results", Limits(), own=own)  # type: ignore[arg-type]
    written(folder / "profiles.json", child)
    for _ in range(2):
        service.take_all(datetime.now(UTC))
    assert laboratory.barcodes == ["SYN-C", "SYN-F"]
    assert [path.name for path in folder.iterdir() if path.is_file()] == []
    kept = {own.read(path, 1 << 20) for path in (folder / "done").iterdir()}
    assert newer in kept
