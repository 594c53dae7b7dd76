"""``case-exchange gateway``: an agency's gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from adapters.edge.ending import run_until_asked
from adapters.edge.profile import load_profile
from adapters.gateway.process import run_gateway
from adapters.terminal import profile_option
from broker import telemetry

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@profile_option
def gateway(profile_path: Path) -> None:
    """Exchange files with the broker until SIGTERM.

    The records of files in the inbox are published, and delivered records are written to the outbox.

    Write a file in another folder first, then rename it into the inbox. Put its pictures into inbox/attachments
    before that.

    Exit codes: 0 stopped normally, 1 the broker refuses this agency for good, 2 wrong settings, 130 Ctrl-C.

    Example:  case-exchange gateway --profile shanxi.toml
    """
    profile, routes = load_profile(profile_path)
    telemetry.configure(profile.logging.level)

    def ready() -> None:
        click.echo(f"gateway on {profile.gateway.folder}")

    run_until_asked(lambda: run_gateway(profile, routes, ready), profile.gateway.drain_seconds, stopped=0)
