"""Keeps the TLS side of an HTTPS server up to date while it runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import CaseExchangeError
from broker.trust.renewal import Laid
from broker.trust.system import SystemClock

if TYPE_CHECKING:
    from pathlib import Path

    from broker.web.tls import ServerContext

_log = structlog.get_logger("broker")


def ready_https(certificate: Path, key: Path) -> None:
    """Before an HTTPS server begins: take up what was laid there, also if a killed process began to do so."""
    laid = Laid(certificate, key, SystemClock())
    laid.finish()
    laid.take_up_tls(None)


async def watch_tls(context: ServerContext, seconds: float, authorities: Path | None = None) -> None:
    """Use renewed TLS files for the connections that come. Never returns.

    ``authorities``: those by which clients may know the server, see ``broker.trust.renewal.check_issuer``.
    """
    laid = Laid(context.certificate, context.key, SystemClock())
    while True:
        await asyncio.sleep(seconds)
        try:
            laid.take_up_tls(authorities)
            # Certificate and key are replaced one after the other. Until they match, this is tried again.
            context.refresh()
        except CaseExchangeError as error:
            _log.error("renewed TLS files cannot be used", reason=error.reason, cause=error.message)
