"""AuditorService: unpack, call the replay and proof services, pack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import InputRefused, PositionUnknown
from broker.core.streams import STREAMS, StreamPartition
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.server.calls import Context, caller
from broker.services.recordproving import ProofRequest
from broker.services.replay import ReplayRequest
from broker.wire.receipts import position_from
from broker.wire.times import set_ms, to_ms
from caseexchange.broker.v1 import auditor_pb2, auditor_pb2_grpc, checkpoint_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from broker.ports import AskedAuthorities, CosignedCheckpoints
    from broker.services.proofs import ConsistencyProof, ProofService
    from broker.services.recordproving import RecordProver
    from broker.services.replay import ReplayService
    from broker.services.rollback import RollbackGuard


class AuditorServicer(auditor_pb2_grpc.AuditorServiceServicer):
    """See auditor.proto."""

    def __init__(
        self,
        replay: ReplayService,
        proofs: ProofService,
        prover: RecordProver,
        rollback: RollbackGuard,
        cosigned: CosignedCheckpoints,
        *,
        timestamping: Callable[[], AskedAuthorities],
    ) -> None:
        self._replay = replay
        self._proofs = proofs
        self._prover = prover
        self._rollback = rollback
        self._cosigned = cosigned
        self._timestamping = timestamping

    async def Replay(  # noqa: N802 - the generated stub's name
        self,
        request: auditor_pb2.ReplayRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[auditor_pb2.ReplayResponse]:
        """Send the frames of a bundle."""
        if len(request.streams) > len(STREAMS) or not set(request.streams) <= set(STREAMS):
            message = "the request names a stream that does not exist, or one twice"
            raise InputRefused(message)
        asked = ReplayRequest(
            request.purpose,
            tuple(dict.fromkeys(request.streams)),
            to_ms(request.accepted_from) if request.HasField("accepted_from") else None,
            to_ms(request.accepted_until) if request.HasField("accepted_until") else None,
        )
        async for frame in self._replay.replay(caller(), asked):
            yield auditor_pb2.ReplayResponse(frame=frame.data)

    async def GetCheckpoint(  # noqa: N802 - the generated stub's name
        self,
        request: auditor_pb2.GetCheckpointRequest,
        context: Context,  # noqa: ARG002
    ) -> auditor_pb2.GetCheckpointResponse:
        """Send the newest checkpoint of a partition."""
        partition = StreamPartition(request.stream, request.partition)
        note = await self._proofs.checkpoint(partition)
        response = auditor_pb2.GetCheckpointResponse(checkpoint=_checkpoint(partition, note))
        cosigned = await self._cosigned.cosigned(partition, Checkpoint.parse(parse_note(note).text).size)
        if cosigned is not None:
            response.cosigned.note = cosigned.note
            response.cosigned.path.extend(cosigned.path)
        return response

    async def GetProof(  # noqa: N802 - the generated stub's name
        self,
        request: auditor_pb2.GetProofRequest,
        context: Context,  # noqa: ARG002
    ) -> auditor_pb2.GetProofResponse:
        """Send a proof of inclusion or consistency."""
        if request.HasField("inclusion"):
            return await self._inclusion(request.inclusion)
        if request.HasField("consistency"):
            return await self._consistency(request.consistency)
        message = "the request names nothing to be proved"
        raise PositionUnknown(message)

    async def ProveRecord(  # noqa: N802 - the generated stub's name
        self,
        request: auditor_pb2.ProveRecordRequest,
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[auditor_pb2.ProveRecordResponse]:
        """Send the frames of a proof of one record."""
        asked = ProofRequest(request.record_id, request.purpose, request.without_cosignatures)
        async for frame in self._prover.prove(caller(), asked):
            yield auditor_pb2.ProveRecordResponse(frame=frame.data)

    async def PresentCheckpoints(  # noqa: N802 - the generated stub's name
        self,
        request: auditor_pb2.PresentCheckpointsRequest,
        context: Context,  # noqa: ARG002
    ) -> auditor_pb2.PresentCheckpointsResponse:
        """Judge the checkpoints that the caller kept, and send the newest ones with proofs."""
        response = auditor_pb2.PresentCheckpointsResponse()
        for answer in await self._rollback.present(caller().spiffe_id, request.notes):
            message = response.answers.add(
                checkpoint=_checkpoint(answer.partition, answer.note), loss_accepted=answer.loss_accepted
            )
            if answer.proof is not None:
                message.consistency.CopyFrom(_consistency(answer.proof))
            for proved in answer.beginnings:
                message.beginnings.add(old_size=proved.size, path=proved.path)
        return response

    async def FindMissing(  # noqa: N802 - the generated stub's name
        self,
        request: auditor_pb2.FindMissingRequest,
        context: Context,  # noqa: ARG002
    ) -> auditor_pb2.FindMissingResponse:
        """Name the records that the log does not have."""
        return auditor_pb2.FindMissingResponse(record_ids=await self._proofs.missing(request.record_ids))

    async def GetTimestamping(  # noqa: N802 - the generated stub's name
        self,
        request: auditor_pb2.GetTimestampingRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> auditor_pb2.GetTimestampingResponse:
        """Say which timestamp authorities are asked, and what came of it."""
        now = self._timestamping()
        response = auditor_pb2.GetTimestampingResponse(trouble=now.trouble)
        for one in now.authorities:
            message = response.authorities.add(url=one.url, trouble=one.trouble)
            for field, ms in ((message.newest, one.newest_ms), (message.since, one.since_ms)):
                if ms is not None:
                    set_ms(field, ms)
        return response

    async def _inclusion(self, target: checkpoint_pb2.ProofTarget) -> auditor_pb2.GetProofResponse:
        position = position_from(target.position)
        proof = await self._proofs.prove_inclusion(caller().agency, position)
        return auditor_pb2.GetProofResponse(
            inclusion=checkpoint_pb2.InclusionProof(
                leaf=proof.leaf, leaf_index=proof.leaf_index, tree_size=proof.tree_size, path=proof.path
            ),
            checkpoint=_checkpoint(position.stream_partition, proof.note),
        )

    async def _consistency(self, target: auditor_pb2.ConsistencyTarget) -> auditor_pb2.GetProofResponse:
        partition = StreamPartition(target.stream, target.partition)
        proof = await self._proofs.prove_consistency(partition, target.old_size)
        return auditor_pb2.GetProofResponse(
            consistency=_consistency(proof), checkpoint=_checkpoint(partition, proof.note)
        )


def _checkpoint(partition: StreamPartition, note: bytes) -> checkpoint_pb2.Checkpoint:
    return checkpoint_pb2.Checkpoint(stream=partition.stream, partition=partition.partition, note=note)


def _consistency(proof: ConsistencyProof) -> checkpoint_pb2.ConsistencyProof:
    return checkpoint_pb2.ConsistencyProof(old_size=proof.old_size, new_size=proof.new_size, path=proof.path)
