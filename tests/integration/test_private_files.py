"""What the exchange writes is for its user alone, whatever the user's umask and wherever the folders are made."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.edge.spool import Spool
from tests.integration.test_ending import INPUT, tables, wait_for
from tests.support.canaries import family
from tests.support.exchange import broker_tables
from tests.support.process import COMMAND, edge_tables, write_toml

FREQUENCIES = Path(__file__).parents[2] / "adapters/national_dna_database/samples/frequencies-synthetic.toml"

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.pki import SamplePki


def started(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, text=True, umask=0)


def core_limit(pid: int) -> str:
    (line,) = [line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core file size" in line]
    return line.split()[4]


@pytest.fixture
def core_dumps() -> Iterator[None]:
    """A process has the limits of the one that starts it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    assert core_limit(os.getpid()) != "0"
    yield
    resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


@pytest.mark.usefixtures("core_dumps")
def test_no_process_with_keys_leaves_a_core_dump(pki: SamplePki, tmp_path: Path) -> None:
    config = write_toml(tmp_path / "broker.toml", broker_tables(pki, tmp_path / "log"))
    with started("serve", "--config", config) as broker:
        assert broker.stdout is not None
        target = broker.stdout.readline().split()[-1]
        edge = write_toml(tmp_path / "edge.toml", tables(pki, tmp_path, target))
        with started("gateway", "--profile", edge) as gateway:
            assert gateway.stdout is not None
            ready = gateway.stdout.readline()
            limits = [core_limit(pid) for pid in (gateway.pid, *family(broker.pid))]
            gateway.terminate()
        broker.terminate()
    assert ready
    assert set(limits) == {"0"}


@pytest.mark.usefixtures("core_dumps")
async def test_a_program_with_an_edge_leaves_no_core_dump(pki: SamplePki, tmp_path: Path) -> None:
    profile, _ = load_profile(write_toml(tmp_path / "edge.toml", tables(pki, tmp_path, "localhost:1")))
    async with open_edge(profile):
        assert core_limit(os.getpid()) == "0"


def test_no_one_else_can_open_what_a_broker_a_gateway_and_a_replay_write(pki: SamplePki, tmp_path: Path) -> None:
    made = tmp_path / "made"
    config = write_toml(tmp_path / "broker.toml", broker_tables(pki, made / "here" / "log"))
    with started("serve", "--config", config) as broker:
        assert broker.stdout is not None
        target = broker.stdout.readline().split()[-1]
        edge = write_toml(tmp_path / "edge.toml", tables(pki, made / "there", target))
        with started("gateway", "--profile", edge) as gateway:
            assert gateway.stdout is not None
            assert gateway.stdout.readline()
            folder = made / "there" / "edge"
            (tmp_path / "a.csv").write_bytes((INPUT / "rescued-children.csv").read_bytes())
            (tmp_path / "a.csv").chmod(0o666)
            (tmp_path / "a.csv").rename(folder / "inbox" / "a.csv")
            wait_for(gateway, lambda: list((folder / "done").iterdir()) != [])
            gateway.terminate()
        audit = write_toml(tmp_path / "audit.toml", edge_tables(pki, "national-audit", target))
        bundle = made / "a.bundle"
        with started("replay", "--profile", audit, "--purpose", "a test", "--out", bundle) as replay:
            assert replay.wait(60) == 0
        broker.terminate()
    # The agency's own program made this one with rights of its own. They end when it is taken in.
    (taken,) = (folder / "done").iterdir()
    found = {made, *made.rglob("*")}
    assert {bundle, folder / "spool.db", made / "here" / "log" / "log.db", taken} <= found
    assert [path for path in found if stat.S_IMODE(path.lstat().st_mode) & 0o077] == []


def test_no_one_else_can_open_what_a_laboratory_and_receipts_write(pki: SamplePki, tmp_path: Path) -> None:
    made, typed = tmp_path / "made", tmp_path / "made" / "typed"
    typed.mkdir(parents=True)
    made.chmod(0o700)
    typed.chmod(0o700)
    for name, content in (("good.xml", (INPUT / "profiles.cmf.xml").read_bytes()), ("bad.xml", b"no profile")):
        (typed / name).write_bytes(content)
        (typed / name).chmod(0o666)
    options: list[str | Path] = [
        "--database",
        made / "lab.db",
        "--frequencies",
        FREQUENCIES,
        "--results",
        made / "inbox",
        "--once",
    ]
    with started("dna", "watch", *options, typed) as laboratory:
        assert laboratory.wait(60) == 0
    tables_of_edge = tables(pki, made, "localhost:1")
    profile = write_toml(made / "edge.toml", tables_of_edge)
    profile.chmod(0o600)
    Spool(made / "edge" / "spool.db").close()
    with started("receipts", "export", "--profile", profile, "--out", made / "mine.receipts") as receipts:
        assert receipts.wait(60) == 0
    found = {made, *made.rglob("*")}
    assert {path.parent.name for path in found if "xml" in path.name} == {"done", "quarantine"}
    assert {made / "lab.db", made / "mine.receipts"} <= found
    assert [path for path in found if stat.S_IMODE(path.lstat().st_mode) & 0o077] == []


def test_a_gateway_says_which_of_its_folders_others_can_open(pki: SamplePki, tmp_path: Path) -> None:
    edge = write_toml(tmp_path / "edge.toml", tables(pki, tmp_path, "localhost:1"))
    (tmp_path / "edge" / "outbox").mkdir(parents=True, mode=0o755)
    with subprocess.Popen(
        [COMMAND, "gateway", "--profile", edge], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as gateway:
        assert gateway.stdout is not None
        assert gateway.stdout.readline()
        gateway.terminate()
        _, errors = gateway.communicate(timeout=60)
    told = [json.loads(line) for line in errors.splitlines() if "chmod 700" in line]
    assert [line["path"] for line in told] == ["outbox"]
