"""What agencies state of their encryption keys reaches everybody, is logged, and nobody on the way can take it back."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs
from structlog.testing import capture_logs

from adapters.edge.edge import open_edge
from adapters.edge.ownkeys import strange_keys
from broker.bootstrap.statedkeys import stated_keys
from broker.client.directories import directories_in_force
from broker.core.encryptionkeys import P256, RECORDS
from broker.core.errors import KeyHistoryBroken
from broker.core.policy import keys_in_force
from broker.trust.carriedkeys import with_statements
from broker.trust.directory import open_directory
from broker.trust.hpke import HpkeWrapper, PrivateEncryptionKey
from broker.trust.keyfolder import FolderKeys
from broker.trust.keystatements import state_key, state_retirement
from certs.development import KEY_FOLDER
from certs.rights import LAB, SHANXI, TRUST_DOMAIN
from tests.support.exchange import running_exchange
from tests.support.gateways import lab_profile
from tests.support.replays import replayed

if TYPE_CHECKING:
    from broker.core.encryptionkeys import EncryptionKey
    from broker.core.policy import Directory
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

COMMAND = Path(sys.executable).with_name("case-exchange")
DAY_MS = 86_400_000


class Versions:
    """The versions of the directory that governance signs, in the file that brokers and edges read."""

    def __init__(self, pki: SamplePki, folder: Path) -> None:
        self.pki, self.path = pki, folder / "directory.json"
        self.newest = pki.directory
        self.path.write_bytes(pki.directory.document)

    def sign(self, directory: Directory) -> bytes:
        """The next version."""
        self.newest = replace(directory, version=self.newest.version + 1)
        document = self.pki.sign(self.newest)
        # As governance's own program does it: whole or not at all.
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(document)
        fresh.replace(self.path)
        return document

    def rotated(self) -> tuple[bytes, EncryptionKey]:
        """Shanxi has another key, and the former one ends after a day."""
        now_ms, signer = self.pki.now_ms, self.pki.signer()
        (former,) = keys_in_force(self.newest.agency(SHANXI), now_ms)
        key = PrivateEncryptionKey.generate(P256).stated_as(SHANXI, RECORDS, now_ms, now_ms + 30 * DAY_MS)
        stated = state_key(key, TRUST_DOMAIN, now_ms, signer)
        ends = state_retirement(former, now_ms + DAY_MS, TRUST_DOMAIN, now_ms, signer)
        return self.sign(with_statements(self.newest, [stated.statement, ends.statement])), stated

    def without(self, *key_ids: bytes) -> Directory:
        """The newest version, without some keys of Shanxi."""
        police = self.newest.agency(SHANXI)
        left = tuple(key for key in police.encryption_keys if key.key_id not in key_ids)
        changed = replace(police, encryption_keys=left)
        return replace(self.newest, agencies={**self.newest.agencies, SHANXI: changed})


@pytest.fixture
def versions(pki: SamplePki, tmp_path: Path) -> Versions:
    return Versions(pki, tmp_path)


def run(*arguments: str | Path, code: int = 0) -> str:
    """Run the command as a program. Return all that it prints."""
    done = subprocess.run([COMMAND, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


async def in_force(exchange: Exchange, document: bytes) -> None:
    channel = await exchange.channel(LAB)
    async with asyncio.timeout(60):
        while await directories_in_force(channel) != [document]:  # noqa: ASYNC110 - the broker looks at its files
            await asyncio.sleep(0.05)


def test_the_key_folders_of_the_development_pki_open_what_is_sealed_by_its_directory(pki: SamplePki) -> None:
    for agency in pki.directory.agencies.values():
        for key in agency.encryption_keys:
            wrap = HpkeWrapper().wrap(key, bytes(32), b"a record")
            folder = FolderKeys(pki.folder.member(agency.id) / KEY_FOLDER)
            assert folder.unwrap(key.key_id, wrap, b"a record") == bytes(32)
            # The agency has made it. Nobody else has the file.
            others = [path for path in pki.folder.root.rglob("*.key") if path.stem == key.key_id.hex()[:16]]
            assert len(others) == 1


async def test_every_statement_is_in_the_audit_stream_and_a_bundle_shows_every_key_ever_stated(
    pki: SamplePki, versions: Versions, tmp_path: Path
) -> None:
    (former,) = keys_in_force(pki.directory.agency(SHANXI), pki.now_ms)
    async with running_exchange(pki, tmp_path / "log", trust={"directory": str(versions.path)}) as exchange:
        maker, publisher = exchange.maker(), await exchange.publisher()
        await publisher.publish(maker.make())
        document, stated = versions.rotated()
        await in_force(exchange, document)
        await publisher.publish(maker.make())
        bundle = await replayed(exchange, tmp_path / "rotated.bundle")
    assert bundle.report().findings == ()
    found = stated_keys([bundle.path], [bundle.root], SHANXI)
    assert (found.versions, found.broken) == ((1, 2), ())
    shown = {one.key.key_id: one for one in found.keys if one.key.use == RECORDS}
    assert set(shown) == {former.key_id, stated.key_id}
    assert (shown[former.key_id].first_version, shown[stated.key_id].first_version) == (1, 2)
    assert shown[former.key_id].key.retired_at_ms == pki.now_ms + DAY_MS
    # The statement is there as the agency signed it.
    assert shown[stated.key_id].key.statement == stated.statement
    options = ("--agency", SHANXI, "--root", bundle.root, "--json")
    done = await asyncio.to_thread(run, "directory", "keys", bundle.path, *options)
    said: dict[str, Any] = json.loads(done)
    assert {key["key_id"] for key in said["keys"] if key["use"] == RECORDS} == {one.hex() for one in shown}


async def test_a_broker_goes_on_without_a_version_that_takes_a_statement_back(
    pki: SamplePki, versions: Versions, tmp_path: Path
) -> None:
    trust = {"directory": str(versions.path)}
    async with running_exchange(pki, tmp_path / "log", trust=trust) as exchange:
        good, stated = versions.rotated()
        await in_force(exchange, good)
        with capture_logs() as logs:
            versions.sign(versions.without(stated.key_id))
            async with asyncio.timeout(60):
                while "KEY_HISTORY_BROKEN" not in [line.get("reason") for line in logs]:  # noqa: ASYNC110 - a log is a list
                    await asyncio.sleep(0.02)
        await in_force(exchange, good)
    # Nor does it come into force by a restart.
    with capture_logs() as logs:
        async with running_exchange(pki, tmp_path / "log", trust=trust) as exchange:
            await in_force(exchange, good)
            await (await exchange.publisher()).publish(exchange.maker().make())
    refused = [line for line in logs if line.get("reason") == "KEY_HISTORY_BROKEN"]
    assert refused[0]["agency"] == SHANXI
    assert refused[0]["key_id"] == stated.key_id.hex()


@pytest.mark.parametrize("restarts", [False, True])
async def test_an_edge_with_a_faulty_version_in_force_takes_up_the_one_that_mends_it(
    exchange: Exchange, versions: Versions, tmp_path: Path, *, restarts: bool
) -> None:
    profile = lab_profile(exchange, tmp_path, directory=str(versions.path))
    async with open_edge(profile) as edge:
        second, stated = versions.rotated()
        good = versions.newest
        # This edge misses the second version, and the third forgets what it says.
        faulty = versions.sign(versions.without(stated.key_id))
        edge.reload_trust()
        assert edge.directory.latest.document == faulty
        with capture_logs() as logs:
            edge.directories.note(second)
        assert [(line["reason"], line["version"]) for line in logs] == [("KEY_HISTORY_BROKEN", "3")]
        edge.directories.from_seen(edge.clock.now_ms())
        if not restarts:
            mended = versions.sign(replace(good, version=3))
            edge.reload_trust()
            assert edge.directory.latest.document == mended
            return
    with capture_logs() as logs:
        async with open_edge(profile) as edge:
            assert edge.directory.latest.document == faulty
    assert "KEY_HISTORY_BROKEN" in [line.get("reason") for line in logs]
    mended = versions.sign(replace(good, version=3))
    async with open_edge(profile) as edge:
        assert edge.directory.latest.document == mended
    async with open_edge(profile) as edge:
        assert edge.directory.latest.document == mended


async def test_an_edge_alarms_and_stays_with_the_version_that_it_has_seen(
    exchange: Exchange, versions: Versions, tmp_path: Path
) -> None:
    document, stated = versions.rotated()
    profile = lab_profile(exchange, tmp_path, directory=str(versions.path))
    async with open_edge(profile) as edge:
        assert edge.directory.latest.document == document
        # Governance and the broker's operator together cannot make this edge seal to the former key alone.
        versions.sign(versions.without(stated.key_id))
        with capture_logs() as logs:
            edge.reload_trust()
        assert [line["reason"] for line in logs] == ["KEY_HISTORY_BROKEN"]
        assert edge.directory.latest.document == document
        with pytest.raises(KeyHistoryBroken):
            edge.directories.note(versions.path.read_bytes())
        # Versions that edges judge by are kept in the spool.
        edge.directories.from_seen(edge.clock.now_ms())
    with capture_logs() as logs:
        async with open_edge(profile) as edge:
            assert edge.directory.latest.document == document
    assert "KEY_HISTORY_BROKEN" in [line.get("reason") for line in logs]
    # Also if the copy of the newest version is gone: the spool has it.
    shutil.rmtree(profile.folder / "trust")
    with pytest.raises(KeyHistoryBroken):
        async with open_edge(profile):
            pass
    # By the agency's word the key may go.
    ends = state_retirement(stated, exchange.pki.now_ms, TRUST_DOMAIN, exchange.pki.now_ms, exchange.pki.signer())
    versions.sign(with_statements(versions.newest, [ends.statement]))
    async with open_edge(profile) as edge:
        assert edge.directory.latest.version == versions.newest.version
        assert stated.key_id not in {key.key_id for key in edge.directory.latest.agency(SHANXI).encryption_keys}


async def test_an_edge_names_a_key_that_somebody_stated_in_its_agency_s_name(
    exchange: Exchange, pki: SamplePki, tmp_path: Path
) -> None:
    own = pki.folder.member(LAB) / KEY_FOLDER
    listed = pki.directory.agency(LAB).encryption_keys
    assert strange_keys(own, pki.directory, LAB) == []
    # The archive key may be kept elsewhere: the statement is enough.
    folder = shutil.copytree(own, tmp_path / "keys")
    (folder / f"{listed[0].key_id.hex()[:16]}.key").unlink()
    assert strange_keys(folder, pki.directory, LAB) == []
    (folder / f"{listed[0].key_id.hex()[:16]}.key.json").unlink()
    profile = lab_profile(exchange, tmp_path)
    profile = structs.replace(profile, agency=structs.replace(profile.agency, encryption_keys=folder))
    with capture_logs() as logs:
        async with open_edge(profile), asyncio.timeout(60):
            while not (found := [line for line in logs if "key_id" in line]):  # noqa: ASYNC110 - a log is a list
                await asyncio.sleep(0.02)
    assert [(line["key_id"], line["log_level"]) for line in found] == [(listed[0].key_id.hex(), "error")]


def test_the_commands_run_as_programs(pki: SamplePki, versions: Versions, tmp_path: Path) -> None:
    own, trust = pki.folder.member(SHANXI), pki.folder.trust
    profile = tmp_path / "edge.toml"
    profile.write_text(
        f"""[broker]
