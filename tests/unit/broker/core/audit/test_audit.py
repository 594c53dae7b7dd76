"""An exchange that lies with its own keys. Trees and receipts match, and the auditor still finds out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.core.audit.findings import Severity
from broker.core.audit.judge import BatchJudge
from broker.core.events import AuditEvent, DeliveryMade
from broker.core.inforce import DirectoryVersion
from broker.core.streams import STREAMS, Position, StreamPartition
from certs import profiles
from tests.support.bundles import LyingExchange, audit_record, without_right
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC, OTHER_CASE, RecordMaker

if TYPE_CHECKING:
    from broker.core.audit.report import AuditReport

DNA_0 = StreamPartition("dna", 0)
AUDIT_0 = StreamPartition("audit", 0)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
def clock(pki: SamplePki) -> ManualClock:
    return ManualClock(pki.now_ms + 1000)


@pytest.fixture
def maker(pki: SamplePki, clock: ManualClock) -> RecordMaker:
    return RecordMaker(pki, clock)


def codes(report: AuditReport) -> list[str]:
    return [finding.code for finding in report.findings if finding.severity is Severity.ERROR]


def test_what_an_honest_exchange_shows_is_clean(pki: SamplePki, clock: ManualClock, maker: RecordMaker) -> None:
    exchange = LyingExchange(pki)
    exchange.add(DNA_0, [maker.make(), maker.make(case=OTHER_CASE)], clock.value_ms)
    report = exchange.audit()
    assert (report.clean, report.records, report.findings) == (True, 2, ())


def test_a_record_that_policy_did_not_allow_is_named(pki: SamplePki, clock: ManualClock, maker: RecordMaker) -> None:
    exchange = LyingExchange(pki, without_right(pki.directory, "shanxi-police", "SampleRequest"))
    exchange.add(DNA_0, [maker.make()], clock.value_ms)
    report = exchange.audit()
    assert codes(report) == ["RIGHT_DENIED"]
    assert report.findings[0].position == Position("dna", 0, 0)


def test_a_record_of_a_certificate_that_was_not_valid_yet_is_named(
    pki: SamplePki, clock: ManualClock, maker: RecordMaker
) -> None:
    exchange = LyingExchange(pki)
    exchange.add(DNA_0, [maker.make()], clock.value_ms - 10 * 365 * 86_400_000)
    assert codes(exchange.audit()) == ["SIGNER_CERTIFICATE_INVALID"]


def test_a_record_that_was_accepted_after_its_signer_was_revoked_is_named(pki: SamplePki, clock: ManualClock) -> None:
    revoked = pki.revoked[profiles.SIGNING.authority]
    directory = pki.directory_with("hebei-police", [revoked.der])
    hebei = RecordMaker(pki, clock, "hebei-police")
    hebei.composer._signer = revoked.signer
    exchange = LyingExchange(pki, directory)
    exchange.add(DNA_0, [hebei.make()], clock.value_ms)
    assert codes(exchange.audit()) == ["SIGNER_REVOKED"]


def test_of_a_record_with_two_signatures_nothing_else_is_said(
    pki: SamplePki, clock: ManualClock, maker: RecordMaker
) -> None:
    record = maker.make()
    exchange = LyingExchange(pki)
    exchange.add(DNA_0, [replace(record, signatures=record.signatures * 2)], clock.value_ms)
    assert codes(exchange.audit()) == ["ENVELOPE_MALFORMED"]


async def test_a_delivery_to_an_agency_that_was_not_addressed_is_named(
    pki: SamplePki, clock: ManualClock, maker: RecordMaker
) -> None:
    astray = AuditEvent(
        clock.value_ms,
        "spiffe://case-exchange.example/agency/child-aid-ngo/gateway",
        DeliveryMade(Position("dna", 0, 0), "gateway", 1, ()),
    )
    exchange = LyingExchange(pki)
    exchange.add(DNA_0, [maker.make()], clock.value_ms)
    exchange.add(AUDIT_0, [await audit_record(pki, clock, [astray])], clock.value_ms)
    report = exchange.audit()
    assert codes(report) == ["DELIVERY_ASTRAY"]
    assert report.findings[0].position == Position("audit", 0, 0)


def test_a_number_that_was_left_out_is_reported_and_one_used_twice_is_an_error(
    pki: SamplePki, clock: ManualClock, maker: RecordMaker
) -> None:
    records = [maker.make() for _ in range(5)]
    exchange = LyingExchange(pki)
    exchange.add(DNA_0, [records[0], records[1], records[4]], clock.value_ms)
    report = exchange.audit()
    assert report.clean
    assert [finding.code for finding in report.findings] == ["SEQUENCE_GAP"]
    assert "numbers 3 to 4 of shanxi-police/gateway to national-dna-database" in report.findings[0].message
    again = LyingExchange(pki)
    again.add(DNA_0, [RecordMaker(pki, clock).make(), records[0]], clock.value_ms)
    assert codes(again.audit()) == ["SEQUENCE_REPEATED"]


def test_each_system_of_an_agency_has_numbers_of_its_own(
    pki: SamplePki, clock: ManualClock, maker: RecordMaker
) -> None:
    program = RecordMaker(pki, clock, system="case-system")
    exchange = LyingExchange(pki)
    exchange.add(DNA_0, [maker.make(), program.make(), maker.make(), program.make()], clock.value_ms)
    assert exchange.audit().findings == ()
    program.make()
    gap = LyingExchange(pki)
    gap.add(DNA_0, [maker.make(), program.make()], clock.value_ms)
    add_other_streams(gap, clock)
    messages = [finding.message for finding in gap.audit().findings]
    assert [message.split(" are not here")[0] for message in messages] == [
        "numbers 1 to 3 of shanxi-police/case-system to national-dna-database",
        "numbers 1 to 2 of shanxi-police/gateway to national-dna-database",
    ]


def add_other_streams(exchange: LyingExchange, clock: ManualClock) -> None:
    """Make a replay of dna one of the whole log."""
    for stream in set(STREAMS) - {"dna"}:
        exchange.add(StreamPartition(stream, 0), [], clock.value_ms)


def late(pki: SamplePki, clock: ManualClock, maker: RecordMaker, left_out: int) -> LyingExchange:
    """A whole log without the publisher's first numbers."""
    exchange = LyingExchange(pki)
    records = [maker.make(case=OTHER_CASE) for _ in range(left_out + 2)]
    exchange.add(DNA_0, records[left_out:], clock.value_ms)
    add_other_streams(exchange, clock)
    return exchange


