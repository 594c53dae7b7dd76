from __future__ import annotations

from hashlib import sha256
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import PositionUnknown, ProofInvalid
from broker.core.tree.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    CompactRange,
    inclusion_proof,
    leaf_hash,
    node_hash,
    range_coordinates,
    root_from_path,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from tests.support.trees import GrownTree

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = range(71)
TREE = GrownTree(f"sample leaf {index}".encode() for index in SIZES)
HASHES = [leaf_hash(leaf) for leaf in TREE.leaves]

# The test tree of the Certificate Transparency project, which other RFC 6962 implementations check as well.
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
CT_INCLUSION = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
}
CT_CONSISTENCY = {
    (1, 8): CT_INCLUSION[0, 8],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


# --- RFC 6962 section 2.1, transcribed as it stands there and nothing more ---


def naive_root(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = naive_split(len(hashes))
    return sha256(b"\x01" + naive_root(hashes[:k]) + naive_root(hashes[k:])).digest()


def naive_split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def naive_path(m: int, hashes: Sequence[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    k = naive_split(len(hashes))
    if m < k:
        return [*naive_path(m, hashes[:k]), naive_root(hashes[k:])]
    return [*naive_path(m - k, hashes[k:]), naive_root(hashes[:k])]


def naive_subproof(m: int, hashes: Sequence[bytes], *, known: bool) -> list[bytes]:
    if m == len(hashes):
        return [] if known else [naive_root(hashes)]
    k = naive_split(len(hashes))
    if m <= k:
        return [*naive_subproof(m, hashes[:k], known=known), naive_root(hashes[k:])]
    return [*naive_subproof(m - k, hashes[k:], known=False), naive_root(hashes[:k])]


# --- known answers ---


def test_the_roots_are_those_of_certificate_transparency() -> None:
    assert [root.hex() for root in GrownTree(CT_LEAVES).roots] == CT_ROOTS


@pytest.mark.parametrize(("index", "size"), CT_INCLUSION)
def test_the_inclusion_proofs_are_those_of_certificate_transparency(index: int, size: int) -> None:
    assert [item.hex() for item in GrownTree(CT_LEAVES).inclusion(index, size)] == CT_INCLUSION[index, size]


@pytest.mark.parametrize(("old", "new"), CT_CONSISTENCY)
def test_the_consistency_proofs_are_those_of_certificate_transparency(old: int, new: int) -> None:
    assert [item.hex() for item in GrownTree(CT_LEAVES).consistency(old, new)] == CT_CONSISTENCY[old, new]


def test_leaves_and_nodes_are_hashed_apart() -> None:
    left, right = HASHES[:2]

    assert leaf_hash(b"") == sha256(b"\x00").digest()
    assert node_hash(left, right) == sha256(b"\x01" + left + right).digest() != leaf_hash(left + right)


# --- the same as the naive tree, for every size ---


def test_every_root_is_the_naive_one() -> None:
    assert TREE.roots[0] == EMPTY_ROOT
    assert TREE.roots == [naive_root(HASHES[:size]) for size in range(len(HASHES) + 1)]


def test_every_inclusion_proof_is_the_naive_one_and_verifies() -> None:
    for size in SIZES:
        for index in range(size):
            proof = TREE.inclusion(index, size)
            assert list(proof) == naive_path(index, HASHES[:size])
            assert root_from_path(index, size, HASHES[index], proof) == TREE.roots[size]
            verify_inclusion(index, size, HASHES[index], proof, TREE.roots[size])


def test_every_consistency_proof_is_the_naive_one_and_verifies() -> None:
    for old, new in combinations_with_replacement(SIZES, 2):
        proof = TREE.consistency(old, new)
        assert list(proof) == (naive_subproof(old, HASHES[:new], known=True) if old else [])
        verify_consistency(old, new, TREE.roots[old], TREE.roots[new], proof)


def test_a_tree_can_be_resumed_from_its_frontier_at_any_size() -> None:
    for size in SIZES:
        frontier = [TREE.nodes[at] for at in range_coordinates(0, size)]
        tree = CompactRange(size, frontier)
        assert (tree.size, list(tree.nodes), tree.root()) == (size, frontier, TREE.roots[size])
        for leaf in HASHES[size:]:
            tree.append(leaf)
        assert tree.root() == TREE.roots[-1]


def test_an_appended_leaf_completes_each_inner_node_once() -> None:
    tree = CompactRange()
    completed = [(level, index) for leaf in HASHES for level, index, _ in tree.append(leaf)]

    assert len(set(completed)) == len(completed)
    assert set(completed) == {(level, index) for level in range(1, 7) for index in range(len(HASHES) >> level)}
    assert all(TREE.nodes[at] == naive_root(HASHES[at[1] << at[0] : (at[1] + 1) << at[0]]) for at in completed)


# --- a period of a tree ---


def cover(begin: int, end: int) -> list[bytes]:
    return [TREE.nodes[at] for at in range_coordinates(begin, end)]


def test_the_root_follows_from_any_period_and_the_subtrees_around_it() -> None:
    for size in range(0, 71, 7):
        for begin, end in combinations_with_replacement(range(size + 1), 2):
            root = root_of(size, begin, cover(0, begin), iter(HASHES[begin:end]), cover(end, size))
            assert root == TREE.roots[size], (size, begin, end)


def test_coordinates_cover_a_range_without_gaps_by_the_largest_subtrees() -> None:
    for begin, end in combinations_with_replacement(SIZES, 2):
        at = begin
        for level, index in range_coordinates(begin, end):
            assert index << level == at
            assert index % 2 or (index + 2) << level > end, "it and its right sibling would be one subtree"
            at = (index + 1) << level
        assert at == end


@given(st.data())
def test_a_period_with_a_record_dropped_inserted_or_changed_has_another_root(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    begin = data.draw(st.integers(0, size - 1))
    end = data.draw(st.integers(begin + 1, size))
    at = data.draw(st.integers(0, end - begin - 1))
    leaves = HASHES[begin:end]
    stranger = leaf_hash(b"an inserted sample leaf")
    mutants = [
        leaves[:at] + leaves[at + 1 :],
        [*leaves[:at], stranger, *leaves[at:]],
        [*leaves[:at], stranger, *leaves[at + 1 :]],
        leaves[at:] + leaves[:at] if at else [stranger],
    ]
    for mutant in mutants:
        try:
            root = root_of(size, begin, cover(0, begin), mutant, cover(end, size))
        except ProofInvalid:
            continue
        assert root != TREE.roots[size]


def test_a_period_whose_counts_do_not_fit_is_refused() -> None:
    left, right = cover(0, 12), cover(31, 70)
    leaves = HASHES[12:31]
    root_of(70, 12, left, leaves, right)
    for mutant in (
        (70, 12, left[1:], leaves, right),
        (70, 12, [*left, right[0]], leaves, right),
        (70, 12, left, leaves, right[1:]),
        (70, 12, left, leaves, [*right, left[0]]),
        (70, 12, left, [*leaves[:-1], leaves[-1][1:]], right),
        (70, 12, [left[0][1:], *left[1:]], leaves, right),
        (70, 12, left, leaves, [right[0] + b"\x00", *right[1:]]),
        (30, 12, left, leaves, right),
        (70, -1, left, leaves, right),
    ):
        with pytest.raises(ProofInvalid):
            root_of(*mutant)


# --- what is not a proof ---


@given(st.data())
def test_an_inclusion_proof_with_a_flipped_bit_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    index = data.draw(st.integers(0, size - 1))
    leaf, proof, root = HASHES[index], TREE.inclusion(index, size), TREE.roots[size]
    at, bit = data.draw(st.integers(0, len(proof) + 1)), data.draw(st.integers(0, 255))
    parts = [leaf, root, *proof]
    parts[at] = (int.from_bytes(parts[at]) ^ 1 << bit).to_bytes(32)

    with pytest.raises(ProofInvalid):
        verify_inclusion(index, size, parts[0], parts[2:], parts[1])


@given(st.data())
def test_a_consistency_proof_with_a_flipped_bit_is_refused(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 70))
    old = data.draw(st.integers(1, new - 1))
    parts = [TREE.roots[old], TREE.roots[new], *TREE.consistency(old, new)]
    at, bit = data.draw(st.integers(0, len(parts) - 1)), data.draw(st.integers(0, 255))
    parts[at] = (int.from_bytes(parts[at]) ^ 1 << bit).to_bytes(32)

    with pytest.raises(ProofInvalid):
        verify_consistency(old, new, parts[0], parts[1], parts[2:])


def test_an_inclusion_proof_holds_for_no_other_leaf_index_or_size() -> None:
    size, index = 70, 41
    proof = TREE.inclusion(index, size)
    for other in range(size):
        if other != index:
            with pytest.raises(ProofInvalid):
                verify_inclusion(other, size, HASHES[index], proof, TREE.roots[size])
            with pytest.raises(ProofInvalid):
                verify_inclusion(index, size, HASHES[other], proof, TREE.roots[size])
    with pytest.raises(ProofInvalid):
        verify_inclusion(index, size, HASHES[index], proof, TREE.roots[69])


def test_a_proof_of_another_length_is_refused() -> None:
    inclusion, consistency = TREE.inclusion(41, 70), TREE.consistency(41, 70)
    for cut in (inclusion[1:], inclusion[:-1], (*inclusion, HASHES[0]), (HASHES[0], *inclusion), ()):
        with pytest.raises(ProofInvalid, match="shape"):
            verify_inclusion(41, 70, HASHES[41], cut, TREE.roots[70])
    for cut in (consistency[1:], consistency[:-1], (*consistency, HASHES[0]), (HASHES[0], *consistency), ()):
        with pytest.raises(ProofInvalid, match="shape"):
            verify_consistency(41, 70, TREE.roots[41], TREE.roots[70], cut)


def test_hashes_of_another_length_are_refused_even_where_the_joined_bytes_are_the_same() -> None:
    tree = GrownTree([b"left", b"right"])
    left, right = tree.nodes[0, 0], tree.nodes[0, 1]

    verify_inclusion(0, 2, left, [right], tree.roots[2])
    with pytest.raises(ProofInvalid, match="32 bytes"):
        verify_inclusion(0, 2, left + right[:1], [right[1:]], tree.roots[2])
    with pytest.raises(ProofInvalid, match="32 bytes"):
        verify_consistency(1, 2, left[:31], tree.roots[2], [right])
    with pytest.raises(ProofInvalid, match="32 bytes"):
        verify_consistency(2, 2, b"", b"", [])


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (6, 5), (0, 0), (0, MAX_SIZE + 1)])
def test_a_leaf_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ProofInvalid):
        root_from_path(index, size, HASHES[0], [])


@pytest.mark.parametrize(("old", "new"), [(-1, 5), (6, 5), (1, MAX_SIZE + 1)])
def test_a_tree_that_shrinks_is_refused(old: int, new: int) -> None:
    with pytest.raises(ProofInvalid):
        verify_consistency(old, new, HASHES[0], HASHES[0], [])


def test_two_trees_of_one_size_are_consistent_only_if_their_roots_agree() -> None:
    verify_consistency(70, 70, TREE.roots[70], TREE.roots[70], [])
    with pytest.raises(ProofInvalid):
        verify_consistency(70, 70, TREE.roots[69], TREE.roots[70], [])
    with pytest.raises(ProofInvalid):
        verify_consistency(70, 70, TREE.roots[70], TREE.roots[69], [])


def test_the_empty_tree_has_one_root_only() -> None:
    verify_consistency(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    verify_consistency(0, 5, EMPTY_ROOT, TREE.roots[5], [])
    for new, new_root in ((0, EMPTY_ROOT), (5, TREE.roots[5])):
        with pytest.raises(ProofInvalid):
            verify_consistency(0, new, HASHES[0], new_root, [])
    with pytest.raises(ProofInvalid):
        verify_consistency(0, 0, EMPTY_ROOT, HASHES[0], [])


def test_a_history_that_was_rewritten_is_not_consistent() -> None:
    rewritten = GrownTree([*TREE.leaves[:20], b"a changed sample leaf", *TREE.leaves[21:]])

    for new in (41, 64, 70):
        with pytest.raises(ProofInvalid):
            verify_consistency(40, new, TREE.roots[40], rewritten.roots[new], rewritten.consistency(40, new))


# --- what cannot be asked for ---


def test_proofs_of_what_is_not_there_are_refused() -> None:
    for index, size in ((-1, 5), (5, 5), (0, 0)):
        with pytest.raises(PositionUnknown):
            TREE.inclusion(index, size)
    for old, new in ((-1, 5), (6, 5)):
        with pytest.raises(PositionUnknown):
            TREE.consistency(old, new)
    for begin, end in ((-1, 5), (6, 5)):
        with pytest.raises(PositionUnknown):
            range_coordinates(begin, end)


def test_a_proof_reads_only_a_logarithmic_number_of_nodes() -> None:
    read: list[tuple[int, int]] = []

    def node(level: int, index: int) -> bytes:
        read.append((level, index))
        return bytes(32)

    assert len(inclusion_proof(12_345, MAX_SIZE, node)) == 63
    assert len(read) < 130


def test_a_frontier_of_the_wrong_form_is_refused() -> None:
    for size, nodes in ((-1, []), (3, HASHES[:1]), (3, HASHES[:3]), (1, [b"short"])):
        with pytest.raises(ProofInvalid):
            CompactRange(size, nodes)


def test_a_tree_that_refuses_something_stays_as_it_was() -> None:
    tree = CompactRange()
    for leaf in HASHES[:6]:
        tree.append(leaf)
    with pytest.raises(ProofInvalid):
        tree.append(b"not a hash")
    for level, node in ((2, HASHES[0]), (-1, HASHES[0]), (1, b"not a hash")):
        with pytest.raises(ProofInvalid):
            tree.append_subtree(level, node)

    assert (tree.size, tree.root()) == (6, TREE.roots[6])
    tree.append_subtree(1, TREE.nodes[1, 3])
    assert (tree.size, tree.root()) == (8, TREE.roots[8])
