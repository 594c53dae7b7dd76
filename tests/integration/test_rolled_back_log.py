"""Somebody restores an old copy of log and checkpoints together. The edges remember more, so it is recognised."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.edge.restoring import spool_missing
from adapters.edge.spool import Spool
from adapters.gateway.inbound import Inbound
from adapters.gateway.outbound import Outbound
from broker.client.checkpoints import present_checkpoints
from broker.client.publisher import Published
from broker.core.errors import LogRolledBack
from broker.core.events import RollbackFound
from broker.core.streams import AUDIT, StreamPartition
from broker.core.tree.checkpoint import Checkpoint, NoteSignature, marshal_note, parse_note
from broker.core.tree.origin import checkpoint_origin
from broker.trust.signing import Ed25519NoteSigner
from certs.development import CHECKPOINT_KEY_NAME
from tests.integration.test_edge import INPUT, sample_section, until
from tests.support.exchange import broker_tables, running_exchange
from tests.support.gateways import CASES, SAMPLES, lab_profile, police_profile
from tests.support.incarnations import declare
from tests.support.kafkaexchange import NOT_SERVING, SERVING, health_becomes
from tests.support.pki import SamplePki
from tests.support.process import COMMAND
from tests.support.records import CODEC
from tests.support.replays import covered, replayed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from pathlib import Path

    from adapters.edge.edge import Edge
    from adapters.edge.profile import GatewayProfile, Route
    from broker.ports import MessageLog
    from tests.support.exchange import Exchange

AUDIT_0 = StreamPartition(AUDIT, 0)


async def publish(exchange: Exchange, count: int = 1, agency: str = "shanxi-police") -> None:
    publisher = await exchange.publisher(agency)
    for _ in range(count):
        await publisher.publish(exchange.maker(agency).make(sections=[sample_section()]))


async def present(edge: Edge) -> None:
    # On a busy machine, to connect may take longer than the client's first time limit.
    async with asyncio.timeout(30):
        await edge.channel.channel_ready()
    await edge.checkpoints.present()


class Copies:
    """The folder of a broker, copied and restored as an operator does it: while no broker runs."""

    def __init__(self, pki: SamplePki, folder: Path) -> None:
        self._pki = pki
        self._folder = folder
        self.log = folder / "log"

    def exchange(self, **sections: dict[str, Any]) -> contextlib.AbstractAsyncContextManager[Exchange]:
        return running_exchange(self._pki, self.log, **sections)

    async def declare(self, *notes: bytes, more: Sequence[str] = ()) -> None:
        await declare(self._pki, self._folder / "declaring", broker_tables(self._pki, self.log), *notes, more=more)

    def take(self, name: str) -> None:
        shutil.copytree(self.log, self._folder / name)

    def restore(self, name: str) -> None:
        shutil.rmtree(self.log)
        shutil.copytree(self._folder / name, self.log)


def seen_by(folder: Path, agency: str = "police") -> list[bytes]:
    """The checkpoints in the spool of an edge that does not run."""
    with contextlib.closing(Spool(folder / agency / "spool.db")) as spool:
        return list(spool.notes.newest().values())


@pytest.fixture
def pki(tmp_path: Path) -> SamplePki:
    """Of each test's own, because governance signs new versions."""
    return SamplePki.build(tmp_path / "pki")


@pytest.fixture
async def copies(pki: SamplePki, tmp_path: Path) -> Copies:
    """Copies `old` and `new` of a log. The police and the laboratory saw the checkpoints of the newer one."""
    made = Copies(pki, tmp_path)
    async with made.exchange() as exchange:
        await publish(exchange)
        await covered(exchange)
    made.take("old")
    async with made.exchange() as exchange:
        await publish(exchange, 3)
        await covered(exchange)
        for profile in (lab_profile(exchange, tmp_path), police_profile(exchange, tmp_path)[0]):
            async with open_edge(profile) as edge:
                await present(edge)
    made.take("new")
    return made


async def found(log: MessageLog) -> list[RollbackFound]:
    entries = await log.read(AUDIT_0, 0, 10_000, 1 << 30)
    records = [CODEC.decode_envelope(entry.value) for entry in entries if entry.kind == "AuditEvents"]
    told = [event.event for record in records for event in CODEC.decode_audit_events(record.sections[0].content[16:])]
    return [event for event in told if isinstance(event, RollbackFound)]


async def warned(exchange: Exchange, folder: Path) -> list[tuple[str, str]]:
    """What an auditor reads in a replay: codes, and the streams where they stand."""
    report = (await replayed(exchange, folder / "audit.bundle")).report()
    return [(finding.code, finding.position.stream) for finding in report.findings if finding.position is not None]


@contextlib.asynccontextmanager
async def receiving(inbound: Inbound) -> AsyncIterator[None]:
    task = asyncio.create_task(inbound.receive())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def refused_for_all(exchange: Exchange) -> LogRolledBack:
    """Nobody can publish, and everybody is told why."""
    await health_becomes(exchange, NOT_SERVING)
    with pytest.raises(LogRolledBack):
        await publish(exchange, agency="ministry")
    with pytest.raises(LogRolledBack) as refused:
        await publish(exchange)
    return refused.value


