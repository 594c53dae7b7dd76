from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from click import Group, Option
from click.testing import CliRunner, Result

from adapters.base import Limits
from adapters.national_dna_database.laboratory.commands import dna
from adapters.national_dna_database.laboratory.kinship.mutation import MutationModel
from adapters.records.record_json import ADAPTER as RECORD_JSON
from broker.core.errors import InputRefused
from caseexchange.records.v1 import dna_pb2
from synthetic.dna import TABLE_FILE, Population, str_profile, synthetic_table

if TYPE_CHECKING:
    from pathlib import Path

    from click import Command

assert isinstance(dna, Group)
TABLE = ("--frequencies", str(TABLE_FILE))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(dna, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def disclosed(tmp_path: Path) -> Path:
    """A family's profiles, as a laboratory discloses them."""
    people = Population(synthetic_table(), MutationModel(), Random(1))  # noqa: S311 - synthetic
    father, mother = people.stranger(), people.stranger()
    profiles = [
        str_profile("SYN-C", people.child(father, mother)),
        str_profile("SYN-F", father, role=dna_pb2.SAMPLE_ROLE_FATHER),
        str_profile("SYN-M", mother, role=dna_pb2.SAMPLE_ROLE_MOTHER),
        str_profile("SYN-S", people.stranger(), role=dna_pb2.SAMPLE_ROLE_FATHER),
    ]
    path = tmp_path / "disclosed.json"
    path.write_bytes(RECORD_JSON.encode(profiles, Limits()).content)
    return path


def facts(disclosed: Path, *arguments: str | Path) -> dict[str, Any]:
    result = run("check", *TABLE, "--child", "SYN-C", *arguments, "--json", disclosed)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


def notification(path: Path, found: dict[str, Any], *barcodes: str, **changes: Any) -> Path:
    match = dna_pb2.MatchNotification(
        match_id="SYN-1",
        stage=dna_pb2.MATCH_STAGE_CANDIDATE,
        relationship=dna_pb2.RELATIONSHIP_PARENT_CHILD,
        barcodes=barcodes,
        likelihood_ratio=changes.get("text", found["likelihood_ratio"]),
        log10_likelihood_ratio=changes.get("log10", found["log10_likelihood_ratio"]),
        loci_compared=found["loci_compared"],
        loci_mismatched=changes.get("mismatched", found["loci_mismatched"]),
    )
    match.search.frequency_table = changes.get("table", found["frequency_table"])
    match.search.mutation_model = found["mutation_model"]
    path.write_bytes(RECORD_JSON.encode([match], Limits()).content)
    return path


@pytest.mark.parametrize("command", dna.commands.values(), ids=dna.commands)
def test_every_command_explains_itself_with_an_example(command: Command) -> None:
    assert f"Example:  case-exchange dna {command.name}" in " ".join((command.help or "").split("\n"))
    assert all(option.help for option in command.params if isinstance(option, Option))


def test_a_figure_names_what_it_rests_on_and_shows_every_locus(disclosed: Path) -> None:
    found = facts(disclosed, "--father", "SYN-F")
    assert found["question"] == "parent"
    assert found["verdict"] == "supported"
    assert found["frequency_table"].startswith("synthetic-23, sha256 ")
    assert found["mutation_model"].startswith("stepwise, paternal 0.003111")
    assert "supported from 10000" in found["thresholds"]
    assert len(found["loci"]) == found["loci_compared"] == 23


def test_the_question_follows_from_who_is_given(disclosed: Path) -> None:
    both = ("--father", "SYN-F", "--mother", "SYN-M")
    couple, father, mother = (
        facts(disclosed, *both, *extra) for extra in ((), ("--undisputed", "mother"), ("--undisputed", "father"))
    )
    assert [item["question"] for item in (couple, father, mother)] == ["couple", "other parent", "other parent"]
    assert father["log10_likelihood_ratio"] != mother["log10_likelihood_ratio"]
    assert {item["verdict"] for item in (couple, father, mother)} == {"supported"}


def test_a_stranger_is_excluded_with_the_loci_that_speak_against_it(disclosed: Path) -> None:
    result = run("check", *TABLE, "--child", "SYN-C", "--father", "SYN-S", disclosed)
    assert result.exit_code == 0
    assert "verdict: excluded" in result.output
    assert result.output.count("against inheritance\n") >= 3


def test_another_mutation_model_gives_another_figure_and_says_so(disclosed: Path) -> None:
    equal = facts(disclosed, "--father", "SYN-F", "--mutation", "equal", "--paternal-rate", "0.01")
    assert equal["mutation_model"].startswith("equal, paternal 0.01,")
    assert equal["log10_likelihood_ratio"] != facts(disclosed, "--father", "SYN-F")["log10_likelihood_ratio"]


def test_a_notified_figure_is_confirmed(disclosed: Path, tmp_path: Path) -> None:
    match = notification(tmp_path / "match.json", facts(disclosed, "--father", "SYN-F"), "SYN-C", "SYN-F")
    result = run("check", *TABLE, "--child", "SYN-C", "--father", "SYN-F", "--match", match, disclosed)
    assert result.exit_code == 0
    assert result.output.endswith("as notified\n")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"text": "1e12", "log10": 12.0}, "the logarithm of the ratio"),
        ({"mismatched": 7}, "the loci against inheritance"),
        ({"table": "another"}, "the frequency table"),
    ],
)
def test_a_notified_figure_that_differs_is_named(
    disclosed: Path, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    found = facts(disclosed, "--father", "SYN-F")
    match = notification(tmp_path / "match.json", found, "SYN-C", "SYN-F", **changes)
    result = run("check", *TABLE, "--child", "SYN-C", "--father", "SYN-F", "--match", match, disclosed)
    assert result.exit_code == 1
    assert result.output.count("not as notified") == 1
    assert f"not as notified: {named}" in result.output


def test_a_notification_of_other_samples_is_not_compared_with(disclosed: Path, tmp_path: Path) -> None:
    match = notification(tmp_path / "match.json", facts(disclosed, "--father", "SYN-F"), "SYN-C", "SYN-S")
    with pytest.raises(InputRefused, match="0 notifications of these samples"):
        run("check", *TABLE, "--child", "SYN-C", "--father", "SYN-F", "--match", match, disclosed)


def test_a_barcode_that_the_files_do_not_hold_is_refused(disclosed: Path) -> None:
    with pytest.raises(InputRefused, match="0 profiles with the barcode SYN-X"):
        run("check", *TABLE, "--child", "SYN-C", "--father", "SYN-X", disclosed)


def test_a_sample_of_another_role_than_it_is_given_for_is_refused(disclosed: Path) -> None:
    with pytest.raises(InputRefused, match="SYN-M is a mother's, not a father's"):
        run("check", *TABLE, "--child", "SYN-C", "--father", "SYN-M", disclosed)


@pytest.mark.parametrize(
    "arguments",
    [(), ("--father", "SYN-C"), ("--father", "SYN-F", "--undisputed", "mother")],
    ids=["no parent", "own parent", "undisputed alone"],
)
def test_a_question_that_makes_no_sense_is_wrong_usage(disclosed: Path, arguments: tuple[str, ...]) -> None:
    assert run("check", *TABLE, "--child", "SYN-C", *arguments, disclosed).exit_code == 2


def test_a_file_without_profiles_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("nothing", encoding="utf-8")
    with pytest.raises(InputRefused, match="does not have a format that can hold a StrProfile"):
        run("check", *TABLE, "--child", "SYN-C", "--father", "SYN-F", path)
