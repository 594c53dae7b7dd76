"""A log that was restored or made anew: declared, it is clean for everybody. Undeclared, everybody alarms."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from structlog.testing import capture_logs

from adapters.base import Limits
from adapters.cli.receipts import receipts
from adapters.edge.edge import open_edge
from adapters.edge.included import ASKED_AFTER_MS, IncludedRecords
from adapters.edge.restoring import spool_missing
from adapters.gateway.outbound import Outbound
from broker.bootstrap.declaring import prepare_declarations
from broker.bootstrap.verify import verify_bundle
from broker.cli.incarnation import incarnation
from broker.client.auditor import Auditor
from broker.config.broker import BrokerConfig
from broker.config.loader import load
from broker.core.bundle import PartitionStart
from broker.core.errors import LogRolledBack, SetupInvalid
from broker.core.incarnations import SignedCheckpoint
from broker.core.streams import AUDIT, partition_of
from broker.trust.directory import open_directory
from broker.trust.system import SystemClock
from deploy.kafka.ports import free_ports
from tests.integration.test_edge import INPUT
from tests.integration.test_proof import proved
from tests.integration.test_rolled_back_log import Copies, present, seen_by
from tests.support.exchange import broker_tables
from tests.support.gateways import CASES, SAMPLES, police_profile
from tests.support.incarnations import invoked, signed
from tests.support.pki import ManualClock, SamplePki
from tests.support.process import write_toml
from tests.support.records import CASE, CODEC
from tests.support.replays import covered, replayed
from tests.support.witnessing import ALPHA, QUICK, cosigned_sizes, everything, govern, until, witnessing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from adapters.edge.edge import Edge
    from broker.core.audit.report import AuditReport
    from tests.support.exchange import Exchange

FIRST, SECOND = "seeking-parents.csv", "rescued-children.csv"


@pytest.fixture
def pki(tmp_path: Path) -> SamplePki:
    """Of each test's own, because governance signs new versions."""
    return SamplePki.build(tmp_path / "pki")


class Loss(NamedTuple):
    """A log of which an old copy was taken after some of the police's records. The police saw all of it."""

    pki: SamplePki
    copies: Copies
    folder: Path
    log_id: str
    records: int
    lost: int

    async def report(self, exchange: Exchange) -> AuditReport:
        """By what the police exported before the loss: receipts and checkpoints."""
        bundle = await replayed(exchange, self.folder / "audit.bundle")
        receipts, since = [self.folder / "police.receipts"], [self.folder / "seen"]
        return verify_bundle(bundle.path, (bundle.root,), lambda _: None, receipts=receipts, since=since)


async def sent(exchange: Exchange, folder: Path, name: str) -> int:
    profile, routes = police_profile(exchange, folder, CaseRecord=CASES, SampleRequest=SAMPLES)
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, profile.gateway, routes, Limits())
        outbound.take((INPUT / name).read_bytes(), {})
        results = await outbound.publish_spooled()
        await covered(exchange)
        await present(edge)
        return len(results)


@pytest.fixture
async def loss(pki: SamplePki, tmp_path: Path) -> Loss:
    copies = Copies(pki, tmp_path)
    async with copies.exchange() as exchange:
        kept = await sent(exchange, tmp_path, FIRST)
        log_id = exchange.broker.log.log_id(AUDIT)
    copies.take("old")
    async with copies.exchange() as exchange:
        lost = await sent(exchange, tmp_path, SECOND)
    for command in (["export", "--out", tmp_path / "police.receipts"], ["checkpoints", "--out", tmp_path / "seen"]):
        await invoked(receipts, command[0], "--profile", tmp_path / "police.toml", *command[1:])
    assert min(kept, lost) > 0
    return Loss(pki, copies, tmp_path, log_id, kept + lost, lost)


