"""An adapter that this project does not know, from its four files to a record in the spool."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.gateway.outbound import Outbound
from tests.support.process import COMMAND, edge_tables, write_toml
from tests.support.programs import looked_twice
from tests.support.thirdparty import EXAMPLE, SAMPLE, install_example

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.exchange import Exchange

CUT_OFF = SAMPLE.read_bytes()[: -len("END 3\n")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_example(tmp_path_factory.mktemp("third-party"))


@pytest.fixture
def environment(installed: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(installed)}


@pytest.fixture
def importable(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(installed)
    yield
    sys.modules.pop("harbour_police", None)


def test_the_example_is_four_files() -> None:
    names = sorted(path.name for path in EXAMPLE.iterdir() if path.is_file())
    assert names == ["harbour_police.py", "pyproject.toml", "sample.log", "test_harbour_police.py"]


def test_an_installed_adapter_is_detected_by_inspect(environment: dict[str, str]) -> None:
    command = [str(COMMAND), "inspect", "--json", str(SAMPLE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    facts = json.loads(done.stdout)
    assert (facts["format"], facts["records"], facts["issues"]) == ("harbour-log", {"CaseRecord": 3}, [])
    assert "测试" not in done.stdout + done.stderr


def test_an_adapter_that_is_not_installed_is_not_detected() -> None:
    done = subprocess.run([str(COMMAND), "inspect", str(SAMPLE)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "FORMAT_UNKNOWN" in done.stderr


def test_the_example_passes_the_contract_that_ships(environment: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(EXAMPLE)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.usefixtures("importable")
async def test_a_file_that_is_refused_at_its_end_leaves_nothing_in_the_spool(
    exchange: Exchange, tmp_path: Path
) -> None:
    routes = {"CaseRecord": {"recipients": ["ministry"], "purpose": "child-rescue"}}
    folder = {"folder": str(tmp_path / "police"), "formats": ["harbour-log"], "outbox_format": "harbour-log"}
    tables = {**edge_tables(exchange.pki, "shanxi-police", exchange.target), "gateway": folder, "routes": routes}
    profile, ways = load_profile(write_toml(tmp_path / "police.toml", tables))
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, ways, Limits())
        (outbound.folders.inbox / "cut-off.log").write_bytes(CUT_OFF)
        assert looked_twice(outbound) == 1
        assert edge.spool.outgoing(10) == []
        assert edge.spool.next_sequence("ministry") == 1
        (reason,) = [json.loads(path.read_text()) for path in outbound.folders.quarantine.glob("*.reason.json")]
        assert (reason["records_published"], [item["code"] for item in reason["issues"]]) == (0, ["LOG_CUT_OFF"])
        (outbound.folders.inbox / "whole.log").write_bytes(SAMPLE.read_bytes())
        assert looked_twice(outbound) == 1
        assert len(edge.spool.outgoing(10)) == 3
        assert len(list(outbound.folders.done.iterdir())) == 1
