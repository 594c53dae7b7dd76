"""The commands as a user runs them: exit codes, one line for an error, help with an example."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapters.edge.spool import Spool
from broker.core.strict import encode_base64
from broker.trust.certificates import der, fingerprint
from broker.trust.directory import open_directory
from broker.trust.directory_payload import directory_payload
from broker.trust.keystatements import state_retirement
from synthetic.police import police_csv
from tests.support.exchange import Exchange, running_exchange
from tests.support.process import COMMAND, BrokerProcess, edge_tables, write_toml

if TYPE_CHECKING:
    from tests.support.pki import SamplePki

INPUT = Path(__file__).parents[2] / "deploy" / "demo" / "input"
NAMES = sorted(entry_points(group="case_exchange.commands").names)


def run(*arguments: object, expect: int) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == expect, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def profile(
    pki: SamplePki, folder: Path, target: str, agency: str = "shanxi-police", more: dict[str, Any] | None = None
) -> Path:
    return write_toml(folder / f"{agency}.toml", {**edge_tables(pki, agency, target), **(more or {})})


def gateway_of(folder: Path) -> dict[str, Any]:
    return {
        "gateway": {
            "folder": str(folder / "shanxi"),
            "formats": ["provincial-police-csv", "record-json"],
            "outbox_format": "provincial-police-csv",
        },
        "routes": {
            "CaseRecord": {"recipients": ["ministry"], "purpose": "child-rescue"},
            "SampleRequest": {"recipients": ["national-dna-database"], "purpose": "dna-matching"},
        },
    }


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_an_example(name: str) -> None:
    text = run(name, "--help", expect=0).stdout
    assert "Usage: case-exchange" in text
    if name not in {"certs", "directory"}:
        assert "Example:" in text


def test_an_unknown_command_and_a_missing_option_are_wrong_usage() -> None:
    run("gossip", expect=2)
    run("verify", expect=2)


def test_inspect_lists_a_file_without_its_values() -> None:
    done = run("inspect", INPUT / "rescued-children.csv", "--json", expect=0)
    found = json.loads(done.stdout)
    assert found["records"] == {"CaseRecord": 2, "SampleRequest": 2}
    assert "测试" not in done.stdout + done.stderr


def test_inspect_refuses_an_empty_file_and_one_of_no_format(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert run("inspect", tmp_path / "empty", expect=1).stderr.startswith("case-exchange: INPUT_REFUSED")


def test_convert_names_what_the_target_cannot_carry(tmp_path: Path) -> None:
    out = tmp_path / "out.xml"
    done = run(
        "convert",
        "--from",
        "provincial-police-csv",
        "--to",
        "pfif",
        INPUT / "rescued-children.csv",
        "--out",
        out,
        expect=1,
    )
    assert "FIELD_NOT_CARRIED" in done.stderr
    assert out.read_bytes().startswith(b"<?xml")
    run("convert", "--from", "none", "--to", "pfif", INPUT / "rescued-children.csv", "--out", out, expect=2)


def test_publish_status_and_a_second_run(pki: SamplePki, tmp_path: Path) -> None:
    broker = BrokerProcess(pki, tmp_path)
    broker.start()
    try:
        path = profile(pki, tmp_path, broker.target, more=gateway_of(tmp_path))
        first = json.loads(run("publish", "--profile", path, INPUT / "rescued-children.csv", "--json", expect=0).stdout)
        assert len(first["records"]) == 4
        second = json.loads(
            run("publish", "--profile", path, INPUT / "rescued-children.csv", "--json", expect=0).stdout
        )
        assert second["records"] == []
        assert [issue["code"] for issue in second["issues"]] == ["SOURCE_REPEATED"]
        lab = profile(pki, tmp_path, broker.target, "national-dna-database", more=gateway_of(tmp_path / "lab"))
        lines = run(
            "subscribe", "--profile", lab, "--kind", "SampleRequest", "--count", 2, expect=0
        ).stdout.splitlines()
        assert {json.loads(line)["record"]["barcode"] for line in lines} == {"SYN-BLD-0001", "SYN-BLD-0002"}
        plain = profile(pki, tmp_path, broker.target, "national-audit")
        assert json.loads(run("status", "--profile", plain, "--json", expect=0).stdout)["serving"] is True
    finally:
        assert broker.stop() == 0


def test_a_broker_that_is_away_is_one_line_and_keeps_the_record(pki: SamplePki, tmp_path: Path) -> None:
    path = profile(pki, tmp_path, "localhost:1", more=gateway_of(tmp_path))
    done = run("publish", "--profile", path, INPUT / "rescued-children.csv", expect=1)
    issue, line = done.stderr.splitlines()
    assert issue.startswith("warn: RESIDENT_ID_AREA at row 2")
    assert line.startswith("case-exchange: CONNECTION_FAILED")
    broker = BrokerProcess(pki, tmp_path)
    broker.start()
    try:
        path = profile(pki, tmp_path, broker.target, more=gateway_of(tmp_path))
        done = run("publish", "--profile", path, INPUT / "seeking-parents.csv", "--json", expect=0)
        # Four records of the first file waited in the spool.
        assert len(json.loads(done.stdout)["records"]) == 6
    finally:
        broker.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_gateway_that_ends_in_the_middle_of_a_file_leaves_nothing_of_it_and_the_file(
    pki: SamplePki, tmp_path: Path, number: signal.Signals
) -> None:
    path = profile(pki, tmp_path, "localhost:1", more=gateway_of(tmp_path))
    folder = tmp_path / "shanxi"
    (folder / "inbox").mkdir(parents=True)
    with (folder / "inbox" / "export.csv").open("wb") as file:
        file.writelines(police_csv(30_000_000))
    gateway = subprocess.Popen([COMMAND, "gateway", "--profile", path], stdout=subprocess.DEVNULL)
    try:
        wal = folder / "spool.db-wal"
        while gateway.poll() is None and not (wal.exists() and wal.stat().st_size > 2_000_000):
            time.sleep(0.02)
        gateway.send_signal(number)
        assert gateway.wait(30) == (0 if number is signal.SIGTERM else -number)
    finally:
        gateway.kill()
        gateway.wait()
    spool = Spool(folder / "spool.db")
    assert spool.outgoing(1) == []
    spool.close()
    assert (folder / "inbox" / "export.csv").exists()
    assert not list((folder / "done").iterdir())


def test_replay_and_verify_a_bundle(pki: SamplePki, tmp_path: Path) -> None:
    broker = BrokerProcess(pki, tmp_path)
    broker.start()
    try:
        path = profile(pki, tmp_path, broker.target, "national-audit")
        bundle, root = tmp_path / "a.bundle", pki.folder.trust / "governance.pem"
        run("replay", "--profile", path, "--purpose", "a test", "--out", bundle, expect=0)
        run("verify", bundle, "--root", root, expect=0)
        done = run("replay", "--profile", path, "--purpose", "a test", "--out", bundle, expect=2)
        assert "never overwritten" in done.stderr
        run("replay", "--profile", path, "--purpose", " ", "--out", tmp_path / "b", expect=1)
        assert not (tmp_path / "b").exists()
    finally:
        broker.stop()


def test_directory_show_and_sign(pki: SamplePki, tmp_path: Path) -> None:
    root = pki.folder.trust / "governance.pem"
    shown = run("directory", "show", pki.folder.directory, "--root", root, expect=0).stdout
    assert "may correct others' PublicNotice: hebei-police, shanxi-police\n" in shown
    payload = json.loads(run("directory", "show", pki.folder.directory, "--root", root, "--json", expect=0).stdout)
    payload["version"] += 1
    (tmp_path / "payload.json").write_text(json.dumps(payload))
    key, out = pki.folder.governance_key, tmp_path / "directory.json"
    sign = ("directory", "sign", tmp_path / "payload.json", "--key", key, "--out", out)
    assert "CERTIFICATES_UNLISTED" in run(*sign, expect=2).stderr
    run(*sign, "--previous", pki.folder.directory, expect=0)
    assert open_directory(out.read_bytes(), pki.governance).agencies == pki.directory.agencies
    run("directory", "show", out, "--root", root, expect=0)
    payload["agencies"]["shanxi-police"]["publish"]["Gossip"] = {}
    (tmp_path / "payload.json").write_text(json.dumps(payload))
    assert "DIRECTORY_INVALID" in run(*sign, expect=2).stderr


def test_directory_sign_keeps_former_certificates_as_retired_until_they_are_dropped(
    pki: SamplePki, tmp_path: Path
) -> None:
    out, payload_path = tmp_path / "directory.json", tmp_path / "payload.json"
    out.write_bytes(pki.folder.directory.read_bytes())
    payload = json.loads(directory_payload(pki.directory))
    shanxi, hebei = payload["agencies"]["shanxi-police"], payload["agencies"]["hebei-police"]

    def sign(*options: str, expect: int = 0) -> str:
        payload["version"] += 1
        payload_path.write_text(json.dumps(payload))
        done = run(
            "directory", "sign", payload_path, "--key", pki.folder.governance_key, "--out", out, *options, expect=expect
        )
        return done.stdout if expect == 0 else done.stderr

    def retired() -> list[tuple[bytes, bool]]:
        now_ms = int(time.time() * 1000)
        agency = open_directory(out.read_bytes(), pki.governance).agency("shanxi-police")
        return [
            (item.certificate, now_ms - 60_000 < item.retired_at_ms <= now_ms) for item in agency.retired_certificates
        ]

    new = pki.credential()
    first, second, third = pki.signer().certificate, pki.credential().certificate, new.certificate
    # Another is listed in its place, and then a third. The first keeps its end.
    shanxi["signing_certificates"] = [encode_base64(der(second))]
    assert f"shanxi-police: the certificate {fingerprint(first).hex()} is retired" in sign()
    assert retired() == [(der(first), True)]
    end = open_directory(out.read_bytes(), pki.governance).agency("shanxi-police").retired_certificates[0]
    shanxi["signing_certificates"] = [encode_base64(der(third))]
    assert fingerprint(first).hex() not in sign()
    assert retired() == [(der(first), True), (der(second), True)]
    assert open_directory(out.read_bytes(), pki.governance).agency("shanxi-police").retired_certificates[0] == end
    assert (
        "1 signing certificates in use and 2 retired"
        in run("directory", "show", out, "--root", pki.folder.trust / "governance.pem", expect=0).stdout
    )
    # One is dropped by its fingerprint. A certificate that nobody listed cannot be dropped.
    assert "CERTIFICATES_UNLISTED" in sign("--drop", "0" * 64, expect=2)
    assert "CERTIFICATES_UNLISTED" in sign("--drop", fingerprint(third).hex(), expect=2)
    # It signed the agency's key statements. So the agency ends these keys with its new certificate first.
    assert "KEY_STATEMENT_INVALID" in sign("--drop", fingerprint(first).hex(), expect=2)
    del shanxi["encryption_keys"]
    ends = [
        state_retirement(key, pki.now_ms, pki.directory.trust_domain, pki.now_ms, new.signer).statement
        for key in pki.directory.agency("shanxi-police").encryption_keys
    ]
    given = []
    for number, statement in enumerate(ends):
        (tmp_path / f"{number}.json").write_bytes(statement)
        given += ["--key-statement", str(tmp_path / f"{number}.json")]
    sign("--drop", fingerprint(first).hex(), *given)
    shanxi["encryption_keys"] = list(map(json.loads, ends))
    assert retired() == [(der(second), True)]
    # The certificates of an agency that leaves are dropped only if this is asked for.
    del payload["agencies"]["hebei-police"]
    for agency in payload["agencies"].values():
        for right in (*agency["publish"].values(), *agency["receive"].values()):
            for names in right.values():
                names[:] = [name for name in names if name != "hebei-police"]
    for names in payload["may_correct"].values():
        names[:] = [name for name in names if name != "hebei-police"]
    assert "hebei-police is left out" in sign(expect=2)
    sign("--drop", "hebei-police", "--drop", "shanxi-police")
    assert retired() == []
    # One that comes back into use is no longer retired.
    payload["agencies"]["hebei-police"] = hebei
    shanxi["signing_certificates"] = [encode_base64(der(first)), encode_base64(der(third))]
    sign()
    assert retired() == []
    # Only a version that governance signed shows what was listed before.
    out.write_text("{}")
    assert "DIRECTORY_INVALID" in sign(expect=2)


def test_serve_says_in_one_line_what_is_wrong_with_its_files(pki: SamplePki, tmp_path: Path) -> None:
    assert "CONFIG_INVALID" in run("serve", "--config", tmp_path / "none.toml", expect=2).stderr
    expired = pki.expired()
    certificate, key = expired.write(tmp_path, "expired")
    broker = BrokerProcess(pki, tmp_path, tls={"certificate": str(certificate), "key": str(key)})
    done = run("serve", "--config", tmp_path / "broker.toml", expect=2)
    assert "CERTIFICATE_INVALID: expired.pem has expired" in done.stderr
    assert broker.target == ""


def test_a_second_broker_on_one_log_is_refused(pki: SamplePki, tmp_path: Path) -> None:
    async def check() -> None:
        async with running_exchange(pki, tmp_path / "log") as exchange:
            assert isinstance(exchange, Exchange)
            BrokerProcess(pki, tmp_path)
            done = await asyncio.to_thread(run, "serve", "--config", tmp_path / "broker.toml", expect=1)
            assert "LOG_IN_USE" in done.stderr

    asyncio.run(check())


def test_the_command_is_the_installed_one() -> None:
    assert Path(sys.executable).with_name("case-exchange") == COMMAND
    assert run("--version", expect=0).stdout.startswith("case-exchange, version")
