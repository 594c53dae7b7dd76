"""What every backend of the checkpoint store promises (broker/ports/checkpoints.py)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from broker.core.errors import CheckpointConflict, PositionUnknown
from broker.core.streams import StreamPartition
from broker.core.tree.merkle import CompactRange, range_coordinates
from broker.core.tree.tiles import Tile
from broker.messagelog.sqlite import SqliteCheckpointStore
from broker.ports import LeafRow, ScrubPlace, TreeExtension, TreeHead
from tests.support.trees import GrownTree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

DNA_0 = StreamPartition("dna", 0)
DNA_1 = StreamPartition("dna", 1)


@pytest.fixture(params=["file", "memory"])
async def open_store(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[[], Awaitable[SqliteCheckpointStore]]]:
    opened: list[SqliteCheckpointStore] = []

    async def open_one() -> SqliteCheckpointStore:
        opened.append(SqliteCheckpointStore(tmp_path / "checkpoints.db" if request.param == "file" else None))
        return opened[-1]

    yield open_one
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_store: Callable[[], Awaitable[SqliteCheckpointStore]]) -> SqliteCheckpointStore:
    return await open_store()


def leaf(index: int) -> LeafRow:
    """Offsets have gaps, and several leaves share a time."""
    return LeafRow(index * 3 + 1, 1000 + index // 4, hashlib.sha256(b"leaf %d" % index).digest())


def extension(begin: int, end: int) -> TreeExtension:
    tree = CompactRange()
    nodes: list[tuple[int, int, bytes]] = []
    for index in range(end):
        completed = tree.append(leaf(index).hash)
        if index >= begin:
            nodes += completed
    return TreeExtension(
        [leaf(index) for index in range(begin, end)], nodes, TreeHead(end, b"note %d" % end, 5000 + end)
    )


async def grown(store: SqliteCheckpointStore, *sizes: int) -> None:
    begin = 0
    for end in sizes:
        await store.extend(DNA_0, begin, extension(begin, end))
        begin = end


async def test_a_new_store_is_empty(store: SqliteCheckpointStore) -> None:
    assert await store.head(DNA_0) is None
    assert await store.next_offset(DNA_0) == 0
    assert await store.first_leaf_since(DNA_0, 10_000) == 0
    assert await store.leaf_index(DNA_0, 1) is None


async def test_an_empty_tree_can_have_a_checkpoint(store: SqliteCheckpointStore) -> None:
    await grown(store, 0)
    assert await store.head(DNA_0) == TreeHead(0, b"note 0", 5000)
    assert await store.next_offset(DNA_0) == 0


async def test_partitions_are_apart(store: SqliteCheckpointStore) -> None:
    await grown(store, 5)
    assert await store.head(DNA_1) is None
    await store.extend(DNA_1, 0, extension(0, 2))
    assert await store.head(DNA_0) == TreeHead(5, b"note 5", 5005)


@pytest.mark.parametrize("sizes", [(1,), (255, 256, 257), (1, 2, 3, 300, 700), (600,), (0, 513, 65_537)], ids=str)
async def test_every_complete_subtree_can_be_read_back(store: SqliteCheckpointStore, sizes: tuple[int, ...]) -> None:
    await grown(store, *sizes)
    size = sizes[-1]
    frontier = await store.nodes(DNA_0, range_coordinates(0, size))
    expected = CompactRange()
    for index in range(size):
        expected.append(leaf(index).hash)
    assert tuple(frontier) == expected.nodes


async def test_every_node_that_a_proof_may_need_can_be_read_back(store: SqliteCheckpointStore) -> None:
    tree = GrownTree([])
    for index in range(300):
        # GrownTree hashes its leaves' bytes itself.
        tree.append(b"entry %d" % index)
    leaves = [LeafRow(index, 1, tree.nodes[0, index]) for index in range(300)]
    nodes = [(level, index, node) for (level, index), node in tree.nodes.items() if level]
    await store.extend(DNA_0, 0, TreeExtension(leaves, nodes, TreeHead(300, b"note", 1)))
    assert await store.nodes(DNA_0, list(tree.nodes)) == list(tree.nodes.values())


async def test_tiles_are_read_in_every_width_that_a_checkpoint_had(store: SqliteCheckpointStore) -> None:
    await grown(store, 100, 256, 600)
    hashes = [leaf(index).hash for index in range(600)]
    for number, width in ((0, 1), (0, 100), (0, 256), (1, 256), (2, 88), (2, 3)):
        tile = Tile(0, number, width)
        assert await store.tile(DNA_0, tile) == b"".join(hashes[tile.first : tile.end])
    assert await store.tile(DNA_0, Tile(1, 0, 2)) == b"".join(await store.nodes(DNA_0, [(8, 0), (8, 1)]))


@pytest.mark.parametrize(
    "tile", [Tile(0, 2), Tile(0, 2, 89), Tile(0, 3, 1), Tile(1, 0, 3), Tile(2, 0, 1), Tile(63, 0, 1), Tile(0, 2**54, 1)]
)
async def test_tiles_that_the_tree_does_not_have_are_unknown(store: SqliteCheckpointStore, tile: Tile) -> None:
    await grown(store, 600)
    with pytest.raises(PositionUnknown):
        await store.tile(DNA_0, tile)
    with pytest.raises(PositionUnknown):
        await store.tile(DNA_1, Tile(0, 0, 1))


async def test_leaves_are_found_by_offset_and_by_index(store: SqliteCheckpointStore) -> None:
    await grown(store, 100, 256, 600)
    for index in (0, 99, 100, 255, 256, 511, 512, 599):
        assert await store.leaf_index(DNA_0, leaf(index).offset) == index
        assert await store.leaf_offset(DNA_0, index) == leaf(index).offset
    assert await store.leaf_index(DNA_0, 0) is None
    assert await store.leaf_index(DNA_0, 5) is None
    assert await store.leaf_index(DNA_0, 10_000) is None
    assert await store.next_offset(DNA_0) == leaf(599).offset + 1


@pytest.mark.parametrize(("first", "end"), [(0, 600), (0, 1), (99, 101), (255, 257), (256, 512), (599, 600), (7, 7)])
async def test_leaves_are_read_back_as_they_were_stored(store: SqliteCheckpointStore, first: int, end: int) -> None:
    await grown(store, 100, 256, 600)
    assert await store.leaves(DNA_0, first, end) == [leaf(index) for index in range(first, end)]


@pytest.mark.parametrize(("first", "end"), [(0, 6), (4, 257), (256, 300), (9, 9), (-1, 2), (3, 2)])
async def test_leaves_beyond_the_tree_are_unknown(store: SqliteCheckpointStore, first: int, end: int) -> None:
    await grown(store, 5)
    with pytest.raises(PositionUnknown):
        await store.leaves(DNA_0, first, end)
    with pytest.raises(PositionUnknown):
        await store.leaves(DNA_1, 0, 1)


async def test_leaves_are_counted_by_time(store: SqliteCheckpointStore) -> None:
    await grown(store, 100, 600)
    assert await store.first_leaf_since(DNA_0, 0) == 0
    assert await store.first_leaf_since(DNA_0, 1000) == 0
    assert await store.first_leaf_since(DNA_0, 1001) == 4
    assert await store.first_leaf_since(DNA_0, 1000 + 64) == 256
    assert await store.first_leaf_since(DNA_0, 9999) == 600


@pytest.mark.parametrize("index", [-1, 5, 256, 100_000])
async def test_what_the_tree_does_not_have_is_unknown(store: SqliteCheckpointStore, index: int) -> None:
    await grown(store, 5)
    with pytest.raises(PositionUnknown):
        await store.leaf_offset(DNA_0, index)
    with pytest.raises(PositionUnknown):
        await store.nodes(DNA_0, [(0, index)])


async def test_a_second_follower_is_refused_and_nothing_is_stored(store: SqliteCheckpointStore) -> None:
    await grown(store, 5)
    with pytest.raises(CheckpointConflict):
        await store.extend(DNA_0, 4, extension(4, 9))
    assert await store.head(DNA_0) == TreeHead(5, b"note 5", 5005)
    await store.extend(DNA_0, 5, extension(5, 9))


async def test_the_tree_is_there_after_a_restart(
    tmp_path: Path,
) -> None:
    first = SqliteCheckpointStore(tmp_path / "checkpoints.db")
    await grown(first, 3, 300)
    await first.close()
    second = SqliteCheckpointStore(tmp_path / "checkpoints.db")
    assert await second.head(DNA_0) == TreeHead(300, b"note 300", 5300)
    await second.extend(DNA_0, 300, extension(300, 301))
    await second.close()


async def test_a_scrub_goes_on_where_it_was_stored_last(
    open_store: Callable[[], Awaitable[SqliteCheckpointStore]],
) -> None:
    store = await open_store()
    assert await store.scrub_place(DNA_0) == ScrubPlace()
    for place in (ScrubPlace(7, 3), ScrubPlace(9, 0)):
        await store.put_scrub_place(DNA_0, place)
        assert await store.scrub_place(DNA_0) == place
    assert await store.scrub_place(DNA_1) == ScrubPlace()
