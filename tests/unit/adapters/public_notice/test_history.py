from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from adapters.public_notice.history import Filed, NoticeBoard, fold, sent_at
from adapters.public_notice.noticeboard.frame import Settings
from adapters.public_notice.noticeboard.site import make_site
from caseexchange.records.v1 import case_pb2
from tests.support.notices import (
    EPOCH_SECONDS,
    EXPIRY_SECONDS,
    MINISTRY,
    about,
    closure,
    correction,
    filed,
    notice,
    record_id,
)

if TYPE_CHECKING:
    from adapters.base import Record

NOW = datetime.fromtimestamp(EPOCH_SECONDS, UTC) + timedelta(days=1)


def board(*items: Filed, now: datetime = NOW) -> NoticeBoard:
    """The board, which must not depend on the order in which files are found."""
    first = fold(items, now)
    for order in itertools.permutations(items):
        assert fold(order, now) == first
    return first


def shown(found: NoticeBoard) -> list[str]:
    return [standing.current.record_id for standing in found.shown]


def codes(found: NoticeBoard) -> list[str]:
    return [issue.code for issue in found.issues]


PUBLISHED = filed(notice(), 0)
UPDATED = filed(notice(action="UPDATE"), 1)


def test_a_published_notice_is_shown_and_the_newest_stands_first() -> None:
    assert shown(board(PUBLISHED, filed(notice(2), 1))) == [record_id(1), record_id(0)]


def test_an_update_is_shown_in_place_of_the_earlier_one() -> None:
    found = board(PUBLISHED, UPDATED)
    assert shown(found) == [record_id(1)]
    assert [version.record_id for version in found.shown[0].versions] == [record_id(0), record_id(1)]


@pytest.mark.parametrize(
    "bad",
    [notice(), notice(action="WITHDRAW"), correction(record_id(0)), closure()],
    ids=["notice", "withdrawal", "correction", "closure"],
)
def test_of_a_record_that_cannot_be_judged_the_notice_is_left_out_and_the_others_are_shown(bad: Record) -> None:
    found = fold(
        [PUBLISHED, filed(notice(2), 1, "case-2"), Filed(bad, "no record id", about(bad, "no record id"))], NOW
    )
    assert shown(found) == [record_id(1)]
    assert "ADAPTER_FAILED" in codes(found)
    assert any(issue.refuses for issue in found.issues)


def test_a_withdrawal_that_cannot_be_judged_counts_even_where_its_case_is_unknown() -> None:
    bad = notice(action="WITHDRAW")
    found = fold([PUBLISHED, Filed(bad, "no record id", about(bad, "no record id", ""))], NOW)
    assert (shown(found), codes(found)) == ([], ["ADAPTER_FAILED"])


def test_an_update_without_an_earlier_one_is_shown() -> None:
    assert shown(board(UPDATED)) == [record_id(1)]


@pytest.mark.parametrize(
    "end",
    [
        filed(notice(action="WITHDRAW"), 2),
        filed(correction(record_id(0)), 2),
        filed(correction(record_id(1), "ERASE"), 2),
        filed(correction(record_id(1), "AMEND"), 2),
        filed(correction(record_id(1), "UNSPECIFIED"), 2),
        filed(closure(), 2),
        filed(closure(), 2, "another-case", in_reply_to=record_id(1)),
    ],
    ids=["withdrawn", "first withdrawn", "erased", "amended", "corrected", "closed", "closure answers it"],
)
def test_whatever_ends_a_notice_takes_it_from_the_board(end: Filed) -> None:
    found = board(PUBLISHED, UPDATED, end)
    assert shown(found) == []
    (gone,) = found.gone
    assert gone.end is not None
    assert (gone.end.record_id, gone.end.when) == (record_id(2), sent_at(record_id(2)))


@pytest.mark.parametrize("kind", ["WITHDRAW", "ERASE"])
def test_what_withdraws_the_record_that_a_notice_answers_takes_the_notice_too(kind: str) -> None:
    answering = filed(notice(), 1, in_reply_to=record_id(0))
    assert shown(board(answering, filed(correction(record_id(0), kind), 2))) == []


