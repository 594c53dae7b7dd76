"""Keys that live in a token of SoftHSM2, end to end: an agency's, governance's and the log's.

The laboratory signs and opens with keys in a token, governance signs the directory with one, and the broker its
checkpoints. All were made with the commands that docs/keys.md names.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.gateway.outbound import Outbound
from broker.bootstrap.verify import verify_bundle
from broker.cli.main import cli
from broker.client.publisher import Published
from broker.core.encryptionkeys import P256, RECORDS
from broker.core.errors import HardwareKeyUnavailable, KeyInvalid, Unavailable
from broker.core.policy import keys_in_force
from broker.core.streams import DNA, StreamPartition
from broker.trust.certificates import der, load_certificates, p256_public_key
from broker.trust.directory import open_directory
from broker.trust.keys import load_checkpoint_key, load_signing_key
from broker.trust.signers import WatchedSigner
from broker.trust.signing import ecdsa_verifies
from broker.trust.tls import check_tls_files
from broker.trust.tokenkeys import TokenEcKey, TokenEd25519Key, make_signing_key
from certs.development import KEY_FOLDER
from certs.renewing import prepare
from certs.rights import EXCHANGE, LAB, SHANXI
from tests.integration.test_sealed_edges import BARCODE, CANARY, request_file, until
from tests.support.exchange import running_exchange
from tests.support.gateways import SAMPLES, police_profile, receiving
from tests.support.pki import ManualClock, SamplePki
from tests.support.process import edge_tables, write_toml
from tests.support.replays import covered, replayed
from tests.support.tokens import PIN, SampleToken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from adapters.edge.profile import GatewayProfile
    from tests.support.exchange import Exchange

COMMAND = Path(sys.executable).with_name("case-exchange")
LOG_NAME = "case-exchange.example/log-2"
ANSWERS = {"recipients": [SHANXI], "purpose": "dna-matching"}


class Keys:
    """The keys in the token, and what the commands said while they were made."""

    def __init__(self, pki: SamplePki, token: SampleToken, folder: Path) -> None:
        self.pki, self.token, self.folder = pki, token, folder
        self.root, self.document = pki.folder.governance_public_key, pki.folder.directory
        self.said = ""
        self.governance, self.new_root = folder / "governance.key", folder / "governance-2.pem"
        self.checkpoints = folder / "log.key"
        self.signing = folder / "signing.key"
        self.encryption = pki.folder.member(LAB) / KEY_FOLDER

    def run(self, *arguments: object, expect: int = 0) -> str:
        command = [str(COMMAND), *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        self.said += done.stdout + done.stderr
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def done(self, *arguments: object) -> str:
        """As ``run``, in this process: the keys are made for every test."""
        done = CliRunner().invoke(cli, [*map(str, arguments)], catch_exceptions=False)
        self.said += done.output
        assert done.exit_code == 0, done.output
        return done.output

    def profile(self, target: str, **gateway: Any) -> tuple[GatewayProfile, Any]:
        tables = edge_tables(self.pki, LAB, target)
        tables["agency"] |= {
            "signing_key": str(self.signing),
            "signing_certificate": str(self.signing.with_suffix(".pem")),
        }
        tables["gateway"] = {
            "folder": str(self.folder / "lab"),
            "formats": ["record-json"],
            "outbox_format": "record-json",
            "retry_seconds": 0.1,
            **gateway,
        }
        tables["routes"] = {"NoMatchResult": ANSWERS}
        return load_profile(write_toml(self.folder / "lab.toml", tables))

    def make(self) -> None:
        """Enrol the keys, and put them into force."""
        request, payload, uri = self.folder / "signing.csr", self.folder / "payload.json", self.token.uri
        asked = ["--agency", LAB, "--profile", "signing"]
        self.done("certs", "request", *asked, "--folder", self.folder, "--in-token", uri("signing"))
        self.done("certs", "sign", request, *asked, "--pki", self.pki.folder.root)
        trusted = [self.document, "--root", self.root]
        self.done("directory", "add-certificate", *trusted, "--request", request, "--out", payload)
        self.done("token-key", uri("governance"), "--out", self.governance, "--public", self.new_root)
        log = ["--use", "checkpoints", "--name", LOG_NAME, "--out", self.checkpoints]
        vkey = self.done("token-key", uri("log"), *log).split("verifier key: ")[1].strip()
        fields = json.loads(payload.read_text())
        payload.write_text(json.dumps(fields | {"log_keys": [*fields["log_keys"], vkey]}))
        self.profile("localhost:1")
        self.done(
            "keys", "rotate", "--profile", self.folder / "lab.toml", "--overlap-days", 0, "--in-token", uri("records")
        )
        statements = [*self.encryption.glob("*.retired.json"), self.key_file().with_suffix(".key.json")]
        stated = [part for path in statements for part in ("--key-statement", path)]
        handing = ["--former-key", self.pki.folder.governance_key, "--out", self.document]
        self.done("directory", "sign", payload, "--key", self.governance, *handing, *stated)

    def key_file(self) -> Path:
        """The file of the encryption key in the token."""
        (found,) = (path for path in self.encryption.glob("*.key") if path.read_bytes().startswith(b"pkcs11:"))
        return found


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    token = SampleToken(tmp_path / "token", monkeypatch)
    made = Keys(SamplePki.build(tmp_path / "pki", plain=False), token, tmp_path)
    made.make()
    return made


@pytest.fixture
async def exchange(keys: Keys, tmp_path: Path) -> AsyncIterator[Exchange]:
    signing = {"checkpoint_key": str(keys.checkpoints), "checkpoint_key_name": LOG_NAME}
    async with running_exchange(keys.pki, tmp_path / "log", signing=signing) as running:
        yield running


def answer_file(barcode: str) -> bytes:
    record = {"barcode": barcode, "reason": "NO_MATCH_REASON_NO_CANDIDATE"}
    return json.dumps({"records": [{"kind": "NoMatchResult", "caseReference": "SYN-1", "record": record}]}).encode()


async def ask(exchange: Exchange, folder: Path, barcode: str = BARCODE) -> None:
    """The police send a sealed request to the laboratory."""
    profile, routes = police_profile(exchange, folder, SampleRequest=SAMPLES)
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        assert outbound.take(request_file(barcode), {}).records == 1
        assert [type(result) for result in await outbound.publish_spooled()] == [Published]


def police_inbox(exchange: Exchange, folder: Path) -> GatewayProfile:
    tables = edge_tables(exchange.pki, SHANXI, exchange.target)
    tables["gateway"] = {
        "folder": str(folder / "answers"),
        "formats": ["record-json"],
        "outbox_format": "record-json",
        "subscribe": ["NoMatchResult"],
    }
    return load_profile(write_toml(folder / "answers.toml", tables))[0]


async def test_an_agency_governance_and_the_log_sign_and_open_with_keys_in_a_token(
    keys: Keys, exchange: Exchange, tmp_path: Path
) -> None:
    # What the test is about: these keys are in the token, and nothing else of the laboratory opens what comes.
    assert isinstance(load_signing_key(keys.signing), TokenEcKey)
    assert isinstance(load_signing_key(keys.governance), TokenEcKey)
    assert isinstance(load_checkpoint_key(keys.checkpoints), TokenEd25519Key)
    listed = open_directory(keys.document.read_bytes(), keys.pki.governance)
    (key,) = keys_in_force(listed.agency(LAB), exchange.clock.now_ms(), RECORDS)
    assert (key.suite, key.key_id.hex()[:16]) == (P256, keys.key_file().stem)
    with capture_logs() as logs:
        await ask(exchange, tmp_path)
        profile, routes = keys.profile(exchange.target, subscribe=["SampleRequest"])
        async with receiving(profile) as (edge, inbound):
            written = await until(inbound.folders.outbox, f"SampleRequest-{'?' * 36}.json")
            assert CANARY in written.read_text()
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            assert outbound.take(answer_file("SYN-ANSWER"), {}).records == 1
            assert [type(result) for result in await outbound.publish_spooled()] == [Published]
        async with receiving(police_inbox(exchange, tmp_path)) as (_, inbound):
            written = await until(inbound.folders.outbox, f"NoMatchResult-{'?' * 36}.json")
            assert "SYN-ANSWER" in written.read_text()
        bundle = await replayed(exchange, tmp_path / "whole.bundle")
    for root in (keys.root, keys.new_root):
        report = verify_bundle(bundle.path, (root,), lambda _: None)
        assert (report.clean, report.findings) == (True, ())
    assert "is unchanged, and signed by its publisher" in keys.run("verify", bundle.path, "--root", keys.root)
    assert PIN not in keys.said + json.dumps(logs, default=str)


async def test_while_the_token_is_away_all_waits_and_when_it_is_back_all_goes_on(
    keys: Keys, exchange: Exchange, tmp_path: Path
) -> None:
    await ask(exchange, tmp_path)
    profile, routes = keys.profile(exchange.target, subscribe=["SampleRequest"])
    with capture_logs() as logs, contextlib.ExitStack() as stack:
        async with receiving(profile) as (edge, inbound):
            written = await until(inbound.folders.outbox, "SampleRequest-*.about.json")
            written.unlink()
            away = stack.enter_context(contextlib.ExitStack())
            away.enter_context(keys.token.away())
            # To open: the delivery is given back, and is not set aside.
            await ask(exchange, tmp_path, "SYN-2")
            await until_logged(logs, "a delivery has to wait")
            # To sign: the file was read, and none of its records is refused or loses its number.
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            (outbound.folders.inbox / "answer.json").write_bytes(answer_file("SYN-ANSWER"))
            outbound.take_inbox()
            for _ in range(2):
                with pytest.raises(HardwareKeyUnavailable, match="0 tokens are named"):
                    outbound.take_inbox()
            assert edge.spool.outgoing(1) == []
            # To sign checkpoints: what was accepted has no evidence yet.
            await until_logged(logs, "checkpoints")
            away.close()
            await until(inbound.folders.outbox, "SampleRequest-*.about.json")
            await covered(exchange)
            outbound.take_inbox()
            assert [type(result) for result in await outbound.publish_spooled()] == [Published]
            assert list(outbound.folders.quarantine.iterdir()) == []
            assert list(outbound.folders.done.iterdir())
    waited = {each["cause"] for each in logs if each["event"] == "a delivery has to wait"}
    assert waited == {"HardwareKeyUnavailable"}
    report = (await replayed(exchange, tmp_path / "whole.bundle")).report()
    assert (report.clean, report.unprocessed) == (True, ())
    assert PIN not in json.dumps(logs, default=str)


async def test_a_broker_whose_signing_key_is_away_loses_nothing_and_stores_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, pki = SampleToken(tmp_path / "token", monkeypatch), SamplePki.build(tmp_path / "pki")
    key = tmp_path / "signing.key"
    key.touch(0o600)
    key.write_bytes(token.put("exchange", load_signing_key(pki.folder.member(EXCHANGE) / "signing.key"), sign=True))
    async with running_exchange(pki, tmp_path / "log", signing={"key": str(key)}) as exchange:
        record, publisher = exchange.maker().make(), await exchange.publisher()
        with token.away(), capture_logs() as logs:
            for _ in range(2):
                with pytest.raises(Unavailable) as caught:
                    await publisher.publish(record)
                # Which key it is, is the operator's own affair.
                assert caught.value.reason == "UNAVAILABLE"
                assert token.label not in caught.value.line
        told = [line["cause"] for line in logs if line["event"] == "refused" and line["log_level"] == "error"]
        assert told == [f"0 tokens are named {token.label}, and not one"] * 2
        assert (await publisher.publish(record)).statement
        log = exchange.broker.log
        dna = [StreamPartition(DNA, number) for number in range(log.partitions(DNA))]
        assert sum([await log.end_offset(partition) for partition in dna]) == 1
        assert (await replayed(exchange, tmp_path / "whole.bundle")).report().clean


async def until_logged(logs: list[Any], event: str) -> None:
    async with asyncio.timeout(60):
        while not any(event in str(line) for line in logs):  # noqa: ASYNC110 - a log has no event to wait on
            await asyncio.sleep(0.02)


def test_a_key_in_a_token_is_destroyed_there_and_a_rotation_says_what_to_back_up(keys: Keys) -> None:
    profile, key_file = ["--profile", keys.folder / "lab.toml"], keys.key_file()
    identity = key_file.stem
    assert "publishers may seal to this key" in keys.run("keys", "destroy", identity, *profile, "--confirm", expect=2)
    made = keys.run("keys", "archive", *profile, "--in-token", keys.token.uri("archive"), expect=2)
    assert "a key for archive is in force already" in made
    payload = json.loads(keys.run("directory", "show", keys.document, "--root", keys.root, "--json"))
    keys.run("keys", "retire", identity, *profile)
    (keys.folder / "payload.json").write_text(json.dumps(payload | {"version": payload["version"] + 1}))
    sign = ["--key", keys.governance, "--out", keys.document]
    statement = ["--key-statement", key_file.with_suffix(".retired.json")]
    keys.run("directory", "sign", keys.folder / "payload.json", *sign, *statement)
    with keys.token.away():
        assert "HARDWARE_KEY_UNAVAILABLE" in keys.run("keys", "destroy", identity, *profile, "--confirm", expect=1)
    assert key_file.exists()
    assert "and the key in its token" in keys.run("keys", "destroy", identity, *profile, "--confirm")
    assert not key_file.exists()
    # The next key of the same name is another one.
    said = keys.run("keys", "make", *profile, "--in-token", keys.token.uri("records"))
    assert "private key: in its token" in said
    assert identity not in said
    assert PIN not in keys.said


def test_a_pin_on_the_command_line_is_refused_and_not_repeated(keys: Keys) -> None:
    uri = f"{keys.token.uri('other')}&pin-value={PIN}"
    out = keys.folder / "other.key"
    for command in (
        ["token-key", uri, "--out", out],
        ["certs", "request", "--agency", LAB, "--folder", keys.folder / "other", "--in-token", uri],
        ["keys", "archive", "--profile", keys.folder / "lab.toml", "--in-token", uri],
    ):
        assert "KEY_URI_INVALID" in keys.run(*command, expect=2)
    assert not out.exists()
    assert PIN not in keys.said
    # A wrong PIN, with what to do.
    keys.token.pin_file.write_text("syn-wrong-pin")
    said = keys.run("token-key", keys.token.uri("other"), "--out", out, expect=1)
    assert "TOKEN_PIN_REFUSED" in said
    assert "mode 0600" in said
    assert "syn-wrong-pin" not in said


def test_a_renewal_does_not_make_a_file_of_a_key_in_a_token(keys: Keys) -> None:
    certificate, now = keys.signing.with_suffix(".pem"), keys.pki.now
    asked = prepare(certificate, now, early=True)
    assert (asked.done, asked.requested) == ("nothing", None)
    assert "token-key URI --out" in asked.next
    waiting = keys.folder / "signing.next.key"
    waiting.touch(0o600)
    waiting.write_bytes(make_signing_key(keys.token.uri("signing-2")).reference())
    asked = prepare(certificate, now, early=True)
    assert asked.requested is not None
    assert asked.requested.key == waiting
    # What the authority signs is taken up as for key files: the file that names the new key takes the place.
    signer = WatchedSigner(keys.signing, certificate, ManualClock(keys.pki.now_ms))
    order = ["--agency", LAB, "--profile", "signing", "--pki", keys.pki.folder.root]
    keys.done("certs", "sign", asked.requested.request, *order)
    renewed = signer.renewed(keys.pki.directory_with(LAB, [der(load_certificates(waiting.with_suffix(".pem"))[0])]))
    assert renewed is not None
    used = signer.use(renewed)
    assert "object=signing-2?" in keys.signing.read_text()
    assert ecdsa_verifies(p256_public_key(used.certificate), b"a record", signer.sign(b"a record"))


def test_tls_keys_stay_files(keys: Keys) -> None:
    with pytest.raises(KeyInvalid, match="the libraries for TLS need the key itself"):
        check_tls_files(keys.signing.with_suffix(".pem"), keys.signing, keys.pki.now_ms)
    folder = ["--folder", keys.folder / "tls", "--in-token", keys.token.uri("tls")]
    assert "REQUEST_INVALID" in keys.run(
        "certs", "request", "--agency", LAB, "--profile", "tls-client", *folder, expect=2
    )
