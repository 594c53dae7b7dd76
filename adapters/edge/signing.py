"""Validate, address, sign and spool a record. Every record of an edge goes through here.

Adapters check what they read, but an adapter from outside may forget to. So no record is signed before it is checked
here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adapters.edge.routing import draft_of, faults_of, learn, reply_draft, supersede
from adapters.records.validate import validate
from broker.core.errors import InputRefused, RecordInvalid

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from adapters.base import DecodedRecord, Record
    from adapters.edge.edge import Edge
    from adapters.edge.profile import Route
    from broker.client.composing import Draft
    from broker.core.body import Body


class ToPublish(NamedTuple):
    """A record to be published.

    Attributes:
        record: the message.
        case: the agency's own number for the case. It stays in the agency. Others see an opaque case id.
        recipients, purpose, stream: without one of them, the one in the profile's [routes].
    """

    record: Record
    case: str
    recipients: Sequence[str] = ()
    purpose: str = ""
    stream: str = ""


def sign_and_spool(item: DecodedRecord, routes: Mapping[str, Route], edge: Edge) -> Body:
    """Sign a record and put it into the spool. Call it inside a transaction of the spool.

    Returns:
        The signed body.

    Raises:
        RecordInvalid: it breaks the rules of its kind. The message names each fault with code and path.
        InputRefused: it has no route, names no case, or is for an agency or a purpose that the directory does not list.
            Nothing of it is stored, and it uses up no sequence numbers.
        SpoolUnavailable
    """

    def draft() -> Draft:
        supersede(item, edge.spool)
        return draft_of(item, routes, edge.spool)

    return _sign_and_spool(item.record, item.case_reference, draft, edge)


def sign_and_spool_reply(record: Record, route: Route, to: Body, edge: Edge) -> Body:
    """The same for a record that answers a delivered record, in the same case.

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
        made = draft()
        faults = faults_of([item.agency for item in made.recipients], made.purpose, edge.directory.latest)
        if faults:
            raise InputRefused("; ".join(faults))
        body, envelope = edge.composer.compose(made)
        edge.spool.add_outgoing(body.record_id, body.case_id, edge.codec.encode_envelope(envelope))
        learn(record, reference, body, edge.spool)
    return body
