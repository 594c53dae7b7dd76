"""Find a record's case, its recipients, and the record that it answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.base import kind_of
from adapters.records.sections import section_type, split
from broker.client.composing import Draft, SectionDraft
from broker.core.body import Recipient
from broker.core.errors import InputRefused, SupplementInvalid
from broker.core.strict import unknown
from broker.core.supplements import check_supplement
from caseexchange.records.v1 import case_pb2, dna_pb2, notice_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapters.base import DecodedRecord, Record
    from adapters.edge.numbers import CaseReference
    from adapters.edge.profile import Route
    from adapters.edge.spool import Spool
    from broker.client.verifying import VerifiedRecord
    from broker.core.body import Body, RecordReference
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
    known = spool.numbers.own_reference(item.case_reference) if of_us else spool.numbers.reference(item.case_reference)
    _name_as_its_sender_does(item, spool)
    in_reply_to = known.record_id if known is not None and kind in _ANSWERS else ""
    return _draft(item.record, route, spool.case_id(item.case_reference, known), in_reply_to, spool)


def _name_as_its_sender_does(item: DecodedRecord, spool: Spool) -> None:
    """Write a barcode AGENCY/NUMBER in our answer as the agency itself writes it."""
    record = item.record
    if isinstance(record, dna_pb2.StrProfile | dna_pb2.NoMatchResult) and record.barcode == item.case_reference:
        known = _qualified(record.barcode, spool)
        record.barcode = record.barcode if known is None else record.barcode.partition("/")[2]


def reply_draft(record: Record, route: Route, to: Body, spool: Spool) -> Draft:
    """Make an answer to a record ready to be signed, in the same case. Takes the next number of each recipient.

    Raises:
        SpoolUnavailable
    """
    return _draft(record, route, to.case_id, to.original_id, spool)


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
    """Make a correction without a record id name the newest record that has its number, our own first.

    A record that only belongs to the same case, such as its Closure, is never meant.

    Raises:
        InputRefused: no record with that number is known here, or several agencies gave it.
    """
    record = item.record
    if isinstance(record, case_pb2.Correction) and not record.target_record_id:
        known = spool.numbers.own_reference(item.case_reference) or spool.numbers.reference(item.case_reference)
        if known is None:
            message = "the correction names no record, and none of its case is known here"
            raise InputRefused(message)
        record.target_record_id = known.record_id


def learn(record: Record, own_reference: str, body: Body, spool: Spool) -> None:
    """Store whose record it is, and the numbers that will name the case of our own record."""
    spool.numbers.add_original(body.record_id, body.kind, body.case_id, body.publisher)
    spool.newer.add_word(record, body, ())
    if isinstance(record, case_pb2.Correction):
        return
    answers = isinstance(record, dna_pb2.StrProfile | dna_pb2.NoMatchResult)
    for number in set(references_of(record)) - {""}:
        given = any(row.case_id == body.case_id for row in spool.numbers.references(number))
        spool.numbers.add_own_reference(number, body.case_id, body.record_id, is_answer=answers and given)
    # Our own number of the case means the newest record of one kind: its Closure does not take the number over.
    known = spool.numbers.own_reference(own_reference)
    before = spool.numbers.original(known.record_id) if known is not None else None
    if own_reference and _qualified(own_reference, spool) is None and (before is None or before.kind == body.kind):
        spool.numbers.add_own_reference(own_reference, body.case_id, body.record_id, is_answer=answers)


def learn_delivered(record: Record, body: Body, spool: Spool) -> bool:
    """Store the numbers in another agency's record. A number belongs to the agency that gave it.

    Returns:
        Whether each of the numbers names only this case.
    """
    numbers = [number for number in references_of(record) if number]
    for number in numbers:
        spool.numbers.add_reference(number, body.publisher, body.case_id, body.original_id)
    return all(_names_only(number, body.case_id, spool) for number in numbers)


def not_obeyed(record: Record, verified: VerifiedRecord, spool: Spool) -> str:
    """Why a Correction, a Closure, a record that supersedes another, or a supplement does not count here, or "".

    Codes: ORIGINAL_UNKNOWN, NOT_NAMED, NUMBER_OF_ANOTHER_CASE (docs/adr/0025). A Closure is judged by the record that
    began its case. SUPERSEDED: a supplement is older than what has replaced, withdrawn or closed its original.

    Raises:
        SupplementInvalid: the original that is known here is another one than the supplement says.
    """
    body, number = verified.body, ""
    if body.supplements is not None:
        _check_known(body, body.supplements, spool)
        if spool.newer.word(body) is not None:
            return "SUPERSEDED"
    originals = [spool.numbers.original(body.supersedes)] if body.supersedes else []
    if isinstance(record, case_pb2.Correction):
        originals.append(spool.numbers.original(record.target_record_id))
        number = record.replacement.local_id
    elif isinstance(record, case_pb2.Closure):
        originals.append(spool.numbers.first_of_case(body.case_id))
        number = record.local_id
    for original in originals:
        if original is None:
            return "ORIGINAL_UNKNOWN"
        if original.publisher != body.publisher and original.kind not in verified.corrects_of_others:
            return "NOT_NAMED"
    # A format without record ids would take it for a word about the other case.
    return "" if not number or _names_only(number, body.case_id, spool) else "NUMBER_OF_ANOTHER_CASE"


def _check_known(body: Body, named: RecordReference, spool: Spool) -> None:
    original = spool.newer.opened(named.record_id)
    if original is not None:
        check_supplement(body, original)
        return
    # It came and could not be opened: copies that did not verify may be among these. Or a supplement came before it.
    digests, known = spool.received.digests(named.record_id), spool.numbers.original(named.record_id)
    fits = known is None or (known.kind, known.publisher) == (body.kind, body.publisher)
    if not fits or (digests and named.record_sha256 not in digests):
        message = "the supplement names a record that came here with other signed bytes, or from another publisher"
        raise SupplementInvalid(message, record_id=body.record_id)


def _names_only(number: str, case_id: str, spool: Spool) -> bool:
    own = spool.numbers.own_reference(number)
    return all(row.case_id == case_id for row in [*spool.numbers.references(number), *([own] if own else [])])


def _qualified(reference: str, spool: Spool) -> CaseReference | None:
    """The case of AGENCY/NUMBER, or None if it is not such a number."""
    agency, slash, number = reference.partition("/")
    return spool.numbers.reference_of(agency, number) if slash else None


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
