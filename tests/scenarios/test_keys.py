"""Keys that end while records are in flight, over real gRPC with real edges: what comes, and what is told."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from adapters.base import Limits
from adapters.edge.edge import open_edge
from adapters.folders import ENVELOPE
from adapters.gateway.outbound import Outbound
from broker.client.publisher import Published
from broker.client.sealing import Sealing
from broker.core.encryptionkeys import MLKEM768_X25519, RECORDS
from broker.core.errors import PeerRevoked, SignerRevoked
from broker.core.policy import keys_in_force
from broker.trust.carriedkeys import with_statements
from broker.trust.hpke import HpkeWrapper, PrivateEncryptionKey
from broker.trust.keyfolder import add_key, destroy_private, entry_of
from broker.trust.keystatements import state_key, state_retirement
from broker.trust.sealing import AesGcmCipher
from certs import profiles
from certs.development import KEY_FOLDER
from certs.operations import LIST_LIFETIME
from certs.rights import HEBEI, LAB, SHANXI, TRUST_DOMAIN
from tests.integration.test_encryption_keys import DAY_MS, Versions, in_force
from tests.integration.test_sealed_edges import request_file, sample, until
from tests.support.exchange import running_exchange
from tests.support.gateways import SAMPLES, lab_profile, police_profile, receiving
from tests.support.pki import SamplePki
from tests.support.records import CODEC, RecordMaker
from tests.support.replays import replayed

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.policy import Directory
    from certs.profiles import AuthorityKind


@pytest.fixture
def pki(tmp_path: Path) -> SamplePki:
    return SamplePki.build(tmp_path / "pki", plain=False)


def ids_in(folder: Path, ending: str) -> list[str]:
    """The record ids in the names of a gateway's files, one for each file."""
    return sorted(path.name.removesuffix(ending)[-36:] for path in folder.glob(f"*{ending}"))


def with_new_key(pki: SamplePki, directory: Directory, keys: Path, now_ms: int) -> Directory:
    """The directory with another key of the laboratory, whose private part is in the folder."""
    private = PrivateEncryptionKey.generate(MLKEM768_X25519)
    key = private.stated_as(LAB, RECORDS, now_ms, now_ms + 30 * DAY_MS)
    stated = state_key(key, TRUST_DOMAIN, now_ms, pki.signer(LAB))
    add_key(keys, private, stated)
    return with_statements(directory, [stated.statement])


async def test_a_recipient_is_away_while_its_key_is_rotated_retired_and_destroyed(
    pki: SamplePki, tmp_path: Path
) -> None:
    versions, old = Versions(pki, tmp_path), pki.directory
    keys = shutil.copytree(pki.folder.member(LAB) / KEY_FOLDER, tmp_path / "keys")
    (former,) = keys_in_force(old.agency(LAB), pki.now_ms)
    async with running_exchange(pki, tmp_path / "log", trust={"directory": str(versions.path)}) as exchange:
        lab = lab_profile(exchange, tmp_path, directory=str(versions.path))
        lab = structs.replace(lab, agency=structs.replace(lab.agency, encryption_keys=keys))
        police, routes = police_profile(exchange, tmp_path, SampleRequest=SAMPLES)
        police = structs.replace(police, trust=structs.replace(police.trust, directory=versions.path))
        behind = RecordMaker(pki, exchange.clock, HEBEI, sealing=Sealing(lambda: old, AesGcmCipher(), HpkeWrapper()))
        hebei = await exchange.publisher(HEBEI)

        async with open_edge(police) as edge:
            outbound = Outbound(edge, police.gateway, routes, Limits())

            def take(barcode: str) -> str:
                """The id of a new record in the publisher's spool, signed and sealed."""
                assert outbound.take(request_file(barcode), {}).records == 1
                return edge.spool.outgoing(10)[-1].record_id

            read = [take("SYN-1")]
            assert [type(each) for each in await outbound.publish_spooled()] == [Published]
            async with receiving(lab) as (_, inbound):
                await until(inbound.folders.outbox, f"SampleRequest-{read[0]}.json")
                outbox, quarantine = inbound.folders.outbox, inbound.folders.quarantine
                async with asyncio.timeout(60):
                    while (await replayed(exchange, tmp_path / "first.bundle")).report().unprocessed:
                        pass

            # The recipient is away. One record comes before its new key is known, and one stays in the spool.
            lost = [take("SYN-2")]
            assert [type(each) for each in await outbound.publish_spooled()] == [Published]
            lost.append(take("SYN-3"))

            await in_force(exchange, versions.sign(with_new_key(pki, versions.newest, keys, exchange.clock.now_ms())))

            # Both keys are in force. A publisher with the older directory seals to the former one.
            during = behind.make(sections=[sample("SYN-4")])
            await hebei.publish(during)
            lost.append(CODEC.parse_body(during.body).record_id)

            ends_ms = exchange.clock.now_ms() + 1
            ends = state_retirement(former, ends_ms, TRUST_DOMAIN, ends_ms, pki.signer(LAB))
            await in_force(exchange, versions.sign(with_statements(versions.newest, [ends.statement])))
            destroy_private(entry_of(keys, former))

            # What was signed in the key's life still goes. It is judged by the time of its issue.
            edge.reload_trust()
            read.append(take("SYN-6"))
            assert [type(each) for each in await outbound.publish_spooled()] == [Published, Published]

        async with receiving(lab):
            await until(outbox, f"SampleRequest-{read[1]}.json")
            async with asyncio.timeout(60):
                while len((await replayed(exchange, tmp_path / "w.bundle")).report().unprocessed) != len(lost):
                    pass
        report = (await replayed(exchange, tmp_path / "whole.bundle")).report()
    assert ids_in(outbox, ".about.json") == sorted(read)
    assert report.findings == ()
    assert [each.refused for each in report.unprocessed] == ["SEAL_KEY_MISSING"] * len(lost)
    kept = [CODEC.decode_envelope(path.read_bytes()) for path in quarantine.glob(f"*{ENVELOPE}")]
    assert sorted(CODEC.parse_body(each.body).record_id for each in kept) == sorted(lost)


