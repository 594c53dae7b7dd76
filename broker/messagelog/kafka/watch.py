"""Watch the topics while a broker runs: those that it opened, whole, open for appends, and with the right settings."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from broker.core.errors import LogCorrupt, LogSettingsRefused, LogUnavailable
from broker.messagelog.kafka.thread import ClientThread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.topics import Topics, TopicState
    from broker.messagelog.kafka.topicsettings import TopicSettings

_ANSWER_SECONDS: Final = 3.0
"""A cluster that has not described itself in this time does not accept records now."""
_SETTINGS_SECONDS: Final = 10.0
"""How often the settings are looked at. They change only if an administrator changes them."""


class TopicsWatch:
    """See the module. For one event loop.

    Args:
        topics: the topics to watch. Closed together with this.
        log_ids: the topic id of each stream, as it was opened.
        partitions: all partitions of the log.
        wanted: what the topics must be, or None to accept them as they are.
    """

    def __init__(
        self,
        topics: Topics,
        log_ids: Mapping[str, str],
        partitions: Sequence[StreamPartition],
        wanted: TopicSettings | None,
    ) -> None:
        self._topics = topics
        self._log_ids = log_ids
        self._partitions = partitions
        self._wanted = wanted
        self._settings_due = time.monotonic() + _SETTINGS_SECONDS
        self.refusal: LogSettingsRefused | None = None
        """Why nothing may be appended: a setting with which records could be lost."""
        self._min_in_sync = 1 if wanted is None else wanted.min_in_sync
        # Where records expire, a missing beginning is no fault.
        self._whole = wanted is not None and not wanted.retention_days
        self._thread = ClientThread("kafka-admin")
        self.ends: dict[StreamPartition, int] = {}
        """Where the partitions ended at the last look."""

    async def check(self) -> None:
        """Look at all topics.

        Raises:
            LogCorrupt: a topic is missing, was made again, or has lost its beginning. This needs an operator.
            LogSettingsRefused: an administrator changed a setting, and records could be lost. ``refusal`` has it, until
                the setting is right again.
            LogUnavailable: Kafka does not answer in time, or has lost too many nodes for now.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await self._thread.call(self._check)
        except TimeoutError:
            message = "Kafka does not answer"
            raise LogUnavailable(message) from None

    async def close(self) -> None:
        """Release everything. Idempotent."""
        await self._thread.end(self._topics.close)

    # --- in the thread ---

    def _check(self) -> None:
        states = self._topics.look(list(self._log_ids))
        for stream in self._log_ids:
            self._check_state(stream, states.get(stream))
        for partition, first in (self._topics.offsets(self._partitions) if self._whole else {}).items():
            if first:
                message = f"the records of {partition} below offset {first} were deleted"
                raise LogCorrupt(message, partition=str(partition))
        self.ends = self._topics.offsets(self._partitions, last=True)
        if self._wanted is not None and time.monotonic() >= self._settings_due:
            self._check_settings(self._wanted)
        if self.refusal is not None:
            raise self.refusal

    def _check_settings(self, wanted: TopicSettings) -> None:
        try:
            self._topics.check(wanted)
        except LogSettingsRefused as error:
            self.refusal = error
        else:
            self.refusal = None
        self._settings_due = time.monotonic() + _SETTINGS_SECONDS

    def _check_state(self, stream: str, state: TopicState | None) -> None:
        if state is None or state.topic_id != self._log_ids[stream]:
            message = f"the topic of the stream {stream} was deleted, or deleted and made anew"
            raise LogCorrupt(message)
        if state.without_leader or state.in_sync < self._min_in_sync:
            message = f"the stream {stream} cannot be appended to: too few of its Kafka nodes are there"
            raise LogUnavailable(message)
