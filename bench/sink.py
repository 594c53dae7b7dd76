"""A server that reads whatever comes and refuses it: ``sink.py MEMBER_FOLDER TLS_AUTHORITIES``. It prints its address.

The control of bench/attack.py. An attack on it costs the others what the machine and the kernel give to the attacker,
and nothing that a broker does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import grpc

from broker.server.limits import ServerLimits
from broker.wire.tls import TlsFiles, server_credentials


class Refuse(grpc.GenericRpcHandler):
    """Every method: read a message, refuse the call."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:  # noqa: ARG002
        return grpc.stream_stream_rpc_method_handler(_refuse)


async def _refuse(_: object, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
    await context.read()
    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused")


async def main(own: Path, authorities: Path) -> None:
    server = grpc.aio.server(options=ServerLimits().channel_options(2))
    server.add_generic_rpc_handlers((Refuse(),))
    material = TlsFiles(own / "tls.pem", own / "tls.key", authorities).read()
    port = server.add_secure_port("localhost:0", server_credentials(material, lambda: None))
    await server.start()
    print(f"sink at localhost:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(*map(Path, sys.argv[1:])))