async def test_an_edge_that_only_subscribes_stops_publishing_on_an_old_copy_for_all_and_after_a_restart(
    copies: Copies, tmp_path: Path
) -> None:
    copies.restore("old")
    async with copies.exchange() as exchange:
        # Nobody who has seen more has come yet.
        await publish(exchange)
        await health_becomes(exchange, SERVING)
        profile = lab_profile(exchange, tmp_path)
        async with open_edge(profile) as edge:
            refused = await refused_for_all(exchange)
            (told, *_) = await found(exchange.broker.log)
            assert told.note in edge.spool.notes.newest().values()
            assert ("LOG_ROLLED_BACK", AUDIT) in await warned(exchange, tmp_path)
            # What is left was accepted, and is delivered.
            inbound = Inbound(edge, profile.gateway, Limits())
            async with receiving(inbound):
                await until(inbound.folders.outbox, "SampleRequest-*", 2)
    assert "case-exchange incarnation" in refused.remedy
    async with copies.exchange() as exchange:
        await refused_for_all(exchange)
    # The newest copy comes back: what was found is judged again, and is void.
    kept = (copies.log / "rolled-back").read_bytes()
    copies.restore("new")
    (copies.log / "rolled-back").write_bytes(kept)
    async with copies.exchange() as exchange:
        await health_becomes(exchange, SERVING)
        async with open_edge(lab_profile(exchange, tmp_path)) as edge:
            await present(edge)
        await publish(exchange)


async def test_an_edge_presents_what_it_saw_before_it_sends_and_keeps_its_records(
    copies: Copies, tmp_path: Path
) -> None:
    copies.restore("old")
    async with copies.exchange() as exchange:
        profile, routes = police_profile(exchange, tmp_path, CaseRecord=CASES, SampleRequest=SAMPLES)
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            taken = outbound.take((INPUT / "rescued-children.csv").read_bytes(), {})
            with pytest.raises(LogRolledBack):
                await outbound.publish_spooled()
            assert edge.spool.outgoing_count() == taken.records > 0
        await refused_for_all(exchange)
    copies.restore("new")
    async with copies.exchange() as exchange:
        profile, routes = police_profile(exchange, tmp_path, CaseRecord=CASES, SampleRequest=SAMPLES)
        async with open_edge(profile) as edge:
            await Outbound(edge, profile.gateway, routes, Limits()).publish_spooled()
            assert not edge.spool.outgoing_count()


async def test_an_old_copy_that_has_grown_past_what_an_edge_saw_is_recognised_too(
    copies: Copies, tmp_path: Path
) -> None:
    copies.restore("old")
    async with copies.exchange() as exchange:
        await publish(exchange, 12)
        await covered(exchange)
        async with open_edge(lab_profile(exchange, tmp_path)) as edge:
            with pytest.raises(LogRolledBack):
                await present(edge)
        await refused_for_all(exchange)


def signed(text: bytes, signers: Iterable[Ed25519NoteSigner]) -> bytes:
    return marshal_note(text, [NoteSignature(each.name, each.key_id, each.sign(text)) for each in signers])


async def test_a_forged_or_foreign_checkpoint_changes_nothing(exchange: Exchange) -> None:
    log, domain = exchange.broker.log, exchange.pki.directory.trust_domain
    own = Ed25519NoteSigner.load(CHECKPOINT_KEY_NAME, exchange.pki.folder.checkpoint_key)
    stranger = Ed25519NoteSigner(CHECKPOINT_KEY_NAME, Ed25519PrivateKey.generate())
    larger = Checkpoint(checkpoint_origin(domain, AUDIT_0, log.log_id(AUDIT)), 1_000_000, bytes(32)).marshal()
    others = [
        Checkpoint(origin, 1_000_000, bytes(32)).marshal()
        for origin in (
            checkpoint_origin("another.example", AUDIT_0, log.log_id(AUDIT)),
            checkpoint_origin(domain, StreamPartition(AUDIT, 7), log.log_id(AUDIT)),
        )
    ]
    lying = NoteSignature(own.name, own.key_id, bytes(64))
    notes = [
        signed(larger, [stranger]),
        marshal_note(larger, [lying]),
        marshal_note(larger, [NoteSignature(own.name, own.key_id, own.sign(larger)), lying]),
        signed(larger, [own])[:-2],
        b"\0\xff",
        *(signed(text, [own]) for text in others),
    ]
    channel = await exchange.channel("shanxi-police")
    for note in notes:
        answers = await present_checkpoints(channel, [note])
        assert AUDIT_0 in {answer.partition for answer in answers}
        assert not any(answer.proof or answer.loss_accepted for answer in answers)
    await publish(exchange)
    await health_becomes(exchange, SERVING)
    # The same text with the exchange's own signature is proof: the test above could have failed.
    with pytest.raises(LogRolledBack):
        await present_checkpoints(channel, [signed(larger, [own])])
    await refused_for_all(exchange)


