"""What is renewed is taken up while programs run, and what was replaced never comes back, whatever is restarted."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs

from adapters.agency import open_agency
from adapters.edge.edge import open_edge
from adapters.edge.profile import load_profile
from adapters.gateway.process import run_gateway
from broker.bootstrap.httptls import watch_tls
from broker.bootstrap.kafkalog import _watch_tls, kafka_connection
from broker.client.directories import directories_in_force
from broker.client.publisher import Publisher
from broker.client.receipts import ReceiptVerifier
from broker.config.kafka import KafkaConfig
from broker.core.errors import PeerRevoked, ReceiptInvalid
from broker.services.revocationlists import newest_lists
from broker.trust.certificates import load_certificates
from broker.trust.directory import open_directory
from broker.trust.renewal import pending
from broker.trust.system import SystemClock
from broker.web.tls import ServerContext
from broker.wire.tls import TlsFiles
from certs import profiles
from certs.operations import LIST_LIFETIME
from certs.rights import EXCHANGE, SHANXI
from certs.storage import write_public
from tests.integration.test_agency import request
from tests.integration.test_edge import sample_section, until
from tests.support.exchange import running_exchange
from tests.support.fakes import FixedDirectory
from tests.support.process import edge_tables, write_toml
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509

    from tests.support.exchange import Exchange
    from tests.support.pki import Credential, SamplePki

LAB = "national-dna-database"
LOST = "the copies of what was in force are lost: it is read from the log"


class TlsList:
    """The TLS authority's revocation list, in a file of its own."""

    def __init__(self, pki: SamplePki, folder: Path) -> None:
        self._pki = pki
        self._authority = pki.authority("tls")
        self.path = folder / "tls.crl"
        self.before = pki.folder.revocation_list("tls").read_bytes()
        write_public(self.path, self.before)

    def revoke(self, certificate: x509.Certificate) -> None:
        self._authority.revoke(certificate.serial_number, self._pki.now, "superseded")
        listed = self._authority.revocation_list(self._pki.now, LIST_LIFETIME)
        write_public(self.path, listed.public_bytes(Encoding.PEM))


def own_tls(pki: SamplePki, folder: Path) -> tuple[Path, Path]:
    """Copies of the laboratory's TLS files, which a test renews."""
    certificate, key = (folder / path.name for path in pki.tls_paths(LAB))
    for found, copy in zip(pki.tls_paths(LAB), (certificate, key), strict=True):
        shutil.copy(found, copy)
    return certificate, key


def renew(pki: SamplePki, folder: Path, certificate: Path, key: Path) -> None:
    """Replace certificate and key, one after the other, as an operator does."""
    new_certificate, new_key = pki.credential(profiles.TLS_CLIENT, agency=LAB).write(folder, "new")
    new_key.replace(key)
    new_certificate.replace(certificate)


def tables_of(pki: SamplePki, target: str, certificate: Path, key: Path) -> dict[str, Any]:
    tables = edge_tables(pki, LAB, target)
    tables["agency"] |= {"certificate": str(certificate), "key": str(key)}
    tables["trust"]["reload_seconds"] = 0.1
    return tables


async def until_logged(logs: list[Any], event: str) -> None:
    async with asyncio.timeout(60):
        while event not in [line["event"] for line in logs]:  # noqa: ASYNC110 - a log has no event to wait on
            await asyncio.sleep(0.02)


