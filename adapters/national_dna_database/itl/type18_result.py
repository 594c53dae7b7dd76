"""The result of the search with a Type-18 profile, in field 18.015 RES: a hit, no hit, or nothing was searched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from adapters.syntax.hardened_xml import where
from caseexchange.records.v1 import dna_pb2

if TYPE_CHECKING:
    from adapters.base import IssueList, Record
    from adapters.national_dna_database.xml_fields import Fields

_SUBJECT: Final = "0"
_NOBODY: Final = {
    "0": dna_pb2.NO_MATCH_REASON_UNABLE_TO_PROCESS,
    "1": dna_pb2.NO_MATCH_REASON_NO_CANDIDATE,
}
_HITS: Final = {
    "2": dna_pb2.HIT_STRENGTH_UNSPECIFIED,
    "3": dna_pb2.HIT_STRENGTH_HIGH,
    "4": dna_pb2.HIT_STRENGTH_MODERATE,
    "5": dna_pb2.HIT_STRENGTH_LOW,
}
_RELATIONSHIPS: Final = {
    dna_pb2.SAMPLE_ROLE_CHILD: dna_pb2.RELATIONSHIP_PARENT_CHILD,
    dna_pb2.SAMPLE_ROLE_FATHER: dna_pb2.RELATIONSHIP_PARENT_CHILD,
    dna_pb2.SAMPLE_ROLE_MOTHER: dna_pb2.RELATIONSHIP_PARENT_CHILD,
    dna_pb2.SAMPLE_ROLE_SIBLING: dna_pb2.RELATIONSHIP_SIBLINGS,
}


def read_result(fields: Fields, profile: dna_pb2.StrProfile, match_id: str, issues: IssueList) -> Record | None:
    """The result, or None if the record states none, or one without a meaning here."""
    code = fields.text("DNASample", "DNAProfile", "DNAProfileResultCode")
    if code in _NOBODY:
        return dna_pb2.NoMatchResult(barcode=profile.barcode, reason=_NOBODY[code])
    if code in _HITS:
        subject = profile.category.value == _SUBJECT
        related = _RELATIONSHIPS.get(profile.role, dna_pb2.RELATIONSHIP_UNSPECIFIED)
        return dna_pb2.MatchNotification(
            match_id=match_id,
            stage=dna_pb2.MATCH_STAGE_CANDIDATE,
            relationship=dna_pb2.RELATIONSHIP_SAME_PERSON if subject else related,
            barcodes=[profile.barcode],
            reported_hit=dna_pb2.ReportedHit(strength=_HITS[code]),
        )
    if code:
        issues.warn("RESULT_UNKNOWN", where(fields.element), "the standard gives this result no meaning")
    return None
