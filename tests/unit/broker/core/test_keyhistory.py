"""No directory version takes back what an agency stated of its encryption keys."""

from __future__ import annotations

import itertools
import sys
import threading
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.encryptionkeys import ARCHIVE, P256, RECORDS, EncryptionKey, KeyRetirement
from broker.core.errors import KeyHistoryBroken
from broker.core.keyhistory import KeyHistory, check_successor
from broker.core.policy import Agency, Directory, keys_in_force
from broker.trust.directory import SharedKeyHistory

AGENCY, END = "sample-agency", 1000


def key(
    number: int, *, retired: int | None = None, use: str = RECORDS, begin: int = 0, end: int = END
) -> EncryptionKey:
    return EncryptionKey(AGENCY, bytes([number]) * 32, P256, use, bytes(65), begin, end, retired, b"")


def version(
    number: int, *keys: EncryptionKey, ended: tuple[tuple[int, int], ...] = (), issued: int = 0, listed: bool = True
) -> Directory:
    """A version with these keys, and with retirements of keys by their numbers."""
    retirements = tuple(KeyRetirement(AGENCY, bytes([one]) * 32, at, b"") for one, at in ended)
    agency = Agency(AGENCY, "", (), {}, {}, {}, encryption_keys=keys, key_retirements=retirements)
    agencies = {AGENCY: agency} if listed else {}
    return Directory(number, "d.example", issued, 2 * END, "x", (), (), frozenset(), agencies, b"")


def taken_back(*versions: Directory) -> str:
    history = KeyHistory()
    for one in versions[:-1]:
        assert history.add(one) == []
    with pytest.raises(KeyHistoryBroken) as caught:
        history.add(versions[-1])
    assert caught.value.details["version"] == str(versions[-1].version)
    assert caught.value.details["agency"] == AGENCY
    # It was not remembered.
    history.add(replace(versions[-2], version=versions[-1].version))
    return caught.value.message


def test_a_key_stays_until_it_has_expired_or_its_retirement_takes_its_place() -> None:
    assert "leaves out" in taken_back(version(1, key(1)), version(2))
    assert "leaves out" in taken_back(version(1, key(1)), version(2, key(2), issued=END - 1))
    for gone in (version(2, issued=END), version(2, ended=((1, 5),)), version(2, listed=False)):
        check_successor(version(1, key(1)), gone)
    # The retirement stays as long as the key would have: else who has not seen it would see a key left out.
    retired = version(1, key(1, retired=5), ended=((1, 5),))
    assert "leaves out" in taken_back(retired, version(2))
    check_successor(retired, version(2, issued=END))


def test_use_and_times_of_a_key_stay() -> None:
    for changed in (key(1, use=ARCHIVE), key(1, begin=1), key(1, end=END + 1), key(1, end=END - 1)):
        assert "changes the use or the times" in taken_back(version(1, key(1)), version(2, changed))


def test_a_retirement_stays_and_may_only_come_earlier() -> None:
    retired = version(1, key(1, retired=50), ended=((1, 50),))
    assert "takes back the retirement" in taken_back(retired, version(2, key(1)))
    assert "takes back the retirement" in taken_back(retired, version(2, key(1, retired=51), ended=((1, 51),)))
    check_successor(retired, version(2, key(1, retired=49), ended=((1, 50), (1, 49))))


def test_a_new_retirement_ends_no_key_before_the_version_before_it() -> None:
    first = version(1, key(1), issued=50)
    late = version(2, key(1, retired=49), ended=((1, 49),), issued=60)
    assert "ends, before the version before it was issued, an encryption key" in taken_back(first, late)
    retired = version(2, key(1, retired=50), ended=((1, 50),), issued=60)
    history = KeyHistory()
    for one in (first, retired, replace(retired, version=3, issued_at_ms=70)):
        assert history.add(one) == []
    # After its end it does not matter any more.
    check_successor(
        version(1, key(1), issued=END + 1), version(2, key(1, retired=END), ended=((1, END),), issued=END + 2)
    )


def test_a_retired_key_does_not_come_back_by_a_detour() -> None:
    first, second = version(1, key(1), key(2)), version(2, key(2), ended=((1, 50),))
    assert "takes back the retirement" in taken_back(
        first, second, version(3, listed=False), version(4, key(1), key(2))
    )
    changed = key(1, retired=50, use=ARCHIVE)
    assert "changes the use" in taken_back(first, second, version(3, changed, key(2), ended=((1, 50),)))


def test_an_agency_that_comes_back_must_bring_its_statements() -> None:
    left = (version(1, key(1)), version(2, listed=False))
    assert "leaves out" in taken_back(*left, version(3))
    history = KeyHistory()
    for one in (*left, version(3, key(1))):
        assert history.add(one) == []


