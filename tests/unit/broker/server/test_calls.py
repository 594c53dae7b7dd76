"""The guard in front of a small test service, over real gRPC with mutual TLS."""

from __future__ import annotations

import asyncio
import re
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from structlog.testing import capture_logs

from broker.core.errors import (
    CaseExchangeError,
    Draining,
    InputRefused,
    Internal,
    LogUnavailable,
    PeerIdentityMissing,
    PeerRevoked,
    PeerUnknown,
    RightDenied,
)
from broker.core.events import RefusalMade
from broker.core.quota import QuotaLimits
from broker.server.calls import CallGuard, Told, caller
from broker.services.quotas import Quotas
from broker.services.refusals import Refusals
from broker.services.turns import AT_ONCE_SECONDS
from broker.trust.peers import TlsPeers
from broker.trust.verification import InlineVerifier
from broker.wire.status import error_from_call
from broker.wire.tls import TlsFiles, client_credentials, server_credentials
from certs import profiles
from tests.support.fakes import FixedDirectory, ListedAudit
from tests.support.pki import ManualClock, SamplePki

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from broker.core.identity import Principal
    from broker.wire.bounds import Nested

Context = grpc.aio.ServicerContext[StringValue, StringValue]
SHANXI = "spiffe://case-exchange.example/agency/shanxi-police/gateway"
SECRET = "the child's name"  # noqa: S105 - must never leave the broker


def fail() -> None:
    raise ValueError(SECRET)


FAILS_AT = fail.__code__.co_firstlineno + 1


class SwitchedPeers(TlsPeers):
    """Peers of a directory. Some of them are revoked while they are connected."""

    revoked: frozenset[str] = frozenset()
    asked = 0

    def authenticate(self, certificate_pem: bytes) -> Principal:
        self.asked += 1
        principal = super().authenticate(certificate_pem)
        if principal.agency in self.revoked:
            message = "revoked just now"
            raise PeerRevoked(message)
        return principal


class NoRevocation:
    def check(self, certificate_der: bytes) -> None:
        """Nobody is revoked."""


def fail_for_good() -> None:
    message = "the log does not answer"
    raise LogUnavailable(message)


class Service:
    """Every kind of method. The request says what the method does."""

    def __init__(self) -> None:
        self.under_way = asyncio.Event()
        self.go_on = asyncio.Event()
        self.closed = asyncio.Event()
        self.of_another: CaseExchangeError | None = None

    async def fails_and_goes_on(self) -> str:
        """Fail, give the error to whoever wants it, and have more to do."""
        try:
            fail_for_good()
        except LogUnavailable as error:
            self.of_another = error
        self.under_way.set()
        await self.go_on.wait()
        return "all done"

    async def do(self, word: str, context: Context) -> str:
        match word:
            case "refuse":
                message = "you may not"
                raise RightDenied(message, agency="shanxi-police")
            case "fail as another":
                assert self.of_another is not None
                raise self.of_another
            case "told":
                message = "you may not"
                raise Told(RightDenied(message))
            case "refuse because":
                message = "you may not"
                raise RightDenied(message) from ValueError(SECRET)
            case "fail":
                fail()
            case "fail inside":
                message = "broken"
                raise Internal(message)
            case "fail because":
                message = "broken"
                raise Internal(message) from ValueError(SECRET)
            case "abort":
                await context.abort(grpc.StatusCode.OUT_OF_RANGE, "by itself")
            case "wait":
                self.under_way.set()
                await self.go_on.wait()
        return f"{caller().agency}: {word}"

    async def one(self, request: StringValue, context: Context) -> StringValue:
        return StringValue(value=await self.do(request.value, context))

    async def gather(self, requests: AsyncIterator[StringValue], context: Context) -> StringValue:
        return StringValue(value=" ".join([await self.do(request.value, context) async for request in requests]))

    async def spread(self, request: StringValue, context: Context) -> AsyncIterator[StringValue]:
        try:
            for word in request.value.split("+"):
                yield StringValue(value=await self.do(word, context))
        finally:
            self.closed.set()

    async def each(self, requests: AsyncIterator[StringValue], context: Context) -> AsyncIterator[StringValue]:
        async for request in requests:
            yield StringValue(value=await self.do(request.value, context))

    async def write(self, request: StringValue, context: Context) -> None:
        await context.write(StringValue(value=await self.do(request.value, context)))

    def handler(self) -> grpc.GenericRpcHandler:
        how: dict[str, Any] = {
            "request_deserializer": StringValue.FromString,
            "response_serializer": StringValue.SerializeToString,
        }
        methods: dict[str, Any] = {
            "One": grpc.unary_unary_rpc_method_handler(self.one, **how),
            "Publish": grpc.unary_unary_rpc_method_handler(self.one, **how),
            "Gather": grpc.stream_unary_rpc_method_handler(self.gather, **how),
            "Spread": grpc.unary_stream_rpc_method_handler(self.spread, **how),
            "Each": grpc.stream_stream_rpc_method_handler(self.each, **how),
            "Write": grpc.unary_stream_rpc_method_handler(self.write, **how),
        }
        return grpc.method_handlers_generic_handler("test.Service", methods)


