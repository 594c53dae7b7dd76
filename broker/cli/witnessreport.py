"""What a report of ``verify`` says of witnesses."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.audit.witnesses import WitnessReport

witness_policy_option: Final = click.option(
    "--witness-policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Which witnesses must have cosigned (a C2SP tlog-policy file). Without it, those of the directory are told.",
)


def witness_lines(report: WitnessReport | None) -> Iterator[str]:
    """What witnesses have cosigned, and what nobody can know without them."""
    if report is None or not report.listed:
        yield "witnesses: none. Nothing here proves that others were shown the same history"
        return
    source = "your policy" if report.brought else "the directory's policy"
    yield f"witnesses: {source} names {report.listed}, and at least {report.needed} must cosign"
    for one in report.cosigned:
        names = ", ".join(one.witnesses) or "nobody"
        since = f" at {_time(one.since_s)}" if one.since_s else ""
        yield f"  {one.partition!s:12} {one.size} of {one.shown} records are cosigned by {names}{since}"
    for partition in report.missing:
        yield f"  {partition!s:12} NOT COSIGNED by enough witnesses"


def witness_facts(report: WitnessReport | None) -> dict[str, Any] | None:
    """The same as JSON. None: there are no witnesses."""
    if report is None or not report.listed:
        return None
    return {
        "listed": report.listed,
        "needed": report.needed,
        "brought": report.brought,
        "cosigned": [
            {
                "partition": str(one.partition),
                "size": one.size,
                "of": one.shown,
                "at": _time(one.since_s) if one.since_s else None,
                "witnesses": list(one.witnesses),
            }
            for one in report.cosigned
        ],
        "missing": [str(partition) for partition in report.missing],
    }


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
