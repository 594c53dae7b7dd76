"""Try again after a fault that can pass: a broker that is away, a full disk."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Final

import structlog
from tenacity import AsyncRetrying, wait_random_exponential
from tenacity.wait import wait_base

from broker.core.errors import (
    CaseExchangeError,
    HardwareKeyUnavailable,
    Internal,
    LogError,
    PeerRevoked,
    QuotaExceeded,
    Unavailable,
)
from broker.wire.status import RETRY_AFTER_MS

if TYPE_CHECKING:
    from tenacity import RetryCallState

_log = structlog.get_logger("adapters.edge.again")
_MENDED: Final = (Internal, LogError, PeerRevoked)
"""Faults that somebody has to mend: at the broker, or with a renewed TLS certificate. The edge waits for that."""
_NUMBER: Final = re.compile("[0-9]{1,15}")
_LONGEST_ASKED_SECONDS: Final = 60.0
"""The limit for the time that a broker can make an edge wait."""


def attempts(longest_seconds: float) -> AsyncRetrying:
    """Attempts without end, for one ``async for``. A fault that cannot pass ends them, and is raised.

    Each wait is a random time between zero and a limit, so that a thousand edges do not return at once. The limit
    doubles with every attempt. If the broker says when to try again, no attempt comes before that. A caller that got on
    meanwhile sets ``attempt.retry_state.attempt_number`` to 1, and so begins with short waits again.

    Args:
        longest_seconds: the largest limit.
    """
    wait = _asked_for + wait_random_exponential(multiplier=min(0.2, longest_seconds), max=longest_seconds)
    return AsyncRetrying(wait=wait, retry=_can_pass)


class _AskedFor(wait_base):
    """The time that the broker asks for, if any."""

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome and retry_state.outcome.exception()
        return min(asked_seconds(error), _LONGEST_ASKED_SECONDS) if isinstance(error, QuotaExceeded) else 0.0


def asked_seconds(refusal: CaseExchangeError) -> float:
    """How long the broker asks to wait before the next attempt, in seconds. 0: it does not say."""
    asked = refusal.details.get(RETRY_AFTER_MS, "")
    return int(asked) / 1000 if _NUMBER.fullmatch(asked) else 0.0


_asked_for: Final = _AskedFor()


def _can_pass(attempt: RetryCallState) -> bool:
    match attempt.outcome and attempt.outcome.exception():
        case HardwareKeyUnavailable() as error:
            _log.error("waiting for a key in a token", reason=error.reason, remedy=error.remedy)
        case CaseExchangeError() as error if error.retriable or isinstance(error, _MENDED):
            log = _log.info if isinstance(error, Unavailable) else _log.error
            log("waiting for the broker", reason=error.reason, remedy=error.remedy)
        case OSError() as error:
            # The path is not logged: the name of a file can be the name of a person.
            _log.error("waiting for the disk", cause=errno.errorcode.get(error.errno or 0, type(error).__name__))
        case fault:
            return fault is None
    return True