class HeldExaminer(InlineVerifier):
    """Examines large messages when a test lets it."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = threading.Event()

    def fields_fit(self, data: bytes, nested: Nested, most: int) -> bool:
        self.asked += 1
        assert self.go.wait(60), "nobody was served meanwhile"
        return super().fields_fit(data, nested, most)


class Caller:
    """One connection. A test calls the methods on it with words, or with bytes that are not a message."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        how: dict[str, Any] = {
            "request_serializer": lambda word: (
                word if isinstance(word, bytes) else StringValue(value=word).SerializeToString()
            ),
            "response_deserializer": lambda data: StringValue.FromString(data).value,
        }
        self.one: Any = channel.unary_unary("/test.Service/One", **how)
        self.publish: Any = channel.unary_unary("/test.Service/Publish", **how)
        self.empty: Any = channel.stream_unary("/test.Service/One", **how)
        self.gather: Any = channel.stream_unary("/test.Service/Gather", **how)
        self.spread: Any = channel.unary_stream("/test.Service/Spread", **how)
        self.each: Any = channel.stream_stream("/test.Service/Each", **how)
        self.write: Any = channel.unary_stream("/test.Service/Write", **how)
        self.unknown: Any = channel.unary_unary("/test.Service/Unknown", **how)


class Served(NamedTuple):
    pki: SamplePki
    guard: CallGuard
    peers: SwitchedPeers
    audit: ListedAudit
    service: Service
    connect: Callable[..., Caller]
    without_certificate: Caller
    clock: ManualClock
    """For quotas."""
    examiner: HeldExaminer


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
async def served(pki: SamplePki) -> AsyncIterator[Served]:
    service = Service()
    peers = SwitchedPeers(FixedDirectory(pki.directory), NoRevocation())
    audit = ListedAudit()
    clock, examiner = ManualClock(0), HeldExaminer()
    guard = CallGuard(peers, Quotas(lambda _: QuotaLimits(), clock), Refusals(audit, ManualClock(0)), examiner)
    server = grpc.aio.server(interceptors=[guard])
    server.add_generic_rpc_handlers((service.handler(),))
    authorities = pki.folder.trust / "tls-ca.pem"
    material = TlsFiles(*pki.tls_paths("exchange"), authorities).read()
    port = server.add_secure_port("localhost:0", server_credentials(material, lambda: None))
    open_port = server.add_insecure_port("localhost:0")
    channels = [grpc.aio.insecure_channel(f"localhost:{open_port}")]

    def connect(agency: str = "shanxi-police", files: tuple[Path, Path] | None = None) -> Caller:
        paths = files or pki.tls_paths(agency)
        credentials = client_credentials(TlsFiles(*paths, authorities).read())
        channels.append(grpc.aio.secure_channel(f"localhost:{port}", credentials))
        return Caller(channels[-1])

    await server.start()
    async with asyncio.timeout(60):
        yield Served(pki, guard, peers, audit, service, connect, Caller(channels[0]), clock, examiner)
    for channel in channels:
        await channel.close()
    await server.stop(None)


async def refused(call: Awaitable[object]) -> CaseExchangeError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    metadata = [(key, value) for key, value in error.trailing_metadata() or ()]
    return error_from_call(error.code(), error.details(), metadata)


async def listed(answers: Any) -> list[str]:
    return [answer async for answer in answers]


async def test_every_kind_of_method_is_served_and_knows_who_calls(served: Served) -> None:
    police, lab = served.connect(), served.connect("national-dna-database")
    assert await police.one("a") == "shanxi-police: a"
    assert await lab.one("a") == "national-dna-database: a"
    assert await police.gather(["a", "b"]) == "shanxi-police: a shanxi-police: b"
    assert await listed(police.spread("a+b")) == ["shanxi-police: a", "shanxi-police: b"]
    assert await listed(police.each(["a", "b"])) == ["shanxi-police: a", "shanxi-police: b"]
    assert await listed(police.write("a")) == ["shanxi-police: a"]