async def until_true(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - files are taken up without an event
            await asyncio.sleep(0.02)


async def send(exchange: Exchange) -> None:
    await (await exchange.publisher()).publish(exchange.maker().make(sections=[sample_section()]))


async def test_a_gateway_takes_up_a_renewed_certificate_and_outlives_the_revocation_of_the_old_one(
    pki: SamplePki, tmp_path: Path
) -> None:
    listed = TlsList(pki, tmp_path)
    certificate, key = own_tls(pki, tmp_path)
    async with running_exchange(pki, tmp_path / "log", trust={"tls_revocations": str(listed.path)}) as exchange:
        tables = tables_of(pki, exchange.target, certificate, key)
        tables["gateway"] = {
            "folder": str(tmp_path / "lab"),
            "formats": ["record-json"],
            "outbox_format": "record-json",
            "subscribe": ["SampleRequest"],
            "retry_seconds": 0.1,
        }
        profile, routes = load_profile(write_toml(tmp_path / "lab.toml", tables))
        with capture_logs() as logs:
            gateway = asyncio.create_task(run_gateway(profile, routes, lambda: None))
            await send(exchange)
            (first,) = await until(tmp_path / "lab" / "outbox", "*.about.json")
            renew(pki, tmp_path, certificate, key)
            await until_logged(logs, "the TLS files were renewed")
            listed.revoke(pki.tls_certificate(LAB))
            await send(exchange)
            first.unlink()
            await until(tmp_path / "lab" / "outbox", "*.about.json")
            assert not gateway.done()
            gateway.cancel()
            await asyncio.gather(gateway, return_exceptions=True)


async def test_a_program_whose_certificate_is_revoked_goes_on_when_it_is_renewed(
    pki: SamplePki, tmp_path: Path
) -> None:
    listed = TlsList(pki, tmp_path)
    certificate, key = own_tls(pki, tmp_path)
    async with running_exchange(pki, tmp_path / "log", trust={"tls_revocations": str(listed.path)}) as exchange:
        tables = tables_of(pki, exchange.target, certificate, key)
        tables["program"] = {"folder": str(tmp_path / "lab"), "retry_seconds": 0.1}
        async with open_agency(write_toml(tmp_path / "lab.toml", tables)) as agency:
            with capture_logs() as logs:
                listed.revoke(pki.tls_certificate(LAB))
                deliveries = agency.subscribe("renewed", kinds=["SampleRequest"])
                waiting = asyncio.ensure_future(anext(deliveries))
                # Nothing is sent before that: a record could still come before the broker notices the revocation.
                await until_logged(logs, "waiting for the broker")
                await send(exchange)
                renew(pki, tmp_path, certificate, key)
                async with asyncio.timeout(60):
                    delivery = await waiting
                assert await delivery.ack()
                await deliveries.aclose()


async def test_files_of_another_system_are_not_taken_up(pki: SamplePki, tmp_path: Path) -> None:
    certificate, key = own_tls(pki, tmp_path)
    tables = tables_of(pki, "localhost:1", certificate, key)
    tables["program"] = {"folder": str(tmp_path / "lab")}
    other_certificate, other_key = pki.credential(profiles.TLS_CLIENT, agency=LAB, system="other").write(tmp_path, "o")
    with capture_logs() as logs:
        async with open_agency(write_toml(tmp_path / "lab.toml", tables)):
            other_key.replace(key)
            other_certificate.replace(certificate)
            await until_logged(logs, "a file of trust cannot be used")
        assert "the TLS files were renewed" not in [line["event"] for line in logs]


@pytest.mark.parametrize("kept", ["in the copy", "in the log"])
async def test_a_broker_that_is_restarted_with_an_older_directory_goes_on_with_the_newer(
    pki: SamplePki, tmp_path: Path, kept: str
) -> None:
    path = tmp_path / "directory.json"
    trust = {"directory": str(path)}
    for version, in_force in ((2, 2), (1, 2)):
        path.write_bytes(pki.sign(replace(pki.directory, version=version)))
        async with running_exchange(pki, tmp_path / "log", trust=trust) as exchange:
            (document,) = await directories_in_force(await exchange.channel(LAB))
            assert open_directory(document, pki.governance).version == in_force
        if kept == "in the log":
            shutil.rmtree(tmp_path / "log" / "trust")


@pytest.mark.parametrize("kept", ["in the copy", "in the log"])
async def test_a_revoked_tls_key_stays_revoked_when_an_older_list_comes_back_and_the_broker_is_restarted(
    pki: SamplePki, tmp_path: Path, kept: str
) -> None:
    listed = TlsList(pki, tmp_path)
    certificate, key = pki.tls_paths(LAB)
    files = TlsFiles(certificate, key, pki.folder.trust / "tls-ca.pem")
    for revoke in (True, False):
        if revoke:
            listed.revoke(pki.tls_certificate(LAB))
        else:
            write_public(listed.path, listed.before)
        async with running_exchange(pki, tmp_path / "log", trust={"tls_revocations": str(listed.path)}) as exchange:
            with pytest.raises(PeerRevoked):
                await directories_in_force(await exchange.channel(files=files))
        if kept == "in the log":
            shutil.rmtree(tmp_path / "log" / "trust")


async def test_a_list_that_comes_while_the_broker_runs_is_in_the_log_too_and_a_lost_copy_is_told(
    pki: SamplePki, tmp_path: Path
) -> None:
    listed = TlsList(pki, tmp_path)
    trust = {"tls_revocations": str(listed.path)}
    certificate, key = pki.tls_paths(LAB)
    files = TlsFiles(certificate, key, pki.folder.trust / "tls-ca.pem")
    with capture_logs() as logs:
        async with running_exchange(pki, tmp_path / "log", trust=trust) as exchange:
            listed.revoke(pki.tls_certificate(LAB))
            async with asyncio.timeout(60):
                while len(await newest_lists(exchange.broker.log, CODEC)) == 1:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.02)
    assert LOST not in [line["event"] for line in logs]
    shutil.rmtree(tmp_path / "log" / "trust")
    write_public(listed.path, listed.before)
    with capture_logs() as logs:
        async with running_exchange(pki, tmp_path / "log", trust=trust) as exchange:
            with pytest.raises(PeerRevoked):
                await directories_in_force(await exchange.channel(files=files))
    events = [line["event"] for line in logs if line["log_level"] == "error"]
    assert events.index(LOST) < events.index("the log has a newer revocation list than the file")


