"""The scenario of backlog.py, with few records. docs/limits.md has what it showed with a hundred thousand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.scenarios.backlog import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pki import SamplePki

RECORDS = 2_000
BOUND_SECONDS = 300


@pytest.mark.crash
async def test_what_was_spooled_while_the_link_was_cut_arrives_once_and_in_order_through_a_broker_that_dies(
    pki: SamplePki, tmp_path: Path
) -> None:
    async with asyncio.timeout(BOUND_SECONDS):
        outcome = await run(pki, tmp_path, RECORDS, lambda _: None)
    assert (outcome.records, outcome.positions, outcome.ordered) == (RECORDS, RECORDS, True)
    assert outcome.spooled > RECORDS / 2, "the link was cut too late"
    assert min(outcome.after) > 0, "a broker was killed when all had been accepted"
    assert outcome.gateway_mb < 150
