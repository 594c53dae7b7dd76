"""What an audit of a bundle found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from broker.core.brought import ShownPartition
from broker.core.findings import Severity

if TYPE_CHECKING:
    from broker.core.brought import BroughtReport
    from broker.core.bundle import BundleHeader
    from broker.core.findings import Finding, FinishedLater, Republished, Skipped, Unprocessed
    from broker.core.handovers import Handovers
    from broker.core.received import ReceivedReport
    from broker.core.streams import StreamPartition
    from broker.core.witnessaudit import WitnessReport


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
    ``broken_off`` says that the bundle's end, or that of a partition, is missing. Then what was brought is not judged.
    ``refused_numbers`` of the missing numbers are of records that the exchange says it refused.
    ``received`` is what became of the copies that recipients report. None: no such report was brought.
    ``handovers`` says who was handed what, for ``deliveries`` in all.
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
    refused_numbers: int = 0
    received: ReceivedReport | None = None

    @property
    def clean(self) -> bool:
        """Whether no finding is an error."""
        return not self.findings_left_out and all(item.severity is not Severity.ERROR for item in self.findings)
