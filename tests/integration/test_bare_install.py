"""The bare package is enough for a client, an auditor and an authority. An error names what another role needs."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires
from typing import TYPE_CHECKING

import pytest

from deploy.kafka.ports import free_ports
from tests.support.exchange import broker_tables
from tests.support.process import edge_tables, write_toml
from tests.support.programs import program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pki import SamplePki

MODULES = {
    "pillow": "PIL",
    "kafka-python": "kafka",
    "python-pkcs11": "pkcs11",
    "rfc3161-client": "rfc3161_client",
    "tomli-w": "tomli_w",
}
RUN = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {modules}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
sys.argv[0] = "case-exchange"
{then}
"""
COMMAND = "from broker.cli.main import main; main()"
FSCK = "from broker.cli.fsck import fsck; fsck()"


def extras() -> set[str]:
    """The modules that only extras provide."""
    lines = [line for line in requires("case-exchange") or () if "extra ==" in line and not line.startswith("case-")]
    names = {line.split(">")[0].split("~")[0].split("[")[0].split(";")[0].strip() for line in lines}
    return {MODULES.get(name, name) for name in names}


def bare(*arguments: str, then: str = COMMAND) -> subprocess.CompletedProcess[str]:
    """Run a command as if no extra was installed."""
    program = RUN.format(modules=sorted(extras()), then=then)
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def test_the_extras_are_those_of_the_package() -> None:
    assert extras() == {
        "h11",
        "kafka",
        "defusedxml",
        "lxml",
        "jinja2",
        "openpyxl",
        "PIL",
        "pkcs11",
        "pyrage",
        "rfc3161_client",
        "starlette",
        "tomli_w",
        "hypothesis",
        "pytest",
        "uvicorn",
        "uvloop",
    }


def test_an_authority_needs_no_extra(tmp_path: Path) -> None:
    pki = tmp_path / "pki"
    made = bare("certs", "init", "--pki", str(pki))
    assert made.returncode == 0, made.stderr
    root = pki / "trust" / "governance.pem"
    shown = bare("directory", "show", str(pki / "trust" / "directory.json"), "--root", str(root))
    assert shown.returncode == 0, shown.stderr
    assert "national-dna-database" in shown.stdout


def test_an_auditor_needs_no_extra(tmp_path: Path) -> None:
    bundle, root = tmp_path / "empty.bundle", tmp_path / "root.pem"
    bundle.touch()
    root.touch()
    done = bare("verify", str(bundle), "--root", str(root))
    assert done.returncode == 2
    assert "BUNDLE_INVALID" in done.stderr
    # Only the page for a judge needs one, and says so before anything is verified.
    done = bare("verify", str(bundle), "--root", str(root), "--report", str(tmp_path / "report.html"))
    assert done.returncode == 2
    assert "EXTRA_MISSING: the library jinja2 is not installed; case-exchange[report]" in done.stderr


def test_an_agencys_own_program_needs_no_extra(pki: SamplePki, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    profile = program(pki, tmp_path, "shanxi-police", "samples", f"localhost:{port}")
    asked = """
import asyncio
from adapters.agency import open_agency
async def ask():
    async with open_agency(sys.argv[1]) as agency:
        print(await agency.status())
asyncio.run(ask())
"""
    done = bare(str(profile), then=asked)
    assert done.stdout == "Status(serving=False, spooled=0, broken=0)\n", done.stderr


def test_an_operator_who_asks_for_the_status_needs_no_extra(pki: SamplePki, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    profile = write_toml(tmp_path / "edge.toml", edge_tables(pki, "ministry", f"localhost:{port}"))
    done = bare("status", "--profile", str(profile))
    assert done.returncode == 1
    assert "CONNECTION_FAILED" in done.stderr


def test_an_export_needs_an_extra_only_for_a_timestamp(tmp_path: Path) -> None:
    file = tmp_path / "any"
    file.touch()
    arguments = [
        "export",
        "x",
        "--from",
        str(file),
        "--root",
        str(file),
        "--as",
        "sigstore",
        "--out",
        str(tmp_path / "o"),
    ]
    assert "BUNDLE_INVALID" in bare(*arguments).stderr
    stamped = bare(*arguments, "--timestamp", str(file), "--tsa", str(file))
    assert "EXTRA_MISSING: the library rfc3161_client is not installed; case-exchange[timestamps]" in stamped.stderr


def test_only_a_key_in_a_token_needs_the_extra_for_it(tmp_path: Path) -> None:
    uri = "pkcs11:token=t;object=k?module-path=/m.so&pin-source=/p"
    done = bare("token-key", uri, "--out", str(tmp_path / "a.key"))
    assert done.returncode == 2
    assert "EXTRA_MISSING: the library pkcs11 is not installed; case-exchange[hsm]" in done.stderr
    # Said at the start of a program, before it takes anything.
    key = tmp_path / "b.key"
    key.touch(0o600)
    key.write_text(f"{uri}\n")
    done = bare("directory", "sign", str(key), "--key", str(key), "--out", str(tmp_path / "d.json"))
    assert "EXTRA_MISSING" in done.stderr


def test_a_broker_needs_an_extra_only_for_kafka(pki: SamplePki, tmp_path: Path) -> None:
    config = write_toml(tmp_path / "broker.toml", broker_tables(pki, tmp_path / "log", log={"backend": "kafka"}))
    done = bare("serve", "--config", str(config))
    assert done.returncode == 2
    assert "EXTRA_MISSING: the library kafka is not installed; case-exchange[kafka]" in done.stderr


def test_a_broker_needs_an_extra_only_if_it_asks_for_timestamps(pki: SamplePki, tmp_path: Path) -> None:
    asked = {"urls": ["http://tsa.example/"]}
    config = write_toml(tmp_path / "broker.toml", broker_tables(pki, tmp_path / "log", timestamps=asked))
    done = bare("serve", "--config", str(config))
    assert done.returncode == 2
    assert "EXTRA_MISSING: the library rfc3161_client is not installed; case-exchange[timestamps]" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "library", "extra"),
    [
        (["noticeboard", "--help"], "lxml", "case-exchange[board]"),
        (["dna", "--help"], "tomli_w", "case-exchange[dna]"),
    ],
)
def test_a_command_whose_extra_is_missing_says_which_to_install(arguments: list[str], library: str, extra: str) -> None:
    done = bare(*arguments)
    assert done.returncode == 2
    assert f"EXTRA_MISSING: the library {library} is not installed" in done.stderr
    assert extra in done.stderr


def test_a_copy_of_a_log_is_checked_without_an_extra_and_a_broker_is_not(pki: SamplePki, tmp_path: Path) -> None:
    profile = write_toml(tmp_path / "me.toml", edge_tables(pki, "shanxi-police", "localhost:1"))
    options = ("--root", str(pki.folder.trust / "governance.pem"), "--profile", str(profile))
    checked = bare("--from", str(tmp_path), *options, then=FSCK)
    assert (checked.returncode, "there is no checkpoint in it" in checked.stderr) == (2, True), checked.stderr
    asked = bare("--from", "https://localhost:1", *options, then=FSCK)
    assert asked.returncode == 2
    assert "EXTRA_MISSING" in asked.stderr
    assert "h11" in asked.stderr
