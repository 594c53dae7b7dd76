"""Print when what trust rests on ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from broker.trust.expiries import ARCHIVE_KEY, KEY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.trust.expiries import Expiry

_KEYS: Final = {ARCHIVE_KEY, KEY}


def expiry_facts(expiries: Iterable[Expiry], now_ms: int) -> list[dict[str, Any]]:
    """What ends when, the first to end first. ``due``: two thirds of its life are over; ``due_from``: when they are."""
    return [
        {
            "what": one.what,
            "name": one.name,
            "ends": _time(one.last_ms),
            "due_from": None if one.followed else _time(one.due_ms),
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
        rotate = f", rotate from {one['due_from']}" if one["what"] in _KEYS and one["due_from"] and not state else ""
        click.echo(f"  {one['ends']} {one['what']} {one['name']}{rotate}{state}{remedy}")


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
