"""The ports of trusted time: who is asked for timestamps, what is kept of the answers, and what bundles carry."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.audit.times import Stamp
    from broker.core.bundle import TimestampedCheckpoint
    from broker.core.streams import StreamPartition


class KeptTimestamp(NamedTuple):
    """The text of a checkpoint with its size, and the authority's whole response (DER)."""

    size: int
    text: bytes
    response: bytes


class TimestampCaller(Protocol):
    """Asks one timestamp authority. For one task at a time."""

    async def ask(self, request: bytes) -> bytes:
        """Send a request (DER) and return the answer. Nothing in it is verified. The caller bounds the time.

        Raises:
            TimestampsUnavailable: it did not answer as RFC 3161 says.
        """

    async def close(self) -> None:
        """Close its connection. Idempotent."""


class AskedAuthority(NamedTuple):
    """A timestamp authority that a broker asks, and what came of it since the process started.

    Attributes:
        url: its address.
        newest_ms: the time in its newest timestamp that counts (epoch milliseconds). None: there is none.
        trouble: what was wrong with its last answer. Empty: nothing.
        since_ms: since when (epoch milliseconds). None: nothing is wrong.
    """

    url: str
    newest_ms: int | None = None
    trouble: str = ""
    since_ms: int | None = None


class AskedAuthorities(NamedTuple):
    """All of them, in the order in which they are asked, and why the last round has not stamped everything."""

    authorities: tuple[AskedAuthority, ...]
    trouble: str = ""


class TimestampRequest(Protocol):
    """A request that was made: what goes to the authority (DER)."""

    @property
    def document(self) -> bytes:
        """See the class."""


_Request = TypeVar("_Request", bound=TimestampRequest)


class TimestampRequests(Protocol[_Request]):
    """Makes requests, and checks the answers by pinned authorities. Safe to call from any thread."""

    def request(self, message: bytes) -> _Request:
        """Ask for a timestamp of these bytes."""

    def accept(self, answer: bytes, request: _Request) -> Stamp:
        """Check the answer to a request: that one of the authorities stamped exactly these bytes, for this request.

        Raises:
            TimestampInvalid
        """


class TimestampStore(Protocol):
    """The timestamps of each origin, for ever: the oldest proves most."""

    async def put(self, origin: str, kept: KeptTimestamp) -> None:
        """Keep a timestamp, durably, if there is none of this size yet.

        Raises:
            LogUnavailable, LogFull
        """

    async def newest_size(self, origin: str) -> int | None:
        """The largest size that is stamped, or None.

        Raises:
            LogUnavailable
        """

    async def of(self, origin: str, first: int, end: int, most: int) -> list[KeptTimestamp]:
        """Those that say something of the leaves from ``first`` to ``end``, by size, of at most ``most`` leaves each.

        They are the last one before ``first``, those up to ``end``, and the first that holds all of these leaves.

        Raises:
            LogUnavailable
        """

    async def close(self) -> None:
        """Release everything. Idempotent."""


class TimestampedCheckpoints(Protocol):
    """What timestamp authorities have stamped."""

    async def timestamped(
        self, partition: StreamPartition, first: int, end: int, size: int
    ) -> Sequence[TimestampedCheckpoint]:
        """See ``TimestampStore.of``, each with the proof that the tree of ``size`` extends it.

        Raises:
            LogUnavailable
        """
