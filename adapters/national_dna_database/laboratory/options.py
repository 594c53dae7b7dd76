"""What the laboratory's commands share: the frequency table, the mutation model, and reading profiles from files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from adapters.base import Limits, Source
from adapters.national_dna_database.laboratory.kinship.frequencies import parse_table
from adapters.national_dna_database.laboratory.kinship.mutation import (
    CLASS_RATE,
    MATERNAL_RATE,
    PATERNAL_RATE,
    Kind,
    MutationModel,
)
from adapters.national_dna_database.laboratory.kinship.ratios import LocusRatios
from adapters.registry import detect
from adapters.terminal import FILE, print_issues, read_file
from broker.core.errors import InputRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from adapters.base import DecodedRecord
    from adapters.ownfiles import OwnFiles

_Command = TypeVar("_Command", bound="Callable[..., Any]")
_RATE: Final = click.FloatRange(0, 0.1)


_BASIS: Final = (
    click.option(
        "--frequencies",
        required=True,
        type=FILE,
        help="The table of allele frequencies: a TOML file that names its source (docs/dna-search.md).",
    ),
    click.option(
        "--mutation",
        type=click.Choice([kind.value for kind in Kind]),
        default=Kind.STEPWISE.value,
        show_default=True,
        help="The mutation model.",
    ),
    click.option(
        "--paternal-rate",
        type=_RATE,
        default=PATERNAL_RATE,
        show_default=True,
        help="Mutations of a father for each locus.",
    ),
    click.option(
        "--maternal-rate",
        type=_RATE,
        default=MATERNAL_RATE,
        show_default=True,
        help="Mutations of a mother for each locus.",
    ),
    click.option(
        "--class-rate",
        type=_RATE,
        default=CLASS_RATE,
        show_default=True,
        help="Mutations between whole and partial repeats (stepwise).",
    ),
)


def basis_options(command: _Command) -> _Command:
    """Add the options for the frequency table and the mutation model. ``ratios_of`` reads them."""
    for option in reversed(_BASIS):
        command = option(command)
    return command


def ratios_of(
    frequencies: Path, mutation: str, paternal_rate: float, maternal_rate: float, class_rate: float
) -> LocusRatios:
    """Read the frequency table, and make the mutation model from the options.

    Raises:
        InputRefused: the table cannot be used.
    """
    table = parse_table(read_file(frequencies, Limits().bytes))
    return LocusRatios(table, MutationModel(Kind(mutation), paternal_rate, maternal_rate, class_rate))


def read_records(files: Iterable[Path], kind: str, own: OwnFiles | None = None) -> tuple[list[DecodedRecord], bool]:
    """Read the records of one kind from files of any format that can hold it. Prints issues.

    With ``own`` sealed files are opened.

    Returns:
        The records, and whether anything was refused.

    Raises:
        InputRefused: the format of a file is not known, or cannot hold this kind.
    """
    records: list[DecodedRecord] = []
    refused = False
    for path in files:
        limits = Limits()
        content = read_file(path, limits.bytes, own)
        adapter = detect(content)
        if adapter is None or kind not in adapter.decodes:
            message = f"{path} does not have a format that can hold a {kind}"
            raise InputRefused(message)
        decoded = adapter.decode(Source(content), limits)
        print_issues(decoded.issues)
        refused |= any(issue.refuses for issue in decoded.issues)
        records += [item for item in decoded.records if item.record.DESCRIPTOR.name == kind]
    return records, refused