async def test_an_edge_that_is_restarted_with_an_older_directory_or_list_goes_on_with_the_newer(
    pki: SamplePki, tmp_path: Path
) -> None:
    directory, lists = tmp_path / "directory.json", tmp_path / "signing.crl"
    before = pki.folder.revocation_list("signing").read_bytes()
    authority = pki.authority("signing")
    newer = authority.revocation_list(pki.now, LIST_LIFETIME, number=authority.crl_number + 5)
    tables = tables_of(pki, "localhost:1", *pki.tls_paths(LAB))
    tables["trust"] |= {"directory": str(directory), "signing_revocations": str(lists)}
    tables["gateway"] = {"folder": str(tmp_path / "lab"), "formats": [], "outbox_format": "record-json"}
    profile, _ = load_profile(write_toml(tmp_path / "lab.toml", tables))
    for version, listed in ((2, newer.public_bytes(Encoding.DER)), (1, before)):
        directory.write_bytes(pki.sign(replace(pki.directory, version=version)))
        lists.write_bytes(listed)
        async with open_edge(profile) as edge:
            assert edge.directory.current().version == 2
            found = edge.revocations.listing(authority.certificate)
            assert found is not None
            assert found.number == authority.crl_number


def lay(used: Path, new: Credential) -> None:
    """What an authority answered, beside the certificate in use."""
    certificate, key = new.write(used.parent, "answer")
    key.replace(pending(used.with_suffix(".key")))
    certificate.replace(pending(used))


async def test_a_certificate_that_is_laid_into_the_folder_is_used_and_the_subscription_ends_in_good_order(
    pki: SamplePki, tmp_path: Path
) -> None:
    listed = TlsList(pki, tmp_path)
    certificate, key = own_tls(pki, tmp_path)
    async with running_exchange(pki, tmp_path / "log", trust={"tls_revocations": str(listed.path)}) as exchange:
        tables = tables_of(pki, exchange.target, certificate, key)
        tables["program"] = {"folder": str(tmp_path / "lab"), "retry_seconds": 0.1}
        async with open_agency(write_toml(tmp_path / "lab.toml", tables)) as agency:
            with capture_logs() as logs:
                deliveries = agency.subscribe("renewed", kinds=["SampleRequest"], lease_seconds=60)
                await send(exchange)
                first = await anext(deliveries)
                # It is not acknowledged. Without a good end it would come again when its lease has run out.
                again = asyncio.ensure_future(anext(deliveries))
                lay(certificate, pki.credential(profiles.TLS_CLIENT, agency=LAB))
                async with asyncio.timeout(60):
                    second = await again
                assert (second.body.record_id, second.attempt) == (first.body.record_id, 1)
                assert "the TLS files were renewed" in [line["event"] for line in logs]
                assert not pending(certificate).exists()
                # Nothing of the former connection is needed any more.
                listed.revoke(pki.tls_certificate(LAB))
                assert await second.ack()
                await send(exchange)
                async with asyncio.timeout(60):
                    third = await anext(deliveries)
                assert await third.ack()
                await deliveries.aclose()