def revoke(pki: SamplePki, kind: AuthorityKind, serial: int) -> int:
    """Publish a list with this certificate. Return since when it is revoked (epoch milliseconds, UTC)."""
    authority, now = pki.folder.load_authority(kind), datetime.now(UTC).replace(microsecond=0)
    authority.revoke(serial, now, "keyCompromise")
    pki.folder.publish_revocation_list(kind, authority, now, LIST_LIFETIME)
    return int(now.timestamp() * 1000)


async def test_a_tls_certificate_is_revoked_while_its_agency_publishes(pki: SamplePki, tmp_path: Path) -> None:
    async with running_exchange(pki, tmp_path / "log") as exchange:
        maker = RecordMaker(pki, exchange.clock, sealing=Sealing(lambda: pki.directory, AesGcmCipher(), HpkeWrapper()))
        receipted: list[str] = []
        publisher, waiting = await exchange.publisher(), maker.make(sections=[sample()])

        async def publish_on() -> None:
            nonlocal waiting
            async with publisher.stream() as stream:
                while True:
                    (result,) = await stream.publish([waiting])
                    assert isinstance(result, Published)
                    if not receipted:
                        revoke(pki, "tls", pki.tls_certificate(SHANXI).serial_number)
                    receipted.append(CODEC.parse_body(waiting.body).record_id)
                    waiting = maker.make(sections=[sample()])

        async with asyncio.timeout(120):
            with pytest.raises(PeerRevoked):
                await publish_on()
        # With a new certificate the same signed record goes, whether or not the broker had taken it already.
        pki.credential(profiles.TLS_CLIENT).write(pki.folder.member(SHANXI), "tls")
        await (await exchange.publisher()).publish(waiting)
        sent = [*receipted, CODEC.parse_body(waiting.body).record_id]
        async with receiving(lab_profile(exchange, tmp_path)) as (_, inbound):
            await until(inbound.folders.outbox, f"SampleRequest-{sent[-1]}.json")
            assert ids_in(inbound.folders.outbox, ".about.json") == sorted(sent)
        assert (await replayed(exchange, tmp_path / "whole.bundle")).report().clean


async def test_a_signing_certificate_is_revoked_while_its_agency_publishes(pki: SamplePki, tmp_path: Path) -> None:
    accepted: dict[str, int] = {}
    revoked_ms: int | None = None
    async with running_exchange(pki, tmp_path / "log") as exchange:
        maker = RecordMaker(pki, exchange.clock, sealing=Sealing(lambda: pki.directory, AesGcmCipher(), HpkeWrapper()))
        async with asyncio.timeout(120), (await exchange.publisher()).stream() as stream:
            while True:
                record = maker.make(sections=[sample()])
                (result,) = await stream.publish([record])
                if not isinstance(result, Published):
                    break
                accepted[result.statement.record_id] = result.statement.accepted_at_ms
                # Lists have times in whole seconds. Some records come surely before.
                if revoked_ms is None and len({each // 1000 for each in accepted.values()}) > 1:
                    revoked_ms = revoke(pki, "signing", pki.signer().certificate.serial_number)
            assert isinstance(result, SignerRevoked)
            # The stream stays open: the word is about the record. Nothing of this signer comes in any more.
            (again,) = await stream.publish([record])
            assert isinstance(again, SignerRevoked)
        report = (await replayed(exchange, tmp_path / "whole.bundle")).report()
    assert revoked_ms is not None
    # What the broker took in before it had the list is told, and nothing else.
    late = {record_id for record_id, at_ms in accepted.items() if at_ms >= revoked_ms}
    assert {each.code for each in report.findings} <= {"SIGNER_REVOKED", "REVOKED_BEFORE_PROOF"}
    assert {each.record_id for each in report.findings if each.code == "SIGNER_REVOKED"} == late
    assert late < accepted.keys()
