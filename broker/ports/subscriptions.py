"""The ports of subscriptions: where one stands in the log, and what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.entry import Page
    from broker.core.leasing.ackstate import AckState
    from broker.core.streams import Position, StreamPartition


class SubscriptionKey(NamedTuple):
    """Names a durable subscription: the agency that owns it, and its name."""

    agency: str
    name: str


class DeadLetterState(NamedTuple):
    """One dead letter. ``principal`` held it last. ``since_ms`` is in milliseconds since the Unix epoch, UTC.

    ``parked`` records of its case wait. ``reason`` is empty if it failed too often, or says why not: it is damaged.
    ``publisher`` published the record; empty if that is not known. ``code`` is that of the agency if it ordered this.
    """

    subscription: SubscriptionKey
    position: Position
    case_id: str
    attempts: int
    principal: str
    since_ms: int
    parked: int
    reason: str
    publisher: str = ""
    code: str = ""


class UnprocessedRecord(NamedTuple):
    """A record that a subscription refused with a code, or gave up: ``dead_letter`` says which.

    ``publisher`` is empty if it is not known, and ``record_id`` if the log has lost the record. ``at_ms`` is in epoch
    milliseconds. ``attempts``, ``reason`` and perhaps ``code`` are those of the dead letter.
    """

    publisher: str
    subscription: SubscriptionKey
    position: Position
    record_id: str
    at_ms: int
    code: str
    dead_letter: bool = False
    attempts: int = 0
    reason: str = ""


class Assigned(NamedTuple):
    """From now on, the cursor reads this partition. It begins at ``state.floor``.

    If ``shared``, another process may have read it before, and may not know yet that it does not read it any more.
    """

    partition: StreamPartition
    state: AckState
    shared: bool = False


class Revoked(NamedTuple):
    """The cursor no longer reads this partition; another broker process may read it. Commit nothing more for it."""

    partition: StreamPartition


class PlaceState(NamedTuple):
    """Where a subscription stands in a partition: every record that it wants below ``floor`` is finished.

    ``behind`` records that it wants are not finished. ``oldest_ms`` is when the first of them was accepted, in
    milliseconds since the Unix epoch. None: there is none, or the log has lost it.
    """

    partition: StreamPartition
    floor: int
    behind: int
    oldest_ms: int | None


class SubscriptionState(NamedTuple):
    """One subscription as it stands now.

    ``created_ms`` is in milliseconds since the Unix epoch. ``readers``: see ``Standing``. Its agency ordered
    to skip ``skipped`` records since it was made.
    """

    key: SubscriptionKey
    kinds: frozenset[str]
    created_ms: int
    generation: int
    readers: int
    places: tuple[PlaceState, ...]
    dead_letters: int
    parked: int
    skipped: int


class Standing(NamedTuple):
    """Where a subscription stands. ``states`` has what was committed in its generation; the rest begins at its starts.

    ``readers`` is how many cursors it has now in this process or, if processes share the log, how many of them read.
    ``latest`` is the highest generation of which anything was committed; None: nothing ever was.
    """

    states: Mapping[StreamPartition, AckState]
    readers: int
    latest: int | None


AssignmentChange: TypeAlias = Assigned | Revoked


class LogCursor(Protocol):
    """Reads for one durable subscription: only the entries that it wants. Only one task at a time may use it."""

    def assignment_changes(self) -> list[AssignmentChange]:
        """The changes since the last call, in order. Empty until the first ``wait`` has returned."""

    async def wait(self) -> None:
        """Wait until there may be new entries or new assignment changes. May return early. May be cancelled.

        Only an entry that the subscription wants ends the wait. The caller then reads every partition to its end,
        because what has arrived before the wait begins does not end it.

        Raises:
            LogError: there will never be new entries.
        """

    async def read(self, partition: StreamPartition, max_records: int, max_bytes: int) -> Page:
        """The next wanted entries of an assigned partition, in order, without waiting for new ones.

        Returns at most ``max_records``, and stops after the entry that reaches ``max_bytes``. This cursor returns each
        entry once. A page without entries says that there are no more now. Time: by what is wanted, not by what is not.

        A wanted entry that the log has lost or changed does not stop the others. If the log finds this, the entry has
        no value. A log without digests of values cannot find it. So the caller checks each (services/accepted.py).

        Raises:
            LogCorrupt: more is lost than single entries.
            LogUnavailable: nothing was read. The same call may succeed later.
        """

    async def commit(self, states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
        """Store how far the subscription is. The new states replace the old ones. They are durable when it returns.

        Returns:
            The partitions for which the state was stored. A partition that this cursor no longer reads is left out:
            another process may have committed a newer state. What is left out was surely not stored.

        Raises:
            LogUnavailable: it is unknown which of the states were stored.
        """

    async def close(self) -> None:
        """Stop reading. Idempotent."""
