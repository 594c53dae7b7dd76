"""What witnesses have cosigned of larger trees than this process has: it is judged as if an edge had presented it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from broker.core.errors import CaseExchangeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.services.askedwitness import AskedWitness


class LargerTrees:
    """Lets notes of witnesses be judged, one of each witness at a time: none can keep those of another away.

    Args:
        present: judges notes of which this log may not be the continuation (``RollbackGuard.present``).
    """

    def __init__(self, present: Callable[[str, Sequence[bytes]], Awaitable[object]]) -> None:
        self._present = present
        self._judging: dict[str, asyncio.Task[None]] = {}

    async def judge(self, witness: AskedWitness, origin: str) -> None:
        """Get what the witness shows of this origin, and begin to judge it. Does nothing while one of it is judged.

        Raises:
            WitnessUnavailable
        """
        running = self._judging.get(witness.name)
        if running is None or running.done():
            note = await witness.latest(origin)
            # On a log that processes share, this one gets its time to catch up: longer than a round may take.
            self._judging[witness.name] = asyncio.create_task(self._judge(witness.name, note))

    def cancel(self) -> None:
        """Judge nothing any more."""
        for task in self._judging.values():
            task.cancel()

    async def _judge(self, name: str, note: bytes) -> None:
        # What it finds is told by who judges.
        with contextlib.suppress(CaseExchangeError):
            await self._present(name, [note])
