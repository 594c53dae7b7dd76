"""The commands with which an agency makes, changes, ends and destroys its keys, and governance carries statements."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from broker.bootstrap.ownkeys import OwnKeys
from broker.cli.directory import directory
from broker.cli.keys import keys
from broker.cli.lostkeys import lost
from broker.core.encryptionkeys import ARCHIVE, P256, RECORDS
from broker.core.errors import (
    CaseExchangeError,
    ConfigInvalid,
    KeyHistoryBroken,
    KeyInvalid,
    KeyStatementInvalid,
)
from broker.trust.directory import open_directory, sign_directory
from broker.trust.directory_fields import rfc3339
from broker.trust.directory_payload import directory_payload
from broker.trust.hpke import HpkeWrapper
from broker.trust.keyfolder import FolderKeys, alone, entries
from broker.trust.keystatements import state_key
from certs.rights import HEBEI, SHANXI
from tests.support.pki import SamplePki

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.policy import Directory

PROFILE = """
[broker]
address = "broker.example:7443"
[agency]
certificate = "{own}/tls.pem"
key = "{own}/tls.key"
authorities = "{trust}/tls-ca.pem"
signing_certificate = "{own}/signing.pem"
signing_key = "{own}/signing.key"
{folder}
[trust]
governance_key = "{trust}/governance.pem"
directory = "{directory}"
signing_revocations = "{trust}/signing.crl"
"""


class Agency:
    """An agency with an empty key folder, in an exchange whose directory lists no key of it."""

    def __init__(self, pki: SamplePki, folder: Path) -> None:
        self.pki, self.tmp = pki, folder
        self.document, self.folder = folder / "directory.json", folder / "keys"
        police = replace(pki.directory.agency(SHANXI), encryption_keys=())
        self.write(replace(pki.directory, agencies={**pki.directory.agencies, SHANXI: police}))
        self.profile = self.profile_with(f'encryption_keys = "{self.folder}"')

    def profile_with(self, setting: str) -> Path:
        path, trust = self.tmp / "edge.toml", self.pki.folder.trust
        own = self.pki.folder.member(SHANXI)
        path.write_text(PROFILE.format(own=own, trust=trust, directory=self.document, folder=setting))
        return path

    def write(self, changed: Directory) -> None:
        self.document.write_bytes(sign_directory(directory_payload(changed), self.pki.governance_key))

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run ``case-exchange keys``. Return all that it says."""
        return invoke(keys, *arguments, "--profile", str(self.profile), code=code)

    def listed(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("list", "--json"))
        return found

    def state(self) -> list[tuple[str, str, bool, str]]:
        rows = self.listed()["keys"]
        return [(row["use"], row["state"], row["private_key"], row["directory"]) for row in rows]

    def ids(self, use: str = RECORDS) -> list[str]:
        return [entry.key.key_id.hex() for entry in entries(self.folder) if entry.key.use == use]

    def statements(self) -> list[Path]:
        return sorted(self.folder.glob("*.json"))

    def sign(self, *options: str, code: int = 0, payload: dict[str, Any] | None = None) -> str:
        """Governance signs the next version, from the payload of the one before."""
        former = open_directory(self.document.read_bytes(), self.pki.governance)
        content = json.loads(directory_payload(replace(former, version=former.version + 1)))
        path = self.tmp / "payload.json"
        path.write_text(json.dumps({**content, **(payload or {})}))
        key = str(self.pki.folder.governance_key)
        return invoke(directory, "sign", str(path), "--key", key, "--out", str(self.document), *options, code=code)

    def give(self) -> None:
        """Governance adds everything that the agency has stated."""
        self.sign(*(part for path in self.statements() for part in ("--key-statement", str(path))))

    def shown(self, *files: Path, code: int = 0) -> dict[str, Any]:
        root = str(self.pki.folder.trust / "governance.pem")
        options = ("--agency", SHANXI, "--root", root, "--json")
        found: dict[str, Any] = json.loads(invoke(directory, "keys", *map(str, files), *options, code=code))
        return found


