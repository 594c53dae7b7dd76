"""``case-exchange directory keys``: every encryption key that was ever stated for an agency."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.bootstrap.statedkeys import stated_keys
from broker.cli.options import json_option, root_option
from broker.trust.directory_fields import rfc3339

if TYPE_CHECKING:
    from broker.bootstrap.statedkeys import StatedKey

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("keys")
@click.argument("files", type=_FILE, nargs=-1, required=True, metavar="FILE...")
@click.option("--agency", required=True, help="The agency's id.")
@root_option
@json_option
def directory_keys(files: tuple[Path, ...], *, agency: str, roots: tuple[Path, ...], as_json: bool) -> None:
    """Show every encryption key ever stated for an agency.

    FILE is a signed directory or a bundle. A bundle has every version that was in force in its time, as the audit
    stream has it. An agency looks here whether a key was stated in its name that it did not make.

    Exit codes: 0, or 1 if a version leaves out, changes or brings back what an agency stated.

    Example:  case-exchange directory keys --agency hebei-police --root governance.pem directory.json bundle
    """
    found = stated_keys(files, roots, agency)
    if as_json:
        broken = [{"cause": error.message, **error.details} for error in found.broken]
        facts = {"agency": agency, "versions": found.versions, "keys": [*map(_facts, found.keys)], "broken": broken}
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(f"{agency}: {len(found.keys)} keys in {len(found.versions)} versions of the directory")
        for row in map(_facts, found.keys):
            retired = f", retired from {row['retired_at']} on" if row["retired_at"] else ""
            click.echo(
                f"{row['key_id']}  {row['use']}, {row['suite']}, from {row['not_before']} until {row['not_after']}"
                f"{retired}; in versions {row['first_version']} to {row['last_version']}"
            )
        for error in found.broken:
            click.echo(f"version {error.details['version']}: {error.line}", err=True)
    sys.exit(1 if found.broken else 0)


def _facts(stated: StatedKey) -> dict[str, Any]:
    key = stated.key
    return {
        "key_id": key.key_id.hex(),
        "use": key.use,
        "suite": key.suite,
        "not_before": rfc3339(key.not_before_ms),
        "not_after": rfc3339(key.not_after_ms),
        "retired_at": None if key.retired_at_ms is None else rfc3339(key.retired_at_ms),
        "first_version": stated.first_version,
        "last_version": stated.last_version,
    }
