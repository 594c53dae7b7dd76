"""Every root is derived anew from tiles and entries, and the first wrong one is named."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.core.audit.tree import TreeCheck
from broker.core.streams import Position, StreamPartition
from broker.core.tree.checkpoint import Checkpoint
from broker.core.tree.leaf import Leaf
from broker.core.tree.tiles import TILE_WIDTH, write_entries
from tests.support.tiledlog import tiled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.audit.tree import TileFault

CASES_0 = StreamPartition("cases", 0)
LOG_ID = "a-log"


def leaf(index: int) -> Leaf:
    record_id = f"01890a5d-ac96-774b-bcce-{index:012x}"
    return Leaf(Position(*CASES_0, 2 * index), LOG_ID, 0, record_id, index.to_bytes(32), 1000 + index // 3)


class TiledLog(NamedTuple):
    """The files of a log, as tlog-tiles has them, and what it has signed."""

    files: dict[str, bytes]
    checkpoint: Checkpoint

    @classmethod
    def of(cls, entries: Sequence[bytes]) -> TiledLog:
        files, root = tiled(entries)
        return cls(files, Checkpoint("d.example/cases/0/a-log", len(entries), root))

    def check(self, *, entries: bool = True, log_id: str = LOG_ID) -> tuple[TileFault | None, set[str]]:
        """The first fault, and what was asked for."""
        steps = TreeCheck(self.checkpoint, CASES_0, log_id).steps(entries=entries)
        asked: set[str] = set()
        try:
            tile = next(steps)
            while True:
                asked.add(tile.path)
                tile = steps.send(self.files[tile.path])
        except StopIteration as ended:
            return ended.value, asked

    def fault(self, *, entries: bool = True, log_id: str = LOG_ID) -> TileFault:
        fault, _ = self.check(entries=entries, log_id=log_id)
        assert fault is not None
        return fault

    def with_file(self, path: str, data: bytes) -> TiledLog:
        return self._replace(files={**self.files, path: data})

    def flipped(self, path: str, at: int) -> TiledLog:
        data = bytearray(self.files[path])
        data[at] ^= 1
        return self.with_file(path, bytes(data))


def log_of(size: int) -> TiledLog:
    return TiledLog.of([leaf(index).marshal() for index in range(size)])


@pytest.fixture(scope="module")
def large() -> TiledLog:
    """Three levels: 257 full tiles of level 0 and a partial one of 5."""
    return log_of(257 * TILE_WIDTH + 5)


@pytest.mark.parametrize("size", [0, 1, 2, 5, 255, 256, 257, 511, 512, 513, 1024])
def test_a_sound_log_has_no_fault_and_every_file_of_it_was_read(size: int) -> None:
    log = log_of(size)
    assert log.check() == (None, set(log.files))
    assert log.check(entries=False) == (None, {path for path in log.files if "entries" not in path})


def test_a_sound_log_of_three_levels_has_no_fault(large: TiledLog) -> None:
    assert large.check(entries=False) == (None, {path for path in large.files if "entries" not in path})


@pytest.mark.parametrize(
    ("path", "at", "place"),
    [
        ("tile/1/000", 100, None),
        ("tile/0/003", 0, None),
        ("tile/0/256", 8191, None),
        # Partial tiles of the edge: the number of the wrong hash can be told from what is below.
        ("tile/2/000.p/1", 5, 0),
        ("tile/1/001.p/1", 5, 256),
    ],
)
def test_a_flipped_bit_of_a_hash_is_named_by_its_tile(large: TiledLog, path: str, at: int, place: int | None) -> None:
    fault = large.flipped(path, at).fault(entries=False)
    assert (fault.path, fault.place, fault.position) == (path, place, "")
    # What the root proves is never doubted.
    assert "it or " not in fault.cause


@pytest.mark.parametrize(
    ("path", "at", "place"),
    [
        ("tile/0/001.p/44", 43 * 32, 299),
        # Bytes of the first entry.
        ("tile/entries/000", 100, 0),
        ("tile/entries/001.p/44", 100, 256),
    ],
)
def test_a_flipped_bit_is_named_by_its_entry(path: str, at: int, place: int) -> None:
    fault = log_of(300).flipped(path, at).fault()
    assert (fault.path, fault.place) == (path, place)


def test_without_entries_only_the_root_shows_a_flipped_bit_of_the_newest_leaves() -> None:
    fault = log_of(300).flipped("tile/0/001.p/44", 0).fault(entries=False)
    assert not fault.path
    assert "tile/0/001.p/44" in fault.cause
    assert log_of(300).flipped("tile/entries/000", 100).check(entries=False)[0] is None


def test_a_wrong_entry_is_named_by_what_it_says_of_itself() -> None:
    log = log_of(3)
    other = write_entries([leaf(0).marshal(), leaf(7).marshal(), leaf(2).marshal()])
    fault = log.with_file("tile/entries/000.p/3", other).fault()
    assert (fault.path, fault.place, fault.position) == ("tile/entries/000.p/3", 1, "cases/0/14")


def test_another_root_is_a_fault_of_the_checkpoint() -> None:
    log = log_of(300)
    forged = log._replace(checkpoint=replace(log.checkpoint, root=bytes(32)))
    assert not forged.fault().path
    empty = log_of(0)
    assert not empty._replace(checkpoint=replace(empty.checkpoint, root=bytes(32))).fault().path


@pytest.mark.parametrize(
    "change", [lambda data: data[:-1], lambda data: data + b"\x00", lambda _: b""], ids=["shorter", "longer", "empty"]
)
@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44"])
def test_a_tile_of_another_size_is_a_fault(path: str, change: Callable[[bytes], bytes]) -> None:
    log = log_of(300)
    fault = log.with_file(path, change(log.files[path])).fault()
    assert (fault.path, fault.place, fault.position) == (path, None, "")


@pytest.mark.parametrize(
    ("wrong", "cause"),
    [
        (leaf(9)._replace(log_id="another"), "of another log"),
        (leaf(9)._replace(position=Position("dna", 0, 18)), "of another log"),
        (leaf(9)._replace(position=Position("cases", 1, 18)), "of another log"),
        (leaf(9)._replace(position=Position(*CASES_0, 16)), "does not come after"),
        (leaf(9)._replace(accepted_at_ms=5), "accepted before"),
    ],
    ids=["log", "stream", "partition", "offset", "time"],
)
def test_what_was_signed_must_make_sense(wrong: Leaf, cause: str) -> None:
    entries = [leaf(index).marshal() for index in range(300)]
    fault = TiledLog.of([*entries[:9], wrong.marshal(), *entries[10:]]).fault()
    assert (fault.path, fault.place, fault.position) == ("tile/entries/000", 9, str(wrong.position))
    assert cause in fault.cause


def test_an_entry_that_is_no_manifest_is_a_fault_although_it_was_signed() -> None:
    fault = TiledLog.of([leaf(0).marshal(), b"something else"]).fault()
    assert (fault.path, fault.place, fault.position) == ("tile/entries/000.p/2", 1, "")


def test_the_log_of_another_incarnation_is_a_fault() -> None:
    assert "another log" in log_of(1).fault(log_id="restored").cause


@pytest.mark.parametrize(("size", "entries", "tiles"), [(0, True, 0), (5, True, 2), (300, True, 5), (300, False, 3)])
def test_each_tile_and_bundle_that_is_right_is_counted_once(size: int, *, entries: bool, tiles: int) -> None:
    log = log_of(size)
    check = TreeCheck(log.checkpoint, CASES_0, LOG_ID)
    steps = check.steps(entries=entries)
    with contextlib.suppress(StopIteration):
        tile = next(steps)
        while True:
            tile = steps.send(log.files[tile.path])
    assert check.tiles == tiles


def test_an_entry_of_junk_that_was_not_signed_has_no_position() -> None:
    log = log_of(3)
    junk = write_entries([leaf(0).marshal(), b"junk", leaf(2).marshal()])
    fault = log.with_file("tile/entries/000.p/3", junk).fault()
    assert (fault.path, fault.place, fault.position) == ("tile/entries/000.p/3", 1, "")


def test_where_the_root_proves_neither_both_tiles_are_named(large: TiledLog) -> None:
    """The tile of the edge and one below it are wrong, so the root is right with neither."""
    wrong = large.flipped("tile/1/001.p/1", 5).flipped("tile/0/256", 5)
    fault = wrong.fault(entries=False)
    assert (fault.path, fault.place, fault.position) == ("tile/0/256", None, "")
    assert fault.cause.startswith("it or tile/1/001.p/1: ")
