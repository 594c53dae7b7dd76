"""What is kept of timestamps, and which of them a bundle gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.messagelog.sqlite import SqliteTimestampStore
from broker.ports import KeptTimestamp

if TYPE_CHECKING:
    from pathlib import Path


def kept(size: int, response: bytes = b"first") -> KeptTimestamp:
    return KeptTimestamp(size, b"tree of %d" % size, response)


async def sizes(store: SqliteTimestampStore, first: int, end: int, most: int = 1000) -> list[int]:
    return [one.size for one in await store.of("a", first, end, most)]


async def test_a_bundle_gets_the_timestamps_that_say_something_of_its_leaves() -> None:
    store = SqliteTimestampStore(None)
    assert (await store.newest_size("a"), await sizes(store, 0, 5)) == (None, [])
    for size in (3, 5, 8, 13):
        await store.put("a", kept(size))
    await store.put("b", kept(4))
    assert await store.newest_size("a") == 13
    # All; the one before, and the first that holds the leaf; up to the tree that is shown.
    assert await sizes(store, 0, 20) == [3, 5, 8, 13]
    assert await sizes(store, 6, 7) == [5, 8]
    assert await sizes(store, 5, 6) == [5, 8]
    assert await sizes(store, 4, 5) == [3, 5]
    assert await sizes(store, 0, 1) == [3]
    assert await sizes(store, 6, 7, most=7) == [5]
    assert await sizes(store, 20, 21) == [13]
    await store.close()


async def test_the_first_timestamp_of_a_tree_stays_and_outlives_a_restart(tmp_path: Path) -> None:
    store = SqliteTimestampStore(tmp_path / "timestamps.db")
    await store.put("a", kept(3))
    await store.put("a", kept(3, b"second"))
    await store.close()
    store = SqliteTimestampStore(tmp_path / "timestamps.db")
    assert await store.of("a", 0, 9, 9) == [kept(3)]
    await store.close()
