"""What the operator sends to governance: what is missing, by signed checkpoints of others and by the log's own tree."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from broker.core.errors import SetupInvalid
from broker.core.incarnations import Incarnation, Incarnations, SignedCheckpoint
from broker.core.streams import StreamPartition
from broker.core.tree.checkpoint import Checkpoint, NoteSignature, marshal_note
from broker.core.tree.merkle import CompactRange
from broker.core.tree.origin import checkpoint_origin
from broker.messagelog.sqlite import SqliteCheckpointStore
from broker.ports import LeafRow, TreeExtension, TreeHead
from broker.services.declaring import Declaring

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DNA_0, DNA_1 = StreamPartition("dna", 0), StreamPartition("dna", 1)
DOMAIN = "case-exchange.example"


def leaves(size: int, branch: bytes = b"", same: int = 0) -> list[bytes]:
    return [sha256(b"%d" % at + (b"" if at < same else branch)).digest() for at in range(size)]


def signed(
    size: int, *, log_id: str = "a", branch: bytes = b"", same: int = 0, partition: StreamPartition = DNA_0
) -> SignedCheckpoint:
    """A checkpoint of this size. ``branch`` gives other leaves, from number ``same`` on."""
    tree = CompactRange()
    for leaf in leaves(size, branch, same):
        tree.append(leaf)
    text = Checkpoint(checkpoint_origin(DOMAIN, partition, log_id), size, tree.root()).marshal()
    return SignedCheckpoint.read(marshal_note(text, [NoteSignature("a", bytes(4), bytes(64))]))


class Stored:
    """The trees of a log with two partitions, of which the second is empty."""

    def __init__(self) -> None:
        self.store = SqliteCheckpointStore(None)

    async def holds(self, size: int, *, log_id: str = "a", branch: bytes = b"", same: int = 0) -> None:
        tree = CompactRange()
        hashes = leaves(size, branch, same)
        nodes = [node for leaf in hashes for node in tree.append(leaf)]
        note = signed(size, log_id=log_id, branch=branch, same=same).note
        rows = [LeafRow(at, 1, leaf) for at, leaf in enumerate(hashes)]
        await self.store.extend(DNA_0, 0, TreeExtension(rows, nodes, TreeHead(size, note, 1)))
        empty = signed(0, log_id=log_id, partition=DNA_1).note
        await self.store.extend(DNA_1, 0, TreeExtension([], [], TreeHead(0, empty, 1)))

    async def declared(
        self, *seen: SignedCheckpoint, current: str = "a", before: tuple[Incarnation, ...] = (), restored: bool = False
    ) -> list[Incarnation]:
        log_ids = {DNA_0: current, DNA_1: current}
        declaring = Declaring(log_ids, self.store, Incarnations(before), DOMAIN, "new", "a disk was lost", 1000)
        return await declaring.declarations(seen, restored=restored)


@pytest.fixture
async def stored() -> AsyncIterator[Stored]:
    made = Stored()
    yield made
    await made.store.close()


async def test_nothing_is_declared_for_a_log_that_continues_all_that_is_known(stored: Stored) -> None:
    await stored.holds(5)
    assert await stored.declared(signed(3), signed(5)) == []
    # The operator may know more.
    first, second = await stored.declared(restored=True)
    assert (first.log_id, first.last, first.carried, first.restored) == ("new", signed(5), signed(5), True)
    assert (second.partition, second.survives) == (DNA_1, 0)


async def test_a_restored_copy_goes_on_from_its_own_head_and_the_largest_that_was_seen_is_the_end(
    stored: Stored,
) -> None:
    await stored.holds(5)
    first, second = await stored.declared(signed(7), signed(9), signed(2))
    assert (first.former_log_id, first.log_id, first.last, first.carried) == ("a", "new", signed(9), signed(5))
    # All partitions are in one file.
    assert (second.partition, second.log_id, second.last.checkpoint.size) == (DNA_1, "new", 0)


async def test_a_copy_that_went_on_past_what_was_seen_is_sure_only_of_what_others_saw_of_it_too(
    stored: Stored,
) -> None:
    await stored.holds(9, branch=b"other", same=4)
    first, _ = await stored.declared(signed(7), signed(3))
    assert (first.last, first.carried, first.restored) == (signed(7), signed(3), True)
    first, _ = await stored.declared(signed(7))
    assert (first.last, first.carried, first.restored) == (signed(7), None, True)


async def test_a_log_that_was_made_anew_keeps_the_id_that_it_has(stored: Stored) -> None:
    await stored.holds(5)
    first, second = await stored.declared(signed(6), current="b")
    assert (first.former_log_id, first.log_id, first.last, first.carried) == ("a", "b", signed(6), None)
    assert not first.restored
    assert (second.partition, second.log_id) == (DNA_1, "b")


async def test_a_larger_loss_than_was_declared_is_declared_again(stored: Stored) -> None:
    await stored.holds(5, log_id="b")
    before = Incarnation(DNA_0, "a", "b", signed(7), signed(4), "a disk was lost", 1, restored=True)
    assert await stored.declared(signed(7), signed(3), current="b", before=(before,)) == []
    (again,) = await stored.declared(signed(8), signed(9), current="b", before=(before,))
    assert again == before._replace(last=signed(9))


FIRST = (
    Incarnation(DNA_0, "a", "b", signed(7), signed(5), "a disk was lost", 1, restored=True),
    Incarnation(
        DNA_1, "a", "b", signed(0, partition=DNA_1), signed(0, partition=DNA_1), "a disk was lost", 1, restored=True
    ),
)
EMPTY = signed(0, log_id="b", partition=DNA_1)


async def test_a_copy_from_before_an_earlier_incarnation_goes_on_from_what_both_had(stored: Stored) -> None:
    await stored.holds(3)
    of_second = signed(9, log_id="b", branch=b"other", same=5)
    first, second = await stored.declared(of_second, EMPTY, before=FIRST)
    assert (first.former_log_id, first.log_id, first.last, first.carried) == ("b", "new", of_second, signed(3))
    assert first.restored
    assert (second.former_log_id, second.last) == ("b", EMPTY)
    assert Incarnations((*FIRST, first, second)).way(DNA_0, "a")[-1] == first


async def test_a_copy_with_records_that_the_earlier_incarnation_lost_goes_on_from_what_that_one_began_with(
    stored: Stored,
) -> None:
    await stored.holds(6)
    of_second = signed(9, log_id="b", branch=b"other", same=5)
    first, _ = await stored.declared(of_second, EMPTY, before=FIRST)
    assert (first.former_log_id, first.last, first.carried) == ("b", of_second, signed(5))


async def test_a_copy_of_which_nothing_is_in_the_earlier_incarnation_carries_nothing(stored: Stored) -> None:
    await stored.holds(6, branch=b"third")
    first, _ = await stored.declared(signed(9, log_id="b"), EMPTY, before=FIRST)
    assert (first.former_log_id, first.carried) == ("b", None)


async def test_a_copy_that_went_on_as_the_lost_log_carries_nothing_that_contradicts_how_that_began(
    stored: Stored,
) -> None:
    # On Kafka a broker starts on it, and signs a second branch of the lost log.
    await stored.holds(6, log_id="b", branch=b"third", same=3)
    of_second = signed(9, log_id="b", branch=b"other", same=5)
    first, _ = await stored.declared(of_second, EMPTY, signed(2), current="b", before=FIRST)
    assert (first.former_log_id, first.last, first.carried) == ("b", of_second, signed(2))
    first, _ = await stored.declared(of_second, EMPTY, current="b", before=FIRST)
    assert first.carried is None


async def test_a_second_loss_is_not_declared_without_a_checkpoint_of_what_is_lost(stored: Stored) -> None:
    await stored.holds(3)
    with pytest.raises(SetupInvalid, match="older than the one from which the log b"):
        await stored.declared(before=FIRST)
    with pytest.raises(SetupInvalid, match="dna/1 of the log b, whose place an older copy takes"):
        await stored.declared(signed(9, log_id="b"), before=FIRST)


async def test_what_was_declared_and_never_begun_can_be_declared_again(stored: Stored) -> None:
    await stored.holds(5)
    first, _ = await stored.declared(signed(8), before=FIRST)
    assert (first.former_log_id, first.log_id, first.last, first.carried) == ("a", "new", signed(8), signed(5))


async def test_what_nobody_signed_cannot_be_declared(stored: Stored) -> None:
    with pytest.raises(SetupInvalid, match=r"checkpoints\.db"):
        await stored.declared(signed(7))
