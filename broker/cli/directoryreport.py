"""What a report of ``verify`` says of the directory that counts, and what an auditor brings that is newer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.audit.report import AuditReport

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)

directory_option: Final = click.option(
    "--directory",
    type=_FILE,
    help="A signed directory that may be newer than those in the bundle: from governance, or an agency.",
)
revocations_option: Final = click.option(
    "--revocations",
    multiple=True,
    type=_FILE,
    help="A revocation list (PEM or DER) that may be newer than that in the bundle. May be repeated.",
)


def directory_lines(report: AuditReport) -> Iterator[str]:
    """Which directory is the newest that counts, and where it is from."""
    used = report.directory
    if used is None:
        return
    what = f"directory: version {used.version}, issued at {_time(used.issued_at_ms)}"
    if used.version != used.in_bundle:
        yield f"{what}, which you brought. The newest in the bundle is version {used.in_bundle}"
        if used.issued_at_ms < report.header.created_at_ms:
            yield "  the bundle was made after yours was issued: ask the exchange why it used an older one"
    elif used.brought is None:
        yield f"{what}, the newest in the bundle. You brought none: what governance ended later counts here"
    else:
        yield f"{what}, the newest in the bundle. You brought version {used.brought}"


def directory_used(report: AuditReport) -> dict[str, Any] | None:
    """The same as JSON."""
    used = report.directory
    if used is None:
        return None
    return {
        "version": used.version,
        "issued_at": _time(used.issued_at_ms),
        "in_bundle": used.in_bundle,
        "brought": used.brought,
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
