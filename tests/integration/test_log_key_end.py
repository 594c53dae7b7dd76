"""A log key ends: what it signed until then counts, and what its thief signs beyond counts for nobody."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from structlog.testing import capture_logs

from adapters.edge.edge import open_edge
from broker.bootstrap.declaring import prepare_end
from broker.bootstrap.verify import verify_bundle
from broker.cli.directory import directory
from broker.cli.logkey import log_key
from broker.client.checkpoints import present_checkpoints
from broker.config.broker import BrokerConfig
from broker.config.loader import load
from broker.core.errors import ConfigInvalid, LogRolledBack, SetupInvalid
from broker.core.streams import AUDIT, StreamPartition
from broker.core.tree.checkpoint import Checkpoint, NoteSignature, marshal_note
from broker.core.tree.origin import checkpoint_origin
from broker.trust.signing import Ed25519NoteSigner
from certs.development import CHECKPOINT_KEY_NAME
from tests.integration.test_rolled_back_log import present, seen_by
from tests.support.exchange import broker_tables, running_exchange
from tests.support.gateways import lab_profile
from tests.support.incarnations import invoked
from tests.support.kafkaexchange import SERVING, health_becomes
from tests.support.pki import SamplePki
from tests.support.process import write_toml
from tests.support.replays import covered, replayed
from tests.support.witnessing import publish

if TYPE_CHECKING:
    from pathlib import Path

AUDIT_0 = StreamPartition(AUDIT, 0)
NEW = "case-exchange.example/log-2"


@pytest.fixture
def pki(tmp_path: Path) -> SamplePki:
    """Of each test's own, because governance signs new versions."""
    return SamplePki.build(tmp_path / "pki")


def new_key(folder: Path) -> tuple[Path, Ed25519NoteSigner]:
    key, path = Ed25519PrivateKey.generate(), folder / "log-2.key"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    return path, Ed25519NoteSigner(NEW, key)


async def end_key(pki: SamplePki, folder: Path, former: Ed25519NoteSigner, new: Ed25519NoteSigner) -> None:
    """Governance lists the new key, and where the former one ended, as the operator's command prints it."""
    config = write_toml(folder / "operator.toml", broker_tables(pki, folder / "log"))
    ended = json.loads(await invoked(log_key, "--config", config, "--key", former.vkey, "--seen", folder / "seen"))
    log_id, number = ended["last"][0]["log_id"], ended["last"][0]["partition"].split("/")
    origin = checkpoint_origin(pki.directory.trust_domain, StreamPartition(number[0], int(number[1])), log_id)
    text = Checkpoint(origin, ended["last"][0]["tree_size"] + 1, bytes(32)).marshal()
    larger = folder / "larger.checkpoint"
    larger.write_bytes(marshal_note(text, [NoteSignature(former.name, former.key_id, former.sign(text))]))
    with pytest.raises(SetupInvalid, match="would hide that the log went back"):
        await prepare_end(load(BrokerConfig, config), former.vkey, [larger])
    document, root = pki.folder.directory, pki.folder.trust / "governance.pem"
    payload = json.loads(await invoked(directory, "show", document, "--root", root, "--json"))
    payload |= {"version": 2, "log_keys": [*payload["log_keys"], new.vkey]}
    sign = ["sign", folder / "payload.json", "--key", pki.folder.governance_key, "--out"]
    (folder / "payload.json").write_text(json.dumps(payload))
    assert "have no end" in await invoked(directory, *sign, folder / "without-an-end.json", "--previous", document)
    (folder / "payload.json").write_text(json.dumps(payload | {"ended_log_keys": [ended]}))
    assert "have no end" not in await invoked(directory, *sign, document)


async def test_an_honest_change_of_the_log_key_is_clean_and_the_thief_of_the_former_one_changes_nothing(
    pki: SamplePki, tmp_path: Path
) -> None:
    path, signer = new_key(tmp_path)
    former = Ed25519NoteSigner.load(CHECKPOINT_KEY_NAME, pki.folder.checkpoint_key)
    async with running_exchange(pki, tmp_path / "log") as exchange:
        maker = exchange.maker()
        await publish(exchange, 3, maker)
        await covered(exchange)
        async with open_edge(lab_profile(exchange, tmp_path)) as edge:
            await present(edge)
        log_id = exchange.broker.log.log_id(AUDIT)
    (tmp_path / "seen").mkdir()
    for number, note in enumerate(seen_by(tmp_path, "lab")):
        (tmp_path / "seen" / f"{number}.checkpoint").write_bytes(note)
    await end_key(pki, tmp_path, former, signer)
    with pytest.raises(ConfigInvalid, match="has ended"):
        async with running_exchange(pki, tmp_path / "log"):
            pass
    new = {"checkpoint_key": str(path), "checkpoint_key_name": NEW}
    async with running_exchange(pki, tmp_path / "log", signing=new) as exchange:
        await publish(exchange, 2, maker)
        await covered(exchange)
        async with open_edge(lab_profile(exchange, tmp_path)) as edge:
            with capture_logs() as lines:
                await present(edge)
            assert [line for line in lines if line["log_level"] != "info"] == []
        bundle = await replayed(exchange, tmp_path / "audit.bundle")
        # The thief signs a larger tree.
        origin = checkpoint_origin(pki.directory.trust_domain, AUDIT_0, log_id)
        text = Checkpoint(origin, 1_000_000, bytes(32)).marshal()

        def signed(by: Ed25519NoteSigner) -> bytes:
            return marshal_note(text, [NoteSignature(by.name, by.key_id, by.sign(text))])

        channel = await exchange.channel("shanxi-police")
        await present_checkpoints(channel, [signed(former)])
        await health_becomes(exchange, SERVING)
        forged = tmp_path / "forged.checkpoint"
        forged.write_bytes(signed(former))
        report = verify_bundle(bundle.path, (bundle.root,), lambda _: None, since=[tmp_path / "seen"])
        assert (report.clean, report.findings) == (True, ())
        assert report.brought.continued == report.brought.checkpoints > 0
        report = verify_bundle(bundle.path, (bundle.root,), lambda _: None, since=[forged])
        assert (report.clean, [item.code for item in report.findings]) == (True, ["CHECKPOINT_BEYOND_END"])
        # The key in use can accuse.
        with pytest.raises(LogRolledBack):
            await present_checkpoints(channel, [signed(signer)])