def alarms(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return [line.get("reason", line["event"]) for line in lines if line["log_level"] in {"error", "critical"}]


def asking(edge: Edge) -> IncludedRecords:
    """The watch over the edge's receipts, when all of them are old enough to be asked for."""
    clock = ManualClock(edge.clock.now_ms() + ASKED_AFTER_MS)
    return IncludedRecords(edge.spool, lambda: edge.directory.latest, Auditor(edge.channel).prove_inclusion, clock)


async def test_a_declared_restore_is_clean_for_broker_edges_and_auditor(loss: Loss) -> None:
    loss.copies.restore("old")
    async with loss.copies.exchange() as exchange:
        profile, _ = police_profile(exchange, loss.folder)
        async with open_edge(profile) as edge:
            with pytest.raises(LogRolledBack):
                await present(edge)
    # The broker keeps what was presented. The operator needs nothing else.
    await loss.copies.declare()
    async with loss.copies.exchange() as exchange:
        assert exchange.broker.log.log_id(AUDIT) != loss.log_id
        profile, routes = police_profile(exchange, loss.folder)
        async with open_edge(profile) as edge:
            with capture_logs() as lines:
                await present(edge)
                await asking(edge).look()
            assert alarms(lines) == []
            closed = [line for line in lines if "publish them again" in line["event"]]
            assert {line["log_level"] for line in closed} == {"warning"}
            # Until then they are named as declared to be lost, and nothing else is said.
            report = await loss.report(exchange)
            assert {item.code for item in report.findings} == {"RECEIPT_LOST_DECLARED"}
            assert (report.brought.lost, report.brought.kept) == (loss.lost, loss.records - loss.lost)
            assert report.clean
            assert await spool_missing(edge) == loss.lost
            await Outbound(edge, profile.gateway, routes, Limits()).publish_spooled()
            await covered(exchange)
            with capture_logs() as lines:
                await present(edge)
                await asking(edge).look()
            assert [line for line in lines if line["log_level"] != "info"] == []
            assert list(edge.spool.unproved.after("", 10)) == []
        report = await loss.report(exchange)
        assert (report.clean, report.findings) == (True, ())
        assert (report.brought.again, report.brought.kept) == (loss.lost, loss.records - loss.lost)
        assert report.brought.continued + report.brought.closed == report.brought.checkpoints
        assert report.brought.closed > 0
        assert {item.former_log_id for item in report.republished} == {loss.log_id}
        new = exchange.broker.log.log_id(AUDIT)
    async with loss.copies.exchange() as exchange:
        assert exchange.broker.log.log_id(AUDIT) == new
        assert (await loss.report(exchange)).findings == ()


async def test_a_period_and_a_proof_show_what_survives_a_declared_restore(loss: Loss, tmp_path: Path) -> None:
    loss.copies.restore("old")
    async with loss.copies.exchange() as exchange:
        profile, _ = police_profile(exchange, loss.folder)
        async with open_edge(profile) as edge:
            with pytest.raises(LogRolledBack):
                await present(edge)
    await loss.copies.declare()
    async with loss.copies.exchange() as exchange:
        directory = open_directory(loss.pki.folder.directory.read_bytes(), loss.pki.governance)
        survive = {each.partition for each in directory.incarnations if each.survives}
        number = next(each.partition for each in survive if each.stream == "dna")
        cases = (f"{CASE[:-2]}{place:02x}" for place in range(100))
        case = next(each for each in cases if partition_of(each, exchange.broker.log.partitions("dna")) == number)
        maker, publisher = exchange.maker("hebei-police"), await exchange.publisher("hebei-police")
        for envelope in (envelopes := [maker.make(case=case) for _ in range(2)]):
            await publisher.publish(envelope)
        record = CODEC.parse_body(envelopes[-1].body).record_id
        await covered(exchange)
        # Neither has the leaves that survive.
        now_ms = SystemClock().now_ms()
        later = await replayed(exchange, tmp_path / "period.bundle", accepted_from_ms=now_ms)
        shown = [frame for frame in later.frames() if isinstance(frame, PartitionStart)]
        assert {frame.partition for frame in shown if frame.beginnings} == survive
        proof = await proved(exchange, "hebei-police", record, tmp_path / "record.proof")
        (start,) = [frame for frame in proof.frames() if isinstance(frame, PartitionStart)]
        assert start.beginnings
        root = (loss.pki.folder.trust / "governance.pem",)
        # An older checkpoint that a period does not show is a question of every period, also without a loss.
        covers = {each.last.checkpoint.origin: each.survives for each in directory.incarnations}
        seen = [
            (path, SignedCheckpoint.read(path.read_bytes()).checkpoint) for path in (loss.folder / "seen").iterdir()
        ]
        since = [path for path, checkpoint in seen if checkpoint.size > covers[checkpoint.origin]]
        assert since
        for bundle, expected in ((later, {"PERIOD_EDGES"}), (proof, set[str]())):
            report = verify_bundle(bundle.path, root, lambda _: None, since=since)
            assert (report.clean, {item.code for item in report.findings}) == (True, expected), report.findings
        # Without the proof nobody could tell.
        frames = [replace(each, beginnings=()) if isinstance(each, PartitionStart) else each for each in proof.frames()]
        assert "CHECKPOINT_NOT_COMPARED" in {item.code for item in proof.altered(tmp_path, frames).report().findings}


async def test_a_declaration_is_for_one_copy_and_one_loss(loss: Loss) -> None:
    async with loss.copies.exchange():
        pass
    loss.copies.take("newer")
    loss.copies.restore("newer")
    await loss.copies.declare(more=["--restored"])
    # An older copy than the declared one does not go on as the new log.
    loss.copies.restore("old")
    with pytest.raises(LogRolledBack, match="not of this copy"):
        async with loss.copies.exchange():
            pass


async def grow(exchange: Exchange, folder: Path) -> None:
    """A record more, and the police see it. Nothing alarms them."""
    await publish_something(exchange)
    await covered(exchange)
    profile, _ = police_profile(exchange, folder)
    async with open_edge(profile) as edge:
        with capture_logs() as lines:
            await present(edge)
        assert alarms(lines) == []


@pytest.fixture
async def lost_twice(pki: SamplePki, tmp_path: Path) -> Loss:
    """After a first loss was declared, the log is lost again. Only a copy from before the first one's is left."""
    copies = Copies(pki, tmp_path)
    async with copies.exchange() as exchange:
        kept = await sent(exchange, tmp_path, FIRST)
    copies.take("oldest")
    async with copies.exchange() as exchange:
        lost = await sent(exchange, tmp_path, SECOND)
    copies.take("old")
    async with copies.exchange() as exchange:
        await grow(exchange, tmp_path)
    copies.restore("old")
    await copies.declare(*seen_by(tmp_path))
    async with copies.exchange() as exchange:
        log_id = exchange.broker.log.log_id(AUDIT)
        await grow(exchange, tmp_path)
    copies.restore("oldest")
    return Loss(pki, copies, tmp_path, log_id, kept + lost, lost)


async def test_a_second_loss_is_restored_from_a_backup_that_is_older_than_the_first_one(
    lost_twice: Loss, tmp_path: Path
) -> None:
    copies, pki = lost_twice.copies, lost_twice.pki
    with pytest.raises(LogRolledBack, match="not of this copy"):
        async with copies.exchange():
            pass
    # What to do is said in plain words.
    config = write_toml(tmp_path / "operator.toml", broker_tables(pki, copies.log))
    asked = ["--config", config, "--reason", "another disk", "--out", tmp_path / "second.json"]
    with pytest.raises(SetupInvalid, match="give a checkpoint of it that an agency saw: --seen"):
        await prepare_declarations(load(BrokerConfig, config), [], "another disk")
    seen = tmp_path / "seen-again"
    await invoked(receipts, "checkpoints", "--profile", tmp_path / "police.toml", "--out", seen)
    assert "are missing" in await invoked(incarnation, *asked, "--seen", seen)
    await signed(pki, tmp_path, tmp_path / "second.json")
    async with copies.exchange() as exchange:
        assert exchange.broker.log.log_id(AUDIT) != lost_twice.log_id
        profile, routes = police_profile(exchange, tmp_path)
        async with open_edge(profile) as edge:
            with capture_logs() as lines:
                await present(edge)
                await asking(edge).look()
            assert alarms(lines) == []
            # What the first loss left is gone with the second one.
            assert await spool_missing(edge) == lost_twice.lost
            await Outbound(edge, profile.gateway, routes, Limits()).publish_spooled()
            await covered(exchange)
            with capture_logs() as lines:
                await present(edge)
            assert alarms(lines) == []
        receipts_file = tmp_path / "police.receipts"
        await invoked(receipts, "export", "--profile", tmp_path / "police.toml", "--out", receipts_file)
        bundle = await replayed(exchange, tmp_path / "audit.bundle")
        report = verify_bundle(bundle.path, (bundle.root,), lambda _: None, receipts=[receipts_file], since=[seen])
        assert (report.clean, report.findings) == (True, ())
        # What was published again has a new receipt, too.
        assert (report.brought.kept, report.brought.again) == (lost_twice.records, lost_twice.lost)
        assert report.brought.closed > 0


async def test_a_log_that_was_made_anew_and_that_nobody_declares_is_named_by_all(loss: Loss) -> None:
    shutil.rmtree(loss.copies.log)
    async with loss.copies.exchange() as exchange:
        await publish_something(exchange)
        report = await loss.report(exchange)
        codes = {item.code for item in report.findings}
        assert {"LOG_CHANGED", "RECEIPT_BROKEN"} <= codes
        assert report.brought.broken == loss.records
        profile, _ = police_profile(exchange, loss.folder)
        async with open_edge(profile) as edge:
            with pytest.raises(LogRolledBack):
                await present(edge)
        with pytest.raises(LogRolledBack):
            await publish_something(exchange)
    # Declared, it goes on, with the log id that it has.
    await loss.copies.declare()
    loss.copies.take("new")
    loss.copies.restore("old")
    with pytest.raises(LogRolledBack, match="took the place of this one"):
        async with loss.copies.exchange():
            pass
    loss.copies.restore("new")
    async with loss.copies.exchange() as exchange:
        profile, routes = police_profile(exchange, loss.folder)
        async with open_edge(profile) as edge:
            with capture_logs() as lines:
                await present(edge)
            assert alarms(lines) == []
            assert await spool_missing(edge) == loss.records
            await Outbound(edge, profile.gateway, routes, Limits()).publish_spooled()
        report = await loss.report(exchange)
        assert (report.clean, report.findings) == (True, ())
        assert report.brought.again == loss.records


async def test_witnesses_cosign_the_origin_of_a_declared_incarnation(pki: SamplePki, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    policy = govern(pki, (ALPHA, f"https://localhost:{port}"))
    copies = Copies(pki, tmp_path)
    async with copies.exchange(witnesses=QUICK):
        pass
    copies.take("old")
    async with copies.exchange(witnesses=QUICK) as exchange:
        await publish_something(exchange)
        async with witnessing(exchange, tmp_path / "alpha", ALPHA, port):
            await until(exchange, policy, everything)
    copies.restore("old")
    await copies.declare(more=["--restored"])
    async with copies.exchange(witnesses=QUICK) as exchange:
        await publish_something(exchange)
        # The witness has the former log's larger trees. Its operator adds the origins of the new log.
        async with witnessing(exchange, tmp_path / "alpha", ALPHA, port):
            await until(exchange, policy, everything)
        report = (await replayed(exchange, tmp_path / "audit.bundle")).report()
        assert (report.clean, report.findings) == (True, ())
        assert report.witnesses is not None
        assert report.witnesses.missing == ()


async def test_what_witnesses_cosigned_before_a_declared_restore_is_carried_as_far_as_it_survives(
    pki: SamplePki, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    policy = govern(pki, (ALPHA, f"https://localhost:{port}"))
    copies = Copies(pki, tmp_path)
    async with copies.exchange(witnesses=QUICK) as exchange:
        envelope = exchange.maker("hebei-police").make()
        await (await exchange.publisher("hebei-police")).publish(envelope)
        async with witnessing(exchange, tmp_path / "alpha", ALPHA, port):
            await until(exchange, policy, everything)
    copies.take("old")
    async with copies.exchange(witnesses=QUICK) as exchange:
        await publish_something(exchange)
    copies.restore("old")
    await copies.declare(more=["--restored"])
    async with copies.exchange(witnesses=QUICK) as exchange:
        # Nobody has cosigned the new log, and who asks for its checkpoints is told so.
        assert {cosigned for cosigned, _ in (await cosigned_sizes(exchange, policy)).values()} == {-1}
        bundle = await replayed(exchange, tmp_path / "audit.bundle")
        record = CODEC.parse_body(envelope.body).record_id
        proof = await proved(exchange, "hebei-police", record, tmp_path / "record.proof")
        new = exchange.broker.log.log_id(AUDIT)
    for shown in (bundle, proof):
        report = shown.report()
        assert (report.clean, report.findings) == (True, ())
        assert report.witnesses is not None
        assert {each.witnesses for each in report.witnesses.cosigned} == {(ALPHA.key.name,)}
        assert "dna" in {each.partition.stream for each in report.witnesses.cosigned}
        assert {each.log_id for each in report.partitions} == {new}
    proved_record = proof.report().proved
    assert proved_record is not None
    assert proved_record.cosigned is not None


async def publish_something(exchange: Exchange) -> None:
    await (await exchange.publisher("hebei-police")).publish(exchange.maker("hebei-police").make())
