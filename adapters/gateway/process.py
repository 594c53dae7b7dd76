"""The gateway's process: it publishes the inbox, receives the subscription, and connects again after a break."""

from __future__ import annotations

import asyncio
import errno
import signal
from typing import TYPE_CHECKING, Final

import structlog

from adapters.base import Limits
from adapters.edge.backoff import Backoff
from adapters.edge.edge import open_edge
from adapters.gateway.inbound import Inbound
from adapters.gateway.outbound import Outbound
from broker.core.errors import CaseExchangeError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from adapters.edge.edge import Edge
    from adapters.edge.profile import GatewayProfile, Route

_log = structlog.get_logger("adapters.gateway.process")
_RELOAD_SECONDS: Final = 2.0
"""How often the gateway checks for a new directory and revocation list."""


async def run_gateway(profile: GatewayProfile, routes: Mapping[str, Route], ready: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        SetupInvalid, SpoolUnavailable: the gateway cannot start.
        CaseExchangeError: the broker refuses this agency for good (its identity, a right).
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    config = profile.gateway
    async with open_edge(profile) as edge:
        outbound = Outbound(edge, config, routes, Limits())
        work = [_again(lambda: _send(outbound, config.poll_seconds), config.retry_seconds), _watch(edge)]
        if config.subscribe:
            inbound = Inbound(edge, config, Limits())
            work.append(_again(inbound.receive, config.retry_seconds))
        ready()
        tasks = [asyncio.create_task(item) for item in work]
        stopped = asyncio.create_task(stopping.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopped}:
                task.result()
        finally:
            outbound.stop()
            for task in (*tasks, stopped):
                task.cancel()
            await asyncio.gather(*tasks, stopped, return_exceptions=True)


async def _watch(edge: Edge) -> None:
    while True:
        await asyncio.sleep(_RELOAD_SECONDS)
        await asyncio.to_thread(edge.reload_trust)


async def _send(outbound: Outbound, poll_seconds: float) -> None:
    while True:
        # Records spooled before a restart go first. Their results are in the log, the spool and the quarantine.
        async for _ in outbound.publishing():
            pass
        while not await asyncio.to_thread(outbound.take_inbox):  # noqa: ASYNC110 - a folder has no event to wait on
            await asyncio.sleep(poll_seconds)


async def _again(work: Callable[[], Coroutine[None, None, None]], longest_seconds: float) -> None:
    """Repeat after a fault that can pass: a broker that is away, a full disk. Any other fault ends the gateway."""
    backoff = Backoff(longest_seconds)
    while True:
        started = asyncio.get_running_loop().time()
        try:
            await work()
        except CaseExchangeError as error:
            if not error.retriable:
                raise
            log = _log.info if isinstance(error, Unavailable) else _log.error
            log("waiting for the broker", reason=error.reason, remedy=error.remedy)
        except OSError as error:
            # It is about one of the gateway's folders. The path is not logged: a file's name may be a person's name.
            _log.error("waiting for the disk", cause=errno.errorcode.get(error.errno or 0, type(error).__name__))
        if asyncio.get_running_loop().time() - started > longest_seconds:
            backoff.reset()
        await backoff.wait()
