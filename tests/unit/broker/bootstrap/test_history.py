"""What a bundle tells of a case: what is parked, discarded, void or skipped, and what it does not show."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import pytest

from broker.bootstrap.history import History, read_history
from broker.core.audit.history import ReadBodies, Subject, completeness
from broker.core.bundle import AuthorityCertificate, DirectoryDocument, PartitionStart
from broker.core.events import (
    AuditEvent,
    Cause,
    DeadLetterDiscarded,
    DeadLetterMade,
    DeliveryConfirmed,
    DeliveryMade,
    RecordsParked,
    SubscriptionBegun,
    TakenOver,
)
from broker.core.incarnations import Incarnation, SignedCheckpoint
from broker.core.inforce import DirectoryVersion
from broker.core.streams import STREAMS, Position, StreamPartition
from broker.core.subscriptions import EARLIEST, KindsStart
from broker.core.trace import Step
from broker.wire.bundle import MAGIC, write_frame
from tests.support.bundles import LOG_ID, LyingExchange, audit_record
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CASE, CODEC, OTHER_CASE, RecordMaker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from broker.core.audit.history import Completeness
    from broker.core.bundle import Frame
    from broker.core.events import Event

LAB, HEBEI = "national-dna-database", "hebei-police"
DNA_0, AUDIT_0 = StreamPartition("dna", 0), StreamPartition("audit", 0)
FIRST, SECOND, OTHER = (Position(*DNA_0, offset) for offset in range(3))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


class Told(NamedTuple):
    steps: list[list[Step]]
    complete: Completeness


class World:
    """Two records of a case for the laboratory, one of another case, and what the audit stream tells."""

    def __init__(self, pki: SamplePki, path: Path) -> None:
        self.pki, self.path, self.at_ms = pki, path, pki.now_ms + 1000
        maker = RecordMaker(pki, ManualClock(self.at_ms))
        self.envelopes = [maker.make(), maker.make(), maker.make(case=OTHER_CASE)]
        self.exchange = LyingExchange(pki)
        self.streams: Sequence[str] = STREAMS

    async def told(self, *events: Event, subject: Subject | None = None, period: tuple[int, int] | None = None) -> Told:
        if period is not None:
            self.exchange.accepted_from_ms = 0
        self.exchange.add(DNA_0, self.envelopes, self.at_ms, period=period)
        made = [AuditEvent(self.at_ms, f"spiffe://case-exchange.example/agency/{LAB}/gateway", each) for each in events]
        clock = ManualClock(self.at_ms)
        self.exchange.add(AUDIT_0, [await audit_record(self.pki, clock, [each]) for each in made], self.at_ms)
        for stream in set(self.streams) - {"dna", "audit"}:
            self.exchange.add(StreamPartition(stream, 0), [], self.at_ms)
        begin = self.exchange.beginning()
        first: list[Frame] = [
            begin.header,
            *(DirectoryDocument(each.document, 0) for each in begin.directories),
            *map(AuthorityCertificate, begin.authorities),
        ]
        with self.path.open("wb") as file:
            file.write(MAGIC)
            for data in [*map(CODEC.encode_frame, first), *self.exchange.serialized()]:
                write_frame(file, data)
        report = self.exchange.audit()
        subject = subject or Subject(case_id=CASE)
        with read_history(self.path, (self.pki.folder.trust / "governance.pem",), subject) as history:
            steps = [[event.step for event in item.events] for item in history.each()]
            return Told(steps, completeness(report, subject, history.bodies))


@pytest.fixture
def world(pki: SamplePki, tmp_path: Path) -> World:
    return World(pki, tmp_path / "bundle")


async def test_what_became_of_each_record_is_told_in_its_order(world: World) -> None:
    told = await world.told(
        DeliveryMade(FIRST, "samples", 1, (), (1, 2)),
        DeadLetterMade(FIRST, "samples", 10, LAB, CASE),
        RecordsParked(SECOND, "samples", LAB, CASE),
        DeliveryConfirmed(OTHER, "samples"),
        DeadLetterDiscarded(FIRST, "samples", LAB, CASE, "NOT_NEEDED"),
    )
    assert told.steps == [[Step.DELIVERED, Step.DEAD_LETTER, Step.DISCARDED], [Step.DELIVERED, Step.PARKED]]
    assert told.complete.lacks == ()
    assert told.complete.events_known


async def test_what_is_void_is_not_told(world: World) -> None:
    told = await world.told(
        TakenOver(DNA_0, "samples", LAB, 1),
        DeadLetterMade(FIRST, "samples", 10, LAB, CASE, reign=1),
        TakenOver(DNA_0, "samples", LAB, 2),
        RecordsParked(SECOND, "samples", LAB, CASE, reign=1),
    )
    assert told.steps == [[Step.DEAD_LETTER], []]


async def test_what_a_subscription_passes_by_its_last_order_is_skipped_unless_it_was_finished(world: World) -> None:
    starts = (KindsStart(DNA_0, ("SampleRequest",), 2),)
    told = await world.told(
        DeliveryMade(FIRST, "samples", 1, ()),
        DeliveryConfirmed(FIRST, "samples"),
        SubscriptionBegun("samples", LAB, 2, Cause.SOUGHT, EARLIEST, ("SampleRequest",), starts, ()),
    )
    assert told.steps == [[Step.DELIVERED, Step.PROCESSED], [Step.SKIPPED]]


async def test_an_agency_that_has_nothing_in_the_bundle_is_told_nothing(world: World) -> None:
    assert (await world.told(subject=Subject(agency=HEBEI))).steps == []


async def test_a_period_and_a_stream_that_is_not_here_cannot_be_excluded(world: World) -> None:
    world.streams = ("dna", "audit", "cases")
    told = await world.told(period=(1, 3))
    assert len(told.steps) == 1
    assert told.complete.lacks == (
        "dna/0 (the case's own partition, if dna has 1): the period leaves out 1 of 3 records, before, after or both",
        "the stream notices is not in this bundle",
    )
    assert [line.split(":")[0] for line in told.complete.proved] == [
        "cases/0 (the case's own partition, if cases has 1)",
        "audit/0",
    ]


async def test_an_audit_stream_without_its_sections_tells_nothing_and_says_so(world: World) -> None:
    told = await world.told(DeliveryMade(FIRST, "samples", 1, ()))
    assert told.steps[0] == [Step.DELIVERED]
    silent = completeness(world.exchange.audit(), Subject(case_id=CASE), ReadBodies({DNA_0: 3, AUDIT_0: 1}, 1))
    assert not silent.events_known
    assert silent.lacks[-1].startswith("1 records of the audit stream show no events")


async def test_a_declared_loss_in_a_partition_cannot_be_excluded(world: World) -> None:
    former = LyingExchange(world.pki)
    former.add(DNA_0, world.envelopes, world.at_ms)
    former.add(DNA_0, world.envelopes[:1], world.at_ms)
    last, carried = (SignedCheckpoint.read(each.note) for each in former.frames if isinstance(each, PartitionStart))
    step = Incarnation(DNA_0, LOG_ID, "g" * 32, last, carried, "a test", world.at_ms, restored=True)
    await world.told()
    directory = replace(world.pki.directory, incarnations=(step,), partitions={"dna": 1})
    with closing(History(Subject(case_id=CASE), [DirectoryVersion(0, directory, world.pki.keyring())])) as history:
        declared = history.bodies.declared
        assert history.bodies.partitions == {"dna": 1}
    bodies = ReadBodies({DNA_0: 3, AUDIT_0: 0}, 0, declared, {"dna": 1})
    told = completeness(world.exchange.audit(), Subject(case_id=CASE), bodies)
    (lack,) = told.lacks
    assert lack.startswith("dna/0 (the case's own partition): 2 records of the former log are declared lost")
    assert lack.endswith(f"one may have been of the case {CASE}")
    assert told.events_known
    # Nothing is known to be lost.
    nothing = (step._replace(last=carried),)
    assert completeness(world.exchange.audit(), Subject(case_id=CASE), bodies._replace(declared=nothing)).lacks == ()
