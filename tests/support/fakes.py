"""Fakes of ports: small, honest implementations for services under test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import EvidenceUnavailable
from broker.core.subscriptions import FIRST
from broker.services.setaside import SetAside

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.core.events import AuditEvent
    from broker.core.policy import Directory
    from broker.core.streams import StreamPartition
    from broker.core.subscriptions import Generation


class ListedAudit:
    """An audit trail in a list."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    async def record(self, events: Sequence[AuditEvent]) -> None:
        self.events.extend(events)


class NothingSetAside:
    """No subscription has a dead letter, and no partition is shared."""

    async def take_over(self, *_: object) -> dict[StreamPartition, int]:
        return {}

    async def reigns(self, *_: object) -> dict[StreamPartition, int]:
        return {}

    async def set_aside(self, *_: object) -> SetAside:
        return SetAside()

    async def first(self, *_: object) -> None:
        return None

    async def record(self, *_: object) -> None:
        return None

    def listen(self, *_: object) -> Callable[[], None]:
        return lambda: None


class NothingOrdered:
    """Every subscription begins with the first record, and its agency orders nothing."""

    async def generation(self, *_: object) -> Generation:
        return FIRST

    async def check(self, *_: object) -> None:
        pass

    def listen(self, *_: object) -> Callable[[], None]:
        return lambda: None


class SwitchedEvidence:
    """Evidence that a test can switch off."""

    def __init__(self) -> None:
        self.available = True

    def check(self) -> None:
        if not self.available:
            message = "the newest checkpoint is too old"
            raise EvidenceUnavailable(message)


class FixedDirectory:
    """A directory that stays in force until a test replaces it."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def current(self) -> Directory:
        return self._directory

    def replace(self, directory: Directory) -> None:
        self._directory = directory
