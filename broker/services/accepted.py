"""Whether an entry of the log is the record that was accepted, and has its place by the record's own facts.

A log keeps kind, case and recipients of a record beside its bytes, because it never reads the bytes. No leaf covers
them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import EnvelopeMalformed, LogCorrupt, SectionMismatch
from broker.core.sections import check_sections

if TYPE_CHECKING:
    from broker.core.body import Routing
    from broker.core.entry import LogEntry
    from broker.core.envelope import Envelope
    from broker.ports import RecordCodec
    from broker.services.erasureorders import ErasureOrders


def accepted(entry: LogEntry, codec: RecordCodec, orders: ErasureOrders | None = None) -> tuple[Envelope, Routing]:
    """The record of an entry, and the part of its body that says what it is. It is what was accepted, in its place.

    What was ordered to be erased is not in it.

    Args:
        entry: the entry.
        codec: reads it.
        orders: what may be lacking. None: nothing may, as in every record of the exchange's own.

    Raises:
        LogCorrupt: the entry is not what was accepted. A record that was rewritten in the log is not delivered, even
            if its publisher's signature would still show the change.
    """
    envelope, routing = record_of(entry, codec, orders)
    check_place(entry, routing)
    return envelope, routing


def record_of(entry: LogEntry, codec: RecordCodec, orders: ErasureOrders | None = None) -> tuple[Envelope, Routing]:
    """As ``accepted``, wherever the log has put it.

    Raises:
        LogCorrupt
    """
    # (1) The log still has it.
    if not entry.value:
        raise _damaged(entry, "is lost or changed: the log has its place and not its bytes")
    try:
        # (2) It is a record,
        envelope = codec.decode_envelope(entry.value)
        routing = codec.read_routing(envelope.body)
        # (3) with exactly the sections that were signed.
        check_sections(routing, envelope.sections, complete=True, erased=envelope.erased)
    except (EnvelopeMalformed, SectionMismatch) as error:
        raise _damaged(entry, "is not a record that was accepted") from error
    # (4) It is the record that was accepted. The receipt and the tree name it by this digest.
    if envelope.record_sha256 != entry.record_sha256:
        raise _damaged(entry, "holds another record than the one that was accepted")
    # (5) It lacks only what its publisher had erased. Nobody signs the mark that says so.
    ordered = frozenset[str]() if orders is None else orders.of(entry.record_id)
    if not ordered.issuperset(envelope.erased):
        raise _damaged(entry, "lacks a section that nobody has ordered to be erased")
    # It may have been read before the order was carried out.
    return envelope.erase(ordered) if ordered else envelope, routing


def publisher_of(entry: LogEntry, codec: RecordCodec, orders: ErasureOrders) -> str:
    """The agency that published the record of an entry. Empty if it is damaged: nobody can say any more who it was."""
    try:
        return record_of(entry, codec, orders)[1].publisher
    except LogCorrupt:
        return ""


def check_place(entry: LogEntry, routing: Routing) -> None:
    """Check that the log keeps the kind and the case of an accepted record, by which it is found and put in order.

    Raises:
        LogCorrupt: it does not.
    """
    if (entry.kind, entry.ordering_key) != (routing.kind, routing.case_id):
        raise _damaged(entry, "has another kind or case than its record")


def check_recipients(entry: LogEntry, routing: Routing) -> None:
    """Check that the log keeps the recipients of an accepted record as the record has them.

    No delivery needs this: the record decides who may have it. But who is left out would never look for it.

    Raises:
        LogCorrupt: it does not.
    """
    if entry.recipients != tuple(recipient.agency for recipient in routing.recipients):
        raise _damaged(entry, "has other recipients than its record")


def _damaged(entry: LogEntry, what: str) -> LogCorrupt:
    return LogCorrupt(f"an entry of the log {what}", position=str(entry.position))
