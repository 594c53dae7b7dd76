from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.exchange import Exchange, running_exchange
from tests.support.pki import SamplePki

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def exchange(pki: SamplePki, tmp_path: Path) -> AsyncIterator[Exchange]:
    async with running_exchange(pki, tmp_path / "log") as running:
        yield running
