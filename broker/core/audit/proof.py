"""Judge a bundle that is a proof of one record (docs/adr/0051).

Everything in it is judged as in a replay, but for what a replay says of other records: nothing is missing around the
one leaf, and no stream is promised whole. Two checks are added:

1. the bundle has exactly one leaf and one record, and this is the record that its header names: BUNDLE_INVALID
2. if the auditor has brought the policy of witnesses, a quorum of them has cosigned a tree that holds the record:
   WITNESSES_MISSING. A checkpoint from before the record says nothing of it
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.core.audit.findings import error
from broker.core.audit.report import ProvedRecord

if TYPE_CHECKING:
    from broker.core.audit.findings import BatchReport, EntryFacts, Finding
    from broker.core.audit.report import AuditReport
    from broker.core.bundle import BundleHeader


class ProofAudit:
    """Takes the reports on the batches of a bundle, then that on the whole. Of a replay it says nothing."""

    def __init__(self, header: BundleHeader) -> None:
        self._header = header
        self._facts: list[EntryFacts] = []

    def take(self, report: BatchReport) -> None:
        """Take the report on a batch."""
        if self._header.proved_record:
            self._facts += report.facts

    def finish(self, report: AuditReport) -> AuditReport:
        """The report with what is wrong with the proof as a proof, or with what it proves."""
        if not self._header.proved_record:
            return report
        proved, findings = self._judge(report)
        if findings:
            report = replace(report, findings=(*report.findings, *findings))
        return replace(report, proved=proved if report.clean else None)

    def _judge(self, report: AuditReport) -> tuple[ProvedRecord | None, list[Finding]]:
        # (1) One leaf, one record, the one that is named.
        shown = [(item.end_index - item.first_index, item) for item in report.partitions]
        named = [facts.record_id for facts in self._facts] == [self._header.proved_record]
        if not named or report.records != 1 or [leaves for leaves, _ in shown] != [1]:
            message = f"the bundle is said to prove the record {self._header.proved_record}, and has not it alone"
            return None, [error("BUNDLE_INVALID", message)]
        (facts,), ((_, tree),) = self._facts, shown
        # (2) Who vouches for the tree that holds it.
        witnesses = report.witnesses
        cosigned = None
        if witnesses is not None and witnesses.needed:
            cosigned = next((one for one in witnesses.cosigned if one.size > tree.first_index), None)
        findings = []
        if cosigned is None and witnesses is not None and witnesses.brought and witnesses.needed:
            # One that cosigned nothing has its finding already.
            message = "what your witnesses have cosigned is older than the record"
            findings = [] if witnesses.missing else [error("WITNESSES_MISSING", message, facts.record_id)]
        proved = ProvedRecord(
            facts.record_id,
            facts.publisher,
            facts.system,
            facts.kind,
            tuple(agency for agency, _ in facts.recipients),
            facts.withheld_sections,
            facts.position,
            facts.accepted_at_ms,
            tree.log_id,
            tree.first_index,
            tree.tree_size,
            tree.root,
            cosigned,
        )
        return proved, findings
