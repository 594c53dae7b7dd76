from __future__ import annotations

import shutil
import stat
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from broker.core.errors import CertificateInvalid, SetupInvalid
from broker.core.policy import check_receive, replay_sections
from broker.core.streams import STREAMS
from broker.core.tree.checkpoint import VerifierKey
from broker.trust.certificates import load_certificates, principal_of
from certs import development
from certs.profiles import KAFKA_NODE, profile_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.pki import SamplePki

AGENCIES = {"shanxi-police", "hebei-police", "national-dna-database", "child-aid-ngo", "ministry", "national-audit"}


def test_every_agency_has_tls_and_signing_keys_that_the_directory_and_authorities_know(pki: SamplePki) -> None:
    keyring = pki.keyring()
    assert set(pki.directory.agencies) == AGENCIES | {"exchange"}
    for agency in pki.directory.agencies:
        listed = keyring.signer(pki.signer(agency).certificate_sha256)
        assert listed.agency == agency
        listed.check_valid(pki.now_ms)
        assert principal_of(pki.tls_certificate(agency)).agency == agency
    assert VerifierKey.parse(pki.directory.log_keys[0]).public_key == pki.note_signer.public_key


def test_nothing_private_can_be_read_by_others(pki: SamplePki) -> None:
    files = [path for path in pki.folder.root.rglob("*") if path.is_file()]
    keys = [path for path in files if path.suffix == ".key" or b"PRIVATE" in path.read_bytes()]
    # Two of each agency and the exchange, one a node and one a Kafka client; a keystore a node; three authorities.
    # And two encryption keys of each agency.
    assert len(keys) == 2 * 7 + 3 + 3 + 3 + 1 + 3 + 1 + 2 * 6
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys)
    assert not any(pki.folder.trust in path.parents for path in keys)


def test_a_pki_is_not_overwritten_unless_told_to(pki: SamplePki, tmp_path: Path) -> None:
    root = tmp_path / "pki"
    before = development.create(root, pki.now).governance_public_key.read_bytes()
    with pytest.raises(SetupInvalid, match="not empty"):
        development.create(root, pki.now)
    assert (root / "trust" / "governance.pem").read_bytes() == before
    development.create(root, pki.now, force=True)
    assert (root / "trust" / "governance.pem").read_bytes() != before


def test_even_when_told_to_nothing_but_a_pki_is_removed(pki: SamplePki, tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "letters").mkdir()
    with pytest.raises(SetupInvalid, match="something else than a PKI"):
        development.create(tmp_path, pki.now, force=True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"broker", "letters"}


def test_every_publish_right_meets_a_receive_right_and_the_other_way_round(pki: SamplePki) -> None:
    agencies = pki.directory.agencies
    sent = {
        (kind, publisher.id, recipient)
        for publisher in agencies.values()
        for kind, right in publisher.publish.items()
        for recipient in right.recipients
    }
    heard = {
        (kind, publisher, recipient.id)
        for recipient in agencies.values()
        for kind, right in recipient.receive.items()
        for publisher in right.publishers
    }
    assert sent == heard


def test_the_ngo_sees_no_identity_and_profiles_stay_in_the_laboratory(pki: SamplePki) -> None:
    ngo, lab = pki.directory.agency("child-aid-ngo"), pki.directory.agency("national-dna-database")
    assert ngo.receive["CaseRecord"].sections == {"case", "description", "photos"}
    assert not {"identity", "contact", "*"} & ngo.receive["Correction"].sections
    assert lab.publish["StrProfile"].recipients == {"national-dna-database"}
    hearers = [agency.id for agency in pki.directory.agencies.values() if "StrProfile" in agency.receive]
    assert hearers == ["national-dna-database"]


def test_the_auditor_replays_every_stream_without_the_content_of_records(pki: SamplePki) -> None:
    sections = {stream: replay_sections(pki.directory, "national-audit", stream) for stream in STREAMS}
    assert sections == {"cases": set(), "dna": set(), "notices": set(), "audit": {"*"}}
    replaying = [agency.id for agency in pki.directory.agencies.values() if agency.replay]
    assert replaying == ["national-audit"]
    check_receive(pki.directory, "ministry", frozenset({"CaseRecord", "NoMatchResult", "Tip"}))


def test_kafka_has_keys_for_three_nodes_and_three_clients_that_its_own_authority_certified(pki: SamplePki) -> None:
    kafka = pki.folder.kafka
    kafka.check(pki.now)
    (authority,) = load_certificates(kafka.authority)
    issued = {load_certificates(path)[0].subject.rfc4514_string() for path, *_ in kafka.credentials()}
    assert issued == {
        "CN=exchange/kafka-node-1 kafka-node",
        "CN=exchange/kafka-node-2 kafka-node",
        "CN=exchange/kafka-node-3 kafka-node",
        "CN=exchange/broker kafka-client",
        "CN=national-audit/auditor kafka-client",
        "CN=exchange/break-glass kafka-client",
    }
    for path, profile, principal, _ in kafka.credentials():
        (certificate,) = load_certificates(path)
        certificate.verify_directly_issued_by(authority)
        assert profile_of(certificate) is profile
        assert principal_of(certificate) == principal


def test_a_kafka_node_s_keystore_holds_its_key_and_its_certificate(pki: SamplePki) -> None:
    node = pki.folder.kafka.node(2)
    assert pki.folder.kafka.keystore(2).read_bytes() == node.with_suffix(".key").read_bytes() + node.read_bytes()
    assert len(list(pki.folder.kafka.folder.glob("*.keystore.pem"))) == 3


def test_a_kafka_node_s_certificate_is_good_for_this_machine_and_for_its_name_in_a_network_of_containers(
    pki: SamplePki,
) -> None:
    (certificate,) = load_certificates(pki.folder.kafka.node(3))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "kafka-3"]
    assert names.get_values_for_type(x509.IPAddress) == [ip_address("127.0.0.1")]


def test_a_pki_from_before_kafka_says_what_to_do(pki: SamplePki, tmp_path: Path) -> None:
    older = development.create(tmp_path / "pki", pki.now)
    shutil.rmtree(older.kafka.folder)
    with pytest.raises(SetupInvalid, match=r"has no node-1\.pem for Kafka.*certs init --force"):
        older.kafka.check(pki.now)
    shutil.rmtree(older.authority("kafka"))
    with pytest.raises(SetupInvalid, match="no usable kafka authority"):
        older.load_authority("kafka")


def test_kafka_s_keys_are_refused_once_a_certificate_is_over(pki: SamplePki) -> None:
    with pytest.raises(CertificateInvalid, match=r"these certificates have expired: node-1\.pem, .*certs renew"):
        pki.folder.kafka.check(pki.now + KAFKA_NODE.lifetime)
