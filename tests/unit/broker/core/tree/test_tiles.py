"""Names and bytes of tiles, against tlog-tiles and the test log of transparency-dev/tessera v1.0.4 (testdata/log)."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import PositionUnknown, ProofInvalid
from broker.core.tree.tiles import ENTRIES, TILE_WIDTH, Tile, edge_tiles, read_entries, subtree_hash, write_entries
from tests.support.trees import GrownTree

TESSERA_ENTRIES = (
    "one two three four five six seven eit nain ten ileven twelf threeten fourten fivten".encode().split()  # noqa: UP012
)
TESSERA_ROOTS = {
    1: "0Nc2CrefWKseHj/mStd+LqC8B+NrX0btIiPt2SmN+ek=",
    2: "T1X2GdkhUjV3iyufF9b0kVsWFxIU0VI4EpNml2Teci4=",
    7: "IrSXADBqJ7EQoUODSDKROySgNveeL6CFhik2w/+fS7U=",
    15: "rKbDipCvhuX1GZ7g5BBe8sA6BbJ7ja/1nk427v383cs=",
}


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        # tlog-tiles, "Merkle Tree"
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        # tessera, api/layout/paths_test.go
        (Tile(ENTRIES, 0), "tile/entries/000"),
        (Tile(ENTRIES, 0, 8), "tile/entries/000.p/8"),
        (Tile(ENTRIES, 255, 253), "tile/entries/255.p/253"),
        (Tile(ENTRIES, 123456789), "tile/entries/x123/x456/789"),
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 0, 255), "tile/0/000.p/255"),
        (Tile(1, 0), "tile/1/000"),
        (Tile(15, 455667), "tile/15/x455/667"),
        (Tile(15, 123456789, 41), "tile/15/x123/x456/789.p/41"),
    ],
)
def test_paths_are_those_of_others(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@given(st.integers(ENTRIES, 63), st.integers(0, (1 << 55) - 1), st.integers(1, TILE_WIDTH))
def test_every_path_reads_back(level: int, number: int, width: int) -> None:
    assert Tile.parse(Tile(level, number, width).path) == Tile(level, number, width)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/1234",
        "tile/0/x001",
        "tile/0/001/002",
        "tile/0/x000/001",
        "tile/00/000",
        "tile/-1/000",
        "tile/100/000",
        "tile/x/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/07",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/٠٠٠",
        "tile/0/../../checkpoint",
        "tile/entries/../0/000",
        "tile/data/000",
        "tile/0/x036/x028/x797/x018/x963/968",
        "tile/0/" + 7 * "x999/" + "999",
        "tile/0/" + 1000 * "x999/" + "999",
    ],
)
def test_other_paths_name_no_tile(path: str) -> None:
    with pytest.raises(PositionUnknown):
        Tile.parse(path)


@pytest.mark.parametrize(
    ("size", "tiles"),
    [
        (0, []),
        (1, [Tile(0, 0, 1)]),
        (255, [Tile(0, 0, 255)]),
        (256, [Tile(1, 0, 1)]),
        (65_536, [Tile(2, 0, 1)]),
        # tlog-tiles, "Partial Tiles"
        (70_000, [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]),
    ],
)
def test_the_edge_of_a_tree(size: int, tiles: list[Tile]) -> None:
    assert list(edge_tiles(size)) == tiles


def test_entries_and_roots_are_those_of_tessera() -> None:
    bundle = write_entries(TESSERA_ENTRIES)
    assert bundle.hex().startswith("00036f6e65000374776f000574687265650004666f757200046669766500037369780005736576656e")
    assert bundle.hex().endswith("0007666f757274656e000666697674656e")
    assert read_entries(Tile(ENTRIES, 0, 15), bundle) == TESSERA_ENTRIES
    tree = GrownTree(TESSERA_ENTRIES)
    assert {size: tree.roots[size] for size in TESSERA_ROOTS} == {
        size: b64decode(root) for size, root in TESSERA_ROOTS.items()
    }
    # Its tile/0/000.p/15.
    tile = b"".join(tree.nodes[0, index] for index in range(15))
    assert sha256(tile).hexdigest() == "93593af14d2cce39867d2e73fe4ca400a38581605c5c4501a03e752d9b51a130"
    assert subtree_hash([tree.nodes[0, index] for index in range(8)]) == tree.nodes[3, 0]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=TILE_WIDTH))
def test_entries_read_back(entries: list[bytes]) -> None:
    assert read_entries(Tile(ENTRIES, 0, len(entries)), write_entries(entries)) == entries


LONGEST = [b"a" * 65_535, b"", b"b"]


def test_the_longest_entry_fits() -> None:
    assert read_entries(Tile(ENTRIES, 0, 3), write_entries(LONGEST)) == LONGEST


@pytest.mark.parametrize(
    "bundle",
    [
        b"",
        b"\x00",
        b"\x00\x01",
        b"\x00\x01a",
        b"\x00\x01a\x00",
        b"\x00\x01a\x00\x02b",
        b"\x00\x01a\x00\x01bc",
        b"\x00\x01a\x00\x01b\x00\x00",
    ],
)
def test_a_bundle_with_another_number_of_entries_or_a_broken_one_is_refused(bundle: bytes) -> None:
    with pytest.raises(ProofInvalid):
        read_entries(Tile(ENTRIES, 0, 2), bundle)
