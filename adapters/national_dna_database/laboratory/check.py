"""``case-exchange dna check``: a police agency or a court computes a laboratory's figure again."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from adapters.national_dna_database.laboratory.kinship.comparison import Comparison, Thresholds, compare
from adapters.national_dna_database.laboratory.kinship.mutation import Sex
from adapters.national_dna_database.laboratory.kinship.ratios import LocusRatios, Question
from adapters.national_dna_database.laboratory.kinship.report import basis_facts, comparison_facts, comparison_lines
from adapters.national_dna_database.laboratory.kinship.typings import ProfileUnusable, Typing, read_profile
from adapters.national_dna_database.laboratory.options import basis_options, ratios_of, read_records
from adapters.terminal import FILE, json_option, print_json
from broker.core.errors import InputRefused
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from pathlib import Path

_PLACES: Final = {
    dna_pb2.SAMPLE_ROLE_CHILD: "child",
    dna_pb2.SAMPLE_ROLE_FATHER: "father",
    dna_pb2.SAMPLE_ROLE_MOTHER: "mother",
}
_LOG10_TOLERANCE: Final = 0.001
"""The most by which a notified figure may differ from the computed one, as a logarithm. Its text has four digits."""


@click.command()
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--child", required=True, help="Barcode of the child's sample.")
@click.option("--father", default="", help="Barcode of the supposed father's sample.")
@click.option("--mother", default="", help="Barcode of the supposed mother's sample.")
@click.option(
    "--undisputed",
    type=click.Choice([sex.value for sex in Sex]),
    help="With both parents: this one is not in question. Otherwise the couple is.",
)
@click.option("--match", "match_file", type=FILE, help="A file with the MatchNotification to compare the figure with.")
@basis_options
@json_option
def check(
    files: tuple[Path, ...],
    *,
    child: str,
    father: str,
    mother: str,
    undisputed: str | None,
    match_file: Path | None,
    as_json: bool,
    **basis: Any,
) -> None:
    """Compute a laboratory's figure again from disclosed profiles. Works offline. Prints every locus with its ratio.

    Exit codes: 0 computed, and as notified; 1 refused, or not as notified; 2 wrong usage.

    Example:  case-exchange dna check --frequencies table.toml --child SYN-1 --mother SYN-3 --match hit.json all.json
    """
    ratios, thresholds = ratios_of(**basis), Thresholds()
    question, asked = _question(father, mother, undisputed)
    typings = _typings(files, {"child": child, "father": father, "mother": mother})
    found = compare(
        ratios,
        thresholds,
        question,
        asked,
        child=typings[child],
        father=typings.get(father),
        mother=typings.get(mother),
    )
    differences = None if match_file is None else _differences(match_file, set(typings), found, ratios)
    facts = basis_facts(ratios, thresholds)
    if as_json:
        compared = {} if differences is None else {"differences": differences}
        print_json({**facts, **comparison_facts(found), **compared})
    else:
        for line in (
            *(f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()),
            *comparison_lines(found),
        ):
            click.echo(line)
        if differences is not None:
            click.echo("\n".join(f"not as notified: {item}" for item in differences) or "as notified")
    sys.exit(1 if differences else 0)


def _question(father: str, mother: str, undisputed: str | None) -> tuple[Question, Sex]:
    if not father and not mother:
        message = "give --father, --mother or both"
        raise click.UsageError(message)
    if father and mother:
        if undisputed is None:
            return Question.COUPLE, Sex.FATHER
        return Question.OTHER_PARENT, Sex.MOTHER if undisputed == Sex.FATHER.value else Sex.FATHER
    if undisputed is not None:
        message = "--undisputed needs both parents"
        raise click.UsageError(message)
    return Question.PARENT, Sex.FATHER if father else Sex.MOTHER


def _typings(files: tuple[Path, ...], people: dict[str, str]) -> dict[str, Typing]:
    barcodes = [barcode for barcode in people.values() if barcode]
    if len(set(barcodes)) != len(barcodes):
        message = "the samples of two people must be different"
        raise click.UsageError(message)
    records, _ = read_records(files, "StrProfile")
    profiles = [item.record for item in records if isinstance(item.record, dna_pb2.StrProfile)]
    typings: dict[str, Typing] = {}
    for place, barcode in people.items():
        if not barcode:
            continue
        found = [record for record in profiles if record.barcode == barcode]
        if len(found) != 1:
            message = f"the files have {len(found)} profiles with the barcode {barcode}, but exactly one is needed"
            raise InputRefused(message)
        if _PLACES.get(found[0].role, place) != place:
            message = f"the profile of the barcode {barcode} is a {_PLACES[found[0].role]}'s, not a {place}'s"
            raise InputRefused(message)
        typing = read_profile(found[0])
        if isinstance(typing, ProfileUnusable):
            message = f"the profile of the barcode {barcode} cannot be used: {typing.value}"
            raise InputRefused(message)
        typings[barcode] = typing
    return typings


def _differences(match_file: Path, barcodes: set[str], found: Comparison, ratios: LocusRatios) -> list[str]:
    """The differences between the notification of just these samples and the computed figure."""
    records, _ = read_records([match_file], "MatchNotification")
    notified = [
        item.record
        for item in records
        if isinstance(item.record, dna_pb2.MatchNotification) and set(item.record.barcodes) == barcodes
    ]
    if len(notified) != 1:
        message = f"{match_file} has {len(notified)} notifications of these samples, but exactly one is needed"
        raise InputRefused(message)
    match = notified[0]
    pairs = (
        ("the loci compared", match.loci_compared, found.loci_compared),
        ("the loci against inheritance", match.loci_mismatched, found.loci_mismatched),
        ("the frequency table", match.search.frequency_table, ratios.table.label),
        ("the mutation model", match.search.mutation_model, ratios.mutation.label),
    )
    differences = [f"{name}: {theirs} there, {ours} here" for name, theirs, ours in pairs if theirs != ours]
    if not math.isclose(match.log10_likelihood_ratio, found.log10_ratio, abs_tol=_LOG10_TOLERANCE):
        differences.append(
            f"the logarithm of the ratio: {match.log10_likelihood_ratio:.4f} there, {found.log10_ratio:.4f} here"
        )
    return differences
