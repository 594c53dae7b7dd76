"""What one agency may use of a broker process at a time. docs/configuration.md and docs/directory.md list the names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_MEBIBYTE: Final = 1 << 20
LEAST: Final[Mapping[str, int]] = MappingProxyType(
    {
        "calls": 1,
        "connections": 1,
        "subscriptions": 1,
        "durable_subscriptions": 1,
        "publishing_bytes": _MEBIBYTE,
        "undelivered_bytes": _MEBIBYTE,
        "records_per_second": 0,
        "bytes_per_second": 0,
        "refusals_per_second": 0,
    }
)
"""The names of the quotas, and the least that each may be."""


@dataclass(frozen=True, slots=True)
class QuotaLimits:
    """The quotas of an agency. A rate of 0 is no limit.

    Attributes:
        calls: calls that run at the same time. A stream is a call.
        connections: connections on which it has calls at the same time.
        subscriptions: durable subscriptions that are open at the same time.
        durable_subscriptions: those that were not deleted, open or not, in the whole exchange.
        publishing_bytes: envelopes that are not answered yet, with everything in them, over all streams.
        undelivered_bytes: content that was read for its subscriptions and is not acknowledged, with what was recalled.
        records_per_second: records to publish.
        bytes_per_second: their envelopes, with everything in them.
        refusals_per_second: refused calls at one service, counted as services/turns.py says. Above it, messages wait.
    """

    calls: int = 500
    connections: int = 500
    subscriptions: int = 250
    durable_subscriptions: int = 2000
    publishing_bytes: int = 64 << 20
    undelivered_bytes: int = 256 << 20
    records_per_second: float = 0.0
    bytes_per_second: float = 0.0
    refusals_per_second: float = 5.0

    def replaced(self, given: Mapping[str, int]) -> QuotaLimits:
        """These quotas, with the given ones in their place. Each of them must be a quota (``is_quota``)."""
        return replace(self, **given) if given else self


def is_quota(name: str, value: Any) -> bool:
    """Whether the directory can give an agency this quota. It is a whole number."""
    return name in LEAST and type(value) is int and value >= LEAST[name]
