"""A broker that serves tiles, members who read them, and the command that checks them."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from broker.cli.fsck import fsck
from broker.core.streams import DNA, partition_of
from broker.core.webaddress import WebAddress
from broker.web.client import HttpClient
from broker.web.tls import client_context, load_certificate
from tests.support.exchange import running_exchange
from tests.support.process import edge_tables, write_toml
from tests.support.records import CASE

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
PARTITION = f"{DNA}/{partition_of(CASE, 4)}"
"""Where the records of the sample case are, in a log of four partitions."""

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


def profile(pki: SamplePki, folder: Path, agency: str, files: tuple[Path, Path] | None = None) -> Path:
    """The profile of an agency, with its own TLS certificate or with other files."""
    tables = edge_tables(pki, agency, "localhost:1")
    if files is not None:
        tables["agency"] |= {"certificate": str(files[0]), "key": str(files[1])}
    return write_toml(folder / f"{agency}.toml", tables)


def check(pki: SamplePki, *options: Any) -> Result:
    """What ``case-exchange fsck`` says, under the pinned key of a PKI."""
    root = pki.folder.trust / "governance.pem"
    return CliRunner().invoke(fsck, ["--root", str(root), *map(str, options)])


async def covered(exchange: Exchange) -> str:
    """The path of the log with the sample records, when a checkpoint covers all of them."""
    log = exchange.broker.log
    await exchange.broker.follower.covered(
        {one: await log.end_offset(one) for one in exchange.broker.follower._partitions}
    )
    return (await names(exchange))[f"{DNA}/{partition_of(CASE, log.partitions(DNA))}"]