@pytest.mark.parametrize(("left_out", "named"), [(1, "number 1 of"), (3, "numbers 1 to 3 of")])
def test_in_a_full_replay_the_first_numbers_that_are_not_there_are_reported(
    pki: SamplePki, clock: ManualClock, maker: RecordMaker, left_out: int, named: str
) -> None:
    report = late(pki, clock, maker, left_out).audit()
    (gap,) = report.findings
    assert (gap.code, gap.severity) == ("SEQUENCE_GAP", Severity.WARNING)
    assert gap.message.startswith(f"{named} shanxi-police/gateway to national-dna-database")


def test_a_full_replay_in_which_the_numbers_begin_at_1_has_no_gap(
    pki: SamplePki, clock: ManualClock, maker: RecordMaker
) -> None:
    assert late(pki, clock, maker, 0).audit().findings == ()


@pytest.mark.parametrize("bound", ["accepted_from_ms", "accepted_until_ms"])
def test_a_replay_of_a_period_says_nothing_of_the_first_number(
    pki: SamplePki, clock: ManualClock, maker: RecordMaker, bound: str
) -> None:
    exchange = late(pki, clock, maker, 1)
    setattr(exchange, bound, clock.value_ms + (1 if bound == "accepted_until_ms" else 0))
    assert [finding.code for finding in exchange.audit().findings] == ["PERIOD_EDGES"]


def test_a_replay_of_some_streams_says_nothing_of_the_first_number(
    pki: SamplePki, clock: ManualClock, maker: RecordMaker
) -> None:
    exchange = LyingExchange(pki)
    maker.make()
    exchange.add(DNA_0, [maker.make()], clock.value_ms)
    assert exchange.audit().findings == ()


def test_an_agencys_record_on_the_audit_stream_is_named(pki: SamplePki, clock: ManualClock, maker: RecordMaker) -> None:
    exchange = LyingExchange(pki)
    exchange.add(AUDIT_0, [maker.make()], clock.value_ms)
    assert codes(exchange.audit()) == ["KIND_UNKNOWN"]


def test_the_time_of_a_revocation_is_kept_for_records_from_before_it(pki: SamplePki, clock: ManualClock) -> None:
    """It is compared with the first time that others prove (broker/core/audit/times.py)."""
    revoked = pki.revoked[profiles.SIGNING.authority]
    hebei = RecordMaker(pki, clock, "hebei-police")
    hebei.composer._signer = revoked.signer
    partition, at_ms = StreamPartition("dna", 0), pki.now_ms - 1
    exchange = LyingExchange(pki, pki.directory_with("hebei-police", [revoked.der]))
    exchange.add(partition, [hebei.make(), RecordMaker(pki, clock).make()], at_ms)
    versions = [DirectoryVersion(0, exchange._directory, exchange._keyring)]
    report = BatchJudge(versions, CODEC, exchange.source).judge(partition, exchange.records())
    assert [(facts.publisher, facts.signer_end.revoked_at_ms) for facts in report.facts] == [
        ("hebei-police", pki.now_ms),
        ("shanxi-police", None),
    ]
