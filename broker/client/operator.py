"""Ask a broker whether it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2, health_pb2_grpc

from broker.client.connection import typed_errors

if TYPE_CHECKING:
    import grpc


async def is_serving(channel: grpc.aio.Channel, *, timeout_seconds: float = 5.0) -> bool:
    """Whether the broker accepts records now.

    Raises:
        CaseExchangeError: it did not answer, or refused the request.
    """
    with typed_errors():
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=timeout_seconds
        )
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