async def test_a_checkpoint_of_another_log_that_no_directory_declares_stops_publishing(exchange: Exchange) -> None:
    own = Ed25519NoteSigner.load(CHECKPOINT_KEY_NAME, exchange.pki.folder.checkpoint_key)
    origin = checkpoint_origin(exchange.pki.directory.trust_domain, AUDIT_0, "another-log")
    channel = await exchange.channel("shanxi-police")
    # An empty log has lost nothing.
    await present_checkpoints(channel, [signed(Checkpoint(origin, 0, sha256(b"").digest()).marshal(), [own])])
    await publish(exchange)
    with pytest.raises(LogRolledBack):
        await present_checkpoints(channel, [signed(Checkpoint(origin, 1, bytes(32)).marshal(), [own])])
    await refused_for_all(exchange)


async def test_every_answer_extends_the_checkpoint_that_was_kept_and_the_spool_outlives_a_restart(
    exchange: Exchange, tmp_path: Path
) -> None:
    profile = lab_profile(exchange, tmp_path)

    def size(edge: Edge) -> int:
        notes = [Checkpoint.parse(parse_note(note).text) for note in edge.spool.notes.newest().values()]
        return sum(each.size for each in notes if each.origin.split("/")[1] != AUDIT)

    sizes: list[int] = []
    for _ in range(3):
        async with open_edge(profile) as edge:
            if sizes:
                assert size(edge) == sizes[-1]
            await publish(exchange, 2)
            await covered(exchange)
            with capture_logs() as logs:
                await present(edge)
            assert not logs
            sizes.append(size(edge))
    assert sizes == [2, 4, 6]


def to_do(exchange: Exchange, folder: Path) -> tuple[GatewayProfile, dict[str, Route]]:
    return police_profile(exchange, folder, CaseRecord=CASES, SampleRequest=SAMPLES)


async def test_what_an_old_copy_has_lost_is_published_again_in_order_and_nothing_twice(
    pki: SamplePki, tmp_path: Path
) -> None:
    copies = Copies(pki, tmp_path)
    names = ("seeking-parents.csv", "rescued-children.csv")
    async with copies.exchange() as exchange:
        profile, routes = to_do(exchange, tmp_path)
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            outbound.take((INPUT / names[0]).read_bytes(), {})
            kept = len(await outbound.publish_spooled())
    copies.take("old")
    async with copies.exchange() as exchange:
        profile, routes = to_do(exchange, tmp_path)
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            outbound.take((INPUT / names[1]).read_bytes(), {})
            results = await outbound.publish_spooled()
            lost = [result.statement for result in results if isinstance(result, Published)]
            before = {each.record_id: edge.spool.receipt(each.record_id) for each in lost}
            assert len(lost) == len(results) > 1
            await covered(exchange)
            await present(edge)
    copies.restore("old")
    # The operator has no newer copy: the checkpoints that an edge saw show what is missing.
    await copies.declare(*seen_by(tmp_path))
    async with copies.exchange() as exchange:
        profile, routes = to_do(exchange, tmp_path)
        async with open_edge(profile) as edge:
            # What was spooled meanwhile goes after what was lost.
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            outbound.take((INPUT / names[0]).read_bytes() + b"\n", {})
            later = {item.record_id for item in edge.spool.outgoing(1000)}
            assert await spool_missing(edge) == len(lost)
            order = [item.record_id for item in edge.spool.outgoing(1000)]
            assert order[: len(lost)] == [each.record_id for each in lost]
            again = await outbound.publish_spooled()
            published = [result.statement.record_id for result in again if isinstance(result, Published)]
            assert len(published) == len(again)
            assert set(published) == {each.record_id for each in lost} | later
            for record_id, receipt in before.items():
                assert edge.spool.sent.former_receipts(record_id) == [receipt]
                assert edge.spool.receipt(record_id) != receipt
            assert await spool_missing(edge) == 0
            assert edge.spool.outgoing_count() == 0
    assert kept


async def test_the_command_publishes_again_what_the_log_has_lost(pki: SamplePki, tmp_path: Path) -> None:
    copies = Copies(pki, tmp_path)

    async def run(exchange: Exchange, *arguments: str) -> str:
        to_do(exchange, tmp_path)
        command = [str(COMMAND), "publish", "--profile", str(tmp_path / "police.toml"), *arguments]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        output, _ = await process.communicate()
        assert process.returncode == 0, output
        return output.decode()

    async with copies.exchange():
        pass
    copies.take("old")
    async with copies.exchange() as exchange:
        first = await run(exchange, str(INPUT / "rescued-children.csv"))
    copies.restore("old")
    # Nobody may have seen a later checkpoint. The operator knows that the copy is old.
    await copies.declare(*seen_by(tmp_path), more=["--restored"])
    async with copies.exchange() as exchange:
        output = await run(exchange, "--again")
        count = first.count(" accepted at ")
        assert f"{count} records are not in the log any more" in output
        assert output.count(" accepted at ") == output.count(", before at ") == count > 1
        assert "0 records are not in the log any more" in await run(exchange, "--again")
