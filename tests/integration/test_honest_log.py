"""An honest log has no finding, not even a warning, whatever an exchange goes through in years.

tests/integration/test_kafka_honest_log.py has the change of the broker that follows the log, on Kafka.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from adapters.base import Limits
from adapters.cli.receipts import receipts
from adapters.edge.edge import open_edge
from adapters.edge.restoring import spool_missing
from adapters.gateway.outbound import Outbound
from broker.bootstrap.verify import verify_bundle
from broker.cli.directory import directory
from broker.client.publisher import Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.signing import ALONE
from broker.client.subscriber import SubscribeOptions
from broker.core.errors import LogRolledBack, RecordExpired, RightDenied
from broker.trust.certificates import der
from broker.trust.directory import open_directory
from broker.trust.keys import private_key_pem, public_key_pem
from certs import operations
from certs.rights import EXCHANGE, HEBEI, LAB, SHANXI
from certs.storage import write_private
from deploy.kafka.ports import free_ports
from tests.integration.test_governance_key import in_force
from tests.integration.test_incarnations import FIRST, SECOND, sent
from tests.integration.test_rolled_back_log import Copies, present
from tests.integration.test_timestamping import QUICK as STAMPED
from tests.integration.test_timestamping import all_stamped
from tests.support.fakes import FixedDirectory
from tests.support.gateways import CASES, SAMPLES, police_profile
from tests.support.honest import taken
from tests.support.incarnations import invoked
from tests.support.pki import SamplePki
from tests.support.records import CODEC
from tests.support.replays import covered, replayed
from tests.support.tsa import OpensslTsa
from tests.support.tsaserver import served
from tests.support.witnessing import ALPHA, QUICK, everything, until, witnessing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from tests.support.exchange import Exchange
    from tests.support.records import RecordMaker

REQUESTS = SubscribeOptions("samples", frozenset({"SampleRequest"}))


@pytest.fixture
def pki(tmp_path: Path) -> SamplePki:
    """Of each test's own, because governance signs new versions and keys are renewed."""
    return SamplePki.build(tmp_path / "pki")


class Governing:
    """Governance and the agencies, who renew their keys with the product's commands."""

    def __init__(self, pki: SamplePki, folder: Path) -> None:
        self.pki, self._folder = pki, folder
        self._key = pki.folder.governance_key

    @property
    def document(self) -> bytes:
        return self.pki.folder.directory.read_bytes()

    async def signs(self, change: Callable[[dict[str, Any]], None], *options: str | Path) -> None:
        """Governance changes the directory's payload, and signs it as the next version."""
        root, path, payload = self.pki.folder.trust / "governance.pem", self.pki.folder.directory, self._folder / "next"
        content = json.loads(await invoked(directory, "show", path, "--root", root, "--json"))
        content["version"] += 1
        change(content)
        payload.write_text(json.dumps(content), encoding="utf-8")
        await invoked(directory, "sign", payload, "--key", self._key, "--out", path, *options)

    async def changes_its_key(self) -> None:
        former, self._key = self._key, self._folder / "next-governance.key"
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(self._key, private_key_pem(key))
        (self._folder / "next-governance.pem").write_bytes(public_key_pem(key.public_key()))
        await self.signs(lambda _: None, "--former-key", former)

    async def renews(self, agency: str) -> None:
        """An agency gets another signing key, and governance retires the former one."""
        path = self.pki.folder.member(agency) / "signing.pem"
        operations.renew(self.pki.folder, path, datetime.now(UTC))

        def retire(content: dict[str, Any]) -> None:
            member = content["agencies"][agency]
            member["signing_certificates"] = member["signing_certificates"][-1:]

        await self.signs(retire)

    async def lets_it_nearly_end(self) -> None:
        now = datetime.now(UTC)

        def nearly(content: dict[str, Any]) -> None:
            content["issued_at"], content["expires_at"] = (
                f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (now - timedelta(hours=20), now + timedelta(hours=5))
            )

        await self.signs(nearly)
        opened = open_directory(self.document, self.pki.governance)
        assert opened.expires_soon(int(now.timestamp() * 1000))


def witnessed(pki: SamplePki, tsa: OpensslTsa, port: int) -> str:
    """Sign a directory with a witness and a timestamp authority. Return its witness policy."""
    policy = f"witness w {ALPHA.key} https://localhost:{port}\nquorum w\n"
    chains = (tuple(map(der, tsa.chain)),)
    version = replace(
        pki.directory, version=pki.directory.version + 1, witness_policy=policy, timestamp_authorities=chains
    )
    pki.folder.directory.write_bytes(pki.sign(version))
    return policy


def services(url: str, *, every_seconds: float = 0.05) -> Mapping[str, dict[str, Any]]:
    """The sections of a broker that asks witnesses and an authority often."""
    return {"witnesses": QUICK, "timestamps": STAMPED | {"urls": [url], "interval_seconds": every_seconds}}


async def hebei(exchange: Exchange) -> Publisher:
    """Hebei's police, which checks receipts by the directory of now."""
    pki = exchange.pki
    now = open_directory(pki.folder.directory.read_bytes(), pki.governance)
    return Publisher(await exchange.channel(HEBEI), CODEC, ReceiptVerifier(FixedDirectory(now), pki.keyring(now)))


