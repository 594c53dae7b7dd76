"""``case-exchange convert``: from one agency's format to another's, offline."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from adapters.base import DecodedRecord, Issue, Limits, Record, Severity, kind_of
from adapters.reading import Attachments, IssueLog, SourceFile, is_file_name, open_source
from adapters.registry import adapter, mapped
from adapters.terminal import FILE, mapping_option, print_issues
from broker.core.errors import InputRefused, SetupInvalid
from broker.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapters.base import Adapter, Encoded

_RECORD: Final = re.compile(r"records\[([0-9]+)\]")
"""The locator of an encoder's issue about one record."""


@click.command()
@click.argument("file", type=FILE)
@click.option("--from", "source_name", required=True, help="The format of the file.")
@click.option("--to", "target_name", required=True, help="The format to write.")
@mapping_option
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
def convert(file: Path, *, source_name: str, target_name: str, mapping: Path | None, out: Path) -> None:
    """Convert a file to another format. Each field that the new format cannot hold is named on standard error.

    At most 100,000 records, or 64 MiB of records, go into one file.
    Exit codes: 0 done, 1 something was refused, 2 the files cannot be used.

    Example:  case-exchange convert --from pfif --to record-json missing.xml --out missing.json
    """
    limits, log = Limits(), IssueLog()
    reader, target = mapped(adapter(source_name), mapping), adapter(target_name)
    if not target.encodes:
        print_issues(target.encode([], limits).issues)
        click.echo("no record was written, and no file")
        sys.exit(1)
    with open_source(file) as opened:
        source = SourceFile(opened, limits)
        read = _read(source.items(reader, Attachments(file.parent, limits.bytes)), target, limits, log)
    written = 0
    if read.records and not log.rejected:
        encoded = target.encode(read.records, limits)
        for issue in encoded.issues:
            log.add(issue)
        written = len(read.records) - len(_refused(encoded.issues)) if encoded.content else 0
        if written:
            _write(out, encoded)
    print_issues(log.kept, log.further)
    if read.left_out:
        click.echo(f"{read.left_out} records left out: {target.name} does not hold their kinds", err=True)
    click.echo(f"{written} records written to {out}" if written else "no record was written, and no file")
    sys.exit(1 if read.left_out or log.refused else 0)


class _Read(NamedTuple):
    records: list[Record]
    left_out: int


def _read(items: Iterable[DecodedRecord | Issue], target: Adapter, limits: Limits, log: IssueLog) -> _Read:
    """The records of the kinds that the target can hold, up to the limits of one file."""
    records: list[Record] = []
    size = left_out = 0
    for item in items:
        if not isinstance(item, DecodedRecord):
            log.add(item)
        elif kind_of(item.record) not in target.encodes:
            left_out += 1
        else:
            records.append(item.record)
            size += item.record.ByteSize()
            if len(records) > limits.records or size > limits.bytes:
                message = f"more than {limits.records} records, or {limits.bytes} bytes of records, for one file"
                log.add(Issue(Severity.REJECT_FILE, "TOO_MANY_RECORDS", item.locator, message))
                break
    return _Read(records, left_out)


def _refused(issues: Iterable[Issue]) -> set[str]:
    """The records that an encoder refused, by their number in the list."""
    found = (_RECORD.match(issue.locator) for issue in issues if issue.severity is Severity.REJECT_RECORD)
    return {match[1] for match in found if match is not None}


def _write(out: Path, encoded: Encoded) -> None:
    if not all(is_file_name(name) and name != out.name for name in encoded.attachments):
        message = "an attachment has a name that leads out of the folder, or the name of the file itself"
        raise InputRefused(message)
    try:
        replace_file(out, encoded.content)
        for name, attachment in encoded.attachments.items():
            replace_file(out.parent / name, attachment)
    except OSError as error:
        message = f"the output cannot be written: {error.strerror or type(error).__name__}"
        raise SetupInvalid(message) from error
