"""Who gets into a real Kafka."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certs import profiles
from certs.authority import Authority
from certs.kafka import AUDITOR, BREAK_GLASS, BROKER
from certs.operations import write_credential
from certs.rights import SHANXI
from tests.support.knock import client_context, is_answered

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.identity import Principal
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from deploy.kafka.settings import Endpoint

pytestmark = pytest.mark.kafka


@pytest.fixture(params=["client", "peer", "controller"])
def listener(request: pytest.FixtureRequest, kafka_cluster: KafkaCluster) -> Endpoint:
    endpoint: Endpoint = getattr(kafka_cluster.nodes[0], request.param)
    return endpoint


def certified(pki: PkiFolder, folder: Path, subject: str) -> ssl.SSLContext:
    """A client with a good certificate of Kafka's own authority, but with a wrong name."""
    authority = pki.load_authority("kafka")
    key = ec.generate_private_key(ec.SECP256R1())
    good = authority.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name.from_rfc4514_string(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(good.not_valid_before_utc)
        .not_valid_after(good.not_valid_before_utc + profiles.TLS_LIFETIME)
        .add_extension(x509.ExtendedKeyUsage(profiles.KAFKA_CLIENT.usages), critical=False)
    )
    paths = write_credential(key, authority.sign(builder), folder / "named.pem")
    return client_context(pki.kafka.authority, *paths)


@pytest.mark.parametrize("client", [BROKER, AUDITOR, BREAK_GLASS], ids=lambda client: client.system)
def test_a_client_with_a_certificate_for_kafka_is_answered(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, client: Principal
) -> None:
    context = client_context(kafka_keys.kafka.authority, *kafka_keys.kafka.client(client))
    assert is_answered(kafka_cluster.nodes[0].client, context)


def test_a_client_without_tls_is_not_answered(listener: Endpoint) -> None:
    assert not is_answered(listener, None)


def test_a_client_without_a_certificate_is_refused(listener: Endpoint, kafka_keys: PkiFolder) -> None:
    with pytest.raises(ssl.SSLError, match="certificate"):
        is_answered(listener, client_context(kafka_keys.kafka.authority))


@pytest.mark.parametrize("agency", [SHANXI, "exchange"])
def test_a_certificate_for_grpc_opens_no_connection_to_kafka(
    listener: Endpoint, kafka_keys: PkiFolder, agency: str
) -> None:
    own = kafka_keys.member(agency)
    context = client_context(kafka_keys.kafka.authority, own / "tls.pem", own / "tls.key")
    with pytest.raises(ssl.SSLError, match="alert"):
        is_answered(listener, context)


def test_a_certificate_of_another_authority_of_the_same_name_is_refused(
    listener: Endpoint, kafka_keys: PkiFolder, tmp_path: Path
) -> None:
    genuine = kafka_keys.load_authority("kafka").certificate
    other = Authority.create("case-exchange development kafka authority", genuine.not_valid_before_utc)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = other.issue(profiles.KAFKA_CLIENT, BREAK_GLASS, key.public_key(), genuine.not_valid_before_utc)
    paths = write_credential(key, certificate, tmp_path / "impostor.pem")
    assert certificate.issuer == genuine.subject
    with pytest.raises(ssl.SSLError, match="alert"):
        is_answered(listener, client_context(kafka_keys.kafka.authority, *paths))


@pytest.mark.parametrize(
    "subject",
    [
        "CN=exchange broker tls-peer",
        "CN=exchange/kafka-node-1 kafka-client",
        "CN=exchange/break-glass kafka-client,OU=somewhere",
        "OU=somewhere,CN=exchange/break-glass kafka-client",
        "CN=exchange/break-glass",
    ],
)
def test_a_certificate_of_kafka_s_authority_whose_name_is_no_principal_s_is_not_answered(
    listener: Endpoint, kafka_keys: PkiFolder, tmp_path: Path, subject: str
) -> None:
    assert not is_answered(listener, certified(kafka_keys, tmp_path, subject))


def test_a_server_s_certificate_that_kafka_s_authority_did_not_issue_is_not_trusted(
    listener: Endpoint, kafka_keys: PkiFolder
) -> None:
    context = client_context(kafka_keys.trust / "tls-ca.pem", *kafka_keys.kafka.client(BROKER))
    with pytest.raises(ssl.SSLCertVerificationError):
        is_answered(listener, context)
