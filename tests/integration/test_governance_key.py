"""Governance changes its key while the exchange runs: nobody has to pin the new one, and bundles verify."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from broker.bootstrap.verify import verify_bundle
from broker.client.directories import directories_in_force
from broker.core.errors import DirectoryInvalid
from broker.trust.directory import open_directory
from broker.trust.directory_payload import directory_payload
from broker.trust.governance import Governance
from broker.trust.keys import private_key_pem, public_key_pem
from certs.storage import write_private
from tests.support.exchange import running_exchange
from tests.support.replays import replayed

if TYPE_CHECKING:
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

COMMAND = Path(sys.executable).with_name("case-exchange")


class Keys:
    """A new governance key beside the one in use, and the directory that they sign."""

    def __init__(self, pki: SamplePki, folder: Path) -> None:
        self.pki, self.folder, self.document = pki, folder, folder / "directory.json"
        self.document.write_bytes(pki.folder.directory.read_bytes())
        self.former, self.former_root = pki.folder.governance_key, pki.folder.trust / "governance.pem"
        self.new, self.new_root = self.make("new")
        self._version = pki.directory.version

    def make(self, name: str) -> tuple[Path, Path]:
        private, public = self.folder / f"{name}.key", self.folder / f"{name}.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(private, private_key_pem(key))
        public.write_bytes(public_key_pem(key.public_key()))
        return private, public

    def sign(self, key: Path, *options: str | Path, expect: int = 0) -> str:
        """Sign the next version with the command. Return what it says."""
        self._version += 1
        payload = self.folder / "payload.json"
        payload.write_text(json.dumps({**json.loads(directory_payload(self.pki.directory)), "version": self._version}))
        command = [COMMAND, "directory", "sign", payload, "--key", key, "--out", self.document, *options]
        done = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == expect, done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def keys(pki: SamplePki, tmp_path: Path) -> Keys:
    return Keys(pki, tmp_path)


async def in_force(exchange: Exchange, document: bytes) -> None:
    """Wait until the broker hands over this document."""
    channel = await exchange.channel("national-dna-database")
    async with asyncio.timeout(60):
        while await directories_in_force(channel) != [document]:  # noqa: ASYNC110 - the broker looks at its files
            await asyncio.sleep(0.05)


async def test_governance_changes_its_key_and_a_bundle_that_spans_the_change_verifies(
    pki: SamplePki, keys: Keys, tmp_path: Path
) -> None:
    trust = {"directory": str(keys.document)}
    async with running_exchange(pki, tmp_path / "log", trust=trust) as exchange:
        maker, publisher = exchange.maker(), await exchange.publisher()
        await publisher.publish(maker.make())
        keys.sign(keys.new, "--former-key", keys.former)
        await in_force(exchange, keys.document.read_bytes())
        await publisher.publish(maker.make())
        keys.sign(keys.new)
        await in_force(exchange, keys.document.read_bytes())
        await publisher.publish(maker.make())
    # A restart goes on with what the key that is still pinned has handed over to.
    async with running_exchange(pki, tmp_path / "log", trust=trust) as exchange:
        await in_force(exchange, keys.document.read_bytes())
        await (await exchange.publisher()).publish(maker.make())
        bundle = await replayed(exchange, tmp_path / "spanning.bundle")
    for roots in ((keys.former_root,), (keys.new_root,), (keys.former_root, keys.new_root)):
        report = verify_bundle(bundle.path, roots, lambda _: None)
        assert report.findings == ()
    with pytest.raises(DirectoryInvalid):
        verify_bundle(bundle.path, (keys.make("stranger")[1],), lambda _: None)


async def test_what_the_former_key_signs_after_it_was_handed_over_is_not_taken_into_force(
    pki: SamplePki, keys: Keys, tmp_path: Path
) -> None:
    async with running_exchange(pki, tmp_path / "log", trust={"directory": str(keys.document)}) as exchange:
        keys.sign(keys.new, "--former-key", keys.former)
        await in_force(exchange, good := keys.document.read_bytes())
        with capture_logs() as logs:
            # A thief of the former key has only this key: the statement is no part of his document.
            keys.document.write_bytes(pki.folder.directory.read_bytes())
            keys.sign(keys.former)
            async with asyncio.timeout(60):
                while "a file of trust cannot be used" not in [line["event"] for line in logs]:  # noqa: ASYNC110 - a log is a list
                    await asyncio.sleep(0.02)
        assert await directories_in_force(await exchange.channel("national-dna-database")) == [good]


def test_a_lost_key_is_replaced_by_one_command_and_a_new_pin(pki: SamplePki, keys: Keys) -> None:
    keys.sign(keys.new, "--lost-key", keys.former_root)
    document = keys.document.read_bytes()
    with pytest.raises(DirectoryInvalid, match="not signed by"):
        open_directory(document, Governance.load(keys.former_root))
    assert open_directory(document, Governance.load(keys.new_root)).version == 2
    # What the lost key has signed before still counts for who pins the new one alone.
    governance = Governance.load(keys.new_root)
    open_directory(document, governance)
    assert open_directory(pki.folder.directory.read_bytes(), governance).version == 1
    # Later versions carry the statement on.
    keys.sign(keys.new)
    assert open_directory(keys.document.read_bytes(), Governance.load(keys.new_root)).version == 3


def test_a_file_with_several_keys_does_not_say_which_is_lost(keys: Keys, tmp_path: Path) -> None:
    before = keys.document.read_bytes()
    several = tmp_path / "several.pem"
    several.write_bytes(keys.former_root.read_bytes() + keys.new_root.read_bytes())
    assert "only the key that is lost" in keys.sign(keys.new, "--lost-key", several, expect=2)
    assert keys.document.read_bytes() == before


def test_a_key_that_follows_nobody_signs_no_next_version(keys: Keys) -> None:
    before = keys.document.read_bytes()
    assert "DIRECTORY_INVALID" in keys.sign(keys.new, expect=2)
    both = keys.sign(keys.new, "--former-key", keys.former, "--lost-key", keys.former_root, expect=2)
    assert "not both" in both
    assert keys.document.read_bytes() == before
    # Nor does a key that has handed over.
    keys.sign(keys.new, "--former-key", keys.former)
    assert "DIRECTORY_INVALID" in keys.sign(keys.former, expect=2)
