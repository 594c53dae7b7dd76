"""A short run: nodes, brokers and witnesses are killed, paused and restarted while agencies trouble each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.scenarios.torture.run import told, torture
from tests.support.kafka import running_cluster
from tests.support.pki import SamplePki

if TYPE_CHECKING:
    from pathlib import Path

SEED = 1
"""With this seed the few faults are of every kind, and hit two nodes at once."""
SECONDS = 60


@pytest.mark.kafka
async def test_what_has_a_receipt_survives_whatever_happens_to_nodes_and_brokers(tmp_path: Path) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    with running_cluster(tmp_path / "kafka", pki.folder, nodes=3) as cluster:
        outcome = await torture(tmp_path, pki, cluster, seed=SEED, seconds=SECONDS)
    assert not outcome.violations, told(outcome)
