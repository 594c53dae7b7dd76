"""Over real gRPC: a kind that needs both algorithms, and a kind that needs two people."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner
from msgspec import structs
from structlog.testing import capture_logs

from adapters.base import Limits
from adapters.cli.countersign import countersign
from adapters.edge.countersigning import load_signer
from adapters.edge.edge import open_edge
from adapters.gateway.outbound import Outbound
from broker.bootstrap.export import signed_record
from broker.cli.directorymembers import add_certificate
from broker.client.publisher import Published
from broker.core.algorithms import SignatureRule
from broker.core.bundle import PartitionRecords
from broker.core.envelope import ML_DSA_65
from broker.core.errors import (
    CaseExchangeError,
    CertificateInvalid,
    CountersignatureAwaited,
    InputRefused,
    RequestInvalid,
    SignatureMissing,
    SigningKeyMissing,
)
from broker.core.identity import Principal
from broker.trust.certificates import der, pem
from broker.trust.directory_payload import parse_payload
from broker.trust.exports import check_cms, check_dsse, check_sigstore, cms_of, dsse_of, sigstore_of
from certs import operations, profiles
from certs.cli import certs
from certs.development import KEY_FOLDER
from certs.rights import SHANXI, TRUST_DOMAIN
from certs.storage import write_public
from tests.support.exchange import running_exchange
from tests.support.gateways import SAMPLES, lab_profile, police_profile, receiving
from tests.support.pki import SamplePki
from tests.support.records import CODEC
from tests.support.replays import replayed
from tests.support.signers import BOTH, CHIEF, KIND

if TYPE_CHECKING:
    from adapters.edge.profile import GatewayProfile
    from tests.support.exchange import Exchange


class Office(NamedTuple):
    """An exchange's PKI whose directory demands several signatures of shanxi-police, and the keys for them."""

    pki: SamplePki
    post_quantum: Path
    chief: tuple[Path, ...]
    second_signers: Path

    def profile(self, exchange: Exchange, folder: Path, **left_out: Any) -> tuple[GatewayProfile, Any]:
        """The gateway of the agency, with all keys but those that are left out."""
        profile, routes = police_profile(exchange, folder, SampleRequest=SAMPLES)
        keys = {
            "post_quantum_certificate": self.post_quantum,
            "post_quantum_key": self.post_quantum.with_suffix(".key"),
            "second_signers": self.second_signers,
        }
        return structs.replace(profile, agency=structs.replace(profile.agency, **(keys | left_out))), routes


def office(folder: Path, rule: SignatureRule) -> Office:
    pki = SamplePki.build(folder / "pki", plain=False)
    gateway, chief = (Principal(TRUST_DOMAIN, SHANXI, system) for system in ("gateway", CHIEF))
    post_quantum = operations.issue(pki.folder, profiles.SIGNING_ML_DSA_65, gateway, pki.now)
    theirs = [
        operations.issue(pki.folder, profile, chief, pki.now, folder=folder / CHIEF)
        for profile in (profiles.SIGNING, profiles.SIGNING_ML_DSA_65)
    ]
    second_signers = folder / "second.pem"
    write_public(second_signers, b"".join(pem(each.certificate) for each in theirs))
    listed = pki.directory
    later = replace(listed, version=listed.version + 1, signatures={KIND: rule})
    write_public(pki.folder.directory, pki.sign(later))
    del pki.directory
    return Office(pki, post_quantum.certificate_path, tuple(each.certificate_path for each in theirs), second_signers)


def request_file(barcode: str) -> bytes:
    record = {"barcode": barcode, "role": "SAMPLE_ROLE_CHILD"}
    return json.dumps({"records": [{"kind": KIND, "caseReference": "SYN-1", "record": record}]}).encode()


async def until(folder: Path, pattern: str) -> Path:
    async with asyncio.timeout(60):
        while not (found := list(folder.glob(pattern))):  # noqa: ASYNC110, ASYNC240 - a folder has no event
            await asyncio.sleep(0.02)
    return found[0]


async def settled(outbound: Outbound) -> list[Published | CaseExchangeError]:
    """What becomes of the records that are held, when their time has come."""
    async with asyncio.timeout(60):
        while not (results := await outbound.publish_spooled()):  # noqa: ASYNC110 - a hold ends by the clock
            await asyncio.sleep(0.02)
    return results


async def delivered(exchange: Exchange, folder: Path) -> Path:
    """The file that the laboratory's gateway wrote. It verified the record."""
    async with receiving(lab_profile(exchange, folder)) as (_, inbound):
        return await until(inbound.folders.outbox, f"{KIND}-{'?' * 36}.json")


