"""The commands with which an agency makes, lists and destroys the identities of its own files."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from broker.cli.keys import keys
from broker.config.edge import load_edge
from broker.core.errors import AgeIdentityWrong, KeyInvalid
from broker.trust.agefiles import AgeSeal, identities, make_identity
from tests.support.pki import SamplePki
from tests.unit.broker.cli.test_keys import PROFILE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
def profile(pki: SamplePki, tmp_path: Path) -> Path:
    path, trust = tmp_path / "edge.toml", pki.folder.trust
    own, folder = pki.folder.member("shanxi-police"), f'encryption_keys = "{tmp_path / "keys"}"'
    text = PROFILE.format(own=own, trust=trust, directory=pki.folder.directory, folder=folder)
    path.write_text(f"{text}[retention]\ndone_days = 30\n")
    return path


def run(profile: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(keys, ["identity", *arguments, "--profile", str(profile)])
    return result.exit_code, result.output


def test_an_identity_is_made_listed_and_destroyed_and_each_command_says_what_becomes_unreadable(
    profile: Path, tmp_path: Path
) -> None:
    seal = AgeSeal(tmp_path / "keys")
    code, said = run(profile, "make")
    assert (code, "nothing becomes unreadable" in said) == (0, True)
    (first,) = re.findall(r"^([0-9a-f]{16}): made, age1", said, re.MULTILINE)
    sealed = seal.seal(b"x")
    code, said = run(profile, "make")
    (second,) = re.findall(r"^([0-9a-f]{16}): made, age1", said, re.MULTILINE)
    code, said = run(profile, "list")
    assert sorted(line.split()[0] for line in said.splitlines()) == sorted([first, second])
    assert [line.split()[1] for line in said.splitlines()] == ["seals", "opens,"]
    assert "SECRET" not in said
    # It says first what is lost, and does nothing without the word.
    code, said = run(profile, "destroy", first[:8])
    assert (code, "cannot be opened any more, for ever" in said, "add --confirm" in said) == (2, True, True)
    assert "go with their own case" in said
    assert seal.open(sealed) == b"x"
    code, said = run(profile, "destroy", first, "--confirm")
    assert (code, "destroyed" in said) == (0, True)
    with pytest.raises(AgeIdentityWrong):
        seal.open(sealed)
    code, said = run(profile, "destroy", second)
    assert "it is your only one" in said


def test_a_new_identity_is_the_one_that_seals_also_if_a_former_one_has_a_later_time(
    profile: Path, tmp_path: Path
) -> None:
    future = make_identity(tmp_path / "keys", datetime(2999, 1, 31, 8, tzinfo=UTC))
    _, said = run(profile, "make")
    (made,) = re.findall(r"^([0-9a-f]{16}): made", said, re.MULTILINE)
    assert [one.identity_id for one in identities(tmp_path / "keys")] == [made, future.identity_id]
    sealed = AgeSeal(tmp_path / "keys").seal(b"x")
    future.path.unlink()
    assert AgeSeal(tmp_path / "keys").open(sealed) == b"x"


def test_after_an_identity_of_the_end_of_time_none_is_made_that_would_not_seal(tmp_path: Path) -> None:
    make_identity(tmp_path / "keys", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    with pytest.raises(KeyInvalid, match="no later time"):
        make_identity(tmp_path / "keys", datetime(2026, 1, 31, tzinfo=UTC))
    assert len(list((tmp_path / "keys").iterdir())) == 1


def test_one_is_destroyed_only_by_enough_of_its_own_digits(profile: Path, tmp_path: Path) -> None:
    _, said = run(profile, "make")
    (made,) = re.findall(r"^([0-9a-f]{16}): made", said, re.MULTILINE)
    for wrong in (made[:7], "0" * 16, ""):
        code, said = run(profile, "destroy", wrong, "--confirm")
        assert (code, "give at least 8 digits" in said) == (2, True)
    assert len(list((tmp_path / "keys").glob("*.identity"))) == 1


def test_a_gateways_profile_with_its_retention_serves_every_command(profile: Path) -> None:
    assert load_edge(profile).agency.encryption_keys.name == "keys"
