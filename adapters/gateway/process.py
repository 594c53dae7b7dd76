"""The gateway's process: it publishes the inbox, receives the subscription, and connects again after a break."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from adapters.base import Limits
from adapters.edge.again import attempts
from adapters.edge.edge import open_edge
from adapters.edge.routing import faults_of
from adapters.folders import open_to_others
from adapters.gateway.deadletters import watch_dead_letters, watch_published
from adapters.gateway.inbound import Inbound
from adapters.gateway.outbound import Outbound

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from adapters.edge.profile import GatewayProfile, Route

_log = structlog.get_logger("adapters.gateway")


async def run_gateway(profile: GatewayProfile, routes: Mapping[str, Route], ready: Callable[[], None]) -> None:
    """Run until cancelled.

    Raises:
        SetupInvalid, SpoolUnavailable: the gateway cannot start.
        CaseExchangeError: the broker refuses this agency for good (its identity, a right).
    """
    config = profile.gateway
    async with open_edge(profile) as edge:
        for kind, route in routes.items():
            for fault in faults_of(route.recipients, route.purpose, edge.directory.latest):
                _log.error("a route leads nowhere: its records will be refused", kind=kind, cause=fault)
        outbound = Outbound(edge, config, routes, Limits())
        for folder in open_to_others(*outbound.folders.all):
            _log.warning("others than its owner can open a folder with records: chmod 700", path=folder.name)
        work = [
            _again(lambda: _take(outbound, config.poll_seconds), config.retry_seconds),
            _again(lambda: _send(outbound, config.poll_seconds), config.retry_seconds),
            watch_published(edge.channel),
        ]
        if config.subscribe:
            inbound = Inbound(edge, config, Limits())
            work.append(_again(inbound.receive, config.retry_seconds))
            work.append(watch_dead_letters(edge.channel, edge.clock))
        ready()
        tasks = [asyncio.create_task(item) for item in work]
        try:
            await asyncio.gather(*tasks)
        finally:
            outbound.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _take(outbound: Outbound, poll_seconds: float) -> None:
    while True:
        # Also after files were taken in: a file that does not change in this time is finished.
        await asyncio.sleep(poll_seconds)
        await asyncio.to_thread(outbound.take_inbox)


async def _send(outbound: Outbound, poll_seconds: float) -> None:
    while True:
        # Records spooled before a restart go first. Their results are in the log, the spool and the quarantine.
        async for _ in outbound.publishing():
            pass
        await asyncio.sleep(poll_seconds)


async def _again(work: Callable[[], Coroutine[None, None, None]], longest_seconds: float) -> None:
    """Repeat until there is a fault that cannot pass. That ends the gateway."""
    async for attempt in attempts(longest_seconds):
        started = asyncio.get_running_loop().time()
        with attempt:
            await work()
        if asyncio.get_running_loop().time() - started > longest_seconds:
            attempt.retry_state.attempt_number = 1