async def test_a_kind_that_needs_both_algorithms_goes_from_gateway_to_gateway_and_verifies_and_is_exported(
    tmp_path: Path,
) -> None:
    made = office(tmp_path, SignatureRule(BOTH))
    async with running_exchange(made.pki, tmp_path / "log") as exchange:
        profile, routes = made.profile(exchange, tmp_path)
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            assert outbound.take(request_file("SYN-1"), {}).records == 1
            (result,) = await outbound.publish_spooled()
            assert isinstance(result, Published)
        assert "SYN-1" in (await delivered(exchange, tmp_path)).read_text()
        bundle = await replayed(exchange, tmp_path / "whole.bundle")
    assert bundle.report().clean
    # Whoever removes the second signature afterwards leaves the tree as it is, and is found all the same.
    frames = bundle.frames()
    place, frame = next(
        (place, frame)
        for place, frame in enumerate(frames)
        if isinstance(frame, PartitionRecords) and CODEC.parse_body(frame.entries[0].envelope.body).kind == KIND
    )
    (entry,) = frame.entries
    assert [each.algorithm for each in CODEC.parse_body(entry.envelope.body).signers] == list(BOTH)
    stripped = replace(entry.envelope, signatures=entry.envelope.signatures[:1])
    frames[place] = PartitionRecords((entry._replace(envelope=stripped),), frame.receipts)
    assert "SIGNATURE_MISSING" in bundle.altered(tmp_path, frames).codes()
    # Other programs check the ECDSA signature.
    record = signed_record(bundle.path, (bundle.root,), result.statement.record_id)
    message = record.envelope.signed_bytes
    check_cms(cms_of(record), message, record.signer)
    check_sigstore(sigstore_of(record), message, record.signer)
    assert check_dsse(dsse_of(record), record.signer) == record.envelope.body


async def test_without_the_second_key_nothing_is_signed_and_the_file_is_kept(tmp_path: Path) -> None:
    made = office(tmp_path, SignatureRule(BOTH))
    async with running_exchange(made.pki, tmp_path / "log") as exchange:
        profile, routes = made.profile(exchange, tmp_path, post_quantum_certificate=Path())
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            taken = outbound.take(request_file("SYN-1"), {})
            assert (taken.records, taken.refused) == (0, True)
            assert [issue.code for issue in taken.issues] == ["SIGNING_KEY_MISSING"]
            assert edge.spool.outgoing(10) == []
        # With the key, the same file is taken in.
        profile, routes = made.profile(exchange, tmp_path)
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, profile.gateway, routes, Limits())
            assert outbound.take(request_file("SYN-1"), {}).records == 1
            assert [type(result) for result in await outbound.publish_spooled()] == [Published]


async def test_the_edges_own_principal_is_not_taken_as_the_second(tmp_path: Path) -> None:
    made = office(tmp_path, SignatureRule(BOTH, 2))
    async with running_exchange(made.pki, tmp_path / "log") as exchange:
        for own in (made.post_quantum, made.pki.folder.member(SHANXI) / "signing.pem"):
            profile, _ = made.profile(exchange, tmp_path, second_signers=own)
            with pytest.raises(CertificateInvalid, match="signs first itself"):
                async with open_edge(profile):
                    pass


async def test_an_edge_that_does_not_know_the_newest_directory_is_refused_by_the_broker(tmp_path: Path) -> None:
    made = office(tmp_path, SignatureRule(BOTH))
    async with running_exchange(made.pki, tmp_path / "log") as exchange:
        with pytest.raises(SignatureMissing):
            await (await exchange.publisher()).publish(exchange.maker().make())


