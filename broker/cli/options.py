"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

profile_option: Final = click.option(
    "--profile",
    "profile",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The edge profile: which broker, which agency, which keys (docs/configuration.md).",
)
json_option: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
root_option: Final = click.option(
    "--root",
    "roots",
    required=True,
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The governance public key (PEM) that you pin. May be repeated.",
)
