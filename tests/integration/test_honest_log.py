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
from tests.integration.test_trace import answered
from tests.support.fakes import FixedDirectory
from tests.support.gateways import CASES, SAMPLES, police_profile
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
                f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (now - timedelta(days=300), now + timedelta(days=1))
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


def services(url: str) -> Mapping[str, dict[str, Any]]:
    """The sections of a broker that asks witnesses and an authority often."""
    return {"witnesses": QUICK, "timestamps": STAMPED | {"urls": [url]}}


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
    late = maker.composer._signed(replace(body, expires_at_ms=body.issued_at_ms), late.sections).envelope
    with pytest.raises(RecordExpired):
        await publisher.publish(late)


async def test_after_renewals_refusals_a_declared_restore_and_a_directory_that_nearly_ends_nothing_is_found(
    pki: SamplePki, tmp_path: Path
) -> None:
    tsa, (port,) = OpensslTsa.build(tmp_path / "tsa"), free_ports(1)
    policy, governing, copies = witnessed(pki, tsa, port), Governing(pki, tmp_path), Copies(pki, tmp_path)
    async with served(tsa.answer) as authority:
        asking = services(authority.url)

        @contextlib.asynccontextmanager
        async def running() -> AsyncIterator[Exchange]:
            """A broker whose trees are all cosigned and stamped at the end."""
            async with copies.exchange(**asking) as exchange:
                async with witnessing(exchange, tmp_path / "alpha", ALPHA, port):
                    yield exchange
                    await all_stamped(exchange)
                    await until(exchange, policy, everything)

        async with running() as exchange:
            maker = exchange.maker(HEBEI)
            await (await hebei(exchange)).publish(maker.make())
            await refused(exchange, maker)
            kept = await sent(exchange, tmp_path, FIRST)
            await answered(exchange, LAB, REQUESTS)
            await governing.renews(HEBEI)
            await in_force(exchange, governing.document)
            maker.composer._signer = pki.signer(HEBEI)
            await (await hebei(exchange)).publish(maker.make())
        copies.take("old")
        async with running() as exchange:
            lost = await sent(exchange, tmp_path, SECOND)
            await answered(exchange, LAB, REQUESTS)
        for command in (["export", "--out", tmp_path / "police.receipts"], ["checkpoints", "--out", tmp_path / "seen"]):
            await invoked(receipts, command[0], "--profile", tmp_path / "police.toml", *command[1:])
        # A disk is lost, and the broker goes on from an old copy. Its edges remember more. It is declared.
        copies.restore("old")
        async with copies.exchange(**asking) as exchange:
            async with open_edge(police_profile(exchange, tmp_path)[0]) as edge:
                with pytest.raises(LogRolledBack):
                    await present(edge)
        await copies.declare()
        # Whoever brings records back has another key by now.
        await governing.renews(SHANXI)
        await governing.renews(EXCHANGE)
        async with running() as exchange:
            profile, routes = police_profile(exchange, tmp_path, CaseRecord=CASES, SampleRequest=SAMPLES)
            async with open_edge(profile) as edge:
                await present(edge)
                assert await spool_missing(edge) == lost
                await Outbound(edge, profile.gateway, routes, Limits()).publish_spooled()
                await covered(exchange)
            await governing.changes_its_key()
            await governing.lets_it_nearly_end()
            await in_force(exchange, governing.document)
        async with running() as exchange:
            await (await hebei(exchange)).publish(maker.make())
            await answered(exchange, LAB, REQUESTS)
            await all_stamped(exchange)
            await until(exchange, policy, everything)
            bundle = await replayed(exchange, tmp_path / "years.bundle")
    own = tmp_path / "own.policy"
    own.write_text(policy)
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