def test_what_amends_the_record_that_a_notice_answers_leaves_the_notice() -> None:
    answering = filed(notice(), 1, in_reply_to=record_id(0))
    assert shown(board(answering, filed(correction(record_id(0), "AMEND"), 2))) == [record_id(1)]


def test_a_clock_that_is_slow_does_not_save_a_notice_from_its_correction_or_closure() -> None:
    late = filed(notice(), 5)
    for end in (filed(correction(record_id(5)), 1), filed(closure(), 1)):
        assert shown(board(late, end)) == []


def test_the_end_of_one_notice_leaves_the_others() -> None:
    other = filed(notice(2), 1, "case-2")
    for end in (filed(closure(), 2), filed(correction(record_id(0)), 2), filed(notice(action="WITHDRAW"), 2)):
        assert shown(board(PUBLISHED, other, end)) == [record_id(1)]


NGO, POLICE = "child-aid-ngo", "shanxi-police"


@pytest.mark.parametrize(
    "end",
    [
        filed(correction(record_id(0)), 2, publisher=NGO),
        filed(correction(record_id(1), "ERASE"), 2, publisher=NGO),
        filed(correction(record_id(1), "AMEND"), 2, publisher=NGO, corrects_of_others=("CaseRecord", "Closure")),
        filed(closure(), 2, publisher=NGO),
        filed(closure(), 2, "another-case", in_reply_to=record_id(1), publisher=NGO),
    ],
    ids=["withdrawn", "erased", "amended", "closed", "closure answers it"],
)
def test_an_agency_that_neither_published_a_notice_nor_is_named_takes_it_off_no_board(end: Filed) -> None:
    found = board(PUBLISHED, UPDATED, end)
    assert (shown(found), codes(found)) == ([record_id(1)], ["NOT_OBEYED"])
    assert any(issue.refuses for issue in found.issues)


@pytest.mark.parametrize("end", [correction(record_id(0)), closure()], ids=["correction", "closure"])
def test_an_agency_that_the_directory_names_for_notices_ends_one_of_another(end: Record) -> None:
    found = board(PUBLISHED, filed(end, 2, publisher=POLICE, corrects_of_others=("PublicNotice",)))
    assert (shown(found), codes(found)) == ([], [])


@pytest.mark.parametrize("end", [correction(record_id(0), "ERASE"), closure()], ids=["erased", "closed"])
def test_who_published_the_record_that_a_notice_answers_ends_the_notice(end: Record) -> None:
    answering = filed(notice(), 1, in_reply_to=record_id(0))
    answered = about(case_pb2.CaseRecord(), record_id(0), publisher=POLICE)
    for publisher, expected in ((POLICE, ([], [])), (NGO, ([record_id(1)], ["NOT_OBEYED"]))):
        found = fold([answering, filed(end, 2, publisher=publisher)], NOW, others={record_id(0): answered})
        assert (shown(found), codes(found)) == expected


def test_no_agency_can_withdraw_the_closure_of_another() -> None:
    end = filed(closure(), 1)
    found = board(PUBLISHED, end, filed(correction(record_id(1)), 2, publisher=NGO))
    assert (shown(found), codes(found)) == ([], ["NOT_OBEYED"])
    named = filed(correction(record_id(1)), 2, publisher=POLICE, corrects_of_others=("Closure",))
    assert shown(board(PUBLISHED, end, named)) == [record_id(0)]


def test_a_record_that_cannot_be_read_hides_only_a_notice_that_its_publisher_could_end() -> None:
    for publisher, expected in ((NGO, [record_id(0)]), (MINISTRY, []), ("", [])):
        unreadable = about(closure(), record_id(9), publisher=publisher)
        assert shown(fold([PUBLISHED], NOW, [unreadable])) == expected


def test_a_correction_of_which_our_own_file_is_lost_counts() -> None:
    assert shown(board(PUBLISHED, filed(correction(record_id(0)), 2, "", publisher=""))) == []


def test_a_closure_that_was_itself_withdrawn_ends_nothing() -> None:
    assert shown(board(PUBLISHED, filed(closure(), 1), filed(correction(record_id(1)), 2))) == [record_id(0)]


def test_a_closure_without_a_case_ends_nothing() -> None:
    assert shown(board(filed(notice(), 0, ""), filed(closure(), 1, ""))) == [record_id(0)]