async def test_an_edge_signs_with_a_laid_certificate_as_soon_as_the_broker_has_the_directory_that_lists_it(
    pki: SamplePki, tmp_path: Path
) -> None:
    brokers, edges = tmp_path / "brokers.json", tmp_path / "edges.json"
    new = pki.credential(profiles.SIGNING)
    next_version = replace(
        pki.directory_with(SHANXI, [*pki.directory.agency(SHANXI).signing_certificates, new.der]), version=2
    )
    for path in (brokers, edges):
        path.write_bytes(pki.directory.document)
    used = tmp_path / "signing.pem"
    for suffix in (".pem", ".key"):
        shutil.copy(pki.folder.member(SHANXI) / f"signing{suffix}", tmp_path)
    async with running_exchange(pki, tmp_path / "log", trust={"directory": str(brokers)}) as exchange:
        tables = edge_tables(pki, SHANXI, exchange.target)
        tables["agency"] |= {"signing_certificate": str(used), "signing_key": str(used.with_suffix(".key"))}
        tables["trust"] |= {"directory": str(edges), "reload_seconds": 0.1}
        tables["program"] = {"folder": str(tmp_path / "shanxi"), "retry_seconds": 0.1}
        tables["routes"] = {"SampleRequest": {"recipients": [LAB], "purpose": "dna-matching"}}
        async with open_agency(write_toml(tmp_path / "shanxi.toml", tables)) as agency:
            edge = agency._edge

            def signer() -> bytes:
                return edge.composer._signer.certificate_sha256

            former = signer()
            lay(used, new)
            edges.write_bytes(pki.sign(next_version))
            await until_true(lambda: edge.directory.latest.version == 2)
            # The edge has it, and the broker has not: what is signed now would be lost.
            await edge.renew_signer()
            assert signer() == former
            assert pending(used).exists()
            brokers.write_bytes(pki.sign(next_version))
            await until_true(lambda: signer() == new.signer.certificate_sha256)
            assert not pending(used).exists()
            accepted = await agency.publish(request(), case="SYN-1")
            assert agency.receipt(accepted.record_id) is not None


async def test_a_broker_signs_with_a_laid_certificate_when_its_directory_lists_it(
    pki: SamplePki, tmp_path: Path
) -> None:
    path, used = tmp_path / "directory.json", tmp_path / "signing.pem"
    path.write_bytes(pki.directory.document)
    for suffix in (".pem", ".key"):
        shutil.copy(pki.folder.member(EXCHANGE) / f"signing{suffix}", tmp_path)
    new = pki.credential(profiles.SIGNING, agency=EXCHANGE, system="broker")
    signing = {"certificate": str(used), "key": str(used.with_suffix(".key"))}
    trust = {"directory": str(path)}
    async with running_exchange(pki, tmp_path / "log", trust=trust, signing=signing) as exchange:
        lay(used, new)
        certificates = [*pki.directory.agency(EXCHANGE).signing_certificates, new.der]
        directory = replace(pki.directory_with(EXCHANGE, certificates), version=2)
        path.write_bytes(pki.sign(directory))
        signer = exchange.broker._publish._signer
        await until_true(lambda: signer.certificate_sha256 == new.signer.certificate_sha256)
        assert not pending(used).exists()
        # Who has the same directory believes the receipt, and nobody else.
        channel, record = await exchange.channel(SHANXI), exchange.maker().make(sections=[sample_section()])
        checks = ReceiptVerifier(FixedDirectory(directory), pki.keyring(directory))
        receipt = await Publisher(channel, CODEC, checks).publish(record)
        assert receipt.signature.certificate_sha256 == new.signer.certificate_sha256
        with pytest.raises(ReceiptInvalid):
            await Publisher(channel, CODEC, exchange.receipts()).publish(record)


