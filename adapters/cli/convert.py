"""``case-exchange convert``: from one agency's format to another's, offline."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from adapters.base import Limits, Source, kind_of
from adapters.cli.options import FILE, mapping_option, print_issues, read_file
from adapters.outbound import Attachments
from adapters.registry import adapter, mapped
from broker.core.errors import SetupInvalid
from broker.trust.files import replace_file


@click.command()
@click.argument("file", type=FILE)
@click.option("--from", "source_name", required=True, help="The format that the file is of.")
@click.option("--to", "target_name", required=True, help="The format to write.")
@mapping_option
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
def convert(file: Path, *, source_name: str, target_name: str, mapping: Path | None, out: Path) -> None:
    """Convert a file. What the target cannot carry is named, field by field, on standard error.

    Exit codes: 0 done, 1 something was refused, 2 the files cannot be used.

    Example:  case-exchange convert --from pfif --to record-json missing.xml --out missing.json
    """
    limits = Limits()
    source, target = mapped(adapter(source_name), mapping), adapter(target_name)
    content = read_file(file, limits.bytes)
    decoded = source.decode(Source(content, Attachments(file.parent, limits.bytes)), limits)
    records = [item.record for item in decoded.records if kind_of(item.record) in target.encodes]
    encoded = target.encode(records, limits)
    issues = (*decoded.issues, *encoded.issues)
    print_issues(issues)
    left_out = len(decoded.records) - len(records)
    if left_out:
        click.echo(f"{left_out} records are of kinds that {target.name} does not carry", err=True)
    if encoded.content:
        try:
            replace_file(out, encoded.content)
            for name, attachment in encoded.attachments.items():
                replace_file(out.parent / name, attachment)
        except OSError as error:
            message = f"{out} cannot be written: {error.strerror}"
            raise SetupInvalid(message) from error
    click.echo(f"{len(records)} records written to {out}")
    refused = left_out or any(issue.severity.value.startswith("reject") for issue in issues)
    sys.exit(1 if refused else 0)
