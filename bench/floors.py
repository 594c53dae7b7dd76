"""The best that this machine can do: the same transport without checks, only signatures, only the store."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from broker.core.entry import NewEntry
from broker.core.streams import StreamPartition
from broker.messagelog.sqlite import SqliteLog
from broker.server.limits import ServerLimits
from broker.trust.system import SystemClock
from broker.wire.codec import ProtobufCodec
from broker.wire.tls import TlsFiles, server_credentials
from caseexchange.broker.v1 import publisher_pb2, publisher_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from broker.core.envelope import Envelope
    from broker.ports import Keyring


class Nothing(publisher_pb2_grpc.PublisherServiceServicer):
    """Accepts batches and acknowledges them. The same messages, the same connection, no work."""

    async def PublishStream(  # noqa: N802
        self,
        request_iterator: AsyncIterator[publisher_pb2.PublishStreamRequest],
        context: Any,  # noqa: ARG002
    ) -> AsyncIterator[publisher_pb2.PublishStreamResponse]:
        async for request in request_iterator:
            results = [publisher_pb2.PublishResult(receipt_index=index) for index in range(len(request.envelopes))]
            yield publisher_pb2.PublishStreamResponse(results=results)


async def serve_nothing(certificate: str, key: str, authorities: str) -> None:
    material = TlsFiles(Path(certificate), Path(key), Path(authorities)).read()
    server = grpc.aio.server(options=ServerLimits().channel_options())
    publisher_pb2_grpc.add_PublisherServiceServicer_to_server(Nothing(), server)
    port = server.add_secure_port("localhost:0", server_credentials(material, lambda: None))
    await server.start()
    print(f"serving on localhost:{port}", flush=True)
    await server.wait_for_termination()


def verifications_per_second(envelopes: Sequence[Envelope], keyring: Keyring, threads: int) -> float:
    def verify(part: Sequence[Envelope]) -> None:
        for envelope in part:
            (signature,) = envelope.signatures
            keyring.signer(signature.certificate_sha256).verify(envelope.signed_bytes, signature.value)

    parts = [envelopes[start::threads] for start in range(threads)]
    started = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(verify, parts))
    return len(envelopes) / (time.perf_counter() - started)


def appends_per_second(envelopes: Sequence[Envelope], path: Path, batch: int) -> float:
    codec = ProtobufCodec()
    entries = []
    for envelope in envelopes:
        body = codec.parse_body(envelope.body)
        entries.append(
            NewEntry(
                StreamPartition("dna", 0),
                body.record_id_bytes,
                body.kind,
                body.case_id,
                ("national-dna-database",),
                envelope.record_sha256,
                codec.encode_envelope(envelope),
            )
        )

    async def append() -> float:
        log = await SqliteLog.open(path, SystemClock())
        started = time.perf_counter()
        for start in itertools.count(0, batch):
            if start >= len(entries):
                break
            await log.append(entries[start : start + batch])
        seconds = time.perf_counter() - started
        await log.close()
        return len(entries) / seconds

    return asyncio.run(append())


if __name__ == "__main__":
    asyncio.run(serve_nothing(*sys.argv[1:]))
