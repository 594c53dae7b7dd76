"""The adapter ``interpol-reply``: INTERPOL's answers to a search, in an INT-I package. Read only.

A hit is a MatchNotification for each candidate in the list, without a figure, because INT-I has none. No hit is a
NoMatchResult. An error is a NoMatchResult too, with the reason UNABLE_TO_PROCESS, the error's codes and a warning. The
agency that asked must learn that nothing was searched; a refusal in a gateway's log would not reach it.

A reply may repeat the person who was searched for. A match names nobody, so that part stays in the source.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.base import Decoded, DecodedRecord, Encoded, IssueList, Limits, Record, Source, not_written, provenance
from adapters.national_dna_database.itl.package import (
    HEADER,
    INT_I,
    NOT_WRITTEN,
    edition,
    identification,
    read_package,
)
from adapters.national_dna_database.xml_fields import Fields
from adapters.records.validate import check_record
from adapters.syntax.hardened_xml import children, local_name, longest, where
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lxml import etree

NAME: Final = "interpol-reply"
_DETAIL: Final = ("PackageDescriptiveTextRecord", "UserDefinedDescriptiveDetail", "DomainDefinedDescriptiveDetail")
_RESPONSE: Final = "TransactionResponseData"
_IDENTITY: Final = frozenset({"RecordSubject", "RecordMetadata"})
_SEARCH_RESULT: Final = "SRE"
_ERROR: Final = "ERR"
_HIT: Final = "I"
_NO_HIT: Final = "N"
_VERIFIED: Final = {
    "true": dna_pb2.MANUAL_VERIFICATION_DONE,
    "1": dna_pb2.MANUAL_VERIFICATION_DONE,
    "false": dna_pb2.MANUAL_VERIFICATION_NOT_DONE,
    "0": dna_pb2.MANUAL_VERIFICATION_NOT_DONE,
}
_MOST_DIGITS: Final = 9
"""The most digits of a count. More would not fit into a record."""


class _Reply(NamedTuple):
    """A reply's own number (1.009), and the number of the request that it answers (1.010)."""

    number: str
    request: str


class InterpolReply:
    """See the module."""

    name: Final = NAME
    media_type: Final = "application/xml"
    suffix: Final = ".xml"
    decodes: Final = frozenset({"MatchNotification", "NoMatchResult"})
    encodes: Final[frozenset[str]] = frozenset()

    def sniff(self, content: bytes) -> bool:
        """See ``Adapter``."""
        return INT_I.encode() in content

    def decode(self, source: Source, limits: Limits) -> Decoded:
        """See ``Adapter``."""
        issues = IssueList()
        records: list[DecodedRecord] = []
        root = read_package(source.content, limits, issues)
        if root is not None:
            digest = hashlib.sha256(source.content).digest()
            records.extend(_read(root, digest, limits, issues))
        return issues.decoded(records, source.content)

    def encode(self, records: Sequence[Record], limits: Limits) -> Encoded:  # noqa: ARG002 - of the protocol
        """Refuse: see adapters/national_dna_database/itl/package.py."""
        return not_written(NOT_WRITTEN)


def _read(root: etree._Element, digest: bytes, limits: Limits, issues: IssueList) -> Iterator[DecodedRecord]:
    fields, locator = Fields(root), where(root)
    kind = fields.text(*HEADER, "TransactionCategoryCode")
    reply = _Reply(
        identification(fields, *HEADER, "TransactionControlIdentification"),
        identification(fields, *HEADER, "TransactionControlReferenceIdentification"),
    )
    if kind not in {_SEARCH_RESULT, _ERROR}:
        issues.reject_file("NOT_A_REPLY", locator, "the transaction is not a search result or an error")
        return
    if not reply.request:
        issues.reject_file("REFERENCE_MISSING", locator, "the reply does not name the request that it answers")
        return
    read = [*fields.elements(HEADER[0]), *fields.elements(*_DETAIL, _RESPONSE)]
    if any(longest(element) > limits.field_characters for element in read):
        issues.reject_file("FIELD_TOO_LONG", locator, f"a field has more than {limits.field_characters} characters")
        return
    before = len(issues.items)
    found = _error(fields, reply, issues) if kind == _ERROR else list(_results(fields, reply, limits, issues))
    if not found and len(issues.items) == before:
        issues.reject_file("RESULT_MISSING", locator, "the reply has no result")
    _leave_people(root, fields, issues)
    if fields.repeated:
        issues.reject_file("FIELD_REPEATED", locator, "a field is there twice that may be there once")
    for place, record in enumerate(found):
        record.provenance.CopyFrom(provenance(NAME, edition(root), reply.request, digest))
        # Facts about the reply go into the first record only. In each record, they would grow with the square.
        for path, value in fields.rest() if not place else ():
            record.provenance.unmapped.add(path=path, value=value)
        if check_record(record, locator, issues):
            yield DecodedRecord(record, reply.request, locator)


