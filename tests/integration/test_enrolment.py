"""The commands of docs/enrolment.md, run as they stand there, and what governance must refuse."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from click.testing import CliRunner

from adapters.edge.spool import Spool
from broker.cli.directory import directory
from broker.core.errors import (
    CertificateInvalid,
    DirectoryInvalid,
    EnrolmentRefused,
    RequestInvalid,
    SignerCertificateInvalid,
)
from broker.core.identity import Principal
from broker.trust.directory import open_directory
from certs import enrolment
from certs.enrolment import Order
from certs.profiles import SIGNING, TLS_CLIENT
from tests.support.pki import SamplePki
from tests.support.process import COMMAND

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "enrolment.md"
STEPS = PAGE.read_text(encoding="utf-8").partition("## A new province")[2].partition("\n## ")[0]
FENCES = re.compile(r"^ *```(sh|toml)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
GANSU = Principal("case-exchange.example", "gansu-police", "gateway")


class Step(NamedTuple):
    """A fence of the page: a command for a shell, or a file that a party writes."""

    language: str
    text: str


def steps() -> list[Step]:
    found = FENCES.findall(STEPS)
    return [Step(language, "\n".join(line[3:] for line in text.splitlines())) for language, text in found]


class Place:
    """A folder as that of the project after ``make certs``, and the broker of ``make run`` on a free port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "deploy" / "demo" / "input", folder / "deploy" / "demo" / "input")
        shutil.copy(ROOT / "deploy" / "gateway.toml", folder / "deploy")
        config = (ROOT / "deploy" / "broker.toml").read_text(encoding="utf-8")
        (folder / "deploy" / "broker.toml").write_text(
            config.replace("localhost:7443", "localhost:0"), encoding="utf-8"
        )
        self.run("case-exchange certs init")
        self._log = folder / "broker.log"
        with self._log.open("w") as errors:
            command: list[str | Path] = [COMMAND, "serve", "--clock-checked", "--config", "deploy/broker.toml"]
            self._broker = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self._broker.stdout is not None
        self.target = self._broker.stdout.readline().split()[-1]
        self.write("deploy/gateway.toml", (folder / "deploy" / "gateway.toml").read_text(encoding="utf-8"))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text.replace("localhost:7443", self.target), encoding="utf-8")

    def run(self, command: str) -> str:
        name, *arguments = shlex.split(command.replace("\\\n", " "))
        assert name == "case-exchange"
        done = subprocess.run(
            [COMMAND, *arguments], cwd=self.folder, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def until_logged(self, text: str) -> None:
        end = time.monotonic() + 20
        while text not in self._log.read_text():
            assert time.monotonic() < end, self._log.read_text()[-2000:]
            time.sleep(0.05)

    def stop(self) -> None:
        self._broker.terminate()
        assert self._broker.wait(30) == 0
        assert self._broker.stdout is not None
        self._broker.stdout.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    found = Place(tmp_path)
    yield found
    found.stop()


def test_a_new_province_publishes_its_first_record_by_the_commands_of_the_page(place: Place) -> None:
    said: dict[str, str] = {}
    for language, text in steps():
        if language == "toml":
            place.write(text.partition("\n")[0].removeprefix("# "), text)
            continue
        said[" ".join(text.split()[1:3])] = place.run(text)
        if "directory sign" in text:
            # The page says that it takes at most trust.reload_seconds.
            place.until_logged('"event": "directory in force"')
    assert len(said) <= 10
    # Everybody is shown the fingerprint of the same key.
    key = re.findall("key_sha256: ([0-9a-f]{64})", said["certs request"])[1]
    assert key in said["certs sign"]
    assert key in said["directory add-agency"]
    assert f"key {key}" in said["directory diff"]
    assert "+ agencies.shanxi-police.receive.CaseRecord.publishers: gansu-police" in said["directory diff"]
    assert "accepts records" in said["status --profile"]
    assert " TLS certificate tls.pem\n" in said["status --profile"]
    assert " DUE" not in said["status --profile"]
    # Shanxi got what Gansu has receipts for.
    delivered = [json.loads(line) for line in said["subscribe --profile"].splitlines()]
    assert {one["publisher"] for one in delivered} == {"gansu-police"}
    assert {one["kind"] for one in delivered} == {"CaseRecord"}
    spool = Spool(place.folder / ".dev" / "gansu" / "gateway" / "spool.db")
    assert all(spool.receipt(one["record_id"]) for one in delivered)
    assert spool.outgoing(1) == []
    spool.close()
    # Gansu's keys are where they were made, and nowhere else.
    for secret in ("tls.key", "signing.key"):
        found = (place.folder / ".dev" / "gansu" / secret).read_bytes()
        assert [path for path in place.folder.rglob("*") if path.is_file() and path.read_bytes() == found] == [
            place.folder / ".dev" / "gansu" / secret
        ]


def test_a_broker_s_operator_sees_what_ends_when_without_a_broker(place: Place) -> None:
    facts = json.loads(place.run("case-exchange status --config deploy/broker.toml --json"))
    keys = [one for one in facts["expiries"] if one["what"] == "encryption key"]
    assert "shanxi-police" in {one["name"].split()[0] for one in keys}
    assert sorted(one["what"] for one in facts["expiries"] if one not in keys) == [
        "TLS certificate",
        "authority",
        "authority",
        "directory",
        "revocation list",
        "revocation list",
        "signing certificate",
    ]
    assert [one["ends"] for one in facts["expiries"]] == sorted(one["ends"] for one in facts["expiries"])
    assert "version 1" in place.run("case-exchange status --config deploy/broker.toml")


def test_a_list_that_cannot_be_used_does_not_hide_the_rest(place: Place) -> None:
    shown = place.run("case-exchange status --profile deploy/gateway.toml")
    assert "revocation list" in shown
    # A member sees its own keys, of both uses, and nobody else's.
    told = re.findall(r" (\w+ key) (\S+) [0-9a-f]{16}, rotate from ", shown)
    assert sorted(told) == [("archive key", "shanxi-police"), ("encryption key", "shanxi-police")]
    (place.folder / ".dev" / "pki" / "trust" / "signing.crl").write_text("sample")
    shown = place.run("case-exchange status --profile deploy/gateway.toml")
    assert "revocation list" not in shown
    assert "signing certificate signing.pem" in shown


@pytest.fixture
def own(tmp_path: Path) -> SamplePki:
    return SamplePki.build(tmp_path / "pki")


def signed(own: SamplePki, folder: Path, principal: Principal = GANSU) -> Path:
    """An agency's request for a signing certificate, with the certificate beside it."""
    request = enrolment.make(folder, SIGNING, principal).request
    enrolment.sign(own.folder, Order(request, principal, [SIGNING]), own.now)
    return request


def add(own: SamplePki, command: str, request: Path, *more: str) -> Path:
    """Run the command. Returns the payload."""
    out = own.folder.root.parent / "payload.json"
    trusted = [str(own.folder.directory), "--root", str(own.folder.governance_public_key)]
    arguments = [command, *trusted, "--request", str(request), "--out", str(out), *more]
    result = CliRunner().invoke(directory, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return out


NEW = ("--name", "Gansu (sample)", "--rights-like", "shanxi-police")


def test_only_an_agency_that_is_listed_is_a_model_and_only_a_new_one_joins(own: SamplePki, tmp_path: Path) -> None:
    request = signed(own, tmp_path / "gansu")
    for like in ("nobody-police", "gansu-police", "exchange"):
        with pytest.raises(EnrolmentRefused, match=like):
            add(own, "add-agency", request, "--name", "Gansu (sample)", "--rights-like", like)
    shanxi = signed(own, tmp_path / "shanxi", Principal("case-exchange.example", "shanxi-police", "gateway"))
    with pytest.raises(EnrolmentRefused, match="add-certificate"):
        add(own, "add-agency", shanxi, *NEW)
    with pytest.raises(EnrolmentRefused, match="no agency gansu-police"):
        add(own, "add-certificate", request)
    assert not (tmp_path / "payload.json").exists()


def test_the_authority_must_have_certified_the_very_key_of_the_request(own: SamplePki, tmp_path: Path) -> None:
    request = enrolment.make(tmp_path / "gansu", SIGNING, GANSU).request
    with pytest.raises(CertificateInvalid, match="first the signing authority signs"):
        add(own, "add-agency", request, *NEW)
    # The authority puts a key of its own under the agency's name.
    certificate, _ = own.credential(SIGNING, agency="gansu-police").write(tmp_path / "gansu", "signing")
    with pytest.raises(CertificateInvalid, match="not the certificate of the key"):
        add(own, "add-agency", request, *NEW)
    certificate.write_bytes(b"sample")
    with pytest.raises(CertificateInvalid):
        add(own, "add-agency", request, *NEW)


def test_a_certificate_for_connections_or_of_a_stranger_signs_nothing(own: SamplePki, tmp_path: Path) -> None:
    made = enrolment.make(tmp_path / "gansu", TLS_CLIENT, GANSU)
    enrolment.sign(own.folder, Order(made.request, GANSU, [TLS_CLIENT]), own.now)
    with pytest.raises(SignerCertificateInvalid):
        add(own, "add-agency", made.request, *NEW)
    made.request.write_bytes(made.request.with_suffix(".pem").read_bytes())
    with pytest.raises(RequestInvalid):
        add(own, "add-agency", made.request, *NEW)
    stranger = signed(own, tmp_path / "other", Principal("other.example", "gansu-police", "gateway"))
    with pytest.raises(CertificateInvalid, match="of another exchange"):
        add(own, "add-agency", stranger, *NEW)


def test_what_is_added_can_be_signed_and_lives_as_long_as_asked(own: SamplePki, tmp_path: Path) -> None:
    payload = add(own, "add-agency", signed(own, tmp_path / "gansu"), *NEW, "--days", "90")
    key, out = str(own.folder.governance_key), str(own.folder.directory)
    result = CliRunner().invoke(directory, ["sign", str(payload), "--key", key, "--out", out], catch_exceptions=False)
    assert (result.exit_code, result.output.count("warning")) == (0, 0)
    first = open_directory(own.folder.directory.read_bytes(), own.governance)
    assert first.expires_at_ms - first.issued_at_ms == 90 * 24 * 3_600_000
    renewed = signed(own, tmp_path / "renewed")
    add(own, "add-certificate", renewed)
    diff = ["diff", out, str(payload), "--root", str(own.folder.governance_public_key)]
    shown = CliRunner().invoke(directory, diff, catch_exceptions=False).output
    assert "+ agencies.gansu-police.signing_certificates: certificate " in shown
    # A signed document is believed only with a pinned key.
    assert CliRunner().invoke(directory, diff[:3]).exit_code == 2


def test_lint_says_the_same_as_sign_and_ends_with_1(own: SamplePki, tmp_path: Path) -> None:
    payload = add(own, "add-agency", signed(own, tmp_path / "gansu"), *NEW, "--days", "20")
    result = CliRunner().invoke(directory, ["lint", str(payload)])
    assert result.exit_code == 0
    fields = json.loads(payload.read_text())
    del fields["agencies"]["gansu-police"]["receive"]["Tip"]
    payload.write_text(json.dumps(fields))
    result = CliRunner().invoke(directory, ["lint", str(payload)])
    assert result.exit_code == 1
    assert "warning: child-aid-ngo may publish Tip to gansu-police" in result.output
    fields["agencies"]["gansu-police"]["publish"]["Gossip"] = {}
    payload.write_text(json.dumps(fields))
    with pytest.raises(DirectoryInvalid):
        CliRunner().invoke(directory, ["lint", str(payload)], catch_exceptions=False)
