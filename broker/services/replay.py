"""Give an auditor everything that is needed to check the exchange without trusting it.

1. a purpose is stated: PurposeMissing
2. the directory in force lets the agency replay each stream: RightDenied, PeerUnknown
3. the audit stream says durably who reads what, and why, before the first frame leaves
4. every frame after that only states facts (broker/services/bundling.py)

Sections that the right does not cover are withheld. Signatures, digests and proofs hold without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import PurposeMissing, RightDenied
from broker.core.events import AuditEvent, ReplayMade
from broker.core.policy import replay_sections
from broker.core.streams import STREAMS
from broker.services.bundling import BundleOrder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.bundle import SerializedFrame
    from broker.core.identity import Principal
    from broker.core.policy import Directory
    from broker.ports import AuditTrail, Clock, DirectoryInForce
    from broker.services.bundling import BundleMaker

MAX_PURPOSE: Final = 200
"""The limit for the characters of a stated purpose."""


class ReplayRequest(NamedTuple):
    """What is asked for. No streams: all that may be replayed. Times: epoch milliseconds; None: unbounded."""

    purpose: str
    streams: tuple[str, ...] = ()
    accepted_from_ms: int | None = None
    accepted_until_ms: int | None = None


class ReplayService:
    """Replays the log on behalf of authenticated principals. For one event loop; replays may be concurrent."""

    def __init__(self, *, directory: DirectoryInForce, bundles: BundleMaker, audit: AuditTrail, clock: Clock) -> None:
        self._directory = directory
        self._bundles = bundles
        self._audit = audit
        self._clock = clock

    async def replay(self, principal: Principal, request: ReplayRequest) -> AsyncIterator[SerializedFrame]:
        """The frames of a bundle, in order.

        Raises:
            PurposeMissing, RightDenied, PeerUnknown, DirectoryUnavailable, LogUnavailable, LogFull, LogCorrupt
        """
        sections = replay_rights(self._directory.current(), principal, request)
        # (3) Reading leaves evidence too (design decision 9).
        made = ReplayMade(request.purpose, tuple(sections), request.accepted_from_ms, request.accepted_until_ms)
        await self._audit.record([AuditEvent(self._clock.now_ms(), principal.spiffe_id, made)])
        order = BundleOrder(
            principal.spiffe_id, request.purpose, sections, request.accepted_from_ms, request.accepted_until_ms
        )
        async for frame in self._bundles.make(order):
            yield frame


def replay_rights(directory: Directory, principal: Principal, request: ReplayRequest) -> dict[str, frozenset[str]]:
    """The sections that a principal may have of each stream that it wants to replay: checks (1) and (2).

    Raises:
        PurposeMissing, RightDenied, PeerUnknown
    """
    # (1) The purpose.
    check_purpose(request.purpose)
    # (2) The rights.
    if request.streams:
        return {stream: replay_sections(directory, principal.agency, stream) for stream in request.streams}
    granted = directory.agency(principal.agency).replay
    if not granted:
        message = f"{principal.agency} may not replay any stream"
        raise RightDenied(message, agency=principal.agency)
    return {stream: granted[stream].sections for stream in STREAMS if stream in granted}


def check_purpose(purpose: str) -> None:
    """Check that it says why somebody reads what is not his own.

    Raises:
        PurposeMissing
    """
    stripped = purpose.strip()
    if not stripped or len(stripped) > MAX_PURPOSE or not stripped.isprintable():
        message = f"a reader of the log states the purpose in 1 to {MAX_PURPOSE} printable characters"
        raise PurposeMissing(message)
