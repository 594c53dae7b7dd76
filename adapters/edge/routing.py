"""Find a record's case, its recipients, and the record that it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.base import kind_of
from adapters.records.sections import section_type, split
from broker.client.records import Draft, SectionDraft
from broker.core.body import Recipient
from broker.core.errors import InputRefused
from broker.core.strict import unknown
from caseexchange.records.v1 import case_pb2, dna_pb2, notice_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapters.base import DecodedRecord, Record
    from adapters.edge.profile import Route
    from adapters.edge.spool import Spool
    from broker.core.body import Body
    from broker.core.policy import Directory

_ANSWERS: Final = frozenset({"StrProfile", "MatchNotification", "NoMatchResult", "Closure", "Tip", "PublicNotice"})


def draft_of(item: DecodedRecord, routes: Mapping[str, Route], spool: Spool) -> Draft:
    """Make a decoded record ready to be signed. Takes the next sequence number of each recipient.

    Raises:
        InputRefused: the profile has no route for the kind, or the record names no case.
        SpoolUnavailable
    """
    kind = kind_of(item.record)
    route = routes.get(kind)
    if route is None:
        message = f"the profile has no [routes.{kind}]"
        raise InputRefused(message)
    if not item.case_reference:
        message = "the record names no case"
        raise InputRefused(message)
    # A case number belongs to one agency. The same number from another agency is another case.
    of_us = isinstance(item.record, case_pb2.CaseRecord)
    known = spool.own_reference(item.case_reference) if of_us else spool.reference(item.case_reference)
    in_reply_to = known.record_id if known is not None and kind in _ANSWERS else ""
    return _draft(item.record, route, spool.case_id(item.case_reference, known), in_reply_to, spool)


def reply_draft(record: Record, route: Route, to: Body, spool: Spool) -> Draft:
    """Make an answer to a record ready to be signed, in the same case. Takes the next number of each recipient.

    Raises:
        SpoolUnavailable
    """
    return _draft(record, route, to.case_id, to.record_id, spool)


def _draft(record: Record, route: Route, case_id: str, in_reply_to: str, spool: Spool) -> Draft:
    kind = kind_of(record)
    return Draft(
        kind=kind,
        stream=route.stream,
        case_id=case_id,
        recipients=tuple(Recipient(agency, spool.next_sequence(agency)) for agency in route.recipients),
        purpose=route.purpose,
        sections=tuple(SectionDraft(name, section_type(kind), content) for name, content in split(record).items()),
        in_reply_to=in_reply_to,
        supersedes=record.target_record_id if isinstance(record, case_pb2.Correction) else "",
    )


def faults_of(recipients: Iterable[str], purpose: str, directory: Directory) -> list[str]:
    """The names that the directory does not list, each as a text with the nearest name that it lists."""
    faults = [
        f"the directory lists no agency {unknown(agency, directory.agencies)}"
        for agency in recipients
        if agency not in directory.agencies
    ]
    if purpose not in directory.purposes:
        faults.append(f"the directory lists no purpose {unknown(purpose, directory.purposes)}")
    return faults


def supersede(item: DecodedRecord, spool: Spool) -> None:
    """Make a correction name the record that it corrects: the newest record of its case, our own first.

    Raises:
        InputRefused: no record of that case is known here.
    """
    record = item.record
    if isinstance(record, case_pb2.Correction) and not record.target_record_id:
        known = spool.own_reference(item.case_reference) or spool.reference(item.case_reference)
        if known is None:
            message = "the correction names no record, and none of its case is known here"
            raise InputRefused(message)
        record.target_record_id = known.record_id


def learn(record: Record, own_reference: str, case_id: str, record_id: str, spool: Spool) -> None:
    """Store the numbers that will name the case of our own record: our case number, and the numbers in the record."""
    if isinstance(record, case_pb2.Correction):
        return
    # A reply comes without a number of ours.
    for reference in {own_reference, *references_of(record)} - {""}:
        spool.add_own_reference(reference, case_id, record_id)


def learn_delivered(record: Record, case_id: str, record_id: str, spool: Spool) -> bool:
    """Store the numbers in another agency's record. A number that already names a case keeps that case.

    Returns:
        Whether all of the numbers name this case.
    """
    return all(spool.add_reference(item, case_id, record_id) for item in references_of(record) if item)


def references_of(record: Record) -> tuple[str, ...]:
    """The numbers in a record with which an agency's own system will refer to the case."""
    match record:
        case case_pb2.CaseRecord():
            return (record.local_id,)
        case dna_pb2.SampleRequest() | dna_pb2.StrProfile() | dna_pb2.NoMatchResult():
            return (record.barcode,)
        case dna_pb2.MatchNotification():
            return (record.match_id,)
        case notice_pb2.PublicNotice():
            return (record.notice_id,)
    return ()
