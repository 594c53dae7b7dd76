"""What the events of an audit record tell an audit (judge.py reads them)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.audit.erasureorder import ErasureOrder
from broker.core.audit.findings import (
    Ordered,
    RecordedDelivery,
    RefusedNumbers,
    UnderReign,
    Unprocessed,
    said_by,
    warning,
)
from broker.core.events import (
    DeadLetterDiscarded,
    DeliveryMade,
    DeliveryRefused,
    Pointer,
    ProofMade,
    RefusalMade,
    RollbackFound,
    SectionsErased,
    SubscriptionBegun,
    SubscriptionDeleted,
    TakenOver,
)
from broker.core.incarnations import Incarnations
from broker.core.reigns import of_reign

if TYPE_CHECKING:
    from broker.core.audit.findings import BatchReport
    from broker.core.events import AuditEvent
    from broker.core.policy import Directory
    from broker.core.streams import Position

_PARTS: Final = 6
"""spiffe: / empty / trust domain / agency / <agency> / <system>"""


def note(told: AuditEvent, told_at: Position, report: BatchReport, newest: Directory) -> None:
    """Put what an event tells into the report on its batch. ``newest``: the newest directory of the bundle.

    Raises:
        IndexError: the event names no principal where it has to.
    """
    match told.event:
        case DeliveryMade(withheld_sections=withheld) as made:
            agency = _agency(told)
            report.deliveries.extend(
                RecordedDelivery(agency, at, told_at, withheld, told.at_ms) for at in made.positions()
            )
        case ProofMade() | SectionsErased():
            _note_of_record(told, told_at, report)
        case DeliveryRefused(subscription=subscription, code=code) as refused:
            agency = _agency(told)
            report.unprocessed.extend(Unprocessed(agency, subscription, at, code) for at in refused.positions())
        case pointer if isinstance(pointer, Pointer):
            reign = of_reign(pointer)
            report.unprocessed.extend(UnderReign(reign, item) if reign.reign else item for item in said_by(pointer))
        case TakenOver() as taken:
            report.unprocessed.append(UnderReign(of_reign(taken)))
        case DeadLetterDiscarded(position=position, subscription=subscription, agency=agency, code=code):
            report.unprocessed.append(Unprocessed(agency, subscription, position, "", discarded=code))
        case SubscriptionBegun() | SubscriptionDeleted() as order:
            report.orders.append(Ordered.of(order, told_at))
        case RefusalMade(count=count, numbers=numbers) if numbers or count > 1:
            parts = told.principal.split("/")
            publisher, system = parts[-2:] if len(parts) == _PARTS else ("", "")
            report.refusals.append(RefusedNumbers(publisher, system, numbers, count))
        case RollbackFound(note=seen) if not Incarnations(newest.incarnations).covers(seen, newest.trust_domain):
            message = "the exchange found that its log did not continue a checkpoint that it had signed"
            report.findings.append(warning("LOG_ROLLED_BACK", message, position=told_at))


def _note_of_record(told: AuditEvent, told_at: Position, report: BatchReport) -> None:
    match told.event:
        case ProofMade(position=position, withheld_sections=withheld):
            report.proofs.append(RecordedDelivery(_agency(told), position, told_at, withheld, told.at_ms))
        case SectionsErased(record_id=record_id, sections=sections):
            report.erasures.append(ErasureOrder(_agency(told), record_id, sections, told_at))


def _agency(told: AuditEvent) -> str:
    # spiffe://<trust domain>/agency/<agency>/<system>
    return told.principal.split("/")[-2]
