"""What our own client and our own broker agree on in the handshake, as a relay between them reads it in the clear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.client.connection import ConnectionSettings, open_channel
from broker.client.publisher import Publisher
from broker.wire.tls import TlsFiles
from tests.support.link import Link
from tests.support.records import CODEC

if TYPE_CHECKING:
    import asyncio

    from tests.support.exchange import Exchange

X25519MLKEM768: Final = 0x11EC
"""draft-ietf-tls-ecdhe-mlkem, IANA's registry of TLS Supported Groups."""
TLS_1_3: Final = b"\x03\x04"
_HANDSHAKE, _SERVER_HELLO = 22, 2
_KEY_SHARE, _SUPPORTED_VERSIONS = 51, 43


class Tap(Link):
    """A link that keeps what went through, for each direction of each connection by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.flows: list[bytearray] = []

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        flow = bytearray()
        self.flows.append(flow)
        while data := await reader.read(1 << 16):
            flow += data
            writer.write(data)
            await writer.drain()


def server_hello(flow: bytes | bytearray) -> dict[int, bytes]:
    """The extensions of the ServerHello with which a flow begins (RFC 8446 section 4.1.3). Empty: it has none."""
    if len(flow) < 6 or flow[0] != _HANDSHAKE or flow[5] != _SERVER_HELLO:
        return {}
    hello = flow[9 : 9 + int.from_bytes(flow[6:9], "big")]
    at = 2 + 32
    at += 1 + hello[at] + 2 + 1
    extensions = hello[at + 2 : at + 2 + int.from_bytes(hello[at : at + 2], "big")]
    found = {}
    while extensions:
        kind, size = int.from_bytes(extensions[:2], "big"), int.from_bytes(extensions[2:4], "big")
        found[kind], extensions = bytes(extensions[4 : 4 + size]), extensions[4 + size :]
    return found


async def test_client_and_broker_agree_on_the_hybrid_key_exchange(exchange: Exchange) -> None:
    certificate, key = exchange.pki.tls_paths("shanxi-police")
    files = TlsFiles(certificate, key, exchange.pki.folder.trust / "tls-ca.pem")
    async with Tap() as tap:
        tap.mend(exchange.target)
        async with open_channel(ConnectionSettings(tap.target), files.read()) as channel:
            receipt = await Publisher(channel, CODEC, exchange.receipts()).publish(exchange.maker().make())
    assert receipt.statement
    hellos = [hello for flow in tap.flows if (hello := server_hello(flow))]
    assert hellos
    for hello in hellos:
        group, size = (int.from_bytes(hello[_KEY_SHARE][at : at + 2], "big") for at in (0, 2))
        assert (hello[_SUPPORTED_VERSIONS], group) == (TLS_1_3, X25519MLKEM768)
        # The ciphertext of ML-KEM-768, and a point of X25519. A request to try another group has none.
        assert size == 1088 + 32
