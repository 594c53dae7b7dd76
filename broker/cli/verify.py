"""``case-exchange verify``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from broker.bootstrap.history import read_history
from broker.bootstrap.verify import verify_bundle
from broker.cli.directoryreport import directory_lines, directory_option, revocations_option
from broker.cli.disclose import disclosure_facts, disclosure_lines, disclosures_option
from broker.cli.fatetext import MOST_LISTED, fate_lines, more_than_listed
from broker.cli.hideable import first_lines
from broker.cli.historytext import (
    agency_option,
    case_option,
    history_facts,
    history_lines,
    history_records,
    subject_of,
)
from broker.cli.main import REFUSED, could_not
from broker.cli.options import root_option
from broker.cli.outcome import Outcome, outcome
from broker.cli.proofreport import heading_lines, proof_verdict
from broker.cli.report.words import LANGUAGES
from broker.cli.report.writing import JudgedFiles, ReportFile
from broker.cli.reportjson import report_facts, time_text
from broker.cli.timesreport import times_lines, timestamp_authority_option
from broker.cli.witnessreport import witness_lines, witness_policy_option
from broker.core.audit.history import completeness
from broker.core.bundle import BundleSource
from broker.core.errors import CaseExchangeError

if TYPE_CHECKING:
    from broker.bootstrap.disclosing import CheckedDisclosure
    from broker.core.audit.findings import Finding
    from broker.core.audit.history import Subject
    from broker.core.audit.report import AuditReport

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_SOURCES: Final = {
    BundleSource.BROKER: "made by a broker: it gave the receipts and signed the whole bundle for the exchange",
    BundleSource.MESSAGE_LOG: "read from the message log without a broker: no receipts, and no signature of the whole",
}

_VERDICTS: Final = {
    Outcome.SOUND: (
        "nothing is wrong: {records} is unchanged, and signed by its publisher, and no record of the signed trees is "
        "missing"
    ),
    Outcome.SOUND_PART: (
        "nothing is wrong with this part of the log: {records} is unchanged, and signed by its publisher. Nothing is "
        "said of the records outside of it"
    ),
    Outcome.DAMAGED: "THE BUNDLE IS NOT AS IT WAS MADE: get it again. This report accuses nobody",
    Outcome.DAMAGED_AND_WRONG: (
        "THE BUNDLE IS NOT AS IT WAS MADE: get it again, and keep both. The findings above may be of the damage. "
        "If they come again, report to governance"
    ),
    Outcome.BROKEN_OFF: (
        "THE BUNDLE BREAKS OFF: get it again, and bring the same receipts and checkpoints. If it breaks off again, "
        "keep both and report to governance"
    ),
    Outcome.UNSOUND_BUNDLE: (
        "THE BUNDLE IS NOT SOUND: make it again. If that does not help, keep both and report to governance"
    ),
    Outcome.TOO_MANY: (
        "TOO MANY FINDINGS: some are not listed, and may be about the log. Look at those above first, and report to "
        "governance what stays open"
    ),
    Outcome.UNCONFIRMED: (
        "THE LOG IS NOT CONFIRMED: a signature or proof that should confirm it is missing or does not hold. Make the "
        "bundle again. If this comes again, keep both and report to governance"
    ),
    Outcome.SHOWS_LESS: (
        "THE BUNDLE SHOWS LESS THAN THE EXCHANGE SIGNED FOR: make it again. If this comes again, keep both and report "
        "to governance"
    ),
    Outcome.RULES_BROKEN: (
        "SOMETHING IN THE LOG IS AGAINST THE RULES: keep this bundle as evidence and report to governance"
    ),
    Outcome.LOG_DIFFERS: (
        "THE LOG DIFFERS FROM WHAT WAS SIGNED: keep this bundle as evidence and report to governance"
    ),
}


@click.command()
@click.argument("bundle", type=_FILE)
@root_option
@click.option(
    "--receipts",
    multiple=True,
    type=_FILE,
    help="A publisher's receipts (see `case-exchange receipts`). May be repeated.",
)
@click.option(
    "--delivered",
    multiple=True,
    type=_FILE,
    help="What a recipient says that it got (`case-exchange receipts export`). May be repeated.",
)
@click.option(
    "--since",
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="A checkpoint that was seen before, or a folder of *.checkpoint. May be repeated.",
)
@click.option(
    "--covered-within",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="A record of this age must be under a checkpoint when the bundle is made. Without it: 60 for missing numbers, "
    "600 for receipts.",
)
@case_option
@agency_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object instead of text. With --case or --agency, it is one line, and each record is another.",
)
@witness_policy_option
@directory_option
@revocations_option
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path),
    help="Write a page for a judge, too (HTML that prints on A4): a new file in a folder that exists. Needs the extra "
    "`report`.",
)
@click.option(
    "--lang", "language", type=click.Choice(LANGUAGES), default=LANGUAGES[0], help="The page's language. Default: zh."
)
@timestamp_authority_option
@disclosures_option
def verify(
    bundle: Path,
    roots: tuple[Path, ...],
    *,
    receipts: tuple[Path, ...],
    delivered: tuple[Path, ...],
    since: tuple[Path, ...],
    covered_within: float | None,
    case_id: str,
    agency: str,
    witness_policy: Path | None,
    directory: Path | None,
    revocations: tuple[Path, ...],
    timestamp_authorities: tuple[Path, ...],
    disclosures: tuple[Path, ...],
    as_json: bool,
    report_file: Path | None,
    language: str,
) -> None:
    """Check a replay bundle, or a proof, offline. Only the pinned governance keys are trusted.

    The maker of a bundle chose what is in it. So bring what it did not choose: receipts of publishers, what recipients
    got, checkpoints that you or others have seen, and the newest directory. The first lines say what could be hidden
    all the same.

    Exit codes: 0 nothing is wrong, 1 findings, 2 nothing could be checked, or the page was not written.

    Example:  case-exchange verify 2026-q3.bundle --root governance.pem
    """
    subject = subject_of(case_id, agency)
    hidden = not sys.stderr.isatty()
    try:
        brought = (*receipts, *delivered, *since, *timestamp_authorities)
        judged = JudgedFiles(bundle, roots, brought, witness_policy, directory, revocations)
        page = None if report_file is None else ReportFile(report_file, language, judged)
        with click.progressbar(length=bundle.stat().st_size, label="verifying", file=sys.stderr, hidden=hidden) as bar:
            report = verify_bundle(
                bundle,
                roots,
                bar.update,
                receipts=receipts,
                since=since,
                delivered=delivered,
                witness_policy=witness_policy,
                directory=directory,
                revocation_lists=revocations,
                timestamp_authorities=timestamp_authorities,
                covered_within_ms=None if covered_within is None else round(covered_within * 1000),
                digest=None if page is None else page.digest,
            )
        disclosed = _disclosed(bundle, roots, disclosures)
        facts = report_facts(report) | ({"disclosures": disclosure_facts(disclosed)} if disclosed else {})
        if subject is not None:
            _tell_history(bundle, roots, report, subject, facts if as_json else None)
        elif as_json:
            click.echo(json.dumps(facts, indent=2))
        else:
            _print(report)
        if not as_json:
            for line in disclosure_lines(disclosed):
                _say(line)
        if page is not None:
            page.write(report)
    except CaseExchangeError as failure:
        could_not(failure)
    sys.exit(0 if report.clean and all(item.holds for item in disclosed) else REFUSED)


def _disclosed(bundle: Path, roots: tuple[Path, ...], files: tuple[Path, ...]) -> list[CheckedDisclosure]:
    if not files:
        return []
    from broker.bootstrap.disclosing import check_disclosures  # noqa: PLC0415 - only a disclosure needs it

    return check_disclosures(bundle, roots, files)


def _tell_history(
    bundle: Path, roots: tuple[Path, ...], report: AuditReport, subject: Subject, facts: dict[str, Any] | None
) -> None:
    """Print the report, and the history of a case or an agency. ``facts``: of the report, to be printed as JSON."""
    with read_history(bundle, roots, subject) as history:
        complete = completeness(report, subject, history.bodies)
        if facts is not None:
            click.echo(json.dumps({**facts, "history": history_facts(history, complete)}))
            for record_facts in history_records(history, complete):
                click.echo(json.dumps(record_facts))
        else:
            _print(report)
            for line in history_lines(history, complete):
                _say(line)


def _print(report: AuditReport) -> None:
    header = report.header
    for line in (*first_lines(report), *heading_lines(report)):
        _say(line)
    _say(f"source: {_SOURCES[header.source]}")
    for item in report.partitions:
        leaves = f"records {item.first_index} to {item.end_index - 1}" if item.end_index > item.first_index else "none"
        _say(f"  {item.partition!s:12} tree of {item.tree_size}, {leaves}, root {item.root}")
    for line in (*directory_lines(report), *witness_lines(report.witnesses), *times_lines(report.times)):
        _say(line)
    _say(f"{report.records} records, {report.withheld_sections} sections withheld, {report.deliveries} deliveries")
    for again in report.republished[:MOST_LISTED]:
        former = f"{again.former_position} at {time_text(again.former_accepted_at_ms)}"
        _say(
            f"  published again: record {again.record_id} at {again.position}, with the exchange's receipt for {former}"
        )
    for line in more_than_listed(len(report.republished), "published again"):
        _say(line)
    for line in fate_lines(report):
        _say(line)
    if report.refused_numbers:
        _say(f"{report.refused_numbers} missing numbers are of records that the exchange refused, as it says")
    for finding in report.findings:
        _say(_line(finding))
    if report.findings_left_out:
        _say(f"and {report.findings_left_out} more findings")
    _say(verdict(report))


def verdict(report: AuditReport) -> str:
    """The last line of a report: what to do."""
    if report.clean and report.header.proved_record:
        return proof_verdict(report)
    return _VERDICTS[outcome(report)].format(records=f"each of the {report.records} records here")


def _say(text: str) -> None:
    # The maker of a bundle chose its names. They must not be able to send control codes to the terminal.
    click.echo("".join(character if character.isprintable() else "?" for character in text))


def _line(finding: Finding) -> str:
    where = f" at {finding.position}" if finding.position is not None else ""
    which = f" record {finding.record_id}" if finding.record_id else ""
    return f"{finding.severity.value}: {finding.code}{which}{where}: {finding.message}"
