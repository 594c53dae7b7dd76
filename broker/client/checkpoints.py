"""Show a broker the checkpoints that were seen, and get the newest. Do not trust the broker: check every answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from broker.client.auditor import ConsistencyEvidence
from broker.client.connection import typed_errors
from broker.core.bundle import ProvedBeginning
from broker.core.streams import StreamPartition
from caseexchange.broker.v1 import auditor_pb2, auditor_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

    import grpc

_SECONDS: Final = 60.0
"""Longest wait for the answer. A broker that is behind others on the same log may wait half of this."""


class CheckpointAnswer(NamedTuple):
    """The newest checkpoint of a partition, as a signed note. Nothing in it is verified.

    ``proof`` is said to show that it extends the checkpoint that was shown. None: there is no proof. ``loss_accepted``:
    the broker says that it does not, and that the directory declares this. ``beginnings`` are said to prove that it
    extends the trees that are declared to survive of former incarnations.
    """

    partition: StreamPartition
    note: bytes
    proof: ConsistencyEvidence | None
    loss_accepted: bool
    beginnings: tuple[ProvedBeginning, ...] = ()


async def present_checkpoints(channel: grpc.aio.Channel, notes: Iterable[bytes]) -> list[CheckpointAnswer]:
    """Show the checkpoints (signed notes) that were seen, and get the newest one of every partition.

    Raises:
        LogRolledBack: the log is not the one that was seen any more.
        CaseExchangeError: the broker did not answer, or refused.
    """
    request = auditor_pb2.PresentCheckpointsRequest(notes=notes)
    with typed_errors():
        response = await auditor_pb2_grpc.AuditorServiceStub(channel).PresentCheckpoints(request, timeout=_SECONDS)
    return [_answer(message) for message in response.answers]


async def find_missing(channel: grpc.aio.Channel, record_ids: Iterable[str]) -> list[str]:
    """Which of these records, at most 1000, the broker's log does not have.

    Raises:
        CaseExchangeError: the broker did not answer, or refused.
    """
    request = auditor_pb2.FindMissingRequest(record_ids=record_ids)
    with typed_errors():
        response = await auditor_pb2_grpc.AuditorServiceStub(channel).FindMissing(request, timeout=_SECONDS)
    return list(response.record_ids)


def _answer(message: auditor_pb2.CheckpointAnswer) -> CheckpointAnswer:
    newest, proof = message.checkpoint, None
    if message.HasField("consistency"):
        given = message.consistency
        proof = ConsistencyEvidence(given.old_size, given.new_size, tuple(given.path), newest.note)
    partition = StreamPartition(newest.stream, newest.partition)
    beginnings = tuple(ProvedBeginning(each.old_size, tuple(each.path)) for each in message.beginnings)
    return CheckpointAnswer(partition, newest.note, proof, message.loss_accepted, beginnings)
