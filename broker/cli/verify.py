"""``case-exchange verify``."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from broker.bootstrap.verify import verify_bundle
from broker.cli.main import REFUSED, could_not
from broker.cli.options import root_option
from broker.cli.witnessreport import witness_facts, witness_lines, witness_policy_option
from broker.core.bundle import BundleSource
from broker.core.errors import CaseExchangeError
from broker.core.findings import FinishedLater

if TYPE_CHECKING:
    from broker.core.audit import AuditReport
    from broker.core.findings import Finding, Unprocessed

_SOURCES: Final = {
    BundleSource.BROKER: "made by a broker: it gave the receipts and signed the whole bundle for the exchange",
    BundleSource.MESSAGE_LOG: "read from the message log without a broker: no receipts, and no signature of the whole",
}

_MOST_LISTED: Final = 20


@click.command()
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@root_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@witness_policy_option
def verify(bundle: Path, roots: tuple[Path, ...], witness_policy: Path | None, *, as_json: bool) -> None:
    """Check a replay bundle offline. Only the pinned governance keys are trusted.

    Exit codes: 0 nothing is wrong, 1 findings, 2 nothing could be checked.

    Example:  case-exchange verify 2026-q3.bundle --root governance.pem
    """
    hidden = not sys.stderr.isatty()
    try:
        with click.progressbar(length=bundle.stat().st_size, label="verifying", file=sys.stderr, hidden=hidden) as bar:
            report = verify_bundle(bundle, roots, bar.update, witness_policy)
    except CaseExchangeError as failure:
        could_not(failure)
    if as_json:
        click.echo(json.dumps(_facts(report), indent=2))
    else:
        _print(report)
    sys.exit(0 if report.clean else REFUSED)


def _print(report: AuditReport) -> None:
    header = report.header
    _say(f"{header.trust_domain}: replayed by {header.auditor} at {_time(header.created_at_ms)}")
    _say(f"purpose: {header.purpose}")
    _say(f"source: {_SOURCES[header.source]}")
    for item in report.partitions:
        leaves = f"records {item.first_index} to {item.end_index - 1}" if item.end_index > item.first_index else "none"
        _say(f"  {item.partition!s:12} tree of {item.tree_size}, {leaves}, root {item.root}")
    for line in witness_lines(report.witnesses):
        _say(line)
    _say(f"{report.records} records, {report.withheld_sections} sections withheld, {report.deliveries} deliveries")
    for again in report.republished[:_MOST_LISTED]:
        former = f"{again.former_position} at {_time(again.former_accepted_at_ms)}"
        _say(
            f"  published again: record {again.record_id} at {again.position}, with the exchange's receipt for {former}"
        )
    _say_more(len(report.republished), "published again")
    for ended in report.unprocessed[:_MOST_LISTED]:
        _say(f"  not processed: {ended.position} was {_fate(ended)} by {ended.agency} ({ended.subscription})")
    _say_more(len(report.unprocessed), "not processed")
    for order in report.skipped[:_MOST_LISTED]:
        _say(
            f"  skipped by order: {order.records} records on {order.partition} from {order.first} on, "
            f"by {order.agency} ({order.subscription} was {order.order}), see {order.told_at}"
        )
    _say_more(len(report.skipped), "skipped by order")
    for void in report.void[:_MOST_LISTED]:
        said = f"{void.position} was {_fate(void)} by {void.agency} ({void.subscription})"
        _say(f"  void: a broker that had lost the partition said that {said}")
    _say_more(len(report.void), "void")
    for finding in report.findings:
        _say(_line(finding))
    if report.findings_left_out:
        _say(f"and {report.findings_left_out} more findings")
    if report.clean:
        _say("nothing is wrong: every record is present, unchanged, and signed by its publisher")
    else:
        _say("THE LOG DIFFERS FROM WHAT WAS SIGNED: keep this bundle as evidence and report to governance")


def _say_more(count: int, what: str) -> None:
    if count > _MOST_LISTED:
        _say(f"  and {count - _MOST_LISTED} more that were {what}; --json lists all")


def _fate(ended: Unprocessed | FinishedLater) -> str:
    if isinstance(ended, FinishedLater):
        return "finished"
    if ended.refused:
        return f"refused as {ended.refused}"
    if ended.discarded:
        return f"discarded as {ended.discarded}"
    if ended.parked:
        return "parked behind a dead letter"
    return f"set aside as {ended.reason}, and not delivered," if ended.reason else "given up as a dead letter"


def _say(text: str) -> None:
    # The maker of a bundle chose its names. They must not be able to send control codes to the terminal.
    click.echo("".join(character if character.isprintable() else "?" for character in text))


def _line(finding: Finding) -> str:
    where = f" at {finding.position}" if finding.position is not None else ""
    which = f" record {finding.record_id}" if finding.record_id else ""
    return f"{finding.severity.value}: {finding.code}{which}{where}: {finding.message}"


def _facts(report: AuditReport) -> dict[str, Any]:
    header = report.header
    return {
        "clean": report.clean,
        "trust_domain": header.trust_domain,
        "auditor": header.auditor,
        "purpose": header.purpose,
        "source": header.source.value,
        "created_at": _time(header.created_at_ms),
        "accepted_from": _time(header.accepted_from_ms),
        "accepted_until": _time(header.accepted_until_ms),
        "records": report.records,
        "withheld_sections": report.withheld_sections,
        "deliveries": report.deliveries,
        "unprocessed": [{**item._asdict(), "position": str(item.position)} for item in report.unprocessed],
        "void": [{**item._asdict(), "position": str(item.position)} for item in report.void],
        "republished": [
            {
                "record_id": again.record_id,
                "position": str(again.position),
                "former_position": str(again.former_position),
                "former_log_id": again.former_log_id,
                "former_accepted_at": _time(again.former_accepted_at_ms),
            }
            for again in report.republished
        ],
        "skipped": [
            {**item._asdict(), "partition": str(item.partition), "told_at": str(item.told_at)}
            for item in report.skipped
        ],
        "partitions": [
            {
                "partition": str(item.partition),
                "log_id": item.log_id,
                "tree_size": item.tree_size,
                "root": item.root,
                "first_index": item.first_index,
                "end_index": item.end_index,
            }
            for item in report.partitions
        ],
        "findings": [
            {
                "severity": finding.severity.value,
                "code": finding.code,
                "record_id": finding.record_id,
                "position": str(finding.position) if finding.position is not None else "",
                "message": finding.message,
            }
            for finding in report.findings
        ],
        "findings_left_out": report.findings_left_out,
        "witnesses": witness_facts(report.witnesses),
    }


def _time(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
