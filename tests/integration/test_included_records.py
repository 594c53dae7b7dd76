"""An edge asks whether the log keeps what it gave receipts for, and alarms if not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from structlog.testing import capture_logs

from adapters.base import Limits
from adapters.edge.edge import Edge, open_edge
from adapters.edge.included import ANSWERED_WITHIN_MS, ASKED_AFTER_MS, COVERED_WITHIN_MS, IncludedRecords
from adapters.gateway.outbound import Outbound
from broker.client.auditor import Auditor
from broker.core.errors import ConnectionFailed, LogUnavailable, PositionUnknown
from broker.wire.receipts import read_receipt, statement_from
from tests.integration.test_edge import INPUT
from tests.support.exchange import running_exchange
from tests.support.gateways import CASES, police_profile
from tests.support.pki import ManualClock
from tests.support.replays import covered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.client.auditor import InclusionEvidence
    from broker.core.errors import CaseExchangeError
    from broker.core.streams import Position
    from tests.support.pki import SamplePki


class Published(NamedTuple):
    edge: Edge
    record_ids: list[str]


@pytest.fixture
async def published(pki: SamplePki, tmp_path: Path) -> AsyncIterator[Published]:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        profile, routes = police_profile(exchange, tmp_path, CaseRecord=CASES, Tip=CASES)
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            outbound.take((INPUT / "rescued-children.csv").read_bytes(), {})
            ids = [settled.record_id async for settled in outbound.publishing()]
            await covered(exchange)
            yield Published(edge, sorted(ids))


def watch(edge: Edge, prove: object, clock: ManualClock) -> IncludedRecords:
    return IncludedRecords(edge.spool, lambda: edge.directory.latest, prove, clock)  # type: ignore[arg-type]


def later(edge: Edge, by_ms: int = ASKED_AFTER_MS) -> IncludedRecords:
    """The watch when every receipt is old enough to be asked for."""
    return watch(edge, Auditor(edge.channel).prove_inclusion, ManualClock(edge.clock.now_ms() + by_ms))


def unproved(edge: Edge) -> list[str]:
    return [record_id for record_id, _ in edge.spool.unproved.after("", 100)]


async def test_every_record_with_a_receipt_is_proved_once(published: Published) -> None:
    edge = published.edge
    assert unproved(edge) == published.record_ids != []
    with capture_logs() as lines:
        await later(edge).look()
    assert unproved(edge) == []
    assert not [line for line in lines if line["log_level"] == "error"]


async def test_a_record_that_no_checkpoint_covers_is_an_alarm_when_it_is_old_and_the_alarm_ends(
    published: Published,
) -> None:
    edge = published.edge

    async def deny(position: Position) -> InclusionEvidence:
        message = "no checkpoint covers an entry at this position"
        raise PositionUnknown(message, position=str(position))

    young = watch(edge, deny, ManualClock(edge.clock.now_ms() + ASKED_AFTER_MS))
    await young.look()
    assert edge.spool.unproved.broken() == 0
    waiting = watch(edge, deny, ManualClock(edge.clock.now_ms() + COVERED_WITHIN_MS))
    with capture_logs() as lines:
        await waiting.look()
    ((level, reason),) = {(line["log_level"], line["reason"]) for line in lines}
    assert (level, reason, edge.spool.unproved.broken()) == ("warning", "RECEIPT_UNCOVERED", 0)
    assert "not covered by a checkpoint for 12" in lines[0]["cause"]
    old = watch(edge, deny, ManualClock(edge.clock.now_ms() + ANSWERED_WITHIN_MS))
    with capture_logs() as lines:
        await old.look()
        await old.look()
    alarms = [line for line in lines if "position" in line]
    assert [line["record_id"] for line in alarms] == published.record_ids
    assert {line["reason"] for line in alarms} == {"RECEIPT_UNCOVERED"}
    assert edge.spool.unproved.broken() == len(published.record_ids)
    # The log has them after all.
    await later(edge).look()
    assert edge.spool.unproved.broken() == 0


@pytest.mark.parametrize("failure", [LogUnavailable, ConnectionFailed])
async def test_one_record_without_an_answer_silences_nobody_and_is_an_alarm_after_ten_minutes(
    published: Published, failure: type[CaseExchangeError]
) -> None:
    edge, ids = published.edge, published.record_ids
    bad = ids[len(ids) // 2]
    receipt = edge.spool.receipt(bad)
    assert receipt is not None
    at = statement_from(read_receipt(receipt).statement).position

    async def prove(position: Position) -> InclusionEvidence:
        if position == at:
            message = "it takes too long"
            raise failure(message)
        return await Auditor(edge.channel).prove_inclusion(position)

    with pytest.raises(failure):
        await watch(edge, prove, ManualClock(edge.clock.now_ms() + ASKED_AFTER_MS)).look()
    assert unproved(edge) == [bad]
    assert edge.spool.unproved.broken() == 0
    await reset(published)
    with capture_logs() as lines, pytest.raises(failure):
        await watch(edge, prove, ManualClock(edge.clock.now_ms() + ANSWERED_WITHIN_MS)).look()
    assert [line["record_id"] for line in lines if "position" in line] == [bad]
    assert edge.spool.unproved.broken() == 1


async def test_a_broker_that_nobody_reaches_is_no_alarm_and_young_receipts_are_not_asked_for(
    published: Published,
) -> None:
    edge = published.edge
    asked: list[Position] = []

    async def prove(position: Position) -> InclusionEvidence:
        asked.append(position)
        message = "nobody answers"
        raise ConnectionFailed(message)

    await watch(edge, prove, ManualClock(edge.clock.now_ms())).look()
    assert asked == []
    with pytest.raises(ConnectionFailed):
        await watch(edge, prove, ManualClock(edge.clock.now_ms() + ANSWERED_WITHIN_MS)).look()
    assert len(asked) == len(published.record_ids)
    assert edge.spool.unproved.broken() == 0


async def test_a_proof_of_something_else_is_an_alarm(published: Published) -> None:
    edge = published.edge
    lies = {
        "leaf": lambda it: it._replace(leaf=it.leaf.replace(b"case-exchange", b"case-exchangE")),
        "note": lambda it: it._replace(note=it.note.replace(b"\n", b"\n\n", 1)),
        "path": lambda it: it._replace(path=(*it.path, bytes(32))),
        "size": lambda it: it._replace(tree_size=it.tree_size + 1),
    }
    for lie in lies.values():

        async def prove(position: Position, lie=lie) -> InclusionEvidence:  # type: ignore[no-untyped-def]  # noqa: ANN001

            evidence: InclusionEvidence = lie(await Auditor(edge.channel).prove_inclusion(position))
            return evidence

        with capture_logs() as lines:
            await watch(edge, prove, ManualClock(edge.clock.now_ms() + ASKED_AFTER_MS)).look()
        assert edge.spool.unproved.broken() == len(published.record_ids)
        assert [line for line in lines if line.get("reason") == "RECEIPT_BROKEN"]
        await reset(published)


async def reset(published: Published) -> None:
    edge = published.edge
    with edge.spool.transaction():
        for record_id in published.record_ids:
            receipt = edge.spool.receipt(record_id)
            assert receipt is not None
            edge.spool.add_receipt(record_id, receipt)
    assert edge.spool.unproved.broken() == 0
