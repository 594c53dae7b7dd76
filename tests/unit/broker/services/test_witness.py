from __future__ import annotations

import asyncio
import threading
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core.errors import CaseExchangeError, CosignedSizeDiffers, InputRefused, OriginUnknown, ProofInvalid
from broker.core.tree.addcheckpoint import AddCheckpoint, Cosigned
from broker.core.tree.checkpoint import Checkpoint, marshal_note, parse_note
from broker.core.tree.cosignature import cosignature_check, cosigners
from broker.messagelog.sqlite import SqliteWitnessStore
from broker.ports import WitnessedNote
from broker.services.witness import WitnessService
from broker.trust.signing import note_verifier
from broker.trust.witnesskeys import Ed25519Cosigner
from tests.support.pki import ManualClock
from tests.support.trees import GrownTree
from tests.support.witnesses import (
    TORCHWOOD_KEY,
    TORCHWOOD_ORIGIN,
    SampleLog,
    SampleWitness,
    torchwood_note,
    torchwood_request,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

TREE = GrownTree(f"sample leaf {index}".encode() for index in range(20))
FORK = GrownTree(f"sample leaf {index}{' of a fork' * (index > 3)}".encode() for index in range(20))
LOG, FORKED = SampleLog(TREE), SampleLog(FORK)
WITNESS = SampleWitness("witness.example/ministry")
NOW_S = 1_767_225_600
CHECKS = {WITNESS.key: cosignature_check(note_verifier(WITNESS.key.public_key))}
TORCHWOOD = {(TORCHWOOD_KEY.name, TORCHWOOD_KEY.key_id): note_verifier(TORCHWOOD_KEY.public_key)}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteWitnessStore]:
    opened = SqliteWitnessStore(tmp_path / "witness.db")
    yield opened
    await opened.close()


def service(store: SqliteWitnessStore, forked: Callable[[Checkpoint, bytes], None] = lambda *_: None) -> WitnessService:
    signer = Ed25519Cosigner(WITNESS.key.name, WITNESS.private_key)
    logs = {LOG.origin: LOG.verifiers, TORCHWOOD_ORIGIN: TORCHWOOD}
    return WitnessService(store, logs, signer, ManualClock(NOW_S * 1000 + 999), forked)


def cosigned_at(note: bytes, line: bytes) -> int:
    """The time of the cosignature in an answer, after a check of it."""
    parsed = parse_note(parse_note(note).text + b"\n" + line)
    return cosigners(parsed, CHECKS)[WITNESS.key]


async def test_a_growing_log_is_cosigned_at_the_time_of_the_clock(store: SqliteWitnessStore) -> None:
    witness = service(store)
    for old, size in pairwise([0, 0, 1, 1, 7, 8, 20]):
        request = LOG.request(old, size)
        assert cosigned_at(request.note, await witness.add_checkpoint(request.marshal())) == NOW_S


async def test_a_request_for_the_same_size_is_cosigned_again_and_another_root_is_not(store: SqliteWitnessStore) -> None:
    witness = service(store)
    await witness.add_checkpoint(LOG.request(0, 7).marshal())

    assert await witness.add_checkpoint(LOG.request(7, 7).marshal())
    with pytest.raises(ProofInvalid):
        await witness.add_checkpoint(FORKED.request(7, 7).marshal())
    with pytest.raises(ProofInvalid):
        await witness.add_checkpoint(FORKED.request(7, 9).marshal())
    assert await witness.add_checkpoint(LOG.request(7, 9).marshal())


async def test_the_latest_note_has_the_lines_of_the_log_and_of_the_witness_and_no_stranger_s(
    store: SqliteWitnessStore,
) -> None:
    witness = service(store)
    digest = sha256(LOG.origin.encode()).digest()
    with pytest.raises(OriginUnknown):
        await witness.latest(digest)
    parsed = parse_note(LOG.note(7))
    stranger = SampleWitness("stranger.example").cosign(parsed.text, NOW_S)
    await witness.add_checkpoint(
        AddCheckpoint(0, (), marshal_note(parsed.text, [stranger, *parsed.signatures])).marshal()
    )

    latest = parse_note(await witness.latest(digest))
    assert Checkpoint.parse(latest.text) == Checkpoint(LOG.origin, 7, TREE.roots[7])
    assert [line.name for line in latest.signatures] == [LOG.key.name, WITNESS.key.name]
    assert cosigners(latest, CHECKS) == {WITNESS.key: NOW_S}


async def test_repeated_lines_of_one_key_are_kept_once(store: SqliteWitnessStore) -> None:
    witness = service(store)
    parsed = parse_note(LOG.note(7))
    await witness.add_checkpoint(AddCheckpoint(0, (), marshal_note(parsed.text, parsed.signatures * 50)).marshal())

    latest = parse_note(await witness.latest(sha256(LOG.origin.encode()).digest()))
    assert [line.name for line in latest.signatures] == [LOG.key.name, WITNESS.key.name]