def _leave_people(root: etree._Element, fields: Fields, issues: IssueList) -> None:
    """Leave everything but the header and the response in the source: images of people, their names, contacts."""
    response = set(fields.elements(*_DETAIL, _RESPONSE))
    for record in root:
        if local_name(record) == HEADER[0]:
            continue
        if local_name(record) != _DETAIL[0]:
            issues.info("OTHER_TYPES_NOT_READ", where(record), "a record of another type is left in the source")
        for element in record.iter():
            within = {element, *element.iterancestors()} & response
            if not within:
                fields.take(element)
            if local_name(element) in _IDENTITY:
                issues.info("IDENTITY_LEFT_OUT", where(element), "the person who was searched for stays in the source")
    for error in fields.elements(*_DETAIL, _RESPONSE, "ErrorMessage", "ErrorMessageText"):
        fields.leave(error)


def _error(fields: Fields, reply: _Reply, issues: IssueList) -> list[Record]:
    result = dna_pb2.NoMatchResult(barcode=reply.request, reason=dna_pb2.NO_MATCH_REASON_UNABLE_TO_PROCESS)
    for element in fields.elements(*_DETAIL, _RESPONSE, "ErrorMessage"):
        result.errors.add(
            system="INT-I",
            value=fields.text("ErrorCode", within=element),
            display=fields.text("ErrorFieldMnemonicCode", within=element),
        )
    message = "the request could not be processed, and nothing was searched: see the record's errors"
    issues.warn("REPLY_IS_ERROR", where(fields.element), message)
    return [result]


def _results(fields: Fields, reply: _Reply, limits: Limits, issues: IssueList) -> Iterator[Record]:
    for listed in fields.elements(*_DETAIL, _RESPONSE, "RespondentsList"):
        locator = where(listed)
        code = fields.text("TransactionSearchResultsCode", within=listed)
        stated = fields.text("TransactionCandidatesTotalQuantity", within=listed)
        candidates = children(listed, "TransactionCandidate")
        # Without a count, the list is complete. A result without candidates may list an empty one.
        total = _count(stated, 0 if code == _NO_HIT else len(candidates))
        if len(candidates) > limits.records:
            issues.reject_file("TOO_MANY_RECORDS", locator, f"more than {limits.records} candidates")
        elif total is None:
            issues.reject_record("COUNT_INVALID", locator, "the number of candidates is not a number")
        elif code not in {_HIT, _NO_HIT}:
            issues.reject_record("RESULT_UNKNOWN", locator, "the result is not a hit or no hit")
        elif (code == _HIT) != (total > 0):
            issues.reject_record("RESULT_CONTRADICTION", locator, "the result and the number of candidates disagree")
        elif code == _HIT:
            yield from _hits(fields, reply, listed, total, issues)
        else:
            yield _no_hit(fields, reply, listed, issues)


def _count(stated: str, default: int) -> int | None:
    if not stated:
        return default
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) <= _MOST_DIGITS else None


def _no_hit(fields: Fields, reply: _Reply, listed: etree._Element, issues: IssueList) -> dna_pb2.NoMatchResult:
    for candidate in children(listed, "TransactionCandidate"):
        fields.leave(candidate)
        issues.info("CANDIDATE_PLACEHOLDER", where(candidate), "the result has no candidates, so this one is ignored")
    return dna_pb2.NoMatchResult(
        barcode=reply.request,
        reason=dna_pb2.NO_MATCH_REASON_NO_CANDIDATE,
        search=_search(fields.text("TransactionCategoryCode", within=listed)),
    )


def _hits(
    fields: Fields, reply: _Reply, listed: etree._Element, total: int, issues: IssueList
) -> Iterator[dna_pb2.MatchNotification]:
    candidates = children(listed, "TransactionCandidate")
    category = fields.text("TransactionCategoryCode", within=listed)
    if total != len(candidates):
        issues.warn("CANDIDATES_NOT_LISTED", where(listed), "the reply's count of candidates differs from its list")
    hits = [_candidate(fields, candidate, total, issues) for candidate in candidates]
    seen: set[str] = set()
    for hit in hits or [dna_pb2.ReportedHit(candidates=total)]:
        if hit.candidate in seen:
            issues.reject_record("CANDIDATE_REPEATED", where(listed), "a candidate's number is there twice")
            continue
        seen.add(hit.candidate)
        yield dna_pb2.MatchNotification(
            match_id="/".join(filter(None, (reply.number or reply.request, category, hit.candidate))),
            stage=dna_pb2.MATCH_STAGE_CANDIDATE,
            relationship=dna_pb2.RELATIONSHIP_SAME_PERSON,
            barcodes=[reply.request],
            search=_search(category),
            reported_hit=hit,
        )


def _candidate(fields: Fields, candidate: etree._Element, total: int, issues: IssueList) -> dna_pb2.ReportedHit:
    number = identification(fields, "CandidateSequenceID", within=candidate)
    verified = fields.text("TransactionCandidateManualVerificationIndicator", within=candidate).lower()
    if verified and verified not in _VERIFIED:
        issues.warn("FLAG_NOT_READ", where(candidate), "the flag for a check by a person is not true or false")
    return dna_pb2.ReportedHit(
        candidate=number,
        candidates=total,
        verification=_VERIFIED.get(verified, dna_pb2.MANUAL_VERIFICATION_UNSPECIFIED),
    )


def _search(category: str) -> dna_pb2.SearchParameters:
    return dna_pb2.SearchParameters(database=f"INTERPOL INT-I {category}".rstrip())


ADAPTER: Final = InterpolReply()
