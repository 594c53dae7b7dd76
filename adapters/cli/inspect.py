"""``case-exchange inspect``: show what is in a file, without personal data."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING

import click

from adapters.base import DecodedRecord, Limits, kind_of
from adapters.reading import Attachments, IssueLog, SourceFile, open_source
from adapters.registry import adapter, adapter_names, mapped
from adapters.terminal import FILE, further_facts, issue_facts, json_option, mapping_option, print_issues, print_json
from broker.core.errors import InputRefused

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("file", type=FILE)
@click.option("--from", "format_name", help="The format of the file. Without it: detect it.")
@mapping_option
@json_option
def inspect(file: Path, *, format_name: str | None, mapping: Path | None, as_json: bool) -> None:
    """Show the format of a file, its records and its faults. Works offline, and shows no values of fields.

    The first 1,000 issues are listed; the others are counted by code. If the whole file is refused, no records count.

    Exit codes: 0 every record can be used, 1 something was refused, 2 wrong usage.

    Example:  case-exchange inspect rescued-children.csv
    """
    if mapping and not format_name:
        message = "--mapping needs --from"
        raise click.UsageError(message)
    limits, log, kinds = Limits(), IssueLog(), Counter[str]()
    with open_source(file) as opened:
        source = SourceFile(opened, limits)
        found = mapped(adapter(format_name), mapping) if format_name else source.detect(map(adapter, adapter_names()))
        if found is None:
            names = ", ".join(adapter_names())
            message = f"FORMAT_UNKNOWN: the file has none of the formats {names}; archives are not unpacked"
            raise InputRefused(message)
        for item in source.items(found, Attachments(file.parent, limits.bytes)):
            if isinstance(item, DecodedRecord):
                kinds[kind_of(item.record)] += 1
            else:
                log.add(item)
    if log.rejected:
        kinds.clear()
    _print(found.name, source, kinds, log, as_json=as_json)
    sys.exit(1 if log.refused else 0)


def _print(name: str, source: SourceFile, kinds: Counter[str], log: IssueLog, *, as_json: bool) -> None:
    sha256 = None if source.sha256 is None else source.sha256.hex()
    if as_json:
        facts = {"format": name, "sha256": sha256, "records": dict(kinds), "issues": issue_facts(log.kept)}
        print_json({**facts, "further_issues": further_facts(log.further)})
        return
    click.echo(f"format: {name}")
    click.echo(f"sha256: {sha256 or 'not computed, the file is too large'}")
    for kind, count in sorted(kinds.items()):
        click.echo(f"{kind}: {count}")
    print_issues(log.kept, log.further)