async def test_an_edge_and_a_broker_say_what_ends_soon(pki: SamplePki, tmp_path: Path) -> None:
    old = pki.now - timedelta(days=5)
    brokers = pki.credential(
        profiles.TLS_PEER, agency=EXCHANGE, system="broker", issued=old, lifetime=timedelta(days=7)
    ).write(tmp_path, "broker")
    mine = pki.credential(profiles.TLS_CLIENT, agency=LAB, issued=old, lifetime=timedelta(days=7)).write(
        tmp_path, "lab"
    )
    files = {"certificate": str(brokers[0]), "key": str(brokers[1])}
    with capture_logs() as logs:
        async with running_exchange(pki, tmp_path / "log", tls=files) as exchange:
            await until_logged(logs, "a TLS certificate ends soon: renew it")
            tables = tables_of(pki, exchange.target, *mine)
            tables["program"] = {"folder": str(tmp_path / "lab")}
            async with open_agency(write_toml(tmp_path / "lab.toml", tables)):
                await until_true(lambda: len(soon(logs)) == 2)
    # The other certificates, the lists and the authorities are young.
    assert [(line["path"], line["log_level"]) for line in soon(logs)] == [
        ("broker.pem", "warning"),
        ("lab.pem", "warning"),
    ]
    assert all(0 < line["hours"] < 48 and "certs renew" in line["remedy"] for line in soon(logs))


def soon(logs: list[Any]) -> list[Any]:
    return [line for line in logs if "ends soon" in line["event"]]


async def test_an_https_server_takes_up_what_is_laid_there(pki: SamplePki, tmp_path: Path) -> None:
    certificate, key = pki.credential(profiles.TLS_SERVER, agency=LAB, system="witness").write(tmp_path, "tls")
    new = pki.credential(profiles.TLS_SERVER, agency=LAB, system="witness")
    watching = asyncio.create_task(watch_tls(ServerContext(certificate, key), 0.05))
    lay(certificate, new)
    await until_true(lambda: not pending(certificate).exists())
    assert load_certificates(certificate)[0] == new.certificate
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_broker_takes_up_its_key_for_kafka(pki: SamplePki, tmp_path: Path) -> None:
    first, new = (pki.credential(profiles.KAFKA_CLIENT, agency=EXCHANGE, system="broker") for _ in range(2))
    certificate, key = first.write(tmp_path, "kafka")
    config = KafkaConfig(
        servers=("localhost:1",), certificate=certificate, key=key, authorities=pki.folder.kafka.authority
    )
    connection = kafka_connection(config, SystemClock())
    watching = asyncio.create_task(_watch_tls(config, connection, SystemClock(), 0.05))
    with capture_logs() as logs:
        lay(certificate, pki.of_another_authority(profiles.KAFKA_CLIENT, agency=EXCHANGE))
        await until_logged(logs, "a renewed certificate is not used")
    assert load_certificates(certificate)[0] == first.certificate
    lay(certificate, new)
    await until_true(lambda: not pending(certificate).exists())
    assert load_certificates(certificate)[0] == new.certificate
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_an_edge_that_lost_its_copies_goes_on_with_the_directory_in_its_spool_and_says_so(
    pki: SamplePki, tmp_path: Path
) -> None:
    directory = tmp_path / "directory.json"
    tables = tables_of(pki, "localhost:1", *pki.tls_paths(LAB))
    tables["trust"] |= {"directory": str(directory)}
    tables["gateway"] = {"folder": str(tmp_path / "lab"), "formats": [], "outbox_format": "record-json"}
    profile, _ = load_profile(write_toml(tmp_path / "lab.toml", tables))
    for version in (2, 1):
        directory.write_bytes(pki.sign(replace(pki.directory, version=version)))
        with capture_logs() as logs:
            async with open_edge(profile) as edge:
                assert edge.directory.current().version == 2
                edge.directories.from_seen(pki.now_ms)
        lost = [line for line in logs if line["event"].startswith("the copies of what was in force are lost")]
        assert len(lost) == (version == 1)
        shutil.rmtree(tmp_path / "lab" / "trust")
