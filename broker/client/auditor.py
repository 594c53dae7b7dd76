"""Auditing: get the bytes that are needed to check the exchange without trusting it. The check itself is offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from broker.client.connection import typed_errors
from broker.core.bundle import CosignedCheckpoint, SerializedFrame
from broker.core.errors import BundleInvalid, ProofInvalid
from broker.core.tree.merkle import leaf_hash, verify_consistency, verify_inclusion
from broker.ports import AskedAuthorities, AskedAuthority
from broker.wire.times import set_ms, to_ms
from caseexchange.broker.v1 import (
    auditor_pb2,
    auditor_pb2_grpc,
    checkpoint_pb2,
    position_pb2,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import grpc

    from broker.core.streams import Position, StreamPartition


class InclusionEvidence(NamedTuple):
    """A leaf, its inclusion proof, and the note of the checkpoint."""

    leaf: bytes
    leaf_index: int
    tree_size: int
    path: tuple[bytes, ...]
    note: bytes

    def check(self, size: int, root: bytes) -> None:
        """Check the proof against a verified checkpoint.

        Raises:
            ProofInvalid: it does not prove that the leaf is in that tree.
        """
        if self.tree_size != size:
            message = "the proof and the checkpoint are for trees of different sizes"
            raise ProofInvalid(message)
        verify_inclusion(self.leaf_index, size, leaf_hash(self.leaf), self.path, root)


class ConsistencyEvidence(NamedTuple):
    """A proof that an earlier tree is the beginning of the checkpoint's tree."""

    old_size: int
    new_size: int
    path: tuple[bytes, ...]
    note: bytes

    def check(self, old_root: bytes, size: int, root: bytes) -> None:
        """Check the proof between two verified checkpoints.

        Raises:
            ProofInvalid: it does not prove that the later tree begins with the earlier one.
        """
        if self.new_size != size:
            message = "the proof and the checkpoint are for trees of different sizes"
            raise ProofInvalid(message)
        verify_consistency(self.old_size, size, old_root, root, self.path)


class NewestCheckpoint(NamedTuple):
    """A checkpoint's note, and the newest checkpoint that enough witnesses have cosigned. Nothing is verified."""

    note: bytes
    cosigned: CosignedCheckpoint | None


class Auditor:
    """Gets evidence from a broker over a channel. For one event loop."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = auditor_pb2_grpc.AuditorServiceStub(channel)

    async def replay(
        self,
        purpose: str,
        *,
        streams: Sequence[str] = (),
        accepted_from_ms: int | None = None,
        accepted_until_ms: int | None = None,
    ) -> AsyncIterator[SerializedFrame]:
        """Yield the frames of a bundle, in order, byte for byte as the broker made and signed them.

        Times are milliseconds since the Unix epoch. None means no limit.

        Raises:
            CaseExchangeError: the broker refused, or the stream broke. A bundle without its last frame proves nothing
                about the rest.
            BundleInvalid: a frame cannot be read, or the broker says that it did not make the bundle. A broker must
                sign every bundle that it sends.
        """
        request = auditor_pb2.ReplayRequest(purpose=purpose, streams=streams)
        if accepted_from_ms is not None:
            set_ms(request.accepted_from, accepted_from_ms)
        if accepted_until_ms is not None:
            set_ms(request.accepted_until, accepted_until_ms)
        with typed_errors():
            async for response in self._stub.Replay(request):
                yield _serialized(response.frame)

    async def prove_record(
        self, record_id: str, *, purpose: str = "", without_cosignatures: bool = False
    ) -> AsyncIterator[SerializedFrame]:
        """Yield the frames of a proof of one record, in order: a bundle with this record alone.

        Args:
            record_id: the record's id.
            purpose: why. Only an auditor who is no party of the record must say it.
            without_cosignatures: do not wait for witnesses.

        Raises:
            RecordUnknown: there is no such record that concerns the caller.
            ProofNotReady: no checkpoint with cosignatures covers it yet. ``retry_after_ms`` says when to ask again.
            CaseExchangeError, BundleInvalid: as for ``replay``.
        """
        request = auditor_pb2.ProveRecordRequest(
            record_id=record_id, purpose=purpose, without_cosignatures=without_cosignatures
        )
        with typed_errors():
            async for response in self._stub.ProveRecord(request):
                yield _serialized(response.frame)

    async def checkpoint(self, partition: StreamPartition) -> bytes:
        """The newest checkpoint of a partition, as a signed note."""
        return (await self.newest_checkpoint(partition)).note

    async def newest_checkpoint(self, partition: StreamPartition) -> NewestCheckpoint:
        """The newest checkpoint of a partition, and the newest one that enough witnesses have cosigned.

        Raises:
            PositionUnknown: there is no such partition.
        """
        request = auditor_pb2.GetCheckpointRequest(stream=partition.stream, partition=partition.partition)
        with typed_errors():
            response = await self._stub.GetCheckpoint(request)
        if not response.HasField("cosigned"):
            return NewestCheckpoint(response.checkpoint.note, None)
        cosigned = CosignedCheckpoint(response.cosigned.note, tuple(response.cosigned.path))
        return NewestCheckpoint(response.checkpoint.note, cosigned)

    async def timestamping(self) -> AskedAuthorities:
        """The timestamp authorities that the broker process asks, and what came of it. It is the broker's word."""
        with typed_errors():
            response = await self._stub.GetTimestamping(auditor_pb2.GetTimestampingRequest())
        authorities = (
            AskedAuthority(
                one.url,
                to_ms(one.newest) if one.HasField("newest") else None,
                one.trouble,
                to_ms(one.since) if one.HasField("since") else None,
            )
            for one in response.authorities
        )
        return AskedAuthorities(tuple(authorities), response.trouble)

    async def prove_inclusion(self, position: Position) -> InclusionEvidence:
        """Get the proof that the entry at a position is in the newest checkpoint's tree.

        Only the record's publisher, its recipients and auditors of the stream get it: PositionUnknown.
        """
        target = checkpoint_pb2.ProofTarget(
            position=position_pb2.Position(stream=position.stream, partition=position.partition, offset=position.offset)
        )
        with typed_errors():
            response = await self._stub.GetProof(auditor_pb2.GetProofRequest(inclusion=target))
        proof = response.inclusion
        return InclusionEvidence(
            proof.leaf, proof.leaf_index, proof.tree_size, tuple(proof.path), response.checkpoint.note
        )

    async def prove_consistency(self, partition: StreamPartition, old_size: int) -> ConsistencyEvidence:
        """Get the proof that the newest checkpoint's tree extends the tree of an earlier size."""
        target = auditor_pb2.ConsistencyTarget(
            stream=partition.stream, partition=partition.partition, old_size=old_size
        )
        with typed_errors():
            response = await self._stub.GetProof(auditor_pb2.GetProofRequest(consistency=target))
        proof = response.consistency
        return ConsistencyEvidence(proof.old_size, proof.new_size, tuple(proof.path), response.checkpoint.note)


def _serialized(data: bytes) -> SerializedFrame:
    frame = _parsed(data)
    if frame.HasField("header") and frame.header.source != auditor_pb2.BUNDLE_SOURCE_BROKER:
        message = "the broker sent a bundle that it did not make and sign itself"
        raise BundleInvalid(message)
    return SerializedFrame(data, len(frame.partition_records.entries), frame.HasField("end"))


def _parsed(frame: bytes) -> auditor_pb2.BundleFrame:
    try:
        return auditor_pb2.BundleFrame.FromString(frame)
    except DecodeError as error:
        message = "the broker sent a frame that cannot be read"
        raise BundleInvalid(message) from error
