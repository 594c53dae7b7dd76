"""The broker as a process: it serves until a signal ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import TYPE_CHECKING, Final

import structlog

from broker.bootstrap.broker import open_broker
from broker.bootstrap.loop import collect_seldom

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.config.broker import BrokerConfig

_log = structlog.get_logger("broker")
CLOSING_SECONDS: Final = 20.0
"""So long may everything take that follows after ``drain_seconds``. What must not be lost is durable before that."""
_THREADS_SECONDS: Final = 1.0
"""So long the threads of clients may take that wait for an answer of Kafka which nobody needs any more."""
_STOPPED, _CUT_OFF, _INTERRUPTED = 0, 1, 130


async def serve(config: BrokerConfig, ready: Callable[[int], None], *, clock_checked: bool = False) -> int:
    """Serve until SIGTERM or SIGINT. If the log cannot be followed any more, health says so and publishing stops.

    A signal also ends a start, in whatever state it is. ``server.drain_seconds`` and ``CLOSING_SECONDS`` after a signal
    the process ends in any case: threads of Kafka's client can wait for nodes that do not answer. So it does
    ``CLOSING_SECONDS`` after an error ended the broker.

    Args:
        config: the configuration.
        ready: called with the port when calls are answered.
        clock_checked: as for ``open_broker``.

    Returns:
        The exit code: 0 after SIGTERM, 130 after SIGINT.

    Raises:
        As ``open_broker``.
    """
    asked: list[int] = []

    async def until_cancelled() -> None:
        async with open_broker(config, clock_checked=clock_checked) as broker:
            collect_seldom()
            ready(broker.port)
            await asyncio.Event().wait()

    serving = asyncio.create_task(until_cancelled(), name="broker")

    def end(number: int) -> None:
        if not asked:
            asked.append(number)
            _end_within(config.server.drain_seconds + CLOSING_SECONDS, _CUT_OFF)
            serving.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    await asyncio.wait([serving])
    if not asked or not serving.cancelled():
        # An error ended it, also while it was asked to end.
        if not asked:
            # The interpreter waits for threads of Kafka's client, and they can wait for nodes that do not answer.
            _end_within(CLOSING_SECONDS, _CUT_OFF)
        serving.result()
    code = _INTERRUPTED if asked[0] == signal.SIGINT else _STOPPED
    # Everything is closed.
    _end_within(_THREADS_SECONDS, code)
    return code


def _end_within(seconds: float, code: int) -> None:
    """End the process after this time. Also if the interpreter itself waits for threads by then."""

    def cut_off() -> None:
        if code == _CUT_OFF:
            _log.critical("did not end in time after a signal or an error, and was cut off")
        os._exit(code)

    timer = threading.Timer(seconds, cut_off)
    timer.daemon = True
    timer.start()
