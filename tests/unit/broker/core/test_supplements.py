"""What a supplement must repeat of its original, and what is its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.audit.findings import EntryFacts
from broker.core.audit.supplements import SupplementAudit
from broker.core.body import Body, KeyWrap, NamedSigner, Recipient, RecordReference, SectionDescriptor
from broker.core.envelope import ECDSA_P256_SHA256
from broker.core.errors import SupplementInvalid
from broker.core.streams import Position
from broker.core.supplements import check_supplement, repeated, repeats

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER_ID, DIGEST = "01990000-0000-7000-8000-000000000009", b"d" * 32
ORIGINAL = Body(
    record_id="01990000-0000-7000-8000-000000000001",
    kind="SampleRequest",
    stream="dna",
    case_id="01990000-0000-4000-8000-000000000002",
    publisher="shanxi-police",
    system="gateway",
    recipients=(Recipient("national-dna-database", 1),),
    issued_at_ms=1_790_000_000_000,
    expires_at_ms=None,
    in_reply_to="",
    supersedes="",
    purpose="dna-matching",
    signers=(NamedSigner(b"s" * 32, ECDSA_P256_SHA256),),
    sections=(
        SectionDescriptor("sample", "T", b"1" * 32, frozenset(), b"c" * 32),
        SectionDescriptor("notes", "T", b"2" * 32, frozenset({"national-dna-database"}), b"k" * 32),
    ),
    key_wraps=(KeyWrap("national-dna-database", b"i" * 32, (0, 1), b"w"),),
)
SUPPLEMENT = replace(
    ORIGINAL,
    record_id=OTHER_ID,
    system="archive",
    recipients=(Recipient("hebei-police", 7),),
    issued_at_ms=ORIGINAL.issued_at_ms + 1,
    signers=(NamedSigner(b"t" * 32, ECDSA_P256_SHA256),),
    sections=(ORIGINAL.sections[0], ORIGINAL.sections[1]._replace(audience=frozenset({"hebei-police"}))),
    key_wraps=(KeyWrap("hebei-police", b"j" * 32, (0, 1), b"v"),),
    supplements=RecordReference(ORIGINAL.record_id, DIGEST),
)


def section(place: int, **fields: Any) -> Body:
    sections = list(SUPPLEMENT.sections)
    sections[place] = sections[place]._replace(**fields)
    return replace(SUPPLEMENT, sections=tuple(sections))


LIES: dict[str, Body] = {
    "publisher": replace(SUPPLEMENT, publisher="hebei-police"),
    "kind": replace(SUPPLEMENT, kind="StrProfile"),
    "stream": replace(SUPPLEMENT, stream="cases"),
    "case": replace(SUPPLEMENT, case_id="01990000-0000-4000-8000-000000000003"),
    "purpose": replace(SUPPLEMENT, purpose="child-rescue"),
    "in_reply_to": replace(SUPPLEMENT, in_reply_to=OTHER_ID),
    "supersedes": replace(SUPPLEMENT, supersedes=OTHER_ID),
    "expiry": replace(SUPPLEMENT, expires_at_ms=1),
    "bytes of a section": section(0, sha256=b"3" * 32),
    "key of a section": section(0, key_commitment=b"x" * 32),
    "name of a section": section(0, name="other"),
    "type of a section": section(0, type="U"),
    "a section for some is for all": section(1, audience=frozenset()),
    "a section for all is for some": section(0, audience=frozenset({"hebei-police"})),
    "a section less": replace(SUPPLEMENT, sections=SUPPLEMENT.sections[:1]),
    "sections in another order": replace(SUPPLEMENT, sections=SUPPLEMENT.sections[::-1]),
    "digest of the original": replace(SUPPLEMENT, supplements=RecordReference(ORIGINAL.record_id, b"e" * 32)),
    "no original": replace(SUPPLEMENT, supplements=None),
}


def test_what_is_a_supplements_own_may_differ() -> None:
    check_supplement(SUPPLEMENT, repeated(ORIGINAL, DIGEST))


@pytest.mark.parametrize("lie", list(LIES.values()), ids=list(LIES))
def test_a_supplement_that_says_anything_else_than_its_original_is_refused(lie: Body) -> None:
    with pytest.raises(SupplementInvalid) as refused:
        check_supplement(lie, repeated(ORIGINAL, DIGEST))
    assert refused.value.details == {"record_id": OTHER_ID}


def test_a_supplement_to_a_supplement_or_to_nothing_is_refused() -> None:
    with pytest.raises(SupplementInvalid, match="supplement itself"):
        check_supplement(SUPPLEMENT, repeated(replace(ORIGINAL, supplements=RecordReference(OTHER_ID, DIGEST)), DIGEST))
    with pytest.raises(SupplementInvalid, match="does not have"):
        check_supplement(SUPPLEMENT, None)


_TEXTS = st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=3)
_SECTIONS = st.lists(
    st.builds(
        SectionDescriptor,
        _TEXTS,
        _TEXTS,
        st.binary(max_size=3),
        st.sampled_from([frozenset(), frozenset({"a"})]),
        st.binary(max_size=3),
    ),
    max_size=3,
)
_BODIES = st.builds(
    lambda kind, purpose, case_id, sections: replace(
        ORIGINAL, kind=kind, purpose=purpose, case_id=case_id, sections=tuple(sections)
    ),
    _TEXTS,
    _TEXTS,
    _TEXTS,
    _SECTIONS,
)


@given(_BODIES, _BODIES)
def test_two_bodies_have_the_same_terms_only_if_they_say_the_same(one: Body, other: Body) -> None:
    """However long its parts are: nothing of one part can pass as a part of the next."""
    same = (one.kind, one.purpose, one.case_id, one.sections) == (
        other.kind,
        other.purpose,
        other.case_id,
        other.sections,
    )
    assert (repeats(one).terms == repeats(other).terms) == same


# --- auditors ---------------------------------------------------------------------------------------------------------


def facts(body: Body, offset: int) -> EntryFacts:
    place = Position(body.stream, 0, offset)
    return EntryFacts(
        place,
        0,
        "log",
        0,
        body.record_id,
        body.publisher,
        body.system,
        body.kind,
        (),
        0,
        record_sha256=DIGEST,
        repeats=repeats(body),
    )


def found(*bodies: Body) -> list[tuple[str, Position | None]]:
    audit = SupplementAudit()
    return [
        (finding.code, finding.position)
        for offset, body in enumerate(bodies)
        for finding in audit.take(facts(body, offset), body.record_id_bytes)
    ]


ORDERS: list[Callable[[Body], tuple[Body, ...]]] = [
    lambda supplement: (ORIGINAL, supplement),
    lambda supplement: (supplement, ORIGINAL),
    lambda supplement: (supplement, ORIGINAL, ORIGINAL),
]


@pytest.mark.parametrize("bundle", ORDERS, ids=["after it", "before it", "the original twice"])
def test_an_auditor_finds_a_supplement_that_does_not_fit_wherever_it_stands(
    bundle: Callable[[Body], tuple[Body, ...]],
) -> None:
    assert found(*bundle(SUPPLEMENT)) == []
    lie = section(0, sha256=b"3" * 32)
    ((code, position),) = found(*bundle(lie))
    assert (code, position) == ("SUPPLEMENT_INVALID", Position("dna", 0, bundle(lie).index(lie)))


def test_a_bundle_without_the_original_accuses_nobody() -> None:
    assert found(section(0, sha256=b"3" * 32)) == []
