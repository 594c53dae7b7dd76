"""The rights in the development directory: who may publish, receive and replay what. Everything else is denied."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.policy import ANY, PublishRight, ReceiveRight, ReplayRight
from broker.core.streams import AUDIT, CASES, DNA, NOTICES

if TYPE_CHECKING:
    from collections.abc import Mapping

TRUST_DOMAIN: Final = "case-exchange.example"
EXCHANGE: Final = "exchange"
PURPOSES: Final = frozenset(
    {"child-rescue", "dna-matching", "public-appeal", "case-closure", "correction", "readdressing"}
)

SHANXI: Final = "shanxi-police"
HEBEI: Final = "hebei-police"
LAB: Final = "national-dna-database"
NGO: Final = "child-aid-ngo"
MINISTRY: Final = "ministry"
AUDIT_OFFICE: Final = "national-audit"

_WHOLE: Final = frozenset({ANY})
_WITHOUT_IDENTITY: Final = frozenset({"case", "description", "photos"})
"""The sections of a case that a non-governmental organisation may have. None of them says who the child is."""
_POLICE: Final = (SHANXI, HEBEI)

_ASK: Final = "ReaddressRequest"

MAY_CORRECT: Final = {
    "CaseRecord": frozenset({MINISTRY}),
    "Closure": frozenset({MINISTRY}),
    "PublicNotice": frozenset(_POLICE),
}
"""Whose Corrections and Closures count for other agencies' records: the police find the child whom a notice shows."""


class Member(NamedTuple):
    """An agency of the development exchange."""

    agency: str
    name: str
    system: str
    publish: dict[str, PublishRight]
    receive: dict[str, ReceiveRight]
    replay: dict[str, ReplayRight]


def members(*, plain: bool = False) -> tuple[Member, ...]:
    """Every agency of the development exchange, with its rights. ``plain``: nothing need be sealed."""
    listed = (
        _police(SHANXI, "Shanxi provincial police (sample)", other=HEBEI),
        _police(HEBEI, "Hebei provincial police (sample)", other=SHANXI),
        _lab(),
        _ngo(),
        _ministry(),
        Member(AUDIT_OFFICE, "National audit office (sample)", "auditor", {}, {}, _auditor_replay()),
        Member(EXCHANGE, "The exchange itself (sample)", "broker", {}, {}, {}),
    )
    asking = tuple(_may_ask(each, listed) for each in listed)
    return tuple(each._replace(publish=_all_plain(each.publish)) for each in asking) if plain else asking


def _may_ask(member: Member, others: tuple[Member, ...]) -> Member:
    """Who receives something from an agency may ask it to seal that again."""
    publishers = frozenset().union(*(right.publishers for right in member.receive.values()))
    askers = [other.agency for other in others if any(member.agency in it.publishers for it in other.receive.values())]
    publish = {**member.publish, _ASK: _to(*publishers)} if publishers else member.publish
    return member._replace(
        publish=publish, receive={**member.receive, _ASK: _from(*askers)} if askers else member.receive
    )


def _all_plain(publish: Mapping[str, PublishRight]) -> dict[str, PublishRight]:
    return {kind: replace(right, plain=_WHOLE) for kind, right in publish.items()}


def _police(agency: str, name: str, *, other: str) -> Member:
    colleagues = (other, MINISTRY, LAB, NGO)
    return Member(
        agency,
        name,
        "gateway",
        publish={
            "CaseRecord": _to(other, MINISTRY, NGO),
            "SampleRequest": _to(LAB),
            "Closure": _to(*colleagues),
            "Correction": _to(*colleagues),
        },
        receive={
            "CaseRecord": _from(other, NGO),
            "Tip": _from(NGO),
            "MatchNotification": _from(LAB),
            "NoMatchResult": _from(LAB),
            "PublicNotice": _from(MINISTRY),
            "Closure": _from(other, MINISTRY),
            "Correction": _from(other, MINISTRY, LAB, NGO),
        },
        replay={},
    )


def _lab() -> Member:
    return Member(
        LAB,
        "National DNA database (sample)",
        "gateway",
        publish={
            "StrProfile": _to(LAB),
            "MatchNotification": _to(*_POLICE),
            "NoMatchResult": _to(*_POLICE, MINISTRY),
            "Correction": _to(*_POLICE, MINISTRY, LAB),
        },
        receive={
            "SampleRequest": _from(*_POLICE),
            "StrProfile": _from(LAB),
            "Closure": _from(*_POLICE, MINISTRY),
            "Correction": _from(*_POLICE, MINISTRY, LAB),
        },
        replay={},
    )


def _ministry() -> Member:
    return Member(
        MINISTRY,
        "Ministry (sample)",
        "gateway",
        publish={
            # It also receives its own notices, and the records that end them: the notice board is made from these.
            # Everybody may see a notice, so it is the one kind that need not be sealed.
            "PublicNotice": _to(*_POLICE, NGO, MINISTRY, plain=_WHOLE),
            "Closure": _to(*_POLICE, LAB, NGO, MINISTRY),
            "Correction": _to(*_POLICE, LAB, NGO, MINISTRY),
        },
        receive={
            "CaseRecord": _from(*_POLICE, NGO),
            "Tip": _from(NGO),
            "NoMatchResult": _from(LAB),
            "PublicNotice": _from(MINISTRY),
            "Closure": _from(*_POLICE, MINISTRY),
            "Correction": _from(*_POLICE, LAB, NGO, MINISTRY),
        },
        replay={},
    )


def _ngo() -> Member:
    return Member(
        NGO,
        "Child aid organisation (sample)",
        "gateway",
        publish={
            "CaseRecord": _to(*_POLICE, MINISTRY),
            "Tip": _to(*_POLICE, MINISTRY),
            "Correction": _to(*_POLICE, MINISTRY),
        },
        receive={
            "CaseRecord": ReceiveRight(frozenset(_POLICE), _WITHOUT_IDENTITY),
            "PublicNotice": _from(MINISTRY),
            "Closure": _from(*_POLICE, MINISTRY),
            # A correction repeats fields of the corrected record, so the same sections apply.
            "Correction": ReceiveRight(frozenset({*_POLICE, MINISTRY}), _WITHOUT_IDENTITY | {"correction"}),
        },
        replay={},
    )


def _auditor_replay() -> dict[str, ReplayRight]:
    # Signed bytes, digests and proofs are enough to verify. An auditor does not need a child's record.
    evidence_only = ReplayRight(frozenset())
    return {CASES: evidence_only, DNA: evidence_only, NOTICES: evidence_only, AUDIT: ReplayRight(_WHOLE)}


def _to(*recipients: str, plain: frozenset[str] = frozenset()) -> PublishRight:
    return PublishRight(frozenset(recipients), _WHOLE, plain)


def _from(*publishers: str) -> ReceiveRight:
    return ReceiveRight(frozenset(publishers), _WHOLE)
