"""Keeps the TLS side of an HTTPS server up to date while it runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import CaseExchangeError, CertificateInvalid
from broker.files import FileState
from broker.trust.renewal import take_up_tls
from broker.trust.system import SystemClock
from broker.web.tls import load_certificate

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

_log = structlog.get_logger("broker")


async def watch_tls(context: ssl.SSLContext, certificate: Path, key: Path, seconds: float) -> None:
    """Use renewed TLS files for the connections that come. Never returns."""
    clock = SystemClock()
    seen = _state(certificate, key)
    while True:
        await asyncio.sleep(seconds)
        try:
            take_up_tls(certificate, key, None, clock.now_ms())
            state = _state(certificate, key)
            if state != seen:
                # Certificate and key are replaced one after the other. Until they match, this is tried again.
                load_certificate(context, certificate, key)
                seen = state
        except CaseExchangeError as error:
            _log.error("renewed TLS files cannot be used", reason=error.reason, cause=error.message)


def _state(*paths: Path) -> list[FileState]:
    try:
        return [FileState.of(path) for path in paths]
    except OSError as error:
        message = f"a TLS file cannot be read: {error.strerror}"
        raise CertificateInvalid(message) from error
