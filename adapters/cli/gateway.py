"""``case-exchange gateway``: the process at an agency's edge."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from adapters.edge.profile import load_profile
from adapters.gateway.process import run_gateway
from adapters.terminal import profile_option
from broker import telemetry

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@profile_option
def gateway(profile_path: Path) -> None:
    """Publish what lies in the inbox, write what is delivered to the outbox, until SIGTERM.

    Put files into the inbox by renaming them there; pictures that they name go into inbox/attachments first.
    Exit codes: 0 stopped in good order, 1 the broker refuses this agency for good, 2 wrong settings.

    Example:  case-exchange gateway --profile shanxi.toml
    """
    profile, routes = load_profile(profile_path)
    telemetry.configure(profile.logging.level)
    asyncio.run(run_gateway(profile, routes, lambda: click.echo(f"gateway on {profile.gateway.folder}")))
