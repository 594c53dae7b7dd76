"""Keeps the TLS side of an HTTPS server up to date while it runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import CaseExchangeError
from broker.trust.renewal import take_up_tls
from broker.trust.system import SystemClock

if TYPE_CHECKING:
    from broker.web.tls import ServerContext

_log = structlog.get_logger("broker")


async def watch_tls(context: ServerContext, seconds: float) -> None:
    """Use renewed TLS files for the connections that come. Never returns."""
    clock = SystemClock()
    while True:
        await asyncio.sleep(seconds)
        try:
            take_up_tls(context.certificate, context.key, None, clock.now_ms())
            # Certificate and key are replaced one after the other. Until they match, this is tried again.
            context.refresh()
        except CaseExchangeError as error:
            _log.error("renewed TLS files cannot be used", reason=error.reason, cause=error.message)
