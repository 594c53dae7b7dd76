"""The gRPC server: credentials, limits, the guard, the servicers and the standard health service.

There is no server reflection. It would show outsiders every message, and clients have the protos.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from broker.core.errors import SetupInvalid
from broker.server.calls import CallGuard
from broker.server.limits import addresses_of
from caseexchange.broker.v1 import (
    auditor_pb2_grpc,
    deadletter_pb2_grpc,
    directory_pb2_grpc,
    publisher_pb2_grpc,
    subscriber_pb2_grpc,
    subscription_pb2_grpc,
    trace_pb2_grpc,
)

if TYPE_CHECKING:
    from broker.ports import MessageExaminer, PeerAuthentication
    from broker.server.auditor import AuditorServicer
    from broker.server.deadletters import DeadLetterServicer
    from broker.server.directory import DirectoryServicer
    from broker.server.limits import ServerLimits
    from broker.server.publisher import PublisherServicer
    from broker.server.subscriber import SubscriberServicer
    from broker.server.subscriptions import SubscriptionServicer
    from broker.server.trace import TraceServicer
    from broker.services.quotas import Quotas
    from broker.services.refusals import Refusals

SERVICES: Final = tuple(
    f"caseexchange.broker.v1.{name}"
    for name in (
        "PublisherService",
        "SubscriberService",
        "AuditorService",
        "DirectoryService",
        "DeadLetterService",
        "SubscriptionService",
        "TraceService",
    )
)


class Servicers(NamedTuple):
    """The services of the server."""

    publisher: PublisherServicer
    subscriber: SubscriberServicer
    auditor: AuditorServicer
    directory: DirectoryServicer
    dead_letters: DeadLetterServicer
    trace: TraceServicer
    subscriptions: SubscriptionServicer


class BrokerServer:
    """A server on one address. For one event loop."""

    def __init__(
        self,
        servicers: Servicers,
        peers: PeerAuthentication,
        quotas: Quotas,
        refusals: Refusals,
        examiner: MessageExaminer,
        *,
        address: str,
        credentials: grpc.ServerCredentials,
        limits: ServerLimits,
    ) -> None:
        """Bind the address. Nothing is served before ``start``.

        Raises:
            SetupInvalid: the address cannot be bound.
        """
        self._guard = CallGuard(peers, quotas, refusals, examiner)
        self._server = grpc.aio.server(
            interceptors=[self._guard],
            options=limits.channel_options(addresses_of(address)),
            maximum_concurrent_rpcs=limits.concurrent_calls,
        )
        publisher_pb2_grpc.add_PublisherServiceServicer_to_server(servicers.publisher, self._server)
        subscriber_pb2_grpc.add_SubscriberServiceServicer_to_server(servicers.subscriber, self._server)
        auditor_pb2_grpc.add_AuditorServiceServicer_to_server(servicers.auditor, self._server)
        directory_pb2_grpc.add_DirectoryServiceServicer_to_server(servicers.directory, self._server)
        deadletter_pb2_grpc.add_DeadLetterServiceServicer_to_server(servicers.dead_letters, self._server)
        subscription_pb2_grpc.add_SubscriptionServiceServicer_to_server(servicers.subscriptions, self._server)
        trace_pb2_grpc.add_TraceServiceServicer_to_server(servicers.trace, self._server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self.port: Final[int] = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            message = f"the address {address} cannot be bound: it is in use, or not one of this machine's"
            raise SetupInvalid(message) from error

    async def start(self) -> None:
        """Begin to serve. Health says NOT_SERVING until ``set_serving`` changes it."""
        await self.set_serving(serving=False)
        await self._server.start()

    async def set_serving(self, *, serving: bool) -> None:
        """Set what probes see: whether records can be published now."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *SERVICES):
            await self._health.set(service, status)

    def recheck_peers(self) -> None:
        """End the calls of peers that may no longer call."""
        self._guard.recheck_peers()

    async def refuse_new_calls(self) -> None:
        """Take the first step of a drain: refuse new calls, and let probes see that the broker ends."""
        await self._health.enter_graceful_shutdown()
        self._guard.drain()

    async def stop(self, grace_seconds: float) -> None:
        """Let calls under way finish for at most this long, then end."""
        await self._server.stop(grace_seconds)
