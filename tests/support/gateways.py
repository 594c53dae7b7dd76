"""Profiles of gateways for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapters.edge.profile import load_profile
from tests.support.process import edge_tables, write_toml

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.edge.profile import GatewayProfile
    from tests.support.exchange import Exchange


def lab_profile(exchange: Exchange, folder: Path, **trust: str) -> GatewayProfile:
    tables = edge_tables(exchange.pki, "national-dna-database", exchange.target)
    tables["trust"].update(trust)
    tables["gateway"] = {
        "folder": str(folder / "lab"),
        "formats": ["codis-cmf"],
        "outbox_format": "codis-cmf",
        "subscribe": ["SampleRequest"],
        "retry_seconds": 0.1,
    }
    return load_profile(write_toml(folder / "lab.toml", tables))[0]


def police_profile(exchange: Exchange, folder: Path, **routes: dict[str, Any]) -> tuple[GatewayProfile, Any]:
    tables = edge_tables(exchange.pki, "shanxi-police", exchange.target)
    tables["gateway"] = {
        "folder": str(folder / "police"),
        "formats": ["provincial-police-csv", "record-json"],
        "outbox_format": "provincial-police-csv",
    }
    tables["routes"] = routes
    return load_profile(write_toml(folder / "police.toml", tables))


CASES = {"recipients": ["ministry"], "purpose": "child-rescue"}
SAMPLES = {"recipients": ["national-dna-database"], "purpose": "dna-matching"}
