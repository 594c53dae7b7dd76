"""An edge keeps only checkpoints that extend what it kept before, and says when it gets another."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from adapters.edge.checkpoints import SeenCheckpoints
from adapters.edge.spool import Spool
from broker.client.auditor import ConsistencyEvidence
from broker.client.checkpoints import CheckpointAnswer
from broker.core.bundle import ProvedBeginning
from broker.core.errors import ConnectionFailed, LogRolledBack, RightDenied
from broker.core.incarnations import Incarnation, SignedCheckpoint
from broker.core.logkeyends import EndedLogKey, LastPosition
from broker.core.streams import StreamPartition
from broker.core.tree.checkpoint import Checkpoint, NoteSignature, marshal_note, parse_note
from broker.core.tree.merkle import CompactRange, complete_subtrees, consistency_proof
from tests.support.pki import ManualClock, SamplePki

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from broker.core.policy import Directory

DNA_0 = StreamPartition("dna", 0)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path / "spool.db")
    yield opened
    opened.close()


class Tree:
    """A tree of a broker that may lie. ``branch`` gives other leaves from the third on."""

    def __init__(self, pki: SamplePki, *, branch: bytes = b"", log_id: str = "a-log") -> None:
        self._pki = pki
        self._branch = branch
        self.log_id = log_id

    def leaves(self, size: int) -> list[bytes]:
        return [sha256(b"%d" % at + (self._branch if at > 1 else b"")).digest() for at in range(size)]

    def note(self, size: int, *, origin: str = "") -> bytes:
        tree = CompactRange()
        for leaf in self.leaves(size):
            tree.append(leaf)
        origin = origin or f"{self._pki.directory.trust_domain}/dna/0/{self.log_id}"
        text = Checkpoint(origin, size, tree.root()).marshal()
        signer = self._pki.note_signer
        return marshal_note(text, [NoteSignature(signer.name, signer.key_id, signer.sign(text))])

    def answer(self, old: int, new: int, **changed: Any) -> CheckpointAnswer:
        proof = None
        note = self.note(new)
        if 0 < old <= new:
            levels = complete_subtrees(self.leaves(new))
            path = consistency_proof(old, new, lambda level, at: levels[level][at])
            proof = ConsistencyEvidence(old, new, path, note)
        return CheckpointAnswer(DNA_0, note, proof, loss_accepted=False)._replace(**changed)

    def begins(self, *sizes: int, new: int) -> tuple[ProvedBeginning, ...]:
        """The proofs that the tree of ``new`` leaves extends these."""
        levels = complete_subtrees(self.leaves(new))
        return tuple(
            ProvedBeginning(size, consistency_proof(size, new, lambda level, at: levels[level][at])) for size in sizes
        )


class Edge:
    """The part of an edge under test, with a broker that gives the answers of a list."""

    def __init__(self, pki: SamplePki, spool: Spool) -> None:
        self.spool = spool
        self.clock = ManualClock(pki.now_ms)
        self.answers: list[list[CheckpointAnswer] | Exception] = []
        self.presented: list[list[bytes]] = []
        self.incarnations: tuple[Incarnation, ...] = ()
        self.ends: tuple[EndedLogKey, ...] = ()
        self._directory = pki.directory
        self.seen = SeenCheckpoints(spool, self._latest, self._present, self.clock)

    def _latest(self) -> Directory:
        return replace(self._directory, incarnations=self.incarnations, ended_log_keys=self.ends)

    async def _present(self, notes: Sequence[bytes]) -> list[CheckpointAnswer]:
        self.presented.append(list(notes))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def gets(self, *answers: CheckpointAnswer) -> list[str]:
        """The errors that are logged."""
        self.answers.append(list(answers))
        with capture_logs() as logs:
            await self.seen.present()
        return [line.get("reason", line["event"]) for line in logs if line["log_level"] == "error"]

    def kept(self) -> list[bytes]:
        return list(self.spool.notes.newest().values())


@pytest.fixture
def edge(pki: SamplePki, spool: Spool) -> Edge:
    return Edge(pki, spool)


async def test_the_newest_checkpoint_is_kept_as_it_is_signed_and_presented(pki: SamplePki, edge: Edge) -> None:
    tree = Tree(pki)
    for old, new in ((0, 3), (3, 3), (3, 7)):
        assert await edge.gets(tree.answer(old, new)) == []
        assert edge.kept() == [tree.note(new)]
    assert edge.presented == [[], [tree.note(3)], [tree.note(3)]]


async def test_what_does_not_extend_the_kept_checkpoint_is_never_kept_and_said(pki: SamplePki, edge: Edge) -> None:
    tree, branch = Tree(pki), Tree(pki, branch=b"other")
    await edge.gets(tree.answer(0, 5))
    proof = branch.answer(5, 9).proof
    lies = [
        (tree.answer(5, 9, proof=None), "PROOF_INVALID"),
        (tree.answer(3, 9), "PROOF_INVALID"),
        (branch.answer(5, 5), "PROOF_INVALID"),
        (branch.answer(5, 9), "PROOF_INVALID"),
        (tree.answer(5, 9, proof=proof), "PROOF_INVALID"),
        (tree.answer(2, 3, proof=tree.answer(2, 3).proof._replace(old_size=5)), "PROOF_INVALID"),  # type: ignore[union-attr]
        (tree.answer(5, 9, note=tree.note(9).replace(b"9", b"8", 1)), "CHECKPOINT_INVALID"),
        (tree.answer(5, 9, note=b"no note"), "CHECKPOINT_INVALID"),
        (tree.answer(5, 9, note=tree.note(9, origin="another.example/dna/0/a-log")), "CHECKPOINT_INVALID"),
        (tree.answer(5, 9, partition=StreamPartition("cases", 0)), "CHECKPOINT_INVALID"),
    ]
    for lie, reason in lies:
        assert await edge.gets(lie) == [reason]
        assert edge.kept() == [tree.note(5)]
    assert await edge.gets(tree.answer(5, 9)) == []
    assert edge.kept() == [tree.note(9)]


async def test_one_answer_that_cannot_be_believed_does_not_hide_the_others(pki: SamplePki, edge: Edge) -> None:
    tree = Tree(pki)
    assert await edge.gets(tree.answer(0, 5, note=b"no note"), tree.answer(0, 5)) == ["CHECKPOINT_INVALID"]
    assert edge.kept() == [tree.note(5)]


def declared(tree: Tree, new: Tree, last: int, survives: int = 0) -> Incarnation:
    carried = SignedCheckpoint.read(tree.note(survives)) if survives else None
    return Incarnation(DNA_0, tree.log_id, new.log_id, SignedCheckpoint.read(tree.note(last)), carried, "a test", 1)


async def test_a_log_that_was_made_again_and_not_declared_is_an_alarm_and_nothing_of_it_is_kept(
    pki: SamplePki, edge: Edge
) -> None:
    tree, again = Tree(pki), Tree(pki, log_id="b-log")
    await edge.gets(tree.answer(0, 5))
    for _ in range(2):
        assert await edge.gets(again.answer(0, 2)) == ["INCARNATION_UNDECLARED"]
        assert edge.kept() == [tree.note(5)]
    # Nobody has lost anything of an empty log.
    empty = Tree(pki, log_id="c-log")
    edge.spool.notes.set_aside(f"{pki.directory.trust_domain}/dna/0/a-log")
    await edge.gets(empty.answer(0, 0))
    assert await edge.gets(again.answer(0, 2)) == []
    assert edge.kept() == [again.note(2)]


async def test_a_declared_incarnation_closes_what_was_kept_of_the_former_one(
    pki: SamplePki, edge: Edge, tmp_path: Path
) -> None:
    tree, again = Tree(pki), Tree(pki, branch=b"other", log_id="b-log")
    await edge.gets(tree.answer(0, 5))
    edge.incarnations = (declared(tree, again, 5, survives=2),)
    beginnings = again.begins(2, new=4)
    assert await edge.gets(again.answer(0, 4, loss_accepted=True, beginnings=beginnings)) == []
    assert edge.kept() == [again.note(4)]
    edge.spool.close()
    assert tree.note(5) in (tmp_path / "spool.db").read_bytes()


async def test_a_declaration_that_says_less_than_was_seen_is_an_alarm(pki: SamplePki, edge: Edge) -> None:
    tree, again = Tree(pki), Tree(pki, branch=b"other", log_id="b-log")
    await edge.gets(tree.answer(0, 5))
    for declaration, reason in (
        (declared(tree, again, 4), "INCARNATION_UNDECLARED"),
        (declared(tree, Tree(pki, log_id="c-log"), 5), "INCARNATION_UNDECLARED"),
        (declared(Tree(pki, branch=b"third"), again, 5), "PROOF_INVALID"),
        # What survives must be proved.
        (declared(tree, again, 6, survives=5), "PROOF_INVALID"),
    ):
        edge.incarnations = (declaration,)
        assert await edge.gets(again.answer(0, 4, loss_accepted=True)) == [reason]
        assert edge.kept() == [tree.note(5)]
    edge.incarnations = (declared(tree, again, 5, survives=2),)
    assert await edge.gets(again.answer(2, 4, beginnings=again.begins(2, new=4))) == []


async def test_what_survives_is_proved_to_an_edge_that_saw_more_or_nothing(pki: SamplePki, edge: Edge) -> None:
    tree, again = Tree(pki), Tree(pki, branch=b"other", log_id="b-log")
    lying = Tree(pki, branch=b"third", log_id="b-log")
    for seen in (0, 5):
        if seen:
            await edge.gets(tree.answer(0, seen))
        kept = edge.kept()
        edge.incarnations = (declared(tree, again, 5, survives=2),)
        for beginnings in ((), again.begins(1, new=4), again.begins(2, new=5)):
            answer = again.answer(0, 4, loss_accepted=True, beginnings=beginnings)
            assert await edge.gets(answer) == ["PROOF_INVALID"]
            assert edge.kept() == kept
        # A log that lacks a part of what survives, or has other records there.
        assert await edge.gets(again.answer(0, 1, loss_accepted=True)) == ["PROOF_INVALID"]
        edge.incarnations = (declared(tree, again, 5, survives=3),)
        for other in (again, lying):
            answer = other.answer(0, 4, loss_accepted=True, beginnings=other.begins(3, new=4))
            assert await edge.gets(answer) == ["PROOF_INVALID"]
    edge.incarnations = (declared(tree, again, 5, survives=2),)
    assert await edge.gets(again.answer(0, 4, loss_accepted=True, beginnings=again.begins(2, new=4))) == []
    # From then on, each checkpoint extends the one before.
    assert await edge.gets(again.answer(4, 6)) == []
    assert edge.kept() == [again.note(6)]


async def test_an_edge_is_shown_what_survived_every_loss(pki: SamplePki, edge: Edge) -> None:
    first, second, third = (Tree(pki, log_id=name) for name in ("a-log", "b-log", "c-log"))
    edge.incarnations = (declared(first, second, 6, survives=3), declared(second, third, 8, survives=5))
    answer = third.answer(0, 7, beginnings=third.begins(5, new=7))
    assert await edge.gets(answer) == ["PROOF_INVALID"]
    assert await edge.gets(answer._replace(beginnings=third.begins(5, 3, new=7))) == []
    edge.spool.notes.set_aside(f"{pki.directory.trust_domain}/dna/0/c-log")
    # A later loss took what survived the first one.
    edge.incarnations = (declared(first, second, 6, survives=5), declared(second, third, 8, survives=3))
    assert await edge.gets(third.answer(0, 7, beginnings=third.begins(3, new=7))) == []


async def test_a_checkpoint_beyond_the_end_of_its_log_key_is_refused(pki: SamplePki, edge: Edge) -> None:
    tree = Tree(pki)
    edge.ends = (EndedLogKey(pki.note_signer.vkey, 1, (LastPosition(DNA_0, tree.log_id, 5, 5),)),)
    assert await edge.gets(tree.answer(0, 5)) == []
    assert await edge.gets(tree.answer(5, 6)) == ["CHECKPOINT_INVALID"]
    assert edge.kept() == [tree.note(5)]


async def test_what_survives_is_proved_to_an_edge(pki: SamplePki, edge: Edge) -> None:
    tree, again = Tree(pki), Tree(pki, log_id="b-log")
    await edge.gets(tree.answer(0, 5))
    edge.incarnations = (declared(tree, again, 7, survives=5),)
    assert await edge.gets(Tree(pki, branch=b"other", log_id="b-log").answer(5, 7)) == ["PROOF_INVALID"]
    assert await edge.gets(again.answer(5, 7, beginnings=again.begins(5, new=7))) == []
    assert edge.kept() == [again.note(7)]


async def test_nothing_is_sent_before_the_checkpoints_are_presented(pki: SamplePki, edge: Edge) -> None:
    for error in (LogRolledBack("an old copy"), ConnectionFailed("nobody answers")):
        edge.answers = [error]
        with pytest.raises(type(error)):
            await edge.seen.before_sending()
    # Whoever refuses this for another reason refuses records too, and says so there.
    edge.answers = [RightDenied("not a member"), [Tree(pki).answer(0, 5)]]
    await edge.seen.before_sending()
    assert len(edge.answers) == 1
    await edge.seen.before_sending()
    await edge.seen.before_sending()
    edge.clock.value_ms += 2000
    edge.answers = [[Tree(pki).answer(5, 5)]]
    await edge.seen.before_sending()
    assert not edge.answers


async def test_the_watch_goes_on_after_every_fault(pki: SamplePki, edge: Edge) -> None:
    edge.answers = [
        ConnectionFailed("nobody answers"),
        LogRolledBack("an old copy"),
        RuntimeError("a defect"),
        [Tree(pki).answer(0, 5)],
    ]
    with capture_logs() as logs:
        watching = asyncio.create_task(edge.seen.run(0.01))
        async with asyncio.timeout(60):
            while not edge.kept():  # noqa: ASYNC110 - a database has no event to wait on
                await asyncio.sleep(0.01)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    said = [line.get("reason", line.get("cause")) for line in logs if line["log_level"] == "error"]
    assert said[:2] == ["LOG_ROLLED_BACK", "RuntimeError"]
    assert parse_note(edge.kept()[0])
