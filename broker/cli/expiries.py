"""Print when what trust rests on ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.trust.expiries import Expiry


def expiry_facts(expiries: Iterable[Expiry], now_ms: int) -> list[dict[str, Any]]:
    """What ends when, the first to end first. ``due``: two thirds of its life are over."""
    return [
        {
            "what": one.what,
            "name": one.name,
            "ends": datetime.fromtimestamp(one.last_ms / 1000, UTC).isoformat(timespec="seconds"),
            "due": now_ms >= one.due_ms,
            "ended": now_ms > one.last_ms,
            "remedy": one.remedy,
        }
        for one in sorted(expiries, key=lambda one: one.last_ms)
    ]


def print_expiries(facts: Iterable[dict[str, Any]]) -> None:
    """One line for each, and what to do about those that are due."""
    click.echo("what ends when:")
    for one in facts:
        state = " ENDED" if one["ended"] else " DUE" if one["due"] else ""
        remedy = f": {one['remedy']}" if state else ""
        click.echo(f"  {one['ends']} {one['what']} {one['name']}{state}{remedy}")
