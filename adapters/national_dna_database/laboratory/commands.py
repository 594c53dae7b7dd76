"""``case-exchange dna``: the service of the reference laboratory, and a command for others to check its figures."""

from __future__ import annotations

import contextlib
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from adapters.base import Limits
from adapters.edge.ending import ending
from adapters.national_dna_database.laboratory.check import check
from adapters.national_dna_database.laboratory.kinship.frequencies import parse_table
from adapters.national_dna_database.laboratory.kinship.transcription import table_file, transcribe
from adapters.national_dna_database.laboratory.options import basis_options, ratios_of, read_records
from adapters.national_dna_database.laboratory.search.results import (
    SearchResult,
    records_file,
    result_facts,
    result_lines,
)
from adapters.national_dna_database.laboratory.search.search import Laboratory, SearchRules
from adapters.national_dna_database.laboratory.search.store import ProfileStore
from adapters.national_dna_database.laboratory.service import LaboratoryService, of_sender
from adapters.ownfiles import OwnFiles
from adapters.terminal import FILE, identities_option, json_option, print_json, read_file
from broker.core.errors import SetupInvalid
from broker.files import replace_file
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

_DRAIN_SECONDS: Final = 10.0
"""How long a search may go on after SIGTERM. A file that it was made for is read again at the next start."""

database_option: Final = click.option(
    "--database",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The laboratory's SQLite file. It is made if it does not exist.",
)
kept_option: Final = click.option(
    "--database", required=True, type=FILE, help="The laboratory's SQLite file, made by dna add or dna watch."
)
name_option: Final = click.option(
    "--name", default="reference laboratory", show_default=True, help="The name of the database, if a new one is made."
)
agency_option: Final = click.option(
    "--agency", default="", help="Our agency id. In a gateway's files, barcodes of others become AGENCY/BARCODE."
)
out_option: Final = click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the results as records to this file (record-json), for a gateway's inbox.",
)


@click.group()
def dna() -> None:
    """Search for parents and children by DNA profiles. It computes likelihood ratios.

    Example:  case-exchange dna check --frequencies table.toml --child SYN-1 --father SYN-2 profiles.xml
    """


dna.add_command(check)


@dna.command()
@click.argument("files", type=FILE, nargs=-1, required=True)
@database_option
@name_option
@agency_option
@click.option("--search/--no-search", "searches", default=True, help="Search with each profile, or only store them.")
@out_option
@identities_option
@basis_options
@json_option
def add(
    files: tuple[Path, ...],
    *,
    database: Path,
    name: str,
    agency: str,
    searches: bool,
    out: Path | None,
    identities: Path,
    as_json: bool,
    **basis: Any,
) -> None:
    """Store the profiles of files. Search with each: for a child among the parents, for a parent among the children.

    With --identities it opens sealed files. The results of --out are plain.

    Exit codes: 0 every profile was stored, 1 some were refused, 2 the files cannot be used.

    Example:  case-exchange dna add --database lab.db --frequencies table.toml --out inbox/hits.json profiles.xml
    """
    _check_folder(out)
    profiles: list[dna_pb2.StrProfile] = []
    refused = False
    for path in files:
        records, some = read_records([path], "StrProfile", OwnFiles(identities))
        refused |= some
        found = (item.record for item in records if isinstance(item.record, dna_pb2.StrProfile))
        profiles += [of_sender(profile, path, agency) for profile in found]
    with _laboratory(database, name, basis) as laboratory:
        added = laboratory.add(profiles, datetime.now(UTC))
        results = [laboratory.search(barcode) for barcode in added.kept] if searches else []
    for barcode, reason in added.refused:
        click.echo(f"refused: {barcode}: {reason}", err=True)
    click.echo(f"{len(added.new)} profiles are new, {len(added.refused)} refused", err=True)
    _report(results, out, as_json=as_json)
    sys.exit(1 if refused or added.refused else 0)


