"""``case-exchange inspect``: what is in a file, without a person's values."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from adapters.base import Limits, Source, kind_of
from adapters.cli.options import FILE, issue_facts, json_option, mapping_option, print_issues, print_json, read_file
from adapters.outbound import Attachments
from adapters.registry import adapter, adapter_names, detect, mapped
from broker.core.errors import InputRefused

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("file", type=FILE)
@click.option("--from", "format_name", help="The file's format, if it is not to be detected.")
@mapping_option
@json_option
def inspect(file: Path, *, format_name: str | None, mapping: Path | None, as_json: bool) -> None:
    """Say which format a file is of, which records are in it, and what is wrong with it. Offline; shows no values.

    Exit codes: 0 every record can be used, 1 something was refused, 2 the file cannot be read.

    Example:  case-exchange inspect rescued-children.csv
    """
    limits = Limits()
    content = read_file(file, limits.bytes)
    if mapping and not format_name:
        message = "--mapping needs --from"
        raise InputRefused(message)
    found = mapped(adapter(format_name), mapping) if format_name else detect(content)
    if found is None:
        message = f"the file is of none of the formats {', '.join(adapter_names())}"
        raise InputRefused(message)
    decoded = found.decode(Source(content, Attachments(file.parent, limits.bytes)), limits)
    kinds = Counter(kind_of(item.record) for item in decoded.records)
    refused = any(issue.severity.value.startswith("reject") for issue in decoded.issues)
    if as_json:
        print_json(
            {
                "format": found.name,
                "sha256": decoded.source_sha256.hex(),
                "records": dict(kinds),
                "issues": issue_facts(decoded.issues),
            }
        )
    else:
        click.echo(f"format: {found.name}")
        click.echo(f"sha256: {decoded.source_sha256.hex()}")
        for kind, count in sorted(kinds.items()):
            click.echo(f"{kind}: {count}")
        print_issues(decoded.issues)
    sys.exit(1 if refused else 0)
