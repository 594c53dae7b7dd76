"""Make the kept bundles anew: ``python -m tests.vectors.bundles.make``. README.md beside this file says when.

One small exchange is run through what a bundle can hold: two systems of one agency, a section that the auditor may not
have, deliveries and their acknowledgement, and a second directory version that retires a signing certificate. It is
replayed twice: with frames as this project writes them, and as another program might write the same frames.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

from click.testing import CliRunner

from broker.cli.verify import verify
from broker.client.composing import SectionDraft
from broker.client.subscriber import SubscribeOptions
from broker.core.policy import RetiredCertificate
from broker.wire.codec import ProtobufCodec
from broker.wire.frames import frame_to
from broker.wire.tls import TlsFiles
from certs import profiles
from certs.storage import write_public
from tests.support.exchange import Exchange, running_exchange
from tests.support.oddbytes import oddly_serialized
from tests.support.pki import SamplePki
from tests.support.replays import replayed

if TYPE_CHECKING:
    from broker.core.bundle import Frame

HERE = Path(__file__).parent
CASES = [f"01990000-0000-4000-8000-0000000000{number:02x}" for number in range(3)]
SHANXI = "shanxi-police"


async def make(folder: Path) -> None:
    pki = SamplePki.build(folder / "pki")
    shutil.copy(pki.folder.trust / "governance.pem", HERE / "governance.pem")
    async with running_exchange(pki, folder / "log", log={"cases_partitions": 1, "dna_partitions": 2}) as exchange:
        await _publish_and_deliver(exchange, folder)
        await _retire(exchange)
        await replayed(exchange, HERE / "plain.bundle")
        with patch.object(ProtobufCodec, "encode_frame", _encode_oddly):
            await replayed(exchange, HERE / "odd.bundle")
    for name in ("plain", "odd"):
        arguments = [str(HERE / f"{name}.bundle"), "--root", str(HERE / "governance.pem"), "--json"]
        done = CliRunner().invoke(verify, arguments)
        assert done.exit_code == 0, done.output
        (HERE / f"{name}.json").write_text(done.stdout)


async def _publish_and_deliver(exchange: Exchange, folder: Path) -> None:
    gateway, program, hebei = exchange.maker(), exchange.maker(system="case-system"), exchange.maker("hebei-police")
    certificate, key = exchange.pki.credential(profiles.TLS_CLIENT, system="case-system").write(folder, "program")
    files = TlsFiles(certificate, key, exchange.pki.folder.trust / "tls-ca.pem")
    by_gateway, by_program = await exchange.publisher(), await exchange.publisher(files=files)
    by_hebei = await exchange.publisher("hebei-police")
    sections = (SectionDraft("case", "synthetic", b"synthetic"), SectionDraft("identity", "synthetic", b"synthetic"))
    for case in CASES:
        await by_gateway.publish(gateway.make(case=case))
        await by_program.publish(program.make(case=case))
        to_ngo = hebei.make(
            "CaseRecord", "cases", to=("child-aid-ngo",), case=case, purpose="child-rescue", sections=sections
        )
        await by_hebei.publish(to_ngo)
    left = 2 * len(CASES)
    options = SubscribeOptions("samples", frozenset({"SampleRequest"}))
    async with asyncio.timeout(20), (await exchange.subscriber()).subscribe(options) as stream:
        async for batch in stream:
            await stream.ack([delivered.delivery_id for delivered in batch])
            left -= len(batch)
            if not left:
                break


async def _retire(exchange: Exchange) -> None:
    """A directory version in which shanxi-police signs with another certificate, and a record under it."""
    pki, signer = exchange.pki, exchange.pki.credential()
    member = pki.directory.agency(SHANXI)
    former = [RetiredCertificate(one, exchange.clock.now_ms()) for one in member.signing_certificates]
    member = replace(member, signing_certificates=(signer.der,), retired_certificates=tuple(former))
    directory = replace(pki.directory, version=2, agencies={**pki.directory.agencies, SHANXI: member})
    write_public(pki.folder.directory, pki.sign(directory))
    async with asyncio.timeout(20):
        while exchange.broker._trust.directory.current().version != directory.version:  # noqa: ASYNC110 - no event for it
            await asyncio.sleep(0.05)
    maker = exchange.maker(system="gateway")
    maker.composer._signer = signer.signer
    # It goes on with the gateway's numbers.
    for case in CASES:
        maker.make(case=case)
    await (await exchange.publisher()).publish(maker.make(case=CASES[0]))


def _encode_oddly(_: ProtobufCodec, frame: Frame) -> bytes:
    return oddly_serialized(frame_to(frame))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        asyncio.run(make(Path(made)))
