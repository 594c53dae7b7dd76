"""A new exchange from nothing, by the commands of docs/enrolment.md as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from cryptography import x509

from broker.cli.directory import directory
from broker.core.errors import CertificateInvalid, DirectoryInvalid, KeyInvalid, SetupInvalid
from broker.core.tree.checkpoint import VerifierKey
from broker.trust.certificates import load_certificates
from broker.trust.directory import open_directory
from broker.trust.governance import Governance
from broker.trust.keys import load_checkpoint_key
from certs.authorities import found
from certs.folder import PkiFolder
from certs.operations import issue
from certs.options import now_utc
from certs.profiles import TLS_CLIENT
from tests.integration.test_enrolment import FENCES, GANSU, PAGE
from tests.support.process import COMMAND

if TYPE_CHECKING:
    from pathlib import Path

PART = PAGE.read_text(encoding="utf-8").partition("## A new exchange")[2].partition("\n## ")[0]
FENCES_OF_PART = [
    (language, "\n".join(line[3:] for line in text.splitlines())) for language, text in FENCES.findall(PART)
]
DOMAIN = "exchange.example"


def shell(text: str, folder: Path) -> str:
    path = f"{COMMAND.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-euc", text],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder .dev/new after all commands of the page, and what they said."""
    folder, said = tmp_path_factory.mktemp("new"), ""
    for language, text in FENCES_OF_PART:
        if language == "toml":
            (folder / text.partition("\n")[0].removeprefix("# ")).write_text(text.replace("7443", "0"))
        else:
            said += shell(text, folder)
    return folder / ".dev" / "new", said


def test_a_new_exchange_starts_by_the_commands_of_the_page(begun: tuple[Path, str]) -> None:
    new, said = begun
    signed = open_directory((new / "directory.json").read_bytes(), Governance.load(new / "governance/governance.pem"))
    assert (signed.version, signed.trust_domain, signed.exchange) == (1, DOMAIN, "exchange")
    assert set(signed.agencies) == {"exchange", "gansu-police"}
    checkpoint = load_checkpoint_key(new / "broker" / "checkpoint.key").public_key().public_bytes_raw()
    assert [VerifierKey.parse(one) for one in signed.log_keys] == [VerifierKey(f"{DOMAIN}/log", checkpoint)]
    # Everybody was shown the same fingerprint of each signing key: at the request, at its signature, in the directory.
    for key in re.findall(r"its key is ([0-9a-f]{64})", said):
        assert said.count(key) == 3
    assert said.count("its key is") == 2
    keys = [path for path in new.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert len(keys) == 3 + 1 + 3 + 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert {stat.S_IMODE(path.parent.stat().st_mode) for path in keys} == {0o700}
    command: list[str | Path] = [COMMAND, "serve", "--clock-checked", "--config", new / "broker" / "broker.toml"]
    with (new / "log.txt").open("w") as errors:
        broker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert broker.stdout is not None
    first_line = broker.stdout.readline()
    broker.terminate()
    assert broker.wait(60) == 0, (new / "log.txt").read_text()[-2000:]
    broker.stdout.close()
    assert first_line.startswith("serving on localhost:"), (new / "log.txt").read_text()[-2000:]


def test_authorities_are_never_made_over_others_and_only_tls_is_held_to_the_domain(tmp_path: Path) -> None:
    root = tmp_path / "authority"
    made = found(root, DOMAIN, now_utc())
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(SetupInvalid, match="authority is not empty"):
        found(root, DOMAIN, now_utc())
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    with pytest.raises(SetupInvalid, match="'Exchange Example' is no trust domain"):
        found(tmp_path / "other", "Exchange Example", now_utc())
    assert not (tmp_path / "other").exists()
    constrained = {
        kind: [one.value for one in authority.certificate.extensions if one.oid == x509.NameConstraints.oid]
        for kind, authority in made.items()
    }
    permitted = x509.NameConstraints([x509.UniformResourceIdentifier(DOMAIN)], excluded_subtrees=None)
    assert constrained == {"tls": [permitted], "signing": [], "kafka": []}
    for kind in made:
        load_certificates(PkiFolder(root).trust / f"{kind}-ca.pem")[0].verify_directly_issued_by(made[kind].certificate)
    # It is no development PKI: it makes no keys of agencies.
    with pytest.raises(SetupInvalid, match="certs request"):
        issue(PkiFolder(root), TLS_CLIENT, GANSU, now_utc())


def first(new: Path, out: Path, **changed: Any) -> str:
    options = {
        "--trust-domain": DOMAIN,
        "--authority": new / "authority/trust/signing-ca.pem",
        "--checkpoint-key": new / "broker/checkpoint.pem",
        "--checkpoint-key-name": f"{DOMAIN}/log",
        "--purpose": "child-rescue",
        "--out": out,
        **{f"--{name.replace('_', '-')}": value for name, value in changed.items()},
    }
    arguments = [str(part) for pair in options.items() for part in pair]
    named = ["--exchange", str(new / "broker/signing.csr"), "The exchange"]
    if "agency" in changed:
        arguments.remove("--agency")
        arguments.remove(str(changed["agency"]))
        named += ["--agency", str(changed["agency"]), "An agency"]
    result = CliRunner().invoke(directory, ["first", *arguments, *named], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_first_directory_refuses_what_does_not_belong_to_it(begun: tuple[Path, str], tmp_path: Path) -> None:
    new, out = begun[0], tmp_path / "payload.json"
    refused: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (CertificateInvalid, "another exchange", {"trust_domain": "elsewhere.example"}),
        (KeyInvalid, "not an Ed25519 public key", {"checkpoint_key": new / "governance/governance.pem"}),
        (KeyInvalid, "cannot be read", {"checkpoint_key": new / "payload.json"}),
        (KeyInvalid, "name", {"checkpoint_key_name": "two words"}),
        (DirectoryInvalid, "named twice", {"agency": new / "broker/signing.csr"}),
        (DirectoryInvalid, "purposes", {"purpose": "Not A Purpose"}),
    ]
    for error, text, changed in refused:
        with pytest.raises(error, match=text):
            first(new, out, **changed)
        assert not out.exists()
    unsigned = shutil.copy(new / "gansu/signing.csr", tmp_path / "unsigned.csr")
    with pytest.raises(CertificateInvalid, match="is not there"):
        first(new, out, agency=unsigned)
    first(new, out)
    out.write_text("rights that somebody wrote")
    with pytest.raises(DirectoryInvalid, match="exists already"):
        first(new, out)
    assert out.read_text() == "rights that somebody wrote"
