"""What an audit of a bundle found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from broker.core.audit.broughtreceipts import ShownPartition
from broker.core.audit.findings import Severity

if TYPE_CHECKING:
    from broker.core.audit.beginning import DirectoryInUse
    from broker.core.audit.broughtreceipts import BroughtReport
    from broker.core.audit.findings import Finding, FinishedLater, Republished, Skipped, Unprocessed
    from broker.core.audit.handovers import Handovers
    from broker.core.audit.received import ReceivedReport
    from broker.core.audit.times import TimesReport
    from broker.core.audit.witnesses import CosignedPartition, WitnessReport
    from broker.core.bundle import BundleHeader
    from broker.core.streams import Position, StreamPartition


class ProvedRecord(NamedTuple):
    """What a proof proves: that this publisher signed this record, and where it stands in the log.

    The exchange accepted it at ``accepted_at_ms`` (milliseconds since the Unix epoch, UTC), as leaf ``leaf_index`` of
    a tree of ``tree_size`` records. ``cosigned`` is what a quorum of witnesses has cosigned, if that tree holds it.
    """

    record_id: str
    publisher: str
    system: str
    kind: str
    recipients: tuple[str, ...]
    withheld_sections: int
    position: Position
    accepted_at_ms: int
    log_id: str
    leaf_index: int
    tree_size: int
    root: str
    cosigned: CosignedPartition | None


class PartitionReport(NamedTuple):
    """The result for one partition: its checkpoint, the log's incarnation, and which leaves the bundle lists.

    ``proved``: the leaves are those of the signed tree.
    """

    partition: StreamPartition
    log_id: str
    tree_size: int
    root: str
    first_index: int
    end_index: int
    last_offset: int = -1
    first_offset: int | None = None
    proved: bool = False

    def shown(self) -> ShownPartition:
        """What the bundle shows of it."""
        return ShownPartition(self.first_offset, self.last_offset, self.end_index == self.tree_size, self.log_id)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found. ``clean`` says that nothing is wrong, as far as the bundle can show.

    ``witnesses`` is what they have cosigned; who verifies the whole bundle adds it.
    ``times`` is what is proved of times, independently of the exchange.
    ``broken_off`` says that the bundle's end, or that of a partition, is missing. Then what was brought is not judged.
    ``refused_numbers`` of the missing numbers are of records that the exchange says it refused.
    ``received`` is what became of the copies that recipients report. None: no such report was brought.
    ``handovers`` says who was handed what, for ``deliveries`` in all.
    ``proved`` is what a proof of one record proves. None: it is no such proof, or it proves nothing.
    ``directory`` is the newest one that was known. None: the caller does not say.
    ``void`` is what broker processes told of partitions that others had taken over. It accuses nobody.
    """

    header: BundleHeader
    partitions: tuple[PartitionReport, ...]
    records: int
    withheld_sections: int
    deliveries: int
    unprocessed: tuple[Unprocessed, ...]
    void: tuple[Unprocessed | FinishedLater, ...]
    republished: tuple[Republished, ...]
    skipped: tuple[Skipped, ...]
    findings: tuple[Finding, ...]
    findings_left_out: int
    brought: BroughtReport
    handovers: Handovers
    witnesses: WitnessReport | None = None
    broken_off: bool = False
    proved: ProvedRecord | None = None
    times: TimesReport | None = None
    refused_numbers: int = 0
    received: ReceivedReport | None = None
    directory: DirectoryInUse | None = None

    @property
    def clean(self) -> bool:
        """Whether no finding is an error."""
        return not self.findings_left_out and all(item.severity is not Severity.ERROR for item in self.findings)
