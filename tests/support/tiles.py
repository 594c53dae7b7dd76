"""A broker that serves tiles, members who read them, and the command that checks them."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from broker.cli.fsck import fsck
from broker.core.webaddress import WebAddress
from broker.web.client import HttpClient
from broker.web.tls import client_context, load_certificate
from tests.support.exchange import running_exchange
from tests.support.process import edge_tables, write_toml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from click.testing import Result

    from broker.web.client import HttpAnswer
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

MEMBER, AUDITOR = "shanxi-police", "national-audit"
TILES = {"address": "localhost:0"}
LARGEST = 1 << 20

serving_tiles = partial(running_exchange, tiles=TILES)
"""A broker that serves tiles on a free port."""


def address(exchange: Exchange) -> WebAddress:
    port = exchange.broker.tiles.port
    assert port is not None
    return WebAddress(tls=True, host="localhost", port=port, prefix="")


@contextlib.asynccontextmanager
async def member(
    exchange: Exchange, agency: str = MEMBER, *, files: tuple[Path, Path] | None = None
) -> AsyncIterator[HttpClient]:
    """A client with the TLS certificate of an agency, or with other files. Without an agency it shows none."""
    context = client_context(exchange.pki.folder.trust / "tls-ca.pem")
    if agency or files:
        load_certificate(context, *(files or exchange.pki.tls_paths(agency)))
    client = HttpClient(address(exchange), context)
    try:
        yield client
    finally:
        await client.close()


async def get(exchange: Exchange, path: str, agency: str = MEMBER) -> HttpAnswer:
    """The answer to one request."""
    async with member(exchange, agency) as client:
        return await client.get(path, LARGEST)


async def names(exchange: Exchange) -> dict[str, str]:
    """The paths of the logs, by their streams and partitions."""
    lines = (await get(exchange, "/")).body.decode().splitlines()
    return {line.rpartition("/")[0]: line for line in lines}


def profile(pki: SamplePki, folder: Path, agency: str) -> Path:
    return write_toml(folder / f"{agency}.toml", edge_tables(pki, agency, "localhost:1"))


def check(pki: SamplePki, *options: Any) -> Result:
    """What ``case-exchange fsck`` says, under the pinned key of a PKI."""
    root = pki.folder.trust / "governance.pem"
    return CliRunner().invoke(fsck, ["--root", str(root), *map(str, options)])
