"""What replays and proofs have in common: the header, the trust material, receipts, and the signature of the whole."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from broker.core.bundle import (
    AuthorityCertificate,
    BundleDigest,
    BundleEnd,
    BundleHeader,
    BundleSource,
    DirectoryDocument,
    PartitionRecords,
    PartitionStart,
    RevocationListFile,
    SerializedFrame,
)
from broker.core.envelope import Signature
from broker.core.errors import PositionUnknown
from broker.core.incarnations import Incarnations
from broker.core.tree.merkle import range_coordinates
from broker.services.bundlebatch import Batch
from broker.services.proofs import proved_beginnings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from broker.core.bundle import CosignedCheckpoint, Frame, ProvedBeginning
    from broker.core.streams import StreamPartition
    from broker.ports import CheckpointStore, Clock, DirectoryInForce, RecordCodec, Signer, TrustMaterial


class BundleParts:
    """The parts of one maker's bundles. For one event loop. Without a ``signer`` the source is MESSAGE_LOG."""

    def __init__(
        self,
        *,
        store: CheckpointStore,
        codec: RecordCodec,
        directory: DirectoryInForce,
        material: TrustMaterial,
        clock: Clock,
        signer: Signer | None,
    ) -> None:
        self._store = store
        self._codec = codec
        self._directory = directory
        self._material = material
        self._clock = clock
        self._signer = signer

    def batch(self) -> Batch:
        """An empty batch of records, with receipts if there is a signer."""
        return Batch(self._codec, self._signer)

    def beginning(
        self,
        asked_by: str,
        purpose: str,
        streams: Sequence[str],
        documents: Sequence[DirectoryDocument],
        *,
        period: tuple[int | None, int | None] = (None, None),
        proved_record: str = "",
    ) -> Iterator[Frame]:
        """The header, and the material to check the bundle with: these directory versions, and the newest of the rest.

        Raises:
            DirectoryUnavailable
        """
        directory, now_ms = self._directory.current(), self._clock.now_ms()
        yield BundleHeader(
            directory.trust_domain,
            asked_by,
            purpose,
            now_ms,
            *period,
            tuple(streams),
            BundleSource.MESSAGE_LOG if self._signer is None else BundleSource.BROKER,
            proved_record,
        )
        # If the log has lost every version, signatures can still be checked against the one in force now.
        yield from documents or [DirectoryDocument(directory.document, now_ms)]
        for authority in self._material.authorities():
            yield AuthorityCertificate(authority)
        for revocation_list in self._material.revocation_lists():
            yield RevocationListFile(revocation_list)

    async def start(
        self, partition: StreamPartition, note: bytes, first: int, cosigned: CosignedCheckpoint | None
    ) -> PartitionStart:
        """The start of a partition that is checked against ``note``, and of which leaves from ``first`` on are listed.

        Raises:
            DirectoryUnavailable, LogUnavailable
        """
        left = await self._store.nodes(partition, range_coordinates(0, first))
        directory = self._directory.current()
        declared = Incarnations(directory.incarnations)
        beginnings: tuple[ProvedBeginning, ...] = ()
        # If the tree does not hold what is declared to survive, that is for ``verify`` to say.
        with contextlib.suppress(PositionUnknown):
            beginnings = await proved_beginnings(self._store, declared, directory.trust_domain, partition, note)
        return PartitionStart(partition, note, first, tuple(left), cosigned, beginnings)

    async def sealed(self, frames: AsyncIterator[Frame]) -> AsyncIterator[SerializedFrame]:
        """These frames, serialised, and the last frame. If there is a signer, that signs all the others."""
        count = records = 0
        digest = BundleDigest()
        async for frame in frames:
            held = len(frame.entries) if isinstance(frame, PartitionRecords) else 0
            count += 1
            records += held
            data = self._codec.encode_frame(frame)
            digest.add(data)
            yield SerializedFrame(data, held, last=False)
        signer = self._signer
        signature = Signature(signer.certificate_sha256, signer.sign(digest.message())) if signer else None
        end = BundleEnd(count, records, signature, digest.sha256())
        yield SerializedFrame(self._codec.encode_frame(end), 0, last=True)
