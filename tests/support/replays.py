"""Bundle files: from a running broker, from an auditor who reads the log, and changed afterwards."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from broker.bootstrap.verify import verify_bundle
from broker.core.audit.findings import Severity
from broker.core.policy import ANY
from broker.core.streams import STREAMS, StreamPartition
from broker.services.bundling import BundleMaker, BundleOrder
from broker.services.erasureorders import ErasureOrders
from broker.trust.system import SystemClock
from broker.wire.bundle import MAGIC, read_frames, write_frame
from broker.wire.frames import frame_from, frame_to
from tests.support.fakes import FixedDirectory
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from broker.core.audit.report import AuditReport
    from broker.core.bundle import Frame, SerializedFrame
    from broker.core.streams import Position
    from broker.ports import CheckpointStore, MessageLog, Signer
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki


class Bundle(NamedTuple):
    path: Path
    pki: SamplePki

    @property
    def root(self) -> Path:
        return self.pki.folder.trust / "governance.pem"

    def frames(self) -> list[Frame]:
        with self.path.open("rb") as file:
            return [frame_from(data) for data in read_frames(file)]

    def altered(self, folder: Path, frames: list[Frame]) -> Bundle:
        path = folder / "altered.bundle"
        with path.open("wb") as file:
            file.write(MAGIC)
            for frame in frames:
                write_frame(file, frame_to(frame).SerializeToString(deterministic=True))
        return Bundle(path, self.pki)

    def report(self) -> AuditReport:
        return verify_bundle(self.path, (self.root,), lambda _: None)

    def codes(self) -> set[str]:
        return {finding.code for finding in self.report().findings if finding.severity is Severity.ERROR}

    def named(self) -> list[tuple[str, Position]]:
        """Errors with a position, in order."""
        return [
            (finding.code, finding.position)
            for finding in self.report().findings
            if finding.severity is Severity.ERROR and finding.position is not None
        ]


async def covered(exchange: Exchange) -> None:
    """Return when a running broker's checkpoints cover everything that it has accepted."""
    log = exchange.broker.log
    ends = {}
    for stream in STREAMS:
        for number in range(log.partitions(stream)):
            partition = StreamPartition(stream, number)
            ends[partition] = await log.end_offset(partition)
    async with asyncio.timeout(60):
        await exchange.broker.follower.covered(ends)


async def replayed(exchange: Exchange, path: Path, **asked: Any) -> Bundle:
    """The bundle from a running broker, made when its checkpoints cover everything that it has accepted."""
    await covered(exchange)
    return await _written((await exchange.auditor()).replay("a test of the replay", **asked), path, exchange.pki)


class PkiMaterial:
    """The published trust documents of a development PKI."""

    def __init__(self, pki: SamplePki) -> None:
        self._pki = pki

    def authorities(self) -> Sequence[bytes]:
        return self._pki.directory.signing_authorities

    def revocation_lists(self) -> Sequence[bytes]:
        return self._pki.revocation_lists().documents()


def bundle_maker(pki: SamplePki, log: MessageLog, store: CheckpointStore, signer: Signer | None = None) -> BundleMaker:
    return BundleMaker(
        log=log,
        store=store,
        codec=CODEC,
        orders=ErasureOrders(),
        directory=FixedDirectory(pki.directory),
        material=PkiMaterial(pki),
        clock=SystemClock(),
        signer=signer,
    )


def order(
    streams: Sequence[str] = STREAMS,
    *,
    sections: str = ANY,
    accepted_from_ms: int | None = None,
    accepted_until_ms: int | None = None,
) -> BundleOrder:
    visible = dict.fromkeys(streams, frozenset({sections}))
    return BundleOrder(
        "spiffe://case-exchange.example/agency/national-audit/desk",
        "a test",
        visible,
        accepted_from_ms,
        accepted_until_ms,
    )


async def made(maker: BundleMaker, asked: BundleOrder, path: Path, pki: SamplePki) -> Bundle:
    """The bundle that a maker makes from a log."""
    return await _written(maker.make(asked), path, pki)


async def _written(frames: AsyncIterator[SerializedFrame], path: Path, pki: SamplePki) -> Bundle:
    with path.open("wb") as file:
        file.write(MAGIC)
        async for frame in frames:
            write_frame(file, frame.data)
    return Bundle(path, pki)