async def refused(exchange: Exchange, maker: RecordMaker) -> None:
    """Two records that the broker refuses. Each uses up its number, whether auditors should look at it or not."""
    publisher = await hebei(exchange)
    with pytest.raises(RightDenied):
        await publisher.publish(maker.make("MatchNotification"))
    late = maker.make()
    body = CODEC.parse_body(late.body)
    signers = ALONE.signers(HEBEI, body.kind, body.issued_at_ms, exchange.pki.signer(HEBEI))
    late = maker.composer._signed(signers, replace(body, expires_at_ms=body.issued_at_ms), late.sections).envelope
    with pytest.raises(RecordExpired):
        await publisher.publish(late)


async def processed(exchange: Exchange) -> None:
    """The laboratory processes what waits for it."""
    async with (await exchange.subscriber(LAB)).subscribe(REQUESTS) as stream:
        await taken(stream, 1)


class Years:
    """An exchange on its own log with a witness and a timestamp authority, and what its members go through."""

    def __init__(self, pki: SamplePki, folder: Path, tsa: OpensslTsa, url: str) -> None:
        (self._port,) = free_ports(1)
        self._pki, self._folder, self._asking = pki, folder, services(url)
        self.policy, self.governing = witnessed(pki, tsa, self._port), Governing(pki, folder)
        self._copies = Copies(pki, folder)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Exchange]:
        """A broker whose trees are all cosigned and stamped at the end."""
        async with (
            self._copies.exchange(**self._asking) as exchange,
            witnessing(exchange, self._folder / "alpha", ALPHA, self._port),
        ):
            yield exchange
            await all_stamped(exchange)
            await until(exchange, self.policy, everything)

    async def begin(self, exchange: Exchange, maker: RecordMaker) -> int:
        """Records, refusals, a new key, and a directory that nearly ends. Return how many records the police sent."""
        await (await hebei(exchange)).publish(maker.make())
        await refused(exchange, maker)
        sent_by_police = await sent(exchange, self._folder, FIRST)
        await processed(exchange)
        await self.governing.renews(HEBEI)
        await self.governing.lets_it_nearly_end()
        await in_force(exchange, self.governing.document)
        maker.composer._signer = self._pki.signer(HEBEI)
        await (await hebei(exchange)).publish(maker.make())
        return sent_by_police

    async def lose_some(self) -> int:
        """A disk is lost, and the broker goes on from an old copy. Return how many records are lost.

        The police exports what it has. Its edge remembers more than the log, and the loss is declared.
        """
        self._copies.take("old")
        async with self.running() as exchange:
            lost = await sent(exchange, self._folder, SECOND)
            await processed(exchange)
        for name, out in (("export", "police.receipts"), ("checkpoints", "seen")):
            profile = self._folder / "police.toml"
            await invoked(receipts, name, "--profile", profile, "--out", self._folder / out)
        self._copies.restore("old")
        async with (
            self._copies.exchange(**self._asking) as exchange,
            open_edge(police_profile(exchange, self._folder)[0]) as edge,
        ):
            with pytest.raises(LogRolledBack):
                await present(edge)
        await self._copies.declare()
        return lost

    async def bring_back(self, exchange: Exchange) -> int:
        """The police publishes again what is lost. Return how many records."""
        profile, routes = police_profile(exchange, self._folder, CaseRecord=CASES, SampleRequest=SAMPLES)
        async with open_edge(profile) as edge:
            await present(edge)
            lost = await spool_missing(edge)
            await Outbound(edge, profile.gateway, routes, Limits()).publish_spooled()
            await covered(exchange)
        return lost


async def test_after_renewals_refusals_a_declared_restore_and_a_directory_that_nearly_ends_nothing_is_found(
    pki: SamplePki, tmp_path: Path
) -> None:
    tsa = OpensslTsa.build(tmp_path / "tsa")
    async with served(tsa.answer) as authority:
        years = Years(pki, tmp_path, tsa, authority.url)
        async with years.running() as exchange:
            maker = exchange.maker(HEBEI)
            kept = await years.begin(exchange, maker)
        lost = await years.lose_some()
        # Whoever brings records back has another key by now, and so has the exchange.
        await years.governing.renews(SHANXI)
        await years.governing.renews(EXCHANGE)
        async with years.running() as exchange:
            assert await years.bring_back(exchange) == lost
            await years.governing.changes_its_key()
            await in_force(exchange, years.governing.document)
        async with years.running() as exchange:
            await (await hebei(exchange)).publish(maker.make())
            await processed(exchange)
            await all_stamped(exchange)
            await until(exchange, years.policy, everything)
            bundle = await replayed(exchange, tmp_path / "years.bundle")
    own = tmp_path / "own.policy"
    own.write_text(years.policy)
    for roots in ((bundle.root,), (tmp_path / "next-governance.pem",)):
        report = verify_bundle(
            bundle.path,
            roots,
            lambda _: None,
            receipts=[tmp_path / "police.receipts"],
            since=[tmp_path / "seen"],
            witness_policy=own,
        )
        assert (report.clean, report.findings, report.refused_numbers) == (True, (), 2)
        assert (report.brought.kept, report.brought.again) == (kept, lost)
        assert report.brought.continued + report.brought.closed == report.brought.checkpoints
        assert report.witnesses is not None
        assert report.times is not None
        assert report.witnesses.missing == ()
        assert min(report.times.timestamps, report.times.records) > 0
