"""A province's own columns, on the command line and through the gateway: a mapping file, no Python."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.gateway.outbound import Outbound
from broker.core.errors import MappingInvalid
from tests.support.process import COMMAND, edge_tables, write_toml

if TYPE_CHECKING:
    from adapters.edge.profile import GatewayProfile
    from tests.support.exchange import Exchange

SAMPLES = Path(__file__).parents[2] / "adapters" / "provincial_police" / "samples"
FILE, MAPPING = SAMPLES / "province.csv", SAMPLES / "province.toml"
FORMAT = "provincial-police-csv"


def run(*arguments: object, expect: int) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


def profile_of(exchange: Exchange, folder: Path, mapping: Path) -> tuple[GatewayProfile, Any]:
    tables = edge_tables(exchange.pki, "shanxi-police", exchange.target)
    tables["gateway"] = {
        "folder": str(folder / "police"),
        "formats": ["record-json", FORMAT],
        "mapping": str(mapping),
        "outbox_format": FORMAT,
    }
    tables["routes"] = {
        "CaseRecord": {"recipients": ["ministry"], "purpose": "child-rescue"},
        "SampleRequest": {"recipients": ["national-dna-database"], "purpose": "dna-matching"},
    }
    return load_profile(write_toml(folder / "police.toml", tables))


def test_convert_reads_a_provinces_own_columns(tmp_path: Path) -> None:
    out = tmp_path / "cases.json"
    done = run("convert", "--from", FORMAT, "--mapping", MAPPING, "--to", "record-json", FILE, "--out", out, expect=0)
    assert "测试" not in done.stdout + done.stderr
    records = json.loads(out.read_text(encoding="utf-8"))["records"]
    assert [item["kind"] for item in records] == ["CaseRecord", "SampleRequest", "CaseRecord"]
    first = records[0]["record"]
    assert (first["localId"], first["sex"], first["event"]) == ("SYN-P-0001", "SEX_FEMALE", "EVENT_KIND_STRAYED")
    assert first["names"][0]["full"] == "测试儿童甲㛃"


def test_a_converted_file_has_the_columns_that_every_province_reads(tmp_path: Path) -> None:
    out = tmp_path / "standard.xlsx"
    run(
        "convert",
        "--from",
        FORMAT,
        "--mapping",
        MAPPING,
        "--to",
        "provincial-police-xlsx",
        FILE,
        "--out",
        out,
        expect=0,
    )
    found = json.loads(run("inspect", out, "--json", expect=0).stdout)
    assert (found["format"], found["records"]) == ("provincial-police-xlsx", {"CaseRecord": 2, "SampleRequest": 1})


def test_inspect_reads_them_too_and_needs_the_formats_name(tmp_path: Path) -> None:
    done = run("inspect", FILE, "--from", FORMAT, "--mapping", MAPPING, "--json", expect=0)
    assert json.loads(done.stdout)["records"] == {"CaseRecord": 2, "SampleRequest": 1}
    run("inspect", FILE, "--mapping", MAPPING, expect=2)
    bad = tmp_path / "bad.toml"
    bad.write_text(MAPPING.read_text(encoding="utf-8").replace('"AJBH"', '"AJXX"'), encoding="utf-8")
    done = run("inspect", FILE, "--from", FORMAT, "--mapping", bad, expect=2)
    assert done.stderr.startswith(f"case-exchange: MAPPING_INVALID: {bad}: line 6: AJXX is no column")


async def test_a_gateway_takes_in_what_its_profiles_mapping_describes(exchange: Exchange, tmp_path: Path) -> None:
    profile, routes = profile_of(exchange, tmp_path, MAPPING)
    async with open_edge(profile) as edge:
        taken = Outbound(edge, profile.gateway, routes, Limits()).take(FILE.read_bytes(), {})
        assert (taken.records, taken.refused) == (3, False)


async def test_a_gateway_does_not_start_on_a_mapping_with_a_fault(exchange: Exchange, tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("version = 1\n\n[column]\n", encoding="utf-8")
    profile, routes = profile_of(exchange, tmp_path, bad)
    async with open_edge(profile) as edge:
        with pytest.raises(MappingInvalid, match="line 3: column is no key"):
            Outbound(edge, profile.gateway, routes, Limits())
