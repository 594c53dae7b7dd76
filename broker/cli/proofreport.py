"""What a report of ``verify`` says of a proof of one record."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.audit.report import AuditReport, ProvedRecord


PROOF_PHRASES: Final = {
    "others": "anything about other records: that there are more, or that none is missing",
    "truth": "that the record is true, and that its recipients have it",
    "one_log": "that others were shown the same log: no witnesses have cosigned a tree with this record",
    "independence": (
        "that the witnesses are independent: the directory names them. Bring your own policy: --witness-policy"
    ),
    "time": "when it was accepted, by anybody's word but the exchange's",
    "exact_time": "when exactly it was accepted: the independent times below say only that it existed by then",
}


def proof_limits(report: AuditReport) -> Iterator[str]:
    """What a proof of one record does not say: keys of ``PROOF_PHRASES``."""
    yield "others"
    yield "truth"
    proved, witnesses = report.proved, report.witnesses
    if proved is None or proved.cosigned is None:
        yield "one_log"
    elif witnesses is not None and not witnesses.brought:
        yield "independence"
    yield "time" if report.times is None or not report.times.records else "exact_time"


def heading_lines(report: AuditReport) -> Iterator[str]:
    """Who asked for the bundle, when and why. Of a proof of one record: what it proves, if anything."""
    if report.header.proved_record:
        yield from _proof_lines(report)
        return
    header = report.header
    yield f"{header.trust_domain}: replayed by {header.auditor} at {_time(header.created_at_ms)}"
    yield f"purpose: {header.purpose}"


def _proof_lines(report: AuditReport) -> Iterator[str]:
    proved = report.proved
    yield f"{report.header.trust_domain}: a proof of one record, for {report.header.auditor}"
    yield f"made at {_time(report.header.created_at_ms)}" + (
        f", purpose: {report.header.purpose}" if report.header.purpose else ""
    )
    if proved is None:
        return
    yield f"record {proved.record_id}, a {proved.kind}"
    yield f"  signed by {proved.publisher} ({proved.system}), for {', '.join(proved.recipients) or 'nobody'}"
    yield f"  {proved.withheld_sections} of its sections are withheld from this copy"
    yield f"  accepted at {_time(proved.accepted_at_ms)}, at {proved.position} of the log {proved.log_id}"
    yield f"  number {proved.leaf_index + 1} of a tree of {proved.tree_size} records, root {proved.root}"
    if proved.cosigned is not None:
        names, since_ms = ", ".join(proved.cosigned.witnesses), proved.cosigned.since_s * 1000
        yield f"  a tree with it is cosigned by {names}, at {_time(since_ms)}"


def proof_verdict(report: AuditReport) -> str:
    """The last line: what a clean proof proves."""
    witnessed = report.proved is not None and report.proved.cosigned is not None
    tree = "a tree that the exchange and its witnesses have signed" if witnessed else "a tree that the exchange signed"
    return f"proved: the record is unchanged, signed by its publisher, and in {tree}"


def proof_facts(proved: ProvedRecord | None) -> dict[str, Any] | None:
    """The same as JSON. None: nothing is proved of one record."""
    if proved is None:
        return None
    return {
        "record_id": proved.record_id,
        "publisher": proved.publisher,
        "system": proved.system,
        "kind": proved.kind,
        "recipients": list(proved.recipients),
        "withheld_sections": proved.withheld_sections,
        "position": str(proved.position),
        "accepted_at": _time(proved.accepted_at_ms),
        "log_id": proved.log_id,
        "leaf_index": proved.leaf_index,
        "tree_size": proved.tree_size,
        "root": proved.root,
        "cosigned_by": [] if proved.cosigned is None else list(proved.cosigned.witnesses),
    }


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")
