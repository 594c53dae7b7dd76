"""An honest log has no finding, not even a warning, whatever an exchange goes through in years.

tests/integration/test_governance_key.py has the change of governance's key.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.client.publisher import Publisher
from broker.client.receipts import ReceiptVerifier
from broker.client.subscriber import SubscribeOptions
from broker.core.errors import RecordExpired, RightDenied
from broker.core.policy import RetiredCertificate
from certs.rights import EXCHANGE, LAB, SHANXI
from tests.integration.test_governance_key import in_force
from tests.integration.test_trace import answered
from tests.support.exchange import running_exchange
from tests.support.fakes import FixedDirectory
from tests.support.records import CODEC, OTHER_CASE
from tests.support.replays import replayed

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.policy import Directory
    from tests.support.pki import Credential, SamplePki

DAY_MS = 86_400_000
SAMPLES = SubscribeOptions("samples", frozenset({"SampleRequest"}))


def renewed(pki: SamplePki, directory: Directory, agency: str, certificate: Credential, at_ms: int) -> Directory:
    """The next version: an agency has another signing certificate, and its former one is retired."""
    member = directory.agencies[agency]
    retired = tuple(RetiredCertificate(former, at_ms) for former in member.signing_certificates)
    member = replace(member, signing_certificates=(certificate.der,), retired_certificates=retired)
    version = replace(directory, version=directory.version + 1, agencies={**directory.agencies, agency: member})
    return replace(version, document=pki.sign(version))


async def test_keys_are_renewed_records_refused_and_the_directory_nearly_ends_and_nothing_is_found(
    pki: SamplePki, tmp_path: Path
) -> None:
    path = tmp_path / "directory.json"
    path.write_bytes(pki.directory.document)
    trust = {"directory": str(path)}
    other, exchanges = pki.credential(agency=SHANXI), pki.credential(agency=EXCHANGE, system="broker")
    async with running_exchange(pki, tmp_path / "log", trust=trust) as exchange:
        maker, publisher = exchange.maker(), await exchange.publisher()
        await publisher.publish(maker.make())
        # A record that the broker refuses uses up its number, whether auditors should look at it or not.
        with pytest.raises(RightDenied):
            await publisher.publish(maker.make("MatchNotification"))
        late = maker.make()
        body = CODEC.parse_body(late.body)
        expired = maker.composer._signed(pki.signer(), replace(body, expires_at_ms=body.issued_at_ms), late.sections)
        with pytest.raises(RecordExpired):
            await publisher.publish(expired.envelope)
        await answered(exchange, LAB, SAMPLES)
        # The agency has a new key, by a directory that is old, and ends tomorrow.
        old = replace(pki.directory, issued_at_ms=pki.now_ms - 300 * DAY_MS, expires_at_ms=pki.now_ms + DAY_MS)
        directory = renewed(pki, old, SHANXI, other, exchange.clock.now_ms() + 1000)
        assert directory.expires_soon(exchange.clock.now_ms())
        path.write_bytes(directory.document)
        await in_force(exchange, directory.document)
        maker.composer._signer = other.signer
        await publisher.publish(maker.make(case=OTHER_CASE))
        await answered(exchange, LAB, SAMPLES)
        directory = renewed(pki, directory, EXCHANGE, exchanges, exchange.clock.now_ms() + 1000)
        path.write_bytes(directory.document)
        await in_force(exchange, directory.document)
    # Another process follows, with the exchange's own new key.
    certificate, key = exchanges.write(tmp_path, "exchange")
    signing = {"certificate": str(certificate), "key": str(key)}
    async with running_exchange(pki, tmp_path / "log", trust=trust, signing=signing) as exchange:
        checks = ReceiptVerifier(FixedDirectory(directory), pki.keyring(directory))
        publisher = Publisher(await exchange.channel(SHANXI), CODEC, checks)
        await publisher.publish(maker.make())
        await answered(exchange, LAB, SAMPLES)
        bundle = await replayed(exchange, tmp_path / "whole.bundle")
    report = bundle.report()
    assert (report.findings, report.deliveries, report.refused_numbers) == ((), 3, 2)