async def test_two_signed_roots_of_one_size_are_told_once_and_a_bad_proof_never(store: SqliteWitnessStore) -> None:
    """Anybody can send a bad proof, because the log signs none. Only the log can sign a second root."""
    told: list[tuple[Checkpoint, bytes]] = []
    witness = service(store, lambda *fork: told.append(fork))
    await witness.add_checkpoint(LOG.request(0, 7).marshal())
    bad = (LOG.request(7, 9)._replace(proof=(bytes(32),) * 4), LOG.request(7, 7)._replace(proof=(bytes(32),)))
    for request in (*bad, FORKED.request(7, 9)):
        with pytest.raises(ProofInvalid):
            await witness.add_checkpoint(request.marshal())
    assert told == []
    for _ in range(2):
        with pytest.raises(ProofInvalid):
            await witness.add_checkpoint(FORKED.request(7, 7).marshal())
    assert told == [(Checkpoint(LOG.origin, 7, FORK.roots[7]), TREE.roots[7])]


async def test_what_was_cosigned_outlives_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "witness.db"
    first = SqliteWitnessStore(path)
    await service(first).add_checkpoint(LOG.request(0, 9).marshal())
    await first.close()

    again = SqliteWitnessStore(path)
    with pytest.raises(CosignedSizeDiffers) as refused:
        await service(again).add_checkpoint(LOG.request(0, 7).marshal())
    assert refused.value.details == {"size": "9"}
    await again.close()


# --- the race of tlog-witness: N is checked, N+K is checked, N+K is stored and answered, N must not be stored ---


async def test_a_checkpoint_that_was_judged_before_a_larger_one_is_never_stored_after_it(
    store: SqliteWitnessStore,
) -> None:
    """The specification's race, step by step: while A is judged and not stored, B cannot even be judged."""
    a_is_judged, a_may_go_on = threading.Event(), threading.Event()
    b_met: list[int] = []

    def judge_a(latest: Cosigned) -> WitnessedNote:
        assert latest.size == 0
        a_is_judged.set()
        assert a_may_go_on.wait(60)
        return WitnessedNote(3, TREE.roots[3], LOG.note(3))

    def judge_b(latest: Cosigned) -> WitnessedNote:
        b_met.append(latest.size)
        if latest.size:
            message = "the witness has cosigned another size last"
            raise CosignedSizeDiffers(message, size=str(latest.size))
        return WitnessedNote(5, TREE.roots[5], LOG.note(5))

    a = asyncio.create_task(store.advance(LOG.origin, judge_a))
    assert await asyncio.to_thread(a_is_judged.wait, 10)
    b = asyncio.create_task(store.advance(LOG.origin, judge_b))
    await asyncio.sleep(0)
    assert not b.done()
    assert b_met == []
    a_may_go_on.set()
    assert (await a).size == 3
    with pytest.raises(CosignedSizeDiffers):
        await b
    assert b_met == [3]


async def test_of_requests_that_race_from_one_size_one_is_cosigned(store: SqliteWitnessStore) -> None:
    witness = service(store)
    await witness.add_checkpoint(torchwood_request(0, 1).marshal())
    answers = await asyncio.gather(
        *(witness.add_checkpoint(torchwood_request(1, size).marshal()) for size in (5, 3, 5, 3) * 5),
        return_exceptions=True,
    )

    cosigned = [answer for answer in answers if isinstance(answer, bytes)]
    assert len(cosigned) == 1
    assert cosigned_at(torchwood_note(5), cosigned[0]) == NOW_S
    assert {answer.details["size"] for answer in answers if isinstance(answer, CosignedSizeDiffers)} == {"5"}


requests = st.lists(
    st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 20)).filter(lambda item: item[1] <= item[2]),
    max_size=40,
)


@given(requests, st.integers(1, 8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_never_a_smaller_tree_after_a_larger_one_and_never_two_roots_of_one_size(
    asked: list[tuple[bool, int, int]], together: int
) -> None:
    """A log and its fork ask in any order, several at a time."""
    store = SqliteWitnessStore(None)
    witness = service(store)
    stored: list[tuple[int, bytes]] = []

    async def ask(fork: bool, old: int, size: int) -> None:  # noqa: FBT001 - drawn
        body = (FORKED if fork else LOG).request(old, size).marshal()
        try:
            line = await witness.add_checkpoint(body)
        except CaseExchangeError as refusal:
            assert isinstance(refusal, CosignedSizeDiffers | ProofInvalid | InputRefused)  # noqa: PT017
        else:
            assert cosigned_at((FORKED if fork else LOG).note(size), line) == NOW_S
            stored.append((size, (FORK if fork else TREE).roots[size]))

    for first in range(0, len(asked), together):
        before = len(stored)
        await asyncio.gather(*(ask(*one) for one in asked[first : first + together]))
        # Within a group the order of the answers is not that of the signatures.
        stored[before:] = sorted(stored[before:])
    assert all(one[0] <= other[0] for one, other in pairwise(stored))
    roots = dict(stored)
    assert all(roots[size] == root for size, root in stored)
    assert len({FORK.roots[size] == root for size, root in stored if size > 4}) <= 1
    await store.close()
