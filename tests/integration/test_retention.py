"""A gateway deletes what was kept long enough, and says so without a name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from msgspec import structs
from structlog.testing import capture_logs

from adapters.edge.edge import open_edge
from adapters.retention import RetentionConfig
from tests.support.exchange import running_exchange
from tests.support.gateways import police_profile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pki import SamplePki

SHORT = RetentionConfig(done_days=1e-9)
"""A tenth of a millisecond."""


def swept(logs: list[Any]) -> list[Any]:
    return [log for log in logs if "kept long enough" in log["event"]]


async def test_a_gateway_deletes_at_its_start_what_was_kept_long_enough(pki: SamplePki, tmp_path: Path) -> None:
    done = tmp_path / "police" / "done"
    done.mkdir(parents=True)
    (done / "synthetic-child.csv").write_bytes(b"x")
    async with running_exchange(pki, tmp_path / "log") as exchange:
        profile, _ = police_profile(exchange, tmp_path)
        with capture_logs() as logs:
            async with open_edge(structs.replace(profile, retention=SHORT)), asyncio.timeout(60):
                while not (told := swept(logs)):  # noqa: ASYNC110 - a log has no event to wait on
                    await asyncio.sleep(0.01)
        assert [(log["done"], log["quarantine"], log["outbox"]) for log in told] == [(1, 0, 0)]
        assert "synthetic-child" not in str(logs)
    assert not list(done.iterdir())
