"""The broker as a process: it serves until a signal ends it."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

from broker.bootstrap.broker import open_broker
from broker.bootstrap.loop import collect_seldom

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.config.broker import BrokerConfig


async def serve(config: BrokerConfig, ready: Callable[[int], None], *, clock_checked: bool = False) -> int:
    """Serve until SIGTERM or SIGINT. If the log cannot be followed any more, health says so and publishing stops.

    Args:
        config: the configuration.
        ready: called with the port when calls are answered.
        clock_checked: as for ``open_broker``.

    Returns:
        The signal.

    Raises:
        As ``open_broker``.
    """
    stopping = asyncio.Queue[int]()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.put_nowait, number)
    async with open_broker(config, clock_checked=clock_checked) as broker:
        collect_seldom()
        ready(broker.port)
        return await stopping.get()