async def test_a_kind_that_needs_two_people_waits_for_the_second_who_sees_what_he_signs(tmp_path: Path) -> None:
    made = office(tmp_path, SignatureRule(BOTH, 2))
    async with running_exchange(made.pki, tmp_path / "log") as exchange:
        profile, routes = made.profile(exchange, tmp_path)
        box = profile.folder / "countersign"
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, structs.replace(profile.gateway, retry_seconds=0.1), routes, Limits())
            assert outbound.take(request_file("SYN-1"), {}).records == 1
            with capture_logs() as logs:
                (waits,) = await outbound.publish_spooled()
            assert isinstance(waits, CountersignatureAwaited)
            assert [each["reason"] for each in logs if each["event"] == "held"] == ["COUNTERSIGNATURE_AWAITED"]
            (request,) = box.glob("*.envelope")
            assert request.stat().st_mode & 0o077 == 0
        # The file goes to the second principal, in another place.
        desk = tmp_path / "desk"
        desk.mkdir()
        shutil.copy(request, desk)
        options = [str(desk / request.name), *(f"--certificate={path}" for path in made.chief)]
        keys = made.pki.folder.member(SHANXI) / KEY_FOLDER
        looked = CliRunner().invoke(countersign, [*options, "--keys", str(keys), "--show", str(desk / "look")])
        assert (looked.exit_code, looked.exception) == (0, None)
        assert "signatures: 2 of 4" in looked.output
        digest = hashlib.sha256(CODEC.decode_envelope(request.read_bytes()).body).hexdigest()
        assert all(text in looked.output for text in ("section sample, for ", f"SHA-256 of its body: {digest}\n"))
        # What was not seen is not signed.
        assert CliRunner().invoke(countersign, [*options, "--yes"]).exit_code == 2
        other = [*options, f"--sha256={'0' * 64}", "--yes"]
        assert isinstance(CliRunner().invoke(countersign, other).exception, InputRefused)
        options.append(f"--sha256={digest}")
        assert b"SYN-1" in (desk / "look" / "section-sample").read_bytes()
        assert not list(desk.glob("*.dsse.json"))
        own = made.pki.folder.member(SHANXI) / "signing.pem"
        stranger = CliRunner().invoke(countersign, [options[0], f"--certificate={own}", options[-1], "--yes"])
        assert isinstance(stranger.exception, SigningKeyMissing)
        for agreed, made_there in (("n", []), ("y", [1])):
            assert CliRunner().invoke(countersign, options, input=f"{agreed}\n").exit_code == 1 - len(made_there)
            assert [1 for _ in desk.glob("*.dsse.json")] == made_there
        (answer,) = desk.glob("*.dsse.json")
        # The gateway was stopped meanwhile. An answer that somebody changed does not count, and nothing is lost.
        good = json.loads(answer.read_text())
        signatures = [{**each, "sig": good["signatures"][0]["sig"]} for each in good["signatures"]]
        (box / answer.name).write_text(json.dumps({**good, "signatures": signatures}))
        async with open_edge(profile) as edge:
            outbound = Outbound(edge, structs.replace(profile.gateway, retry_seconds=0.1), routes, Limits())
            with capture_logs() as logs:
                (waits,) = await outbound.publish_spooled()
            assert isinstance(waits, CountersignatureAwaited)
            assert "SIGNATURE_INVALID" in {each.get("reason") for each in logs}
            shutil.copy(answer, box)
            (result,) = await settled(outbound)
            assert isinstance(result, Published)
            assert (edge.spool.outgoing(10), list(box.iterdir())) == ([], [])
        assert "SYN-1" in (await delivered(exchange, tmp_path)).read_text()
        assert (await replayed(exchange, tmp_path / "whole.bundle")).report().clean


def test_an_agency_asks_for_its_ml_dsa_65_certificate_and_governance_lists_it_beside_the_first(tmp_path: Path) -> None:
    pki = SamplePki.build(tmp_path / "pki")
    keys, profile = tmp_path / "keys", "--profile=signing-ml-dsa-65"

    def run(command: Any, *options: str) -> None:
        result = CliRunner().invoke(command, options)
        assert (result.exit_code, result.exception) == (0, None), result.output

    run(certs, "request", f"--agency={SHANXI}", profile, f"--folder={keys}")
    request = keys / "signing-ml-dsa-65.csr"
    root = str(tmp_path / "pki")
    run(certs, "sign", str(request), f"--agency={SHANXI}", profile, f"--pki={root}")
    payload = tmp_path / "payload.json"
    document, governance = str(pki.folder.directory), str(pki.folder.governance_public_key)
    run(add_certificate, document, f"--root={governance}", f"--request={request}", f"--out={payload}")
    listed = parse_payload(payload.read_bytes(), b"").agencies[SHANXI].signing_certificates
    signer = load_signer(request.with_suffix(".pem"))
    assert (signer.algorithm, listed) == (ML_DSA_65, (der(pki.signer(SHANXI).certificate), der(signer.certificate)))
    # It is no certificate for another purpose, and no key is certified twice.
    again = CliRunner().invoke(certs, ["sign", str(request), f"--agency={SHANXI}", f"--pki={root}"])
    assert isinstance(again.exception, RequestInvalid)
