"""Assemble what tells agencies what became of records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.server.deadletters import DeadLetterServicer
from broker.server.trace import TraceServicer
from broker.services.deadletterorders import DeadLetterOrders
from broker.services.tracing import Tracer
from broker.services.unprocessed import Unprocessed

if TYPE_CHECKING:
    from broker.bootstrap.opened import OpenedLog
    from broker.bootstrap.trust import BrokerTrust
    from broker.ports import AuditTrail, Clock, RecordCodec
    from broker.services.auditindex import AuditIndex
    from broker.services.deadletters import DeadLetters
    from broker.services.quotas import Quotas


def tracing_servicers(
    opened: OpenedLog,
    index: AuditIndex,
    letters: DeadLetters,
    audit: AuditTrail,
    *,
    codec: RecordCodec,
    trust: BrokerTrust,
    quotas: Quotas,
    clock: Clock,
) -> tuple[DeadLetterServicer, TraceServicer]:
    """The servicers of dead letters and of traces."""
    tracer = Tracer(
        log=opened.log,
        store=opened.store,
        codec=codec,
        orders=opened.orders,
        directory=trust.directory,
        quotas=quotas,
        clock=clock,
    )
    orders = DeadLetterOrders(tracer=tracer, audit=audit, clock=clock, catch_up=letters.catch_up)
    unprocessed = Unprocessed(index=index, log=opened.log, directory=trust.directory)
    return DeadLetterServicer(letters, orders), TraceServicer(unprocessed, tracer)
