"""Orders of erasure that are refused before the log is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.core.errors import ErasureUnsupported
from broker.core.identity import Principal
from broker.core.quota import QuotaLimits
from broker.messagelog.sqlite import SqliteLog
from broker.services.erasing import Erasing
from broker.services.erasureorders import ErasureOrders
from broker.services.quotas import Quotas
from certs.rights import SHANXI, TRUST_DOMAIN
from tests.support.fakes import FixedDirectory, ListedAudit
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_log_that_can_change_nothing_says_what_to_do_instead(tmp_path: Path) -> None:
    """A log on Kafka has no port for it."""
    pki = SamplePki.build(tmp_path / "pki")
    clock, audit = ManualClock(0), ListedAudit()
    log = await SqliteLog.open(None, clock)
    erasing = Erasing(
        log=log,
        erasure=None,
        orders=ErasureOrders(),
        audit=audit,
        codec=CODEC,
        directory=FixedDirectory(pki.directory),
        quotas=Quotas(lambda _: QuotaLimits(), clock),
        clock=clock,
    )
    await erasing.load()
    principal = Principal(TRUST_DOMAIN, SHANXI, "gateway")
    with pytest.raises(ErasureUnsupported) as refused:
        await erasing.erase(principal, "01990000-0000-7000-8000-000000000001", ["photos"], "COURT_ORDER")
    assert "keys destroy" in refused.value.remedy
    assert audit.events == []
    await log.close()
