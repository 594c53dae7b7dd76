"""The one door before signing: a record is validated, addressed, signed and spooled, whoever brings it.

Adapters judge what they read, and an adapter of a third party may forget to. Nothing is signed that was not
judged here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapters.edge.routing import draft_of, learn, supersede
from adapters.records.validate import validate
from broker.core.errors import RecordInvalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapters.base import DecodedRecord
    from adapters.edge.edge import Edge
    from adapters.edge.profile import Route
    from broker.core.body import Body


def sign_and_spool(item: DecodedRecord, routes: Mapping[str, Route], edge: Edge) -> Body:
    """Sign a record and put it into the spool, to be published. Inside a transaction of the spool.

    Returns:
        What was signed.

    Raises:
        RecordInvalid: it is not what its kind must be; the message names each fault by code and path.
        InputRefused: it has no route or names no case. Nothing of what was refused stays, not even the running numbers
            that it would have had.
        SpoolUnavailable
    """
    faults = [f"{issue.code} at {issue.locator}: {issue.message}" for issue in validate(item.record) if issue.refuses]
    if faults:
        message = "; ".join(faults)
        raise RecordInvalid(message)
    spool = edge.spool
    with spool.attempt():
        supersede(item, spool)
        body, envelope = edge.composer.compose(draft_of(item, routes, spool))
    spool.add_outgoing(body.record_id, edge.codec.encode_envelope(envelope))
    learn(item.record, item.case_reference, body.case_id, body.record_id, spool)
    return body
