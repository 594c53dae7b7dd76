"""Gateways for tests: their profiles, and one that receives."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.gateway.inbound import Inbound
from tests.support.process import edge_tables, write_toml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from adapters.edge.edge import Edge
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


@contextlib.asynccontextmanager
async def receiving(profile: GatewayProfile) -> AsyncIterator[tuple[Edge, Inbound]]:
    """Within the block, the gateway of this profile receives its subscription."""
    async with open_edge(profile) as edge:
        inbound = Inbound(edge, profile.gateway, Limits())
        task = asyncio.create_task(inbound.receive())
        try:
            yield edge, inbound
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
