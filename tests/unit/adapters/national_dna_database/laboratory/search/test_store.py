from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from adapters.national_dna_database.laboratory.kinship.typings import Typing, read_profile
from adapters.national_dna_database.laboratory.search.store import ProfileStore, Stored
from broker.core.errors import SetupInvalid
from caseexchange.records.v1 import dna_pb2
from synthetic.dna import str_profile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
LOCI = {"TH01": ("7", "9.3"), "FGA": ("21", "21")}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ProfileStore]:
    with contextlib.closing(ProfileStore(tmp_path / "lab.db", "synthetic")) as opened:
        yield opened


def put(
    store: ProfileStore, barcode: str, loci: Mapping[str, Sequence[str]] | None = None, at: datetime = NOW
) -> Stored | None:
    profile = str_profile(barcode, loci or LOCI, role=dna_pb2.SAMPLE_ROLE_FATHER, family="SYN-FAMILY")
    typing = read_profile(profile)
    assert isinstance(typing, Typing)
    with store.transaction():
        return store.put(profile, typing, at)


def test_what_was_kept_is_there_when_the_file_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    for expected in ([], ["SYN-1"]):
        with contextlib.closing(ProfileStore(path, "synthetic")) as store:
            assert [item.barcode for item in store.current()] == expected
            put(store, "SYN-1")
            (item,) = store.current()
            assert item == Stored(1, "SYN-1", dna_pb2.SAMPLE_ROLE_FATHER, "SYN-FAMILY", ("FGA=21,21", "TH01=7,9.3"))
            assert item.genotypes == LOCI
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_name_of_a_database_stays_what_it_was_given(tmp_path: Path) -> None:
    for name in ("first", "second"):
        with contextlib.closing(ProfileStore(tmp_path / "lab.db", name)) as store:
            assert store.name == "first"


def test_the_same_profile_again_changes_nothing_and_another_typing_takes_its_place(store: ProfileStore) -> None:
    first = put(store, "SYN-1")
    assert put(store, "SYN-1") is None
    assert store.snapshot().number == 1
    second = put(store, "SYN-1", {"TH01": ("6", "7")}, NOW + timedelta(hours=1))
    assert first is not None
    assert second is not None
    assert second.position > first.position
    assert [item.genotypes for item in store.current()] == [{"TH01": ("6", "7")}]
    assert list(store.at([first.position, second.position])) == [second]
    assert store.snapshot() == (2, NOW + timedelta(hours=1))


def test_a_family_is_found_by_its_number_and_nobody_by_none(store: ProfileStore) -> None:
    put(store, "SYN-1")
    put(store, "SYN-2")
    assert [item.barcode for item in store.family("SYN-FAMILY")] == ["SYN-1", "SYN-2"]
    assert store.family("") == []


def test_many_positions_are_read_in_batches(store: ProfileStore) -> None:
    for number in range(1, 8):
        put(store, f"SYN-{number}")
    assert len(list(store.at(range(2000)))) == 7


def test_what_is_withdrawn_is_erased_from_the_file_with_every_earlier_typing(
    store: ProfileStore, tmp_path: Path
) -> None:
    put(store, "SYN-KEPT")
    put(store, "SYN-ERASED")
    put(store, "SYN-ERASED", {"TH01": ("6", "7")})
    assert store.withdraw("SYN-ERASED", NOW)
    assert not store.withdraw("SYN-ERASED", NOW)
    assert store.find("SYN-ERASED") is None
    assert store.snapshot().number == 4
    for path in tmp_path.iterdir():
        assert b"SYN-ERASED" not in path.read_bytes(), path.name
    assert put(store, "SYN-NEXT") == store.find("SYN-NEXT")


def test_nothing_is_kept_of_a_transaction_that_failed(store: ProfileStore) -> None:
    profile = str_profile("SYN-1", LOCI)
    typing = read_profile(profile)
    assert isinstance(typing, Typing)

    def put_and_fail() -> None:
        with store.transaction():
            store.put(profile, typing, NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        put_and_fail()
    assert list(store.current()) == []


def test_a_file_in_use_or_of_another_kind_is_named(store: ProfileStore, tmp_path: Path) -> None:
    put(store, "SYN-1")
    other = tmp_path / "other.db"
    other.write_bytes(b"not a database at all, and long enough to be read as a page" * 20)
    for path in (other, tmp_path / "no" / "folder.db"):
        with pytest.raises(SetupInvalid):
            ProfileStore(path, "synthetic")