address = "broker.example:7443"
[agency]
certificate = "{own}/tls.pem"
key = "{own}/tls.key"
authorities = "{trust}/tls-ca.pem"
signing_certificate = "{own}/signing.pem"
signing_key = "{own}/signing.key"
encryption_keys = "keys"
[trust]
governance_key = "{trust}/governance.pem"
directory = "{versions.path}"
signing_revocations = "{trust}/signing.crl"
"""
    )

    said = run("keys", "make", "--profile", profile)
    statement = Path(said.splitlines()[-1].removeprefix("for governance: "))
    private = statement.with_suffix("")
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.read_text().count("PRIVATE KEY") == 4
    payload = tmp_path / "payload.json"
    shown = run("directory", "show", versions.path, "--root", trust / "governance.pem", "--json")
    payload.write_text(json.dumps({**json.loads(shown), "version": 2}))
    sign = ("directory", "sign", payload, "--key", pki.folder.governance_key, "--out", versions.path)
    run(*sign, "--key-statement", statement)
    opened = open_directory(versions.path.read_bytes(), pki.governance)
    assert len(keys_in_force(opened.agency(SHANXI), pki.now_ms + DAY_MS)) == 2
    # The key that the development PKI has made is in another folder.
    assert "as a key of shanxi-police, and it is not in this folder" in run("keys", "list", "--profile", profile)
    private.chmod(0o644)
    key_id = said.splitlines()[1].partition(":")[0]
    assert "retire it first" in run("keys", "destroy", key_id, "--profile", profile, "--confirm", code=2)
    statement.write_text("{}")
    assert "KEY_STATEMENT_INVALID" in run("keys", "list", "--profile", profile, code=2)
