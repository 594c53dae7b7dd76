"""Have each partition's newest checkpoint stamped by a timestamp authority, from time to time (docs/adr/0052).

A round takes the newest checkpoints while the log's evidence is in order, so that a tree that is stamped holds every
record that was accepted more than the evidence bound before. One authority after the other is asked until one answers.
An answer counts if an authority of the directory has stamped exactly this checkpoint, now.

Nothing waits for a round. An authority that is dead, late or wrong is told, and everything else goes on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from broker.core.audit.times import CLOCKS_MS
from broker.core.bundle import TimestampedCheckpoint
from broker.core.errors import CaseExchangeError, TimestampInvalid, TimestampsUnavailable
from broker.core.incarnations import Incarnations
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.core.tree.origin import checkpoint_origin, incarnation_of, trust_domain_of
from broker.ports import AskedAuthorities, AskedAuthority, KeptTimestamp
from broker.services.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.core.audit.times import Stamp
    from broker.core.policy import Directory
    from broker.core.streams import StreamPartition
    from broker.ports import CheckpointStore, Clock, Evidence, TimestampCaller, TimestampRequests, TimestampStore
    from broker.services.proofs import ProofService


@dataclass(frozen=True, slots=True)
class TimestampingSettings:
    """How often checkpoints are stamped, and how long one answer may take. See [timestamps] in configuration.md."""

    interval_seconds: float = 3600.0
    timeout_seconds: float = 10.0


class Timestamping:
    """Asks timestamp authorities. The port TimestampedCheckpoints. For one event loop."""

    def __init__(
        self,
        *,
        partitions: Mapping[StreamPartition, str],
        store: CheckpointStore,
        proofs: ProofService,
        kept: TimestampStore,
        directory: Callable[[], Directory],
        requests: Callable[[Directory], TimestampRequests[Any]],
        callers: Mapping[str, TimestampCaller],
        evidence: Evidence,
        clock: Clock,
        settings: TimestampingSettings,
        report: Callable[[str, CaseExchangeError | None], None],
    ) -> None:
        """Prepare. Nobody is asked before ``run``.

        Args:
            partitions: the partitions, each with the origin of its checkpoints.
            store: the trees of this process.
            proofs: makes proofs from them.
            kept: keeps the timestamps.
            directory: gives the newest directory.
            requests: makes requests, and checks answers by the authorities of a directory.
            callers: reach the authorities, by a name for the log. They are asked in this order.
            evidence: the evidence of the log.
            clock: gives the time.
            settings: how often.
            report: called with an authority's name and what is wrong, when that changes. None: nothing any more.
        """
        self._partitions = partitions
        self._store = store
        self._proofs = proofs
        self._kept = kept
        self._directory = directory
        self._requests = requests
        self._callers = callers
        self._evidence = evidence
        self._clock = clock
        self._settings = settings
        self._rounds = Rounds(settings.interval_seconds, report)
        self._asked = {name: AskedAuthority(name) for name in callers}

    @property
    def asked(self) -> AskedAuthorities:
        """The authorities, and what came of it."""
        return AskedAuthorities(tuple(self._asked.values()), self._rounds.troubles.get("", ""))

    async def timestamped(
        self, partition: StreamPartition, first: int, end: int, size: int
    ) -> Sequence[TimestampedCheckpoint]:
        """See ``TimestampedCheckpoints``. What was stamped of former incarnations counts as far as it survives."""
        origin = self._partitions[partition]
        found = await self._kept.of(origin, first, end, size)
        trust_domain, declared = trust_domain_of(origin), Incarnations(self._directory().incarnations)
        for log_id, survives in declared.formers(partition, incarnation_of(origin, trust_domain, partition)):
            former = checkpoint_origin(trust_domain, partition, log_id)
            found += await self._kept.of(former, first, end, min(size, survives))
        return [
            TimestampedCheckpoint(one.text, await self._proofs.path_between(partition, one.size, size), one.response)
            for one in found
        ]

    async def run(self) -> None:
        """Ask, round after round, until cancelled. Without an authority to ask, it returns."""
        if not self._callers:
            return
        try:
            await self._rounds.run(self.stamp_once)
        finally:
            for caller in self._callers.values():
                await caller.close()

    async def stamp_once(self) -> None:
        """Make one round.

        Raises:
            LogUnavailable, LogFull, ExtraMissing
            EvidenceUnavailable, LogRolledBack: checkpoints are late, so a stamped one would say less than it seems.
            TimestampsUnavailable: no authority answered for a checkpoint.
        """
        directory = self._directory()
        if not directory.timestamp_authorities:
            message = "the directory lists no timestamp authority, so no timestamp would count"
            raise TimestampsUnavailable(message)
        requests = self._requests(directory)
        for partition, origin in self._partitions.items():
            self._evidence.check()
            head = await self._store.head(partition)
            # A tree of no records proves nothing, and one that is stamped was never younger.
            if head is not None and head.size and head.size != await self._kept.newest_size(origin):
                text = parse_note(head.note).text
                response = await self._ask(requests, text)
                await self._kept.put(origin, KeptTimestamp(Checkpoint.parse(text).size, text, response))

    async def _ask(self, requests: TimestampRequests[Any], text: bytes) -> bytes:
        """The response of the first authority that stamps these bytes.

        Raises:
            TimestampsUnavailable: none does.
        """
        for name, caller in self._callers.items():
            try:
                response, stamp = await self._ask_one(requests, caller, text)
            except (TimestampsUnavailable, TimestampInvalid) as error:
                since_ms = self._asked[name].since_ms
                since_ms = self._clock.now_ms() if since_ms is None else since_ms
                self._asked[name] = self._asked[name]._replace(trouble=error.message, since_ms=since_ms)
                self._rounds.tell(name, error)
            else:
                self._asked[name] = AskedAuthority(name, stamp.at_ms)
                self._rounds.tell(name, None)
                return response
        message = "no timestamp authority has stamped the newest checkpoints"
        raise TimestampsUnavailable(message)

    async def _ask_one(
        self, requests: TimestampRequests[Any], caller: TimestampCaller, text: bytes
    ) -> tuple[bytes, Stamp]:
        request = requests.request(text)
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                response = await caller.ask(request.document)
        except TimeoutError as error:
            message = f"the timestamp authority took longer than {self._settings.timeout_seconds:g} s"
            raise TimestampsUnavailable(message) from error
        # Certificates and signatures take a while.
        stamp: Stamp = await asyncio.to_thread(requests.accept, response, request)
        if abs(stamp.at_ms - self._clock.now_ms()) > CLOCKS_MS:
            message = f"the authority's clock is more than {CLOCKS_MS // 1000} s away from that of the broker"
            raise TimestampInvalid(message)
        return response, stamp
