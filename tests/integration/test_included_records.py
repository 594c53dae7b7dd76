"""An edge asks whether the log keeps what it gave receipts for, and alarms if not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from structlog.testing import capture_logs

from adapters.base import Limits
from adapters.edge.edge import Edge, open_edge
from adapters.edge.included import COVERED_WITHIN_MS, IncludedRecords
from adapters.gateway.outbound import Outbound
from broker.client.auditor import Auditor
from broker.core.errors import PositionUnknown
from tests.integration.test_edge import INPUT
from tests.support.exchange import running_exchange
from tests.support.gateways import CASES, police_profile
from tests.support.pki import ManualClock
from tests.support.replays import covered

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.client.auditor import InclusionEvidence
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


def unproved(edge: Edge) -> list[str]:
    return [record_id for record_id, _ in edge.spool.unproved.after("", 100)]


async def test_every_record_with_a_receipt_is_proved_once(published: Published) -> None:
    edge = published.edge
    assert unproved(edge) == published.record_ids != []
    with capture_logs() as lines:
        await edge.included.look()
    assert unproved(edge) == []
    assert not [line for line in lines if line["log_level"] == "error"]


async def test_a_record_that_no_checkpoint_covers_is_an_alarm_when_it_is_old_and_the_alarm_ends(
    published: Published,
) -> None:
    edge = published.edge

    async def deny(position: Position) -> InclusionEvidence:
        message = "no checkpoint covers an entry at this position"
        raise PositionUnknown(message, position=str(position))

    young = watch(edge, deny, ManualClock(edge.clock.now_ms()))
    await young.look()
    assert edge.spool.unproved.broken() == 0
    old = watch(edge, deny, ManualClock(edge.clock.now_ms() + COVERED_WITHIN_MS))
    with capture_logs() as lines:
        await old.look()
        await old.look()
    alarms = [line for line in lines if "position" in line]
    assert [line["record_id"] for line in alarms] == published.record_ids
    assert {line["reason"] for line in alarms} == {"RECEIPT_BROKEN"}
    assert edge.spool.unproved.broken() == len(published.record_ids)
    # The log has them after all.
    await edge.included.look()
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
            await watch(edge, prove, ManualClock(edge.clock.now_ms())).look()
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