def invoke(group: Any, *arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(group, arguments, catch_exceptions=True)
    if isinstance(done.exception, CaseExchangeError):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
def agency(pki: SamplePki, tmp_path: Path) -> Agency:
    return Agency(pki, tmp_path)


def test_the_first_keys_are_made_and_come_into_the_directory(agency: Agency) -> None:
    said = agency.run("make")
    assert said.startswith("nothing becomes unreadable\n")
    assert "for governance:" in said
    assert "for archive" in agency.run("archive", "--suite", P256, "--days", "1095")
    assert sorted(agency.state()) == [
        (ARCHIVE, "in force", True, "does not list it"),
        (RECORDS, "in force", True, "does not list it"),
    ]
    agency.give()
    assert {row[3] for row in agency.state()} == {"lists it"}
    opened = open_directory(agency.document.read_bytes(), agency.pki.governance)
    assert {key.key_id for key in opened.agency(SHANXI).encryption_keys} == set(FolderKeys(agency.folder).key_ids())
    for command in ("make", "archive"):
        assert "is in force already" in agency.run(command, code=2)


def test_a_rotation_overlaps_and_then_the_former_key_is_destroyed(agency: Agency) -> None:
    agency.run("make", "--suite", P256)
    agency.give()
    (first,) = agency.ids()
    said = agency.run("rotate", "--suite", P256, "--overlap-days", "5")
    assert "nothing becomes unreadable: the private file of the former key stays" in said
    assert f"{first}: nothing may be sealed to it from" in said
    assert [row[:2] for row in agency.state()] == [(RECORDS, "in force"), (RECORDS, "in force")]
    assert "2 keys for records are in force already" in agency.run("rotate", code=2)
    agency.give()
    assert {row[3] for row in agency.state()} == {"lists it"}
    # Publishers may still seal to it.
    assert "retire it first" in agency.run("destroy", first, "--confirm", code=2)
    agency.run("retire", first)
    assert "by the directory, publishers may still seal to this key" in agency.run("destroy", first, code=2)
    assert "lists it without the retirement here" in {row[3] for row in agency.state()}
    agency.give()
    entry = next(entry for entry in entries(agency.folder) if entry.key.key_id.hex() == first)
    wrap = HpkeWrapper().wrap(entry.key, bytes(32), b"a record")
    assert FolderKeys(agency.folder).unwrap(entry.key.key_id, wrap, b"a record") == bytes(32)
    said = agency.run("destroy", first, code=2)
    assert "what publishers sealed for shanxi-police to this key from" in said
    assert "what still opens it: the keys of other recipients, and the archive keys of the publishers" in said
    # A publisher seals each record to one key for records, so the other one opens nothing of it.
    assert not re.search("^your own", said, re.MULTILINE)
    assert "publishers that had an archive key at that time, by the directory: " in said
    assert "nothing was destroyed: add --confirm" in said
    assert entry.private_file.exists()
    assert "destroyed" in agency.run("destroy", first, "--confirm")
    assert list(agency.folder.glob(f"{first[:16]}.key")) == []
    assert agency.state()[0] == (RECORDS, "retired", False, "lists it")
    assert "there is nothing to destroy" in agency.run("destroy", first, "--confirm", code=2)


def test_it_is_said_of_an_archive_key_what_cannot_be_opened_any_more(agency: Agency) -> None:
    agency.run("archive", "--suite", P256)
    (key_id,) = agency.ids(ARCHIVE)
    said = agency.run("retire", key_id[:8])
    assert "no other key for archive is in force then: you cannot open again" in said
    agency.run("make", "--suite", P256)
    said = agency.run("destroy", key_id[:8], "--confirm")
    assert "what shanxi-police published from" in said
    assert "cannot be opened with its archive key any more" in said
    # The key for records opens only what others sealed for the agency.
    assert not re.search("^your own", said, re.MULTILINE)


def test_another_archive_key_of_that_time_opens_what_was_published_while_both_were_in_force(agency: Agency) -> None:
    agency.run("archive", "--suite", P256)
    (first,) = agency.ids(ARCHIVE)
    agency.run("rotate", "--use", ARCHIVE, "--suite", P256, "--overlap-days", "5")
    agency.run("make", "--suite", P256)
    own = OwnKeys.load(agency.profile)
    archive = {entry.key.key_id.hex(): entry.key for entry in own.entries() if entry.key.use == ARCHIVE}
    former = archive.pop(first)
    (newer,) = archive.values()
    # What the directory does not list, nobody seals to.
    assert [line for line in lost(own, former) if line.startswith("your own")] == []
    agency.give()
    both = f"from {rfc3339(newer.not_before_ms)} to {rfc3339(former.ends_at_ms)}"
    assert [line for line in lost(own, former) if line.startswith("your own")] == [
        f"your own archive key {newer.key_id.hex()[:16]} opens what shanxi-police published {both}"
    ]


def test_a_key_that_is_lost_or_not_the_agency_s_own_is_seen_and_retired(agency: Agency) -> None:
    agency.run("make", "--suite", P256)
    agency.give()
    (key_id,) = agency.ids()
    agency.folder.rename(agency.tmp / "lost")
    assert agency.listed()["not_here"] == [key_id]
    assert f"lists {key_id[:16]} as a key of shanxi-police, and it is not in this folder" in agency.run("list")
    assert "no other key for records is in force then: nobody can seal anything to you" in agency.run("retire", key_id)
    assert agency.state() == [(RECORDS, "retired", False, "lists it without the retirement here")]
    agency.run("make", "--suite", P256)
    agency.give()
    (shown, other) = agency.shown(agency.document)["keys"]
    assert (shown["key_id"], shown["retired_at"] is None, other["retired_at"]) == (key_id, False, None)


def test_keys_are_named_by_enough_digits_and_retired_for_a_time_to_come(agency: Agency) -> None:
    agency.run("make", "--suite", P256)
    (key_id,) = agency.ids()
    assert "1 of your keys have an id that begins with" in agency.run("retire", key_id[:7], code=2)
    assert "0 of your keys" in agency.run("retire", "0" * 64, code=2)
    assert "cannot be retired from a time in the past" in agency.run("retire", key_id, "--at", "2020-01-01", code=2)
    assert "need not be retired" in agency.run("retire", key_id, "--at", "2199-01-01", code=2)
    assert "no key for archive is in force" in agency.run("rotate", "--use", ARCHIVE, code=2)


def test_a_profile_without_a_key_folder_is_refused(agency: Agency) -> None:
    agency.profile_with("")
    with pytest.raises(ConfigInvalid, match="encryption_keys is not set"):
        agency.run("list")


def test_governance_carries_statements_on_and_cannot_take_one_back(agency: Agency) -> None:
    agency.run("make", "--suite", P256)
    agency.give()
    before = open_directory(agency.document.read_bytes(), agency.pki.governance).agency(SHANXI)
    # The payload has none of them. They are carried on.
    bare = json.loads(directory_payload(agency.pki.directory))["agencies"]
    for member in bare.values():
        member.pop("encryption_keys", None)
    agency.sign(payload={"agencies": bare})
    assert open_directory(agency.document.read_bytes(), agency.pki.governance).agency(SHANXI) == before
    # A new certificate is listed: the former one is kept as retired, and its statement counts.
    bare[SHANXI]["signing_certificates"] = json.loads(
        directory_payload(agency.pki.directory_with(SHANXI, [agency.pki.credential().der]))
    )["agencies"][SHANXI]["signing_certificates"]
    agency.sign(payload={"agencies": bare})
    after = open_directory(agency.document.read_bytes(), agency.pki.governance).agency(SHANXI)
    assert after.encryption_keys == before.encryption_keys
    assert len(after.retired_certificates) == 1
    # A statement with another end, signed rightly, is still another one than was seen.
    (key,) = before.encryption_keys
    other = replace(key, not_after_ms=key.not_after_ms + 1000, statement=b"")
    changed = state_key(other, agency.pki.directory.trust_domain, agency.pki.now_ms, agency.pki.signer())
    bare[SHANXI]["encryption_keys"] = [json.loads(changed.statement)]
    with pytest.raises(KeyHistoryBroken, match="changes the use or the times"):
        agency.sign(payload={"agencies": bare})


def test_governance_adds_nothing_that_the_agency_has_not_signed(agency: Agency) -> None:
    agency.run("make", "--suite", P256)
    (path,) = agency.statements()
    swapped = json.loads(path.read_text())
    signature = json.loads(agency.pki.directory.agency(HEBEI).encryption_keys[0].statement)["signatures"]
    path.write_text(json.dumps({**swapped, "signatures": signature}))
    with pytest.raises(KeyStatementInvalid, match="no signing certificate"):
        agency.sign("--key-statement", str(path))
    assert open_directory(agency.document.read_bytes(), agency.pki.governance).version == 1


def test_every_key_ever_stated_is_shown_and_what_a_version_took_back(agency: Agency) -> None:
    versions = [agency.tmp / "1.json"]
    versions[0].write_bytes(agency.document.read_bytes())
    agency.run("make", "--suite", P256)
    agency.give()
    versions.append(agency.tmp / "2.json")
    versions[1].write_bytes(agency.document.read_bytes())
    (key_id,) = agency.ids()
    found = agency.shown(*versions)
    assert found["versions"] == [1, 2]
    assert [(key["key_id"], key["first_version"], key["last_version"]) for key in found["keys"]] == [(key_id, 2, 2)]
    assert found["broken"] == []
    # Governance signs a version without it with another program.
    former = open_directory(versions[0].read_bytes(), agency.pki.governance)
    agency.write(replace(former, version=3))
    found = agency.shown(agency.document, *versions, code=1)
    assert [key["key_id"] for key in found["keys"]] == [key_id]
    assert [(one["version"], one["key_id"]) for one in found["broken"]] == [("3", key_id)]
    root = str(agency.pki.folder.trust / "governance.pem")
    text = invoke(directory, "keys", str(versions[1]), str(agency.document), "--agency", SHANXI, "--root", root, code=1)
    assert f"{key_id}  records, P256, from" in text
    assert "version 3: KEY_HISTORY_BROKEN: the directory leaves out" in text


def test_the_directory_shows_the_keys_in_force(agency: Agency) -> None:
    agency.run("make", "--suite", P256)
    agency.give()
    root = str(agency.pki.folder.trust / "governance.pem")
    shown = invoke(directory, "show", str(agency.document), "--root", root)
    assert f"  encryption key {agency.ids()[0][:16]} for records until " in shown


def test_two_rotations_at_once_make_one_key(agency: Agency) -> None:
    agency.run("make", "--suite", P256)
    with alone(agency.folder), pytest.raises(KeyInvalid, match="another command changes"):
        agency.run("rotate", "--suite", P256)
    assert len(agency.ids()) == 1


def test_a_retirement_that_the_directory_does_not_list_can_be_stated_again(agency: Agency) -> None:
    agency.run("make", "--suite", P256)
    agency.give()
    (key_id,) = agency.ids()
    agency.run("retire", key_id)
    # Governance signed another version meanwhile, so this retirement comes too late.
    agency.run("retire", key_id)
    agency.give()
    assert "need not be retired" in agency.run("retire", key_id, code=2)
