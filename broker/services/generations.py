"""What the streams of a subscription need to know of its generations (broker/core/subscriptions.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from broker.core.errors import SubscriptionChanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.events import SubscriptionEvent
    from broker.core.identity import Principal
    from broker.core.subscriptions import Generation, StartPoint
    from broker.ports import LogCursor, MessageLog, SubscriptionKey


class Generations(Protocol):
    """See ``Subscriptions`` (services/subscriptions.py)."""

    async def generation(
        self, principal: Principal, key: SubscriptionKey, kinds: frozenset[str], start: StartPoint
    ) -> Generation:
        """Its generation with these kinds, which begins now if it or a kind is new."""

    async def check(self, key: SubscriptionKey, generation: Generation) -> None:
        """See that a generation is still in force."""

    @property
    def listen(self) -> Callable[[SubscriptionKey, Callable[[SubscriptionEvent], None]], Callable[[], None]]:
        """Tell from now on of each order about a subscription. Returns what ends it."""


async def cursor_in_force(
    log: MessageLog,
    generations: Generations,
    principal: Principal,
    key: SubscriptionKey,
    *,
    kinds: frozenset[str],
    start: StartPoint,
) -> LogCursor:
    """A cursor of the generation that is in force when the cursor is open.

    Raises:
        As ``Generations.generation`` and ``MessageLog.open_cursor``.
    """
    while True:
        generation = await generations.generation(principal, key, kinds, start)
        cursor = await log.open_cursor(key, kinds, generation)
        try:
            # Whoever gave an order meanwhile may not have seen the cursor. Later orders are told.
            await generations.check(key, generation)
        except BaseException as error:
            await cursor.close()
            if not isinstance(error, SubscriptionChanged):
                raise
        else:
            return cursor
