"""When encryption keys end, when it is time to rotate them, and what is told of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from broker.cli.expiries import expiry_facts, print_expiries
from broker.core.encryptionkeys import ARCHIVE, RECORDS, EncryptionKey
from broker.trust.expiries import ARCHIVE_KEY, KEY, ExpiryWatch, key_expiries
from certs.rights import HEBEI, LAB
from tests.support.pki import ManualClock, SamplePki

if TYPE_CHECKING:
    from broker.core.policy import Directory

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


def key(number: int, first: int, last: int, *, use: str = RECORDS, retired: int | None = None) -> EncryptionKey:
    """A key by the days of its life."""
    at = None if retired is None else retired * DAY_MS
    return EncryptionKey(LAB, bytes([number]) * 32, "P256", use, b"", first * DAY_MS, last * DAY_MS, at, b"")


def with_keys(pki: SamplePki, *keys: EncryptionKey) -> Directory:
    lab = replace(pki.directory.agencies[LAB], encryption_keys=keys)
    return replace(pki.directory, agencies={**pki.directory.agencies, LAB: lab})


def found(pki: SamplePki, day: float, *keys: EncryptionKey) -> list[tuple[str, int, bool, bool]]:
    """What is told on a day: what and which key, the day of its end, whether it is due, and whether it has ended."""
    now_ms = int(day * DAY_MS)
    return [
        (f"{one.what} {one.name}", one.last_ms // DAY_MS, now_ms >= one.due_ms, now_ms > one.last_ms)
        for one in key_expiries(with_keys(pki, *keys), [LAB], now_ms)
    ]


ONE, TWO = f"{LAB} {'01' * 8}", f"{LAB} {'02' * 8}"


def test_a_key_is_due_when_two_thirds_of_its_life_are_over(pki: SamplePki) -> None:
    only = key(1, 0, 90)
    assert found(pki, 59.9, only) == [(f"encryption key {ONE}", 90, False, False)]
    assert found(pki, 60, only) == [(f"encryption key {ONE}", 90, True, False)]
    # Nobody can seal to the agency any more.
    assert found(pki, 91, only) == [(f"encryption key {ONE}", 90, True, True)]


def test_while_two_overlap_the_former_is_shown_and_never_due(pki: SamplePki) -> None:
    former, new = key(1, 0, 90, retired=67), key(2, 60, 150)
    assert found(pki, 66, former, new) == [
        (f"encryption key {ONE} (retired, followed by {'02' * 8})", 67, False, False),
        (f"encryption key {TWO}", 150, False, False),
    ]
    # After its end it is told no more, and the new one is due in its turn.
    assert found(pki, 120, former, new) == [(f"encryption key {TWO}", 150, True, False)]


def test_a_key_is_not_followed_by_one_that_begins_only_after_its_end(pki: SamplePki) -> None:
    former, later = key(1, 0, 90), key(2, 95, 200)
    assert found(pki, 61, former, later) == [
        (f"encryption key {ONE}", 90, True, False),
        (f"encryption key {TWO}", 200, False, False),
    ]
    # Nobody can seal to the agency in between, so the one that ended is still told.
    assert found(pki, 92, former, later) == [
        (f"encryption key {ONE}", 90, True, True),
        (f"encryption key {TWO}", 200, False, False),
    ]
    assert found(pki, 95, former, later) == [(f"encryption key {TWO}", 200, False, False)]
    # Without a gap it is followed, also if the one that lasts longest begins later still.
    next_to_it, last = key(3, 90, 120), key(2, 119, 300)
    assert found(pki, 61, former, next_to_it, last) == [
        (f"encryption key {ONE} (followed by {'03' * 8})", 90, False, False),
        (f"encryption key {LAB} {'03' * 8} (followed by {'02' * 8})", 120, False, False),
        (f"encryption key {TWO}", 300, False, False),
    ]


def test_a_key_is_not_followed_by_one_that_was_retired_before_it_began(pki: SamplePki) -> None:
    assert found(pki, 61, key(1, 0, 90), key(2, 95, 200, retired=94))[0] == (f"encryption key {ONE}", 90, True, False)


def test_a_retirement_without_a_new_key_is_due_by_the_life_that_is_left(pki: SamplePki) -> None:
    assert found(pki, 61, key(1, 0, 365, retired=90)) == [(f"encryption key {ONE} (retired)", 90, True, False)]


def test_each_use_counts_for_itself_and_an_operator_is_told_only_of_what_is_sealed_to(pki: SamplePki) -> None:
    keys = (key(1, 0, 90), key(2, 0, 30, use=ARCHIVE))
    assert [one.what for one in key_expiries(with_keys(pki, *keys), [LAB], 0)] == [KEY, ARCHIVE_KEY]
    assert [one.what for one in key_expiries(with_keys(pki, *keys), [LAB], 0, [RECORDS])] == [KEY]
    assert key_expiries(with_keys(pki), [LAB, "no-such-agency"], 0) == []


def test_status_says_from_when_on_to_rotate_and_what_to_do(pki: SamplePki, capsys: pytest.CaptureFixture[str]) -> None:
    former, new = key(1, 0, 90, retired=67), key(2, 60, 150)
    directory = with_keys(pki, former, new)
    facts = expiry_facts(key_expiries(directory, [LAB], 66 * DAY_MS), 66 * DAY_MS)
    assert [one["due_from"] for one in facts] == [None, "1970-05-01T00:00:00+00:00"]
    print_expiries(facts)
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(f"(retired, followed by {'02' * 8})")
    assert second.endswith(f"{TWO}, rotate from 1970-05-01T00:00:00+00:00")
    print_expiries(expiry_facts(key_expiries(directory, [LAB], 120 * DAY_MS), 120 * DAY_MS))
    (due,) = capsys.readouterr().out.splitlines()[1:]
    assert f"{TWO} DUE: The agency: case-exchange keys rotate" in due


def test_the_log_warns_once_a_day_of_the_key_that_counts_and_of_no_former_one(pki: SamplePki) -> None:
    clock, directory = ManualClock(0), with_keys(pki, key(1, 0, 90, retired=67), key(2, 60, 150))
    watch = ExpiryWatch(lambda: key_expiries(directory, [LAB], clock.value_ms), clock)

    def told(day: float) -> list[tuple[str, str]]:
        clock.value_ms = int(day * DAY_MS)
        with capture_logs() as logs:
            watch.look()
        return [(line["event"], line["path"]) for line in logs]

    assert told(66) == told(68) == []
    assert told(120.5) == [("an encryption key ends soon: renew it", TWO)]
    assert told(120.9) == []
    assert told(151) == [("an encryption key has ended: renew it", TWO)]


def test_every_agency_of_a_development_pki_has_keys_that_are_told(pki: SamplePki) -> None:
    told = key_expiries(pki.directory, pki.directory.agencies, pki.now_ms)
    assert {one.name.split()[0] for one in told} >= {LAB, HEBEI}
    assert not any(one.due_ms <= pki.now_ms for one in told)
