"""Who was handed what, as the audit stream records it: the list of a report. deliveries.py judges it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.tree.leaf import record_id_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.core.audit.findings import RecordedDelivery
    from broker.core.streams import Position

MAX_LISTED: Final = 1000
"""The limit for the deliveries that a report lists one by one. All are counted."""


class HandedOver(NamedTuple):
    """Copies of one record, without the same sections, that left the broker for one agency.

    ``record_id`` is empty if the bundle does not have the record. ``times`` counts the deliveries, ``told_at`` is the
    audit record of the first one, and ``withheld_sections`` were left out of each. A later copy without other sections
    is listed apart: what was withheld once may have been handed over then.
    """

    agency: str
    position: Position
    record_id: str
    withheld_sections: tuple[str, ...]
    told_at: Position
    times: int


class AgencyShare(NamedTuple):
    """What one agency got: deliveries, and how many of them were without some section."""

    agency: str
    deliveries: int
    with_withheld: int


class Handovers(NamedTuple):
    """Every agency's share, and the first records in the order of the audit stream, up to ``MAX_LISTED``."""

    shares: tuple[AgencyShare, ...] = ()
    listed: tuple[HandedOver, ...] = ()
    left_out: int = 0
    """Deliveries of records that are not listed."""


def handovers(deliveries: Iterable[RecordedDelivery], records: Mapping[bytes, Position]) -> Handovers:
    """Who got what, by the deliveries of a bundle in its order.

    ``records`` has the position of each record id (16 bytes) in the bundle.
    """
    shares: dict[str, AgencyShare] = {}
    first: dict[tuple[str, Position, frozenset[str]], RecordedDelivery] = {}
    times: dict[tuple[str, Position, frozenset[str]], int] = {}
    left_out = 0
    for delivery in deliveries:
        share = shares.get(delivery.agency, AgencyShare(delivery.agency, 0, 0))
        withheld = share.with_withheld + bool(delivery.withheld_sections)
        shares[delivery.agency] = AgencyShare(delivery.agency, share.deliveries + 1, withheld)
        key = (delivery.agency, delivery.position, frozenset(delivery.withheld_sections))
        if key in first or len(first) < MAX_LISTED:
            first.setdefault(key, delivery)
            times[key] = times.get(key, 0) + 1
        else:
            left_out += 1
    wanted = {made.position for made in first.values()}
    ids = {position: record_id_text(record_id) for record_id, position in records.items() if position in wanted}
    listed = (
        HandedOver(
            made.agency,
            made.position,
            ids.get(made.position, ""),
            made.withheld_sections,
            made.told_at,
            times[key],
        )
        for key, made in first.items()
    )
    return Handovers(tuple(share for _, share in sorted(shares.items())), tuple(listed), left_out)
