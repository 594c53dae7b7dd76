"""The one door before signing: a record is validated, addressed, signed and spooled, whoever brings it.

Adapters judge what they read, and an adapter of a third party may forget to. Nothing is signed that was not
judged here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adapters.edge.routing import draft_of, learn, reply_draft, supersede
from adapters.records.validate import validate
from broker.core.errors import RecordInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from adapters.base import DecodedRecord, Record
    from adapters.edge.edge import Edge
    from adapters.edge.profile import Route
    from broker.client.records import Draft
    from broker.core.body import Body


class ToPublish(NamedTuple):
    """A record to be published.

    Attributes:
        record: the message.
        case: the number by which the agency knows the case. It does not leave the agency: an opaque case id does.
        recipients, purpose, stream: where the profile's [routes] do not say so.
    """

    record: Record
    case: str
    recipients: Sequence[str] = ()
    purpose: str = ""
    stream: str = ""


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

    def draft() -> Draft:
        supersede(item, edge.spool)
        return draft_of(item, routes, edge.spool)

    return _sign_and_spool(item.record, item.case_reference, draft, edge)


def sign_and_spool_reply(record: Record, route: Route, to: Body, edge: Edge) -> Body:
    """The same for a record that answers a delivered one, in its case.

    Raises:
        RecordInvalid, InputRefused, SpoolUnavailable
    """
    return _sign_and_spool(record, "", lambda: reply_draft(record, route, to, edge.spool), edge)


def _sign_and_spool(record: Record, reference: str, draft: Callable[[], Draft], edge: Edge) -> Body:
    faults = [f"{issue.code} at {issue.locator}: {issue.message}" for issue in validate(record) if issue.refuses]
    if faults:
        message = "; ".join(faults)
        raise RecordInvalid(message)
    with edge.spool.attempt():
        body, envelope = edge.composer.compose(draft())
    edge.spool.add_outgoing(body.record_id, edge.codec.encode_envelope(envelope))
    learn(record, reference, body.case_id, body.record_id, edge.spool)
    return body