@dna.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@database_option
@name_option
@click.option(
    "--results",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for the results, as records (record-json): the inbox of a gateway.",
)
@agency_option
@click.option("--every", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Seconds between checks.")
@click.option("--once", is_flag=True, help="Take the files that are there now, and end.")
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=0,
    help="Delete files from done/ and quarantine/ after so many days. Without it they stay.",
)
@identities_option
@basis_options
def watch(
    folder: Path,
    *,
    database: Path,
    name: str,
    results: Path,
    agency: str,
    every: float,
    once: bool,
    keep_days: float,
    identities: Path,
    **basis: Any,
) -> None:
    """Search with the profiles of a folder until SIGTERM.

    Write a file in another folder first, then rename it into this one. The command moves it to done/ in the folder,
    or to quarantine/ with a file that gives the reason. With --identities it opens sealed files too, and seals what it
    writes into all of these folders.

    Exit codes: 0 stopped normally, 2 the folders or the database cannot be used, 130 Ctrl-C.

    Example:  case-exchange dna watch --database lab.db --frequencies table.toml --results lab/inbox lab/typed
    """
    stopping = threading.Event()
    with ending(_DRAIN_SECONDS, stopping.set), _laboratory(database, name, basis) as laboratory:
        try:
            own = OwnFiles(identities, seals=identities != Path())
            own.check()
            service = LaboratoryService(laboratory, folder, results, Limits(), agency, keep_days=keep_days, own=own)
            click.echo(f"laboratory on {folder}, {len(laboratory)} profiles")
            while not stopping.is_set():
                service.take_all(datetime.now(UTC), stopping.is_set)
                if once or stopping.wait(every):
                    break
        except OSError as error:
            message = f"a folder cannot be used: {error.strerror}"
            raise SetupInvalid(message) from error


@dna.command()
@click.argument("barcode")
@kept_option
@name_option
@click.option("--known-parent", default="", help="Barcode of a parent who is certain: search for the other parent.")
@out_option
@basis_options
@json_option
def search(
    barcode: str, *, database: Path, name: str, known_parent: str, out: Path | None, as_json: bool, **basis: Any
) -> None:
    """Search with a stored sample.

    Exit codes: 0 the search was done, with or without a match, 1 refused, 2 the files cannot be used.

    Example:  case-exchange dna search --database lab.db --frequencies table.toml SYN-1
    """
    _check_folder(out)
    with _laboratory(database, name, basis) as laboratory:
        result = laboratory.search(barcode, known_parent=known_parent)
    _report([result], out, as_json=as_json)


@dna.command()
@click.argument("file", type=FILE)
@click.option("--name", required=True, help="The name of the table in results.")
@click.option("--source", required=True, help="The publication of the numbers.")
@click.option("--individuals", type=click.IntRange(0), default=0, help="People typed, if the file does not say it.")
@click.option("--population", default="", help="The population, if the file has several.")
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The table to write.")
def table(file: Path, *, name: str, source: str, individuals: int, population: str, out: Path) -> None:
    """Convert published allele frequencies for --frequencies.

    Each locus that is left out is named, with the reason.

    Exit codes: 0 every locus was converted, 1 some were left out, 2 the file cannot be used.

    Example:  case-exchange dna table published.csv --name nist-2013 --source '...' --individuals 97 --out table.toml
    """
    found = transcribe(read_file(file, Limits().bytes), population=population, individuals=individuals)
    content = table_file(found, name, source)
    label = parse_table(content).label
    try:
        replace_file(out, content)
    except OSError as error:
        message = f"{out} cannot be written: {error.strerror}"
        raise SetupInvalid(message) from error
    for locus, reason in found.left_out:
        click.echo(f"left out: {locus} {reason}", err=True)
    click.echo(f"{len(found.loci)} loci: {label}")
    sys.exit(1 if found.left_out else 0)


@dna.command()
@click.argument("barcode")
@kept_option
@name_option
def withdraw(barcode: str, *, database: Path, name: str) -> None:
    """Erase every profile of a sample.

    Exit codes: 0 erased, 1 the sample has no profile, 2 the file cannot be used.

    Example:  case-exchange dna withdraw --database lab.db SYN-1
    """
    with contextlib.closing(ProfileStore(database, name)) as store:
        found = store.withdraw(barcode, datetime.now(UTC))
    click.echo("erased" if found else "the sample has no profile")
    sys.exit(0 if found else 1)


@contextlib.contextmanager
def _laboratory(database: Path, name: str, basis: dict[str, Any]) -> Iterator[Laboratory]:
    ratios = ratios_of(**basis)
    with contextlib.closing(ProfileStore(database, name)) as store:
        yield Laboratory(store, ratios, SearchRules())


def _check_folder(out: Path | None) -> None:
    """Check that the folder for the results exists, before the database is changed."""
    if out is not None and not out.parent.is_dir():
        message = f"{out} cannot be written: {out.parent} is not a folder"
        raise SetupInvalid(message)


def _report(results: list[SearchResult], out: Path | None, *, as_json: bool) -> None:
    if out is not None and results:
        try:
            replace_file(out, records_file(results))
        except OSError as error:
            message = f"{out} cannot be written: {error.strerror}"
            raise SetupInvalid(message) from error
    if as_json:
        print_json([result_facts(result) for result in results])
        return
    for result in results:
        for line in result_lines(result):
            click.echo(line)
