"""The operating system's limit for open files. Each connection is one, and the log needs some."""

from __future__ import annotations

import resource
from typing import Final

import structlog

from broker.core.errors import SetupInvalid

_log = structlog.get_logger("broker")
OWN_FILES: Final = 200
"""Kept for the files of the log, for Kafka, for the signature process and for files that are read again."""
_LEAST_CONNECTIONS: Final = 16
_REMEDY: Final = "Raise the limit (ulimit -n, or LimitNOFILE of systemd), or lower server.connections."


def connections_that_fit(wanted: int, others: int = 0) -> int:
    """How many connections this process can have, at most ``wanted``. Raises the soft limit to the hard one.

    With fewer than ``wanted`` it logs a warning. So connections never take the files that the log needs.

    Args:
        wanted: those of agencies over gRPC.
        others: how many more files other connections may take.

    Raises:
        SetupInvalid: not even a few fit.
    """
    limit, own = _raised(), OWN_FILES + others
    fit = wanted if limit == resource.RLIM_INFINITY else min(wanted, limit - own)
    if fit < min(wanted, _LEAST_CONNECTIONS):
        least = own + min(wanted, _LEAST_CONNECTIONS)
        message = f"this process may open only {limit} files, and needs {least} (ulimit -n, or LimitNOFILE of systemd)"
        raise SetupInvalid(message)
    if fit < wanted:
        _log.warning(
            "the limit for open files is too low for server.connections: fewer are accepted",
            size=limit,
            count=fit,
            remedy=_REMEDY,
        )
    return fit


def _raised() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        # Not every system takes its own hard limit.
        return soft
    return hard