def test_a_lower_version_that_is_seen_late_is_good_and_shows_what_a_higher_one_took_back() -> None:
    history = KeyHistory()
    assert history.add(version(3)) == []
    (fault,) = history.add(version(1, key(1)))
    assert (fault.details["version"], fault.details["key_id"]) == ("3", (bytes([1]) * 32).hex())
    # It is told once.
    assert history.add(version(2, key(1))) == []
    with pytest.raises(KeyHistoryBroken):
        history.add(version(4))


keys = st.builds(
    lambda number, retired: key(number, retired=retired), st.integers(1, 3), st.one_of(st.none(), st.just(50))
)


@given(st.permutations(range(1, 5)), st.lists(st.lists(keys, max_size=3, unique_by=lambda one: one.key_id), min_size=4))
def test_in_whatever_order_versions_are_seen_a_fault_shows(
    order: list[int], contents: list[list[EncryptionKey]]
) -> None:
    versions = {number: version(number, *contents[number - 1]) for number in range(1, 5)}

    def is_broken(numbers: list[int]) -> bool:
        history, broken = KeyHistory(), False
        for number in numbers:
            try:
                broken |= bool(history.add(versions[number]))
            except KeyHistoryBroken:
                broken = True
        return broken

    pairs = itertools.combinations(range(1, 5), 2)
    assert is_broken(order) == is_broken([1, 2, 3, 4]) == any(is_broken([low, high]) for low, high in pairs)


def test_the_keys_in_force_begin_with_the_newest() -> None:
    old, new = key(1, retired=500), key(2, begin=100)
    later, archive = key(3, begin=900), key(4, use=ARCHIVE)
    agency = version(1, old, later, new, archive).agencies[AGENCY]
    assert keys_in_force(agency, 99) == (old,)
    assert keys_in_force(agency, 100) == keys_in_force(agency, 499) == (new, old)
    assert keys_in_force(agency, 500) == (new,)
    assert keys_in_force(agency, END) == ()
    assert keys_in_force(agency, 0, ARCHIVE) == (archive,)


def test_a_faulty_version_that_was_in_force_does_not_bind_the_one_that_mends_it() -> None:
    history = KeyHistory()
    history.add(version(1))
    history.add(version(3, key(2)))
    (fault,) = history.add(version(2, key(1)))
    assert fault.details["version"] == "3"
    # Seen again, as from a file: nothing new is to be said of it.
    assert history.add(version(3, key(2))) == []
    assert history.add(version(4, key(1), key(2))) == []
    # As after a restart, from what was stored: it was in force, so it is told and remembered.
    history = KeyHistory()
    told = [history.add_accepted(one) for one in (version(1), version(2, key(1)), version(3, key(2)))]
    assert [[one.details["version"] for one in faults] for faults in told] == [[], [], ["3"]]
    assert history.add(version(3, key(2))) == []
    assert history.add(version(4, key(1), key(2))) == []
    with pytest.raises(KeyHistoryBroken):
        history.add(version(5, key(2)))


def test_what_the_lowest_version_says_of_use_and_times_stays() -> None:
    history = KeyHistory()
    history.add_accepted(version(1, key(1)))
    history.add_accepted(version(2, key(1, end=END + 1)))
    assert history.add(version(3, key(1))) == []


def of_agency(number: int, *keys: EncryptionKey, at: int | None = None) -> Directory:
    """A version with an agency of its own."""
    one = version(number if at is None else at, *keys)
    agency = replace(one.agencies[AGENCY], id=f"agency-{number}")
    return replace(one, agencies={agency.id: agency})


def test_threads_that_add_versions_at_once_lose_none() -> None:
    numbers, interval = range(1, 9), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            history, start = SharedKeyHistory(), threading.Barrier(len(numbers))

            def add(number: int, history: KeyHistory = history, start: threading.Barrier = start) -> None:
                start.wait(60)
                history.add(of_agency(number, *map(key, range(number, 100))))

            threads = [threading.Thread(target=add, args=(number,)) for number in numbers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            for number in numbers:
                with pytest.raises(KeyHistoryBroken):
                    history.add(of_agency(number, at=100))
    finally:
        sys.setswitchinterval(interval)


def test_the_work_for_many_versions_grows_with_their_number() -> None:
    keys = [key(number) for number in range(60)]
    # Four times the versions take four times the calls, and with a square it would be sixteen times.
    assert calls_to_add(400, keys) < 5 * calls_to_add(100, keys)


def calls_to_add(count: int, keys: list[EncryptionKey]) -> int:
    """The calls of functions, C's too, that adding so many versions takes. Unlike seconds they are always the same."""
    history, versions, calls = KeyHistory(), [version(number, *keys) for number in range(count)], 0

    def called(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(called)
    try:
        for one in versions:
            history.add(one)
    finally:
        sys.setprofile(None)
    return calls
