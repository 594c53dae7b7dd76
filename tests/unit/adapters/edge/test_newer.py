"""What a supplement meets at an edge: its original, other supplements, and what has ended its original."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from adapters.base import kind_of
from adapters.edge.routing import learn, not_obeyed
from adapters.edge.spool import Spool
from broker.client.verifying import VerifiedRecord
from broker.core.audit.received import ReceivedCopy
from broker.core.body import Body, Recipient, RecordReference, SectionDescriptor
from broker.core.errors import SupplementInvalid
from broker.core.streams import Position
from caseexchange.records.v1 import case_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from adapters.base import Record

PUBLISHER, MINISTRY, OTHERS = "shanxi-police", "ministry", "hebei-police"
CASE_ID, DIGEST = "01990000-0000-4000-8000-00000000000a", b"d" * 32
EARLY, RECORD, SUPPLEMENT, LATE = (f"01990000-000{number}-7000-8000-000000000001" for number in range(4))
CASE = case_pb2.CaseRecord(kind=case_pb2.CASE_KIND_MISSING_CHILD, local_id="SYN-A1")
CORRECTION = case_pb2.Correction(kind=case_pb2.CORRECTION_KIND_WITHDRAW, target_record_id=RECORD)
CLOSURE = case_pb2.Closure(local_id="SYN-A1")


def body(record: Record = CASE, record_id: str = RECORD, publisher: str = PUBLISHER, supersedes: str = "") -> Body:
    return Body(
        record_id=record_id,
        kind=kind_of(record),
        stream="cases",
        case_id=CASE_ID,
        publisher=publisher,
        system="gateway",
        recipients=(Recipient(OTHERS, 1),),
        issued_at_ms=1,
        expires_at_ms=None,
        in_reply_to="",
        supersedes=supersedes,
        purpose="p",
        signers=(),
        sections=(SectionDescriptor("case", "T", b"1" * 32, frozenset(), b"k" * 32),),
    )


ORIGINAL = body()
COPY = replace(ORIGINAL, record_id=SUPPLEMENT, supplements=RecordReference(RECORD, DIGEST))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.db")
    yield opened
    opened.close()


def judged(spool: Spool, supplement: Body = COPY) -> str:
    return not_obeyed(CASE, VerifiedRecord(supplement, b"", {}, (), frozenset()), spool)


# --- whether it fits --------------------------------------------------------------------------------------------------


def test_a_supplement_is_compared_with_the_original_that_was_opened_here(spool: Spool) -> None:
    assert judged(spool) == ""
    spool.newer.add_opened(ORIGINAL, DIGEST)
    assert judged(spool) == ""
    section = COPY.sections[0]._replace(sha256=b"2" * 32)
    for lie in (
        replace(COPY, sections=(section,)),
        replace(COPY, purpose="q"),
        replace(COPY, publisher=OTHERS),
        replace(COPY, supplements=RecordReference(RECORD, b"e" * 32)),
    ):
        with pytest.raises(SupplementInvalid):
            judged(spool, lie)


def test_what_was_opened_here_is_known_after_a_restart(tmp_path: Path) -> None:
    first = Spool(tmp_path / "spool.db")
    first.newer.add_opened(COPY, b"f" * 32)
    first.close()
    again = Spool(tmp_path / "spool.db")
    # The supplement was: it counts as its original to who asks for records, and as no original of others.
    assert again.newer.was_opened(RECORD)
    assert again.newer.opened(RECORD) is None
    known = again.newer.opened(SUPPLEMENT)
    assert known is not None
    assert known.is_supplement
    with pytest.raises(SupplementInvalid):
        judged(again, replace(COPY, record_id=LATE, supplements=RecordReference(SUPPLEMENT, b"f" * 32)))
    again.close()


def test_of_an_original_that_could_not_be_opened_the_digest_is_compared(spool: Spool) -> None:
    copy = ReceivedCopy(RECORD, DIGEST, Position("cases", 0, 1), 1, ("case",))
    spool.received.add(copy)
    assert judged(spool) == ""
    with pytest.raises(SupplementInvalid):
        judged(spool, replace(COPY, supplements=RecordReference(RECORD, b"e" * 32)))


def test_a_second_supplement_is_of_the_publisher_of_the_first(spool: Spool) -> None:
    spool.numbers.add_original(RECORD, "CaseRecord", CASE_ID, PUBLISHER)
    assert judged(spool) == ""
    with pytest.raises(SupplementInvalid):
        judged(spool, replace(COPY, publisher=OTHERS))


def test_the_sections_that_were_read_add_up(spool: Spool) -> None:
    assert spool.newer.read(RECORD) == frozenset()
    spool.newer.add_read(RECORD, ["case"])
    spool.newer.add_read(RECORD, ["photos", "case"])
    assert spool.newer.read(RECORD) == {"case", "photos"}


# --- whether it is news -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record_id", [EARLY, LATE])
@pytest.mark.parametrize(
    ("publisher", "of_others", "counts"),
    [(PUBLISHER, (), True), (MINISTRY, ("CaseRecord",), True), (MINISTRY, ("Tip",), False), (OTHERS, (), False)],
)
def test_a_correction_ends_its_record_if_it_counts_for_it(
    spool: Spool, record_id: str, publisher: str, of_others: tuple[str, ...], *, counts: bool
) -> None:
    """Also if its maker's clock was behind, and though nobody here knew the record when it came."""
    spool.newer.add_word(CORRECTION, body(CORRECTION, record_id, publisher), of_others)
    assert judged(spool) == ("SUPERSEDED" if counts else "")


def test_a_record_that_supersedes_it_ends_it(spool: Spool) -> None:
    spool.newer.add_word(CASE, body(CASE, LATE, supersedes=RECORD), ())
    assert judged(spool) == "SUPERSEDED"


@pytest.mark.parametrize(("record_id", "ends"), [(LATE, "SUPERSEDED"), (EARLY, "")])
def test_a_closure_ends_what_was_issued_before_it(spool: Spool, record_id: str, ends: str) -> None:
    spool.newer.add_word(CLOSURE, body(CLOSURE, record_id), ())
    assert judged(spool) == ends


def test_an_agency_remembers_its_own_words(spool: Spool) -> None:
    assert spool.newer.word(ORIGINAL) is None
    learn(CORRECTION, "SYN-A1", body(CORRECTION, LATE), spool)
    word = spool.newer.word(ORIGINAL)
    assert word is not None
    assert word.record_id == LATE