async def test_a_method_that_is_not_there_is_not_guarded(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.connect().unknown("a")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


# --- who calls ---


async def test_a_peer_without_a_certificate_is_refused(served: Served) -> None:
    with capture_logs() as logs:
        assert isinstance(await refused(served.without_certificate.one("a")), PeerIdentityMissing)
    assert [(entry["reason"], entry["principal"]) for entry in logs] == [("PEER_IDENTITY_MISSING", "")]


async def test_a_peer_that_is_not_listed_is_refused(served: Served, tmp_path: Path) -> None:
    stranger = served.pki.credential(profiles.TLS_CLIENT, agency="stranger")
    assert isinstance(await refused(served.connect(files=stranger.write(tmp_path, "peer")).one("a")), PeerUnknown)
    (event,) = served.audit.events
    assert "/agency/stranger/" in event.principal
    assert event.event == RefusalMade("PEER_UNKNOWN", "")


async def test_auditors_are_told_of_a_refused_call_whatever_its_method(served: Served) -> None:
    police = served.connect()
    for call in (police.one("refuse"), police.gather(["refuse"]), listed(police.spread("a+refuse"))):
        assert isinstance(await refused(call), RightDenied)
    assert [(event.principal, event.event) for event in served.audit.events] == [
        (SHANXI, RefusalMade("RIGHT_DENIED", ""))
    ] * 3


async def test_what_a_service_has_told_is_answered_and_not_told_again(served: Served) -> None:
    with capture_logs() as logs:
        assert isinstance(await refused(served.connect().one("told")), RightDenied)
    assert (served.audit.events, logs) == ([], [])


async def test_the_calls_of_a_peer_that_is_revoked_end_at_once_and_others_go_on(served: Served) -> None:
    police, lab = served.connect(), served.connect("national-dna-database")
    waiting = asyncio.ensure_future(refused(police.one("wait")))
    await served.service.under_way.wait()
    served.service.under_way.clear()
    going_on = asyncio.ensure_future(lab.one("wait"))
    await served.service.under_way.wait()
    served.peers.revoked = frozenset({"shanxi-police"})
    served.guard.recheck_peers()
    error = await waiting
    assert isinstance(error, PeerRevoked)
    assert error.message == "revoked just now"
    served.service.go_on.set()
    assert await going_on == "national-dna-database: wait"


async def test_a_call_that_fails_with_the_error_of_another_task_leaves_that_task_alone(served: Served) -> None:
    another = asyncio.create_task(served.service.fails_and_goes_on())
    await served.service.under_way.wait()
    police = served.connect()
    for call in (police.one("fail as another"), listed(police.spread("a+fail as another"))):
        assert isinstance(await refused(call), LogUnavailable)
    served.service.go_on.set()
    async with asyncio.timeout(60):
        assert await another == "all done"


async def test_a_call_that_has_ended_is_not_looked_at_again(served: Served) -> None:
    police = served.connect()
    await police.one("a")
    await refused(police.one("refuse"))
    assert served.peers.asked == 2
    async with asyncio.timeout(60):
        while True:
            asked = served.peers.asked
            served.guard.recheck_peers()
            if served.peers.asked == asked:
                break
            # The caller may have its answer before the call has ended.
            await asyncio.sleep(0)


# --- how an error leaves ---


async def test_a_refusal_leaves_as_its_row_of_the_table_says(served: Served) -> None:
    with capture_logs() as logs:
        error = await refused(served.connect().one("refuse"))
    assert isinstance(error, RightDenied)
    assert (error.message, error.details) == ("you may not", {"agency": "shanxi-police"})
    told = {"method": "/test.Service/One", "reason": "RIGHT_DENIED", "principal": SHANXI, "cause": ""}
    assert logs == [{"event": "refused", "log_level": "info", **told}]


@pytest.mark.parametrize("method", ["spread", "each", "gather"])
async def test_a_refusal_within_a_stream_ends_it(served: Served, method: str) -> None:
    police = served.connect()
    words = ["a", "refuse", "b"]
    match method:
        case "spread":
            answers = police.spread("+".join(words))
        case "each":
            answers = police.each(words)
        case _:
            assert isinstance(await refused(police.gather(words)), RightDenied)
            return
    assert await anext(aiter(answers)) == "shanxi-police: a"
    assert isinstance(await refused(listed(answers)), RightDenied)


@pytest.mark.parametrize(
    ("word", "message", "level", "cause"),
    [
        # The place where it began, not where it was caught.
        ("fail", "the broker failed; its log says more", "error", rf"ValueError at {__file__}:{FAILS_AT}"),
        ("fail inside", "broken", "error", ""),
        ("fail because", "broken", "error", r"ValueError at \?"),
        ("refuse because", "you may not", "info", ""),
    ],
)
async def test_a_defect_is_logged_by_its_place_and_its_text_goes_to_nobody(
    served: Served, word: str, message: str, level: str, cause: str
) -> None:
    with capture_logs() as logs:
        error = await refused(served.connect().one(word))
    assert error.message == message
    assert (error.reason == Internal.reason) is (level == "error")
    (entry,) = logs
    assert entry["log_level"] == level
    assert re.fullmatch(cause, entry["cause"])
    assert SECRET not in repr(logs) + repr(error)


async def test_a_servicer_may_end_a_call_itself(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught, capture_logs() as logs:
        await served.connect().one("abort")
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.OUT_OF_RANGE, "by itself")
    assert logs == []


@pytest.mark.parametrize("method", ["one", "each"])
async def test_bytes_that_are_no_message_are_refused_as_input(served: Served, method: str) -> None:
    police = served.connect()
    call = police.one(b"\xff") if method == "one" else listed(police.each(["a", b"\xff"]))
    error = await refused(call)
    assert isinstance(error, InputRefused)
    assert "not the message" in error.message


async def test_a_call_without_a_request_is_refused_as_input(served: Served) -> None:
    """A unary method is served as one that reads a stream, so that nothing is read before its turn."""
    channel_call = served.connect().empty()
    await channel_call.done_writing()
    assert isinstance(await refused(channel_call), InputRefused)


async def test_others_are_served_while_a_large_message_is_examined(served: Served) -> None:
    """It is examined outside the event loop, before it is parsed. Small ones need not be."""
    police, lab = served.connect(), served.connect("national-dna-database")
    assert await police.publish("a") == "shanxi-police: a"
    assert served.examiner.asked == 0
    large = asyncio.ensure_future(refused(police.publish("a" * (1 << 20))))
    while not served.examiner.asked:
        await lab.one("a")
    assert not large.done()
    served.examiner.go.set()
    error = await large
    assert isinstance(error, InputRefused)
    assert "fields" in error.message


# --- what counts against an agency ---


@pytest.mark.parametrize("word", ["refuse", "told"])
async def test_requests_of_an_agency_with_many_refused_calls_are_not_read_and_others_are(
    served: Served, word: str
) -> None:
    police, lab = served.connect(), served.connect("national-dna-database")
    # Their few bytes count too, so the last one is over the quota.
    for _ in range(int(QuotaLimits().refusals_per_second * AT_ONCE_SECONDS)):
        assert isinstance(await refused(police.one(word)), RightDenied)
    waiting = [asyncio.ensure_future(police.one("wait")), asyncio.ensure_future(police.gather(["wait"]))]
    for _ in range(20):
        await lab.one("a")
    assert not served.service.under_way.is_set()
    served.clock.value_ms += 1000
    served.service.go_on.set()
    assert await asyncio.gather(*waiting) == ["shanxi-police: wait"] * 2


# --- ends ---


async def test_a_caller_that_goes_away_leaves_nothing_behind(served: Served) -> None:
    police = served.connect()
    call = police.spread("a+wait")
    assert await anext(aiter(call)) == "shanxi-police: a"
    await served.service.under_way.wait()
    with capture_logs() as logs:
        call.cancel()
        await served.service.closed.wait()
        await police.one("a")
    assert logs == []
    asked = served.peers.asked
    served.guard.recheck_peers()
    assert served.peers.asked == asked == 2


async def test_a_broker_that_is_going_refuses_new_calls_and_finishes_the_old(served: Served) -> None:
    police = served.connect()
    under_way = asyncio.ensure_future(police.one("wait"))
    await served.service.under_way.wait()
    served.guard.drain()
    assert isinstance(await refused(police.one("a")), Draining)
    served.service.go_on.set()
    assert await under_way == "shanxi-police: wait"
