"""What a report of ``verify`` says of times that are proved without the exchange."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.audit.times import TimesReport

timestamp_authority_option: Final = click.option(
    "--timestamp-authority",
    "timestamp_authorities",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificates (PEM) of a timestamp authority that you pin: its signer first, its root last. May be repeated. "
    "Without it, those of the directory count.",
)


def times_lines(report: TimesReport | None) -> Iterator[str]:
    """Which trees existed before which times, and what could not be checked."""
    if report is None:
        return
    if report.unchecked:
        yield f"timestamps: {report.unchecked} could not be checked: {report.why_unchecked}"
    if report.timestamps or report.unproved:
        yield f"timestamps: {report.timestamps} hold, {report.unproved} do not count"
    if not report.proven:
        yield "times: only the exchange says when records were accepted"
    for one in report.proven:
        who = "witnesses" if one.witnesses else "the timestamp authority"
        tree = f"the tree of {one.size} records existed before {_time(one.at_ms)}"
        yield f"  {one.partition!s:12} {tree}, by {who} {one.by}"
    if report.proven:
        yield f"  {report.records} records are in one of these trees"


def times_facts(report: TimesReport | None) -> dict[str, Any] | None:
    """The same as JSON."""
    if report is None:
        return None
    proven = [
        {
            "partition": str(one.partition),
            "size": one.size,
            "at": _time(one.at_ms),
            "by": one.by,
            "witnesses": one.witnesses,
        }
        for one in report.proven
    ]
    return {**asdict(report), "proven": proven}


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