def test_only_publishing_shows_again_what_was_withdrawn() -> None:
    withdrawn = filed(notice(action="WITHDRAW"), 2)
    update = board(PUBLISHED, withdrawn, filed(notice(action="UPDATE"), 3))
    assert (shown(update), codes(update)) == ([], ["UPDATE_AFTER_END"])
    again = board(PUBLISHED, withdrawn, filed(notice(), 3))
    assert shown(again) == [record_id(3)]
    # It is a new message to whoever was told of the cancellation.
    assert len(again.shown[0].versions) == 1


def test_an_expired_notice_is_gone_and_one_to_come_is_not_shown_yet() -> None:
    expiry = datetime.fromtimestamp(EXPIRY_SECONDS, UTC)
    assert shown(board(PUBLISHED, now=expiry - timedelta(seconds=1))) == [record_id(0)]
    (gone,) = board(PUBLISHED, now=expiry).gone
    assert gone.end is not None
    assert (gone.end.record_id, gone.end.when) == ("", expiry)
    early = board(PUBLISHED, now=datetime.fromtimestamp(EPOCH_SECONDS - 1, UTC))
    assert (early.shown, early.gone) == ((), ())


def test_a_notice_without_an_expiry_stays() -> None:
    assert shown(board(filed(notice(expires_at=None), 0), now=NOW + timedelta(days=20_000))) == [record_id(0)]


def test_an_update_to_come_leaves_the_earlier_one_until_then() -> None:
    update = notice(action="UPDATE")
    update.effective_at.seconds += 10 * 86400
    assert shown(board(PUBLISHED, filed(update, 1))) == [record_id(0)]
    assert shown(board(PUBLISHED, filed(update, 1), now=NOW + timedelta(days=10))) == [record_id(1)]


def test_no_agency_can_change_the_notice_of_another() -> None:
    for action in ("PUBLISH", "UPDATE"):
        found = board(PUBLISHED, filed(notice(action=action), 1, publisher="someone-else"))
        assert (shown(found), codes(found)) == ([record_id(0)], ["NOTICE_OF_ANOTHER"])


def test_a_notice_that_does_not_say_that_it_is_public_is_not() -> None:
    found = board(filed(notice(action="UNSPECIFIED"), 0))
    assert (shown(found), codes(found)) == ([], ["ACTION_UNKNOWN"])


def test_a_notice_of_a_case_with_a_record_that_cannot_be_read_is_not_shown() -> None:
    found = fold([PUBLISHED, filed(notice(2), 1, "case-2")], NOW, [about(closure(), record_id(9))])
    assert shown(found) == [record_id(1)]
    assert codes(found) == ["NOTICE_IN_DOUBT"]


def test_when_a_record_was_issued_is_told_by_its_id() -> None:
    assert sent_at(record_id(3)) == datetime.fromtimestamp(EPOCH_SECONDS + 180, UTC)
    assert sent_at("00000000-0000-4000-8000-000000000000").year == 1970


def test_an_id_that_another_agency_made_earlier_than_it_was_takes_no_notice_over() -> None:
    published = filed(notice(), 5, accepted_at_ms=1_000)
    forged = filed(notice(), 1, publisher="someone-else", accepted_at_ms=2_000)
    found = board(published, forged)
    assert (shown(found), codes(found)) == ([record_id(5)], ["NOTICE_OF_ANOTHER"])


def test_an_id_or_a_time_at_the_end_of_the_calendar_breaks_nothing() -> None:
    assert sent_at("ffffffff-ffff-7fff-bfff-ffffffffffff").year == 9999
    lasting = notice()
    lasting.expires_at.FromJsonString("9999-12-31T23:59:59Z")
    last = "ffffffff-ffff-7fff-bfff-ffffffffffff"
    late = Filed(lasting, last, about(lasting, last))
    (standing,) = board(late).shown
    assert make_site(board(late), Settings("https://notices.example/", NOW, exercise=False)).shown == 1
    assert standing.current.sent.year == 9999


def test_a_notice_to_come_of_a_case_in_doubt_is_not_shown() -> None:
    late = notice()
    late.effective_at.seconds += 10 * 86400
    found = fold([filed(late, 0)], NOW, [about(closure(), record_id(9))])
    assert (found.shown, found.gone) == ((), ())
