"""Unwelcome peers and input: each gets its own typed error. Nothing is stored and nothing crashes."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from broker.client.composing import SectionDraft
from broker.client.subscriber import SubscribeOptions
from broker.core import errors
from broker.core.streams import StreamPartition
from broker.wire.tls import TlsFiles
from certs import profiles
from certs.operations import LIST_LIFETIME
from tests.support.exchange import Exchange, running_exchange
from tests.support.pki import SamplePki
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.core.envelope import Envelope
    from tests.support.pki import Credential

URI = "spiffe://case-exchange.example/agency/shanxi-police/gateway"
HANDSHAKE = (errors.HandshakeRefused, errors.ConnectionFailed)


async def stored(exchange: Exchange, stream: str = "dna") -> int:
    """The number of records in the log."""
    log = exchange.broker.log
    ends = [await log.end_offset(StreamPartition(stream, number)) for number in range(log.partitions(stream))]
    return sum(ends)


def tls_files(exchange: Exchange, credential: Credential, folder: Path) -> TlsFiles:
    certificate, key = credential.write(folder, "peer")
    return TlsFiles(certificate, key, exchange.pki.folder.trust / "tls-ca.pem")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        pytest.param(lambda pki: pki.of_another_authority(profiles.TLS_CLIENT), HANDSHAKE, id="another authority"),
        pytest.param(lambda pki: pki.expired(profiles.TLS_CLIENT), HANDSHAKE, id="expired"),
        pytest.param(lambda pki: pki.credential(profiles.TLS_SERVER), HANDSHAKE, id="server only"),
        pytest.param(lambda pki: pki.revoked["tls"], (errors.PeerRevoked,), id="revoked"),
        pytest.param(lambda pki: pki.with_uris(URI, URI + "2"), (errors.PeerIdentityMissing,), id="two URIs"),
        pytest.param(lambda pki: pki.with_uris(), (errors.PeerIdentityMissing,), id="no URI"),
        pytest.param(
            lambda pki: pki.credential(profiles.TLS_CLIENT, agency="stranger"),
            (errors.PeerUnknown,),
            id="unknown agency",
        ),
    ],
)
async def test_a_peer_that_is_not_welcome_is_refused(
    exchange: Exchange,
    tmp_path: Path,
    wrong: Callable[[SamplePki], Credential],
    error: tuple[type[errors.CaseExchangeError], ...],
) -> None:
    publisher = await exchange.publisher(files=tls_files(exchange, wrong(exchange.pki), tmp_path))
    with pytest.raises(error):
        await publisher.publish(exchange.maker().make(), timeout_seconds=10)
    assert await stored(exchange) == 0


async def test_a_broker_of_another_authority_is_refused_by_its_clients(exchange: Exchange, tmp_path: Path) -> None:
    other = SamplePki.build(tmp_path / "other")
    certificate, key = exchange.pki.tls_paths("shanxi-police")
    files = TlsFiles(certificate, key, other.folder.trust / "tls-ca.pem")
    with pytest.raises(HANDSHAKE):
        await (await exchange.publisher(files=files)).publish(exchange.maker().make(), timeout_seconds=10)


async def test_a_client_without_a_certificate_is_refused(exchange: Exchange) -> None:
    roots = (exchange.pki.folder.trust / "tls-ca.pem").read_bytes()
    async with grpc.aio.secure_channel(exchange.target, grpc.ssl_channel_credentials(roots)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def flipped_body(envelope: Envelope) -> Envelope:
    at = envelope.body.index(b"dna-matching")
    return replace(envelope, body=envelope.body[:at] + b"dnA-matching" + envelope.body[at + 12 :])


def flipped_section(envelope: Envelope) -> Envelope:
    (section,) = envelope.sections
    changed = section.content[:-1] + bytes([section.content[-1] ^ 1])
    return replace(envelope, sections=(section._replace(content=changed),))


def flipped_signature(envelope: Envelope) -> Envelope:
    (signature,) = envelope.signatures
    return replace(envelope, signatures=(signature._replace(value=signature.value[:-1] + b"\0"),))


@pytest.mark.parametrize(
    ("make", "error"),
    [
        pytest.param(lambda e: flipped_body(e.maker().make()), errors.EnvelopeMalformed, id="flipped body, bad form"),
        pytest.param(lambda e: flipped_section(e.maker().make()), errors.SectionMismatch, id="flipped section"),
        pytest.param(lambda e: flipped_signature(e.maker().make()), errors.SignatureInvalid, id="flipped signature"),
        pytest.param(lambda e: e.maker("hebei-police").make(), errors.SignerNotPrincipal, id="another agency's record"),
        pytest.param(
            lambda e: e.maker(system="archive").make(), errors.SignerNotPrincipal, id="another system's record"
        ),
        pytest.param(
            lambda e: replace(e.maker().make(), body_type="text/plain"), errors.BodyTypeUnsupported, id="body type"
        ),
        pytest.param(
            lambda e: e.maker().make("CaseRecord", "cases", to=("national-dna-database",), purpose="child-rescue"),
            errors.RightDenied,
            id="right denied",
        ),
        pytest.param(
            lambda e: e.maker().make(sections=[SectionDraft("case", "T", bytes(5 << 20))]),
            errors.RecordTooLarge,
            id="5 MiB",
        ),
    ],
)
async def test_a_record_that_may_not_be_is_refused(
    exchange: Exchange, make: Callable[[Exchange], Envelope], error: type[errors.CaseExchangeError]
) -> None:
    publisher = await exchange.publisher()
    with pytest.raises(error) as refused:
        await publisher.publish(make(exchange))
    assert type(refused.value) is error
    assert await stored(exchange) == 0
    # The broker goes on.
    await publisher.publish(exchange.maker().make())


async def test_any_flipped_body_byte_is_refused(pki: SamplePki, tmp_path: Path) -> None:
    # Without a quota of refusals, which would make it slow.
    async with running_exchange(pki, tmp_path / "log", quotas={"refusals_per_second": 0}) as exchange:
        publisher = await exchange.publisher()
        envelope = exchange.maker().make()
        for at in range(len(envelope.body)):
            changed = envelope.body[:at] + bytes([envelope.body[at] ^ 0x01]) + envelope.body[at + 1 :]
            with pytest.raises(errors.CaseExchangeError) as refused:
                await publisher.publish(replace(envelope, body=changed))
            assert not isinstance(refused.value, errors.Internal | errors.Unavailable)
        assert await stored(exchange) == 0


async def test_an_unknown_kind_is_refused(exchange: Exchange) -> None:
    maker = exchange.maker()
    good = maker.make()
    body = replace(CODEC.parse_body(good.body), kind="Gossip")
    data = CODEC.encode_body(body)
    signer = exchange.pki.signer("shanxi-police")
    unsigned = replace(good, body=data)
    envelope = replace(unsigned, signatures=(good.signatures[0]._replace(value=signer.sign(unsigned.signed_bytes)),))
    with pytest.raises(errors.KindUnknown):
        await (await exchange.publisher()).publish(envelope)


async def test_a_record_id_that_is_used_again_with_another_body_is_refused(exchange: Exchange) -> None:
    publisher, signer = await exchange.publisher(), exchange.pki.signer("shanxi-police")
    first = exchange.maker().make()
    await publisher.publish(first)
    body = replace(CODEC.parse_body(first.body), issued_at_ms=CODEC.parse_body(first.body).issued_at_ms + 1)
    unsigned = replace(first, body=CODEC.encode_body(body))
    second = replace(unsigned, signatures=(first.signatures[0]._replace(value=signer.sign(unsigned.signed_bytes)),))
    with pytest.raises(errors.RecordIdConflict):
        await publisher.publish(second)
    assert await stored(exchange) == 1


async def test_a_subscription_without_the_right_is_refused(exchange: Exchange) -> None:
    options = SubscribeOptions("profiles", frozenset({"StrProfile"}))
    with pytest.raises(errors.RightDenied):
        async with (await exchange.subscriber("child-aid-ngo")).subscribe(options):
            pass


async def test_a_replay_without_the_right_or_a_purpose_is_refused(exchange: Exchange) -> None:
    with pytest.raises(errors.RightDenied):
        [frame async for frame in (await exchange.auditor("child-aid-ngo")).replay("curiosity")]
    with pytest.raises(errors.PurposeMissing):
        [frame async for frame in (await exchange.auditor()).replay(" ")]


def revoke_tls(pki: SamplePki, agency: str) -> None:
    authority = pki.folder.load_authority("tls")
    now = datetime.now(UTC).replace(microsecond=0)
    authority.revoke(pki.tls_certificate(agency).serial_number, now, "keyCompromise")
    pki.folder.publish_revocation_list("tls", authority, now, LIST_LIFETIME)


async def test_the_open_stream_of_a_peer_that_is_revoked_ends(tmp_path: Path) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    async with running_exchange(pki, tmp_path / "log") as exchange:
        subscriber = await exchange.subscriber()

        async def listen() -> None:
            async with subscriber.subscribe(SubscribeOptions("samples", frozenset({"SampleRequest"}))) as stream:
                revoke_tls(pki, "national-dna-database")
                async for _ in stream:
                    pass

        async with asyncio.timeout(60):
            with pytest.raises(errors.PeerRevoked):
                await listen()
        # Other peers are not affected.
        await (await exchange.publisher()).publish(exchange.maker().make())


async def test_a_renewed_broker_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    async with running_exchange(pki, tmp_path / "log") as exchange:
        await (await exchange.publisher()).publish(exchange.maker().make())
        renewed = pki.credential(profiles.TLS_PEER, agency="exchange", system="broker", lifetime=timedelta(days=3))
        renewed.write(pki.folder.member("exchange"), "tls")
        async with asyncio.timeout(60):
            # The reload has no event that can be seen from outside, so it is asked for repeatedly.
            while await served_certificate(exchange) != renewed.der:
                pass
        await (await exchange.publisher("hebei-police")).publish(exchange.maker("hebei-police").make())


async def served_certificate(exchange: Exchange) -> bytes:
    certificate, key = exchange.pki.tls_paths("shanxi-police")
    context = ssl.create_default_context(cafile=str(exchange.pki.folder.trust / "tls-ca.pem"))
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection(
        "localhost", exchange.broker.port, ssl=context, server_hostname="localhost"
    )
    der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return der


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_tls_is_refused(exchange: Exchange) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(exchange.pki.folder.trust / "tls-ca.pem")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("localhost", exchange.broker.port, ssl=context, server_hostname="localhost")


async def test_health_says_serving(exchange: Exchange) -> None:
    channel = await exchange.channel("shanxi-police")
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
