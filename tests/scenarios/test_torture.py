"""A short run: nodes, brokers and witnesses are killed, paused and restarted while agencies trouble each other."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from certs.kafka import BROKER
from tests.scenarios.torture.evidence import bundles
from tests.scenarios.torture.history import History
from tests.scenarios.torture.run import told, torture
from tests.scenarios.torture.signed import uncovered
from tests.scenarios.torture.stage import BROKERS, Stage
from tests.scenarios.torture.watching import Watching, published
from tests.support.kafka import running_cluster
from tests.support.pki import SamplePki

if TYPE_CHECKING:
    from pathlib import Path

SEED = 1
"""With this seed the few faults are of every kind, and hit two nodes at once."""
SECONDS = 60
STARTED_SECONDS = 120


@pytest.mark.kafka
async def test_what_has_a_receipt_survives_whatever_happens_to_nodes_and_brokers(tmp_path: Path) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    with running_cluster(tmp_path / "kafka", pki.folder, nodes=3) as cluster:
        outcome = await torture(tmp_path, pki, cluster, seed=SEED, seconds=SECONDS)
    assert not outcome.violations, told(outcome)


@pytest.mark.kafka
async def test_the_last_bundle_is_made_when_no_broker_can_sign_more(tmp_path: Path) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    with running_cluster(tmp_path / "kafka", pki.folder, nodes=3) as cluster:
        history = History()
        stage = Stage(tmp_path, pki, cluster, history)
        try:
            await stage.start()
            await _both_tell_checkpoints(stage)
            taken = await bundles(stage)
            assert [name for name, broker in stage.brokers.items() if broker.runs] == []
            await asyncio.to_thread(published, pki, cluster.connection(BROKER), history)
        finally:
            codes = await stage.stop()
    assert not any(codes.values()), codes
    assert [(one.source, one.exit_code, one.findings) for one in taken] == [
        (name, 0, []) for name in (*BROKERS, "kafka")
    ]
    # Each bundle through a broker was told to auditors too, so checkpoints were signed after the first one.
    largest = {root.size for root in history.roots if root.signed_at_ms > taken[0].made_at_ms}
    assert largest
    assert [*uncovered(history.roots, taken[-1])] == []


async def _both_tell_checkpoints(stage: Stage) -> None:
    """Return when each broker has given a checkpoint."""
    watching = asyncio.create_task(Watching(stage).run(), name="watching")
    try:
        async with asyncio.timeout(STARTED_SECONDS):
            while not {*BROKERS} <= {root.source for root in stage.history.roots}:  # noqa: ASYNC110 - it takes time
                await asyncio.sleep(0.1)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
