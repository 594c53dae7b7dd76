"""``case-exchange proof``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from broker.bootstrap.edge import connect
from broker.cli.bundlefile import refuse_existing, write_bundle
from broker.cli.options import profile_option
from broker.client.auditor import Auditor
from broker.config.edge import load_edge
from broker.core.errors import ProofNotReady

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.config.edge import EdgeConfig
    from broker.core.bundle import SerializedFrame


@click.command()
@profile_option
@click.argument("record_id")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The proof file to write.")
@click.option("--purpose", default="", help="Why you want it. Only an auditor must say it.")
@click.option(
    "--wait",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Wait so long for a checkpoint that covers the record, and for witnesses. Without it: do not wait.",
)
@click.option(
    "--without-cosignatures",
    is_flag=True,
    help="Do not wait for witnesses: take the newest checkpoint that the exchange has signed.",
)
def proof(profile: Path, record_id: str, *, out: Path, purpose: str, wait: float, without_cosignatures: bool) -> None:
    """Get a proof that one record is in the log.

    The file has the signed record with the sections that you may have, the exchange's receipt, and the record's place
    in a checkpoint that witnesses have cosigned. It also has the certificates, revocation lists and directories to
    check them with. Anybody checks it offline: `case-exchange verify`. The publisher, the recipients and auditors get
    it.

    Exit codes: 0 written, 1 refused, not found or not ready yet (no file is left), 2 wrong settings.

    Example:  case-exchange proof 01990000-0000-7000-8000-000000000001 --profile shanxi.toml --out r.proof
    """
    config = load_edge(profile)
    refuse_existing(out)
    asyncio.run(_write(config, record_id, out, wait, purpose=purpose, without_cosignatures=without_cosignatures))
    click.echo(f"{out}: record {record_id}; next: case-exchange verify {out} --root governance.pem")


async def _write(
    config: EdgeConfig, record_id: str, out: Path, wait: float, *, purpose: str, without_cosignatures: bool
) -> None:
    loop = asyncio.get_running_loop()
    until = loop.time() + wait
    async with connect(config) as channel:
        auditor = Auditor(channel)
        while True:
            frames = auditor.prove_record(record_id, purpose=purpose, without_cosignatures=without_cosignatures)
            try:
                # It is refused before its first frame.
                first = await anext(frames)
            except ProofNotReady as not_ready:
                pause = int(not_ready.details.get("retry_after_ms", "1000")) / 1000
                left = until - loop.time()
                if left <= 0:
                    raise
                await asyncio.sleep(min(pause, left))
            else:
                await write_bundle(_all(first, frames), out)
                return


async def _all(first: SerializedFrame, rest: AsyncIterator[SerializedFrame]) -> AsyncIterator[SerializedFrame]:
    yield first
    async for frame in rest:
        yield frame
