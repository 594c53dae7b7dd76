"""What `case-exchange verify --json` prints."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from broker.cli.directoryreport import directory_used
from broker.cli.hideable import could_hide
from broker.cli.proofreport import proof_facts
from broker.cli.timesreport import times_facts
from broker.cli.witnessreport import witness_facts

if TYPE_CHECKING:
    from broker.core.audit.report import AuditReport


def report_facts(report: AuditReport) -> dict[str, Any]:
    """Everything that the audit found, for ``json.dumps``."""
    header = report.header
    return {
        "clean": report.clean,
        "trust_domain": header.trust_domain,
        "auditor": header.auditor,
        "purpose": header.purpose,
        "source": header.source.value,
        "created_at": time_text(header.created_at_ms),
        "accepted_from": time_text(header.accepted_from_ms),
        "accepted_until": time_text(header.accepted_until_ms),
        "records": report.records,
        "withheld_sections": report.withheld_sections,
        "deliveries": report.deliveries,
        "refused_numbers": report.refused_numbers,
        "unprocessed": [{**item._asdict(), "position": str(item.position)} for item in report.unprocessed],
        "void": [{**item._asdict(), "position": str(item.position)} for item in report.void],
        "republished": [
            {
                "record_id": again.record_id,
                "position": str(again.position),
                "former_position": str(again.former_position),
                "former_log_id": again.former_log_id,
                "former_accepted_at": time_text(again.former_accepted_at_ms),
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
                "compared": [{"stated": each.stated.value, "value": each.value} for each in finding.compared],
            }
            for finding in report.findings
        ],
        "brought": asdict(report.brought),
        "received": None if report.received is None else asdict(report.received),
        "could_be_hidden": list(could_hide(report)),
        "findings_left_out": report.findings_left_out,
        "times": times_facts(report.times),
        "proved": proof_facts(report.proved),
        "witnesses": witness_facts(report.witnesses),
        "directory": directory_used(report),
    }


def time_text(ms: int | None) -> str | None:
    """A time (milliseconds since the Unix epoch) in RFC 3339, UTC."""
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
