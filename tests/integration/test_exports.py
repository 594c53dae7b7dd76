"""Exports of a record, checked by programs of other projects: OpenSSL, @sigstore/verify and securesystemslib."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from broker.bootstrap.export import signed_record
from broker.cli.export import export
from broker.client.composing import RecordComposer, SectionDraft
from broker.core import errors
from broker.core.bundle import AuthorityCertificate, BundleEntry, DirectoryDocument, RevocationListFile
from broker.core.envelope import BODY_TYPE, Signature
from broker.core.identity import Principal
from broker.core.receipt import portable_receipt
from broker.core.streams import Position, StreamPartition
from broker.trust.certificates import der, fingerprint, load_certificates, p256_public_key, pem, signing_validity
from broker.trust.cms import DetachedSignature, marshal_cms
from broker.trust.exports import (
    SignedRecord,
    TrustedSigner,
    check_cms,
    check_dsse,
    check_sigstore,
    cms_of,
    dsse_of,
    sigstore_of,
    sigstore_root,
)
from broker.trust.keys import public_key_pem
from broker.trust.system import SystemEntropy
from broker.trust.timestamps import TimestampAuthority
from broker.wire.bundle import MAGIC, write_frame
from broker.wire.frames import frame_to
from broker.wire.receipts import receipt_bytes
from certs import profiles
from certs.authority import Authority
from certs.operations import LIST_LIFETIME
from tests.support.bundles import LyingExchange
from tests.support.exchange import running_exchange
from tests.support.foreign import (
    NODE_MODULES,
    OpensslCms,
    SigstoreFiles,
    node_environment,
    securesystemslib_accepts,
    sigstore_accepts,
)
from tests.support.pki import ManualClock, SamplePki, without_keys
from tests.support.records import CODEC, RecordMaker
from tests.support.replays import Bundle, replayed
from tests.support.tsa import OpensslTsa, signed_parts

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.bundle import Frame
    from broker.core.envelope import Envelope
    from broker.core.policy import Directory
    from broker.trust.signing import EcdsaSigner

FORMS = ("cms", "dsse", "sigstore")
DNA = StreamPartition("dna", 0)
PAGE = Path(__file__).parents[2] / "docs" / "exports.md"
LONG_AGO = datetime.now(UTC).replace(microsecond=0) - timedelta(days=3 * 365)
YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


class Exported(NamedTuple):
    """A bundle of a running exchange, and the ids of two records in it."""

    bundle: Bundle
    record_id: str
    other_id: str

    def record(self) -> SignedRecord:
        return signed_record(self.bundle.path, (self.bundle.root,), self.record_id)


@pytest.fixture(scope="module")
def exported(pki: SamplePki, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exports")

    async def make() -> Exported:
        async with running_exchange(pki, folder / "log") as exchange:
            publisher, maker = await exchange.publisher(), exchange.maker()
            envelopes = [maker.make() for _ in range(3)]
            for envelope in envelopes:
                await publisher.publish(envelope)
            bundle = await replayed(exchange, folder / "exports.bundle")
        return Exported(bundle, record_id(envelopes[1]), record_id(envelopes[2]))

    return asyncio.run(make())


@pytest.fixture(scope="module")
def record(exported: Exported) -> SignedRecord:
    return exported.record()


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> OpensslTsa:
    return OpensslTsa.build(tmp_path_factory.mktemp("tsa") / "tsa")


def record_id(envelope: Envelope) -> str:
    return CODEC.parse_body(envelope.body).record_id


def run_export(bundle: Bundle, record: str, form: str, out: Path, *more: str | Path) -> str:
    arguments = [record, "--from", bundle.path, "--root", bundle.root, "--as", form, "--out", out, *more]
    result = CliRunner().invoke(export, [str(each) for each in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def commands(printed: str) -> list[str]:
    """The commands that an export printed, without those that install something."""
    lines = [line.strip() for line in printed.splitlines() if line.startswith("  ")]
    return [line for line in lines if not line.startswith(("pip install", "npm install"))]


def run_all(printed: str) -> list[subprocess.CompletedProcess[str]]:
    """Run the printed commands one after the other, in one folder, with the Python of the tests."""
    change, *rest = commands(printed)
    return [shell(command, shlex.split(change)[1]) for command in rest]


def shell(script: str, folder: Path | str) -> subprocess.CompletedProcess[str]:
    """Run a script that ends at its first failure. Skips the test if it needs Node.js and has not its packages."""
    environment = node_environment() if "node " in script else dict(os.environ)
    environment["PATH"] = f"{sys.exec_prefix}/bin:{environment['PATH']}"
    command = ["sh", "-e", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_every_printed_command_verifies_the_export(exported: Exported, tmp_path: Path, form: str) -> None:
    done = run_all(run_export(exported.bundle, exported.record_id, form, tmp_path / "my evidence"))
    assert [each.returncode for each in done] == [0] * len(done), done
    said = "".join(each.stdout + each.stderr for each in done)
    verified = {"cms": "CMS Verification successful", "sigstore": "by @sigstore/verify", "dsse": "by securesystemslib"}
    assert verified[form] in said
    assert "URI:spiffe://case-exchange.example/agency/shanxi-police/gateway" in said


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["record.pae", "authority.pem"])
def test_no_printed_command_verifies_an_export_of_other_bytes_or_of_another_authority(
    exported: Exported, tmp_path: Path, form: str, name: str
) -> None:
    printed = run_export(exported.bundle, exported.record_id, form, tmp_path / "out")
    other = SamplePki.build(tmp_path / "other")
    record = (tmp_path / "out" / "record.pae").read_bytes()
    content = {"record.pae": record + b"\0", "authority.pem": pem(other.authority("signing").certificate)}
    (tmp_path / "out" / name).write_bytes(content[name])
    assert any(each.returncode for each in run_all(printed))


def test_a_timestamped_sigstore_export_verifies_with_its_certificate(
    exported: Exported, tsa: OpensslTsa, tmp_path: Path
) -> None:
    printed = run_export(exported.bundle, exported.record_id, "sigstore", tmp_path / "first")
    stamp = tsa.stamp((tmp_path / "first" / "signature.der").read_bytes())
    (tmp_path / "answer.tsr").write_bytes(stamp)
    more = ("--timestamp", tmp_path / "answer.tsr", "--tsa", tsa.folder / "chain.pem")
    printed = run_export(exported.bundle, exported.record_id, "sigstore", tmp_path / "out", *more)
    done = run_all(printed)
    assert [each.returncode for each in done] == [0] * len(done), done
    material = json.loads((tmp_path / "out" / "record.sigstore.json").read_bytes())["verificationMaterial"]
    assert "certificate" in material
    # The certificate is judged by @sigstore/verify, so no other command has to.
    assert not any("openssl verify" in command for command in commands(printed))


def test_every_command_of_the_page_about_exports_does_what_it_says(
    exported: Exported, record: SignedRecord, tsa: OpensslTsa, tmp_path: Path
) -> None:
    for name, source in (("q3.bundle", exported.bundle.path), ("governance.pem", exported.bundle.root)):
        (tmp_path / name).symlink_to(source)
    (tmp_path / "tsa.pem").symlink_to(tsa.folder / "chain.pem")
    (tmp_path / "answer.tsr").write_bytes(tsa.stamp(record.signature))
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        lines = [line for line in block.splitlines() if not line.startswith(("pip install", "npm install"))]
        script = "\n".join(lines).replace("RECORD_ID", exported.record_id)
        done = shell(script.replace("SECONDS", str(record.accepted_at_ms // 1000)), tmp_path)
        assert done.returncode == 0, (script, done.stderr)


def test_an_export_prints_the_commands_of_the_page(exported: Exported, record: SignedRecord, tmp_path: Path) -> None:
    page = PAGE.read_text()
    for form in FORMS:
        printed = run_export(exported.bundle, exported.record_id, form, tmp_path / form)
        for line in printed.splitlines()[3:]:
            assert line.strip().replace(str(record.accepted_at_ms // 1000), "SECONDS") in page


def test_the_sections_of_the_copy_are_beside_what_was_signed_with_their_digests(pki: SamplePki, tmp_path: Path) -> None:
    sections = (SectionDraft("case", "synthetic", b"open"), SectionDraft("identity", "synthetic", b"of nobody"))
    envelope = RecordMaker(pki, ManualClock(pki.now_ms + 1000)).make(sections=sections)
    partial = envelope.with_sections(frozenset({"case"}))
    bundle = bundle_of(pki, tmp_path / "one.bundle", partial)
    run_export(bundle, record_id(envelope), "cms", tmp_path / "out")
    (section,) = (tmp_path / "out").glob("section-*")
    assert section.name == "section-case"
    assert section.read_bytes().endswith(b"open")
    assert sha256(section.read_bytes()).digest() in (tmp_path / "out" / "record.pae").read_bytes()


def test_a_record_that_was_published_again_is_judged_at_its_former_receipt(tmp_path: Path) -> None:
    pki = SamplePki.build(tmp_path / "pki", now=LONG_AGO)
    envelope = RecordMaker(pki, ManualClock(pki.now_ms + 1000)).make()
    former = BundleEntry(Position(*DNA, 7), pki.now_ms + 2000, "e" * 32, 0, envelope)
    receipts = LyingExchange(pki).receipts([former])
    assert receipts is not None
    again = envelope.with_former_receipt(receipt_bytes(portable_receipt(receipts, 0)))
    now_ms = round(datetime.now(UTC).timestamp() * 1000)
    issuer = pki.authority("signing")
    without = bundle_of(pki, tmp_path / "without.bundle", envelope, issuer=issuer, accepted_at_ms=now_ms)
    assert refusal(without, record_id(envelope), tmp_path) is errors.SignerCertificateInvalid
    bundle = bundle_of(pki, tmp_path / "again.bundle", again, issuer=issuer, accepted_at_ms=now_ms)
    assert signed_record(bundle.path, (bundle.root,), record_id(again)).accepted_at_ms == former.accepted_at_ms


def test_an_export_names_the_versions_that_the_tests_use(exported: Exported, tmp_path: Path) -> None:
    printed = run_export(exported.bundle, exported.record_id, "sigstore", tmp_path / "out")
    pinned = json.loads((NODE_MODULES.parent / "package.json").read_bytes())["devDependencies"]
    for name, version in pinned.items():
        assert f"{name}@{version}" in printed


def test_a_record_is_judged_at_its_acceptance_and_not_today(tmp_path: Path) -> None:
    pki = SamplePki.build(tmp_path / "pki", now=LONG_AGO)
    assert load_certificates(pki.folder.member("shanxi-police") / "signing.pem")[0].not_valid_after_utc < datetime.now(
        UTC
    )
    envelope = RecordMaker(pki, ManualClock(pki.now_ms + 1000)).make()
    bundle = bundle_of(pki, tmp_path / "old.bundle", envelope)
    for form in FORMS:
        done = run_all(run_export(bundle, record_id(envelope), form, tmp_path / form))
        assert [each.returncode for each in done] == [0] * len(done), done


def test_an_authority_that_another_one_issued_is_trusted_alone(pki: SamplePki, tmp_path: Path) -> None:
    root, key = Authority.create("sample root", pki.now), ec.generate_private_key(ec.SECP256R1())
    builder = profiles.authority("sample issuer", key.public_key(), pki.now).issuer_name(root.certificate.subject)
    issuer = Authority(key, builder.sign(root.key, hashes.SHA256()))
    credential = pki.credential(authority=issuer)
    listed = without_keys(pki.directory_with("shanxi-police", [credential.der]))
    directory = replace(listed, signing_authorities=(der(issuer.certificate),))
    envelope = signed_by(pki, credential.signer)
    bundle = bundle_of(pki, tmp_path / "one.bundle", envelope, directory=directory, issuer=issuer)
    for form in ("cms", "dsse"):
        done = run_all(run_export(bundle, record_id(envelope), form, tmp_path / form))
        assert [each.returncode for each in done] == [0] * len(done), done


def signed_by(pki: SamplePki, signer: EcdsaSigner, agency: str = "shanxi-police") -> Envelope:
    """A record by another key than the agency's usual one."""
    maker = RecordMaker(pki, ManualClock(pki.now_ms + 1000), agency)
    maker.composer = RecordComposer(
        Principal("case-exchange.example", agency, "gateway"), signer, CODEC, SystemEntropy(), maker.composer._clock
    )
    return maker.make()


def bundle_of(
    pki: SamplePki,
    path: Path,
    *envelopes: Envelope,
    directory: Directory | None = None,
    issuer: Authority | None = None,
    accepted_at_ms: int | None = None,
) -> Bundle:
    """A bundle with these records, accepted two seconds after the PKI was made. ``issuer`` lists revocations then."""
    directory = pki.directory if directory is None else replace(directory, document=pki.sign(directory))
    exchange = LyingExchange(pki, directory)
    accepted_at_ms = accepted_at_ms or pki.now_ms + 2000
    exchange.add(DNA, envelopes, accepted_at_ms)
    published = pki.folder.revocation_list("signing").read_bytes()
    then = datetime.fromtimestamp(accepted_at_ms // 1000, UTC)
    listed = issuer.revocation_list(then, LIST_LIFETIME).public_bytes(Encoding.DER) if issuer else published
    beginning: list[Frame] = [
        exchange.header(),
        DirectoryDocument(directory.document, 0),
        *map(AuthorityCertificate, directory.signing_authorities),
        RevocationListFile(listed),
    ]
    with path.open("wb") as file:
        file.write(MAGIC)
        for frame in beginning:
            write_frame(file, frame_to(frame).SerializeToString(deterministic=True))
        for data in exchange.serialized():
            write_frame(file, data)
    return Bundle(path, pki)


def refusal(bundle: Bundle, record: str, folder: Path, root: Path | None = None) -> type[BaseException]:
    arguments = [record, "--from", bundle.path, "--root", root or bundle.root, "--as", "cms", "--out", folder / "out"]
    result = CliRunner().invoke(export, [str(each) for each in arguments])
    assert result.exit_code == 1
    assert not (folder / "out").exists()
    assert result.exception is not None
    return type(result.exception)


def test_a_record_that_is_not_there_is_not_exported(exported: Exported, tmp_path: Path) -> None:
    assert refusal(exported.bundle, "01990000-0000-7000-8000-000000000001", tmp_path) is errors.RecordUnknown


def test_a_record_whose_signature_does_not_hold_is_not_exported(pki: SamplePki, tmp_path: Path) -> None:
    good = RecordMaker(pki, ManualClock(pki.now_ms + 1000)).make()
    (signature,) = good.signatures
    forged = replace(good, signatures=(Signature(signature.certificate_sha256, flipped(signature.value, 300)),))
    bundle = bundle_of(pki, tmp_path / "forged.bundle", forged)
    assert refusal(bundle, record_id(good), tmp_path) is errors.SignatureInvalid


def test_a_record_of_a_revoked_certificate_is_not_exported(pki: SamplePki, tmp_path: Path) -> None:
    revoked = pki.revoked["signing"]
    envelope = signed_by(pki, revoked.signer, "hebei-police")
    directory = pki.directory_with("hebei-police", [revoked.der])
    bundle = bundle_of(pki, tmp_path / "revoked.bundle", envelope, directory=directory)
    assert refusal(bundle, record_id(envelope), tmp_path) is errors.SignerRevoked


def test_two_different_signed_records_of_one_id_are_not_exported_as_one(pki: SamplePki, tmp_path: Path) -> None:
    maker = RecordMaker(pki, ManualClock(pki.now_ms + 1000))
    first, second = maker.make(), maker.make()
    body = replace(CODEC.parse_body(second.body), record_id=record_id(first))
    signed = replace(second, body=CODEC.encode_body(body))
    signer = pki.signer()
    signed = replace(signed, signatures=(Signature(signer.certificate_sha256, signer.sign(signed.signed_bytes)),))
    bundle = bundle_of(pki, tmp_path / "two.bundle", first, signed)
    assert refusal(bundle, record_id(first), tmp_path) is errors.ExportInvalid


def test_only_a_directory_of_the_pinned_key_says_who_signed(exported: Exported, tmp_path: Path) -> None:
    other = SamplePki.build(tmp_path / "other")
    root = other.folder.trust / "governance.pem"
    arguments = [exported.record_id, "--from", exported.bundle.path, "--root", root, "--as", "cms"]
    result = CliRunner().invoke(export, [*map(str, arguments), "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, errors.DirectoryInvalid)


def test_an_export_is_never_overwritten(exported: Exported, tmp_path: Path) -> None:
    run_export(exported.bundle, exported.record_id, "cms", tmp_path / "out")
    arguments = [exported.record_id, "--from", exported.bundle.path, "--root", exported.bundle.root, "--as", "cms"]
    result = CliRunner().invoke(export, [*map(str, arguments), "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, errors.SetupInvalid)


def test_an_export_is_for_its_user_alone(exported: Exported, tmp_path: Path) -> None:
    run_export(exported.bundle, exported.record_id, "dsse", tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "out").iterdir())


def test_a_timestamp_of_another_signature_is_refused_before_anything_is_written(
    exported: Exported, tsa: OpensslTsa, tmp_path: Path
) -> None:
    (tmp_path / "answer.tsr").write_bytes(tsa.stamp(b"another signature"))
    arguments = [exported.record_id, "--from", exported.bundle.path, "--root", exported.bundle.root]
    more = ["--timestamp", tmp_path / "answer.tsr", "--tsa", tsa.folder / "chain.pem", "--out", tmp_path / "out"]
    result = CliRunner().invoke(export, [*map(str, [*arguments, *more]), "--as", "sigstore"])
    assert isinstance(result.exception, errors.TimestampInvalid)
    assert not (tmp_path / "out").exists()
    result = CliRunner().invoke(export, [*map(str, [*arguments, *more]), "--as", "cms"])
    assert result.exit_code == 2
    assert "only with --as sigstore" in result.output


@pytest.mark.parametrize("until", [timedelta(seconds=60), timedelta(hours=3)], ids=["before", "after"])
def test_a_timestamp_from_when_the_certificate_was_revoked_already_is_refused(
    tsa: OpensslTsa, tmp_path: Path, until: timedelta
) -> None:
    """The record was accepted an hour ago, before the revocation. Sigstore itself asks no revocation list."""
    pki = SamplePki.build(tmp_path / "pki", now=datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1))
    envelope, issuer = RecordMaker(pki, ManualClock(pki.now_ms + 1000)).make(), pki.authority("signing")
    certificate = load_certificates(pki.folder.member("shanxi-police") / "signing.pem")[0]
    issuer.revoke(certificate.serial_number, pki.now + until, "keyCompromise")
    bundle = bundle_of(pki, tmp_path / "revoked.bundle", envelope, issuer=issuer)
    run_export(bundle, record_id(envelope), "sigstore", tmp_path / "first")
    (tmp_path / "answer.tsr").write_bytes(tsa.stamp((tmp_path / "first" / "signature.der").read_bytes()))
    arguments = [record_id(envelope), "--from", bundle.path, "--root", bundle.root, "--as", "sigstore"]
    more = ["--timestamp", tmp_path / "answer.tsr", "--tsa", tsa.folder / "chain.pem", "--out", tmp_path / "out"]
    result = CliRunner().invoke(export, [*map(str, [*arguments, *more])])
    refused = until < timedelta(hours=1)
    assert isinstance(result.exception, errors.SignerRevoked) is refused, result.output
    assert (tmp_path / "out").exists() is not refused


# --- every bit --------------------------------------------------------------------------------------------------------


def flipped(data: bytes, at: int) -> bytes:
    """The bytes with the bit of this number flipped, counted from the lowest of the first byte."""
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)


def bits(data: bytes) -> range:
    return range(8 * len(data))


def holds(check: Callable[[], object]) -> bool:
    try:
        check()
    except errors.CaseExchangeError:
        return False
    return True


def p256_pem(record: SignedRecord) -> bytes:
    return public_key_pem(p256_public_key(record.certificate))


def authority_file(record: SignedRecord, folder: Path) -> Path:
    path = folder / "authority.pem"
    path.write_bytes(pem(record.authority))
    return path


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_cms_every_bit_of_the_record_its_signature_and_the_certificate_counts_here_and_for_openssl(
    record: SignedRecord, tmp_path: Path
) -> None:
    document, message = cms_of(record), record.envelope.signed_bytes
    openssl = OpensslCms(authority_file(record, tmp_path), record.accepted_at_ms)

    def both(document: bytes, message: bytes) -> tuple[bool, bool]:
        ours = holds(lambda: check_cms(document, message, record.signer))
        return ours, openssl.accepts(document, message)

    assert both(document, message) == (True, True)
    for at in bits(message):
        assert both(document, flipped(message, at)) == (False, False), at
    certificate, signature = document.index(der(record.certificate)), document.index(record.signature)
    covered = {
        *range(certificate, certificate + len(der(record.certificate))),
        *range(signature, signature + len(record.signature)),
    }
    for at in bits(document):
        ours, theirs = both(flipped(document, at), message)
        # What nobody signs, such as a version number, OpenSSL may overlook. Here each bit counts.
        assert not ours, at
        if at // 8 in covered:
            assert not theirs, at


def test_dsse_every_bit_of_the_body_its_type_and_its_signature_counts_here_and_for_securesystemslib(
    record: SignedRecord,
) -> None:
    key, key_id = p256_pem(record), fingerprint(record.certificate).hex()

    def both(document: bytes) -> tuple[bool, bool]:
        return holds(lambda: check_dsse(document, record.signer)), securesystemslib_accepts(document, key, key_id)

    document = json.loads(dsse_of(record))
    assert both(dsse_of(record)) == (True, True)
    for at in bits(record.envelope.body):
        assert both(altered(document, body=flipped(record.envelope.body, at))) == (False, False), at
    for at in bits(record.signature):
        assert both(altered(document, signature=flipped(record.signature, at))) == (False, False), at
    for at in bits(BODY_TYPE.encode()):
        kind = flipped(BODY_TYPE.encode(), at).decode("latin-1")
        assert both(altered(document, kind=kind)) == (False, False), at


def altered(document: dict[str, object], **parts: bytes | str) -> bytes:
    """A DSSE document with another body, type or signature."""
    changed = json.loads(json.dumps(document))
    for name, value in parts.items():
        text = value if isinstance(value, str) else b64encode(value).decode()
        match name:
            case "body":
                changed["payload"] = text
            case "kind":
                changed["payloadType"] = text
            case "signature":
                changed["signatures"][0]["sig"] = text
    return json.dumps(changed).encode() + b"\n"


# --- sigstore ---------------------------------------------------------------------------------------------------------


class Pinned(NamedTuple):
    """A sigstore bundle with everything that its verifiers need, and what our own check pins."""

    files: SigstoreFiles
    signer: TrustedSigner
    authority: TimestampAuthority | None = None

    @classmethod
    def named(cls, record: SignedRecord) -> Pinned:
        """A bundle with the hint at a key."""
        root = sigstore_root(record.authority)
        message, signer = record.envelope.signed_bytes, pem(record.certificate)
        return cls(SigstoreFiles(sigstore_of(record), message, root, signer), record.signer)

    @classmethod
    def stamped(cls, record: SignedRecord, tsa: OpensslTsa, stamp: bytes = b"") -> Pinned:
        """A bundle with the certificate and a timestamp."""
        root = sigstore_root(record.authority, tsa.chain)
        bundle = sigstore_of(record, stamp or tsa.stamp(record.signature))
        files = SigstoreFiles(bundle, record.envelope.signed_bytes, root, pem(record.certificate))
        return cls(files, record.signer, TimestampAuthority(tsa.chain))

    def accepts(self, files: SigstoreFiles) -> bool:
        """Whether our own check accepts these files."""
        return holds(lambda: check_sigstore(files.bundle, files.artifact, self.signer, self.authority))

    def with_part(self, part: str, value: bytes | str) -> SigstoreFiles:
        """The files with another artifact, or with another part of the bundle; a text stands there as it is."""
        if part == "artifact" and isinstance(value, bytes):
            return self.files._replace(artifact=value)
        document = json.loads(self.files.bundle)
        place, key = part_of(document, part)
        place[key] = value if isinstance(value, str) else b64encode(value).decode()
        return self.files._replace(bundle=json.dumps(document).encode() + b"\n")


def part_of(bundle: Any, part: str) -> tuple[dict[str, Any], str]:
    """Where a part of a bundle's JSON is."""
    material, message = bundle["verificationMaterial"], bundle["messageSignature"]
    places: dict[str, Callable[[], tuple[dict[str, Any], str]]] = {
        "type": lambda: (bundle, "mediaType"),
        "signature": lambda: (message, "signature"),
        "digest": lambda: (message["messageDigest"], "digest"),
        "hint": lambda: (material["publicKey"], "hint"),
        "certificate": lambda: (material["certificate"], "rawBytes"),
        "timestamp": lambda: (material["timestampVerificationData"]["rfc3161Timestamps"][0], "signedTimestamp"),
    }
    return places[part]()


def test_sigstore_every_bit_of_the_record_and_its_signature_counts_here_and_for_sigstore(record: SignedRecord) -> None:
    pinned = Pinned.named(record)
    parts = {"artifact": pinned.files.artifact, "signature": record.signature}
    flips = [(part, at) for part, content in parts.items() for at in bits(content)]
    unchanged, theirs = sigstore_accepts(pinned.files, [pinned.files], flips)
    assert unchanged == [pinned.accepts(pinned.files)] == [True]
    for (part, at), accepted in zip(flips, theirs, strict=True):
        assert not accepted, (part, at)
        assert not pinned.accepts(pinned.with_part(part, flipped(parts[part], at))), (part, at)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_sigstore_every_bit_of_the_certificate_and_the_timestamp_counts_here_and_for_sigstore(
    record: SignedRecord, tsa: OpensslTsa
) -> None:
    stamp, certificate = tsa.stamp(record.signature, with_certificate=False), der(record.certificate)
    pinned = Pinned.stamped(record, tsa, stamp)
    parts = {"certificate": certificate, "timestamp": stamp}
    body = certificate.index(record.certificate.tbs_certificate_bytes)
    signature = certificate.index(record.certificate.signature)
    covered = {
        "certificate": {*range(body, body + len(record.certificate.tbs_certificate_bytes))}
        | {*range(signature, len(certificate))},
        "timestamp": {at for part in signed_parts(stamp) for at in part},
    }
    flips = [(part, 8 * at + bit) for part, places in covered.items() for at in sorted(places) for bit in range(8)]
    unchanged, theirs = sigstore_accepts(pinned.files, [pinned.files], flips)
    assert unchanged == [pinned.accepts(pinned.files)] == [True]
    for (part, at), accepted in zip(flips, theirs, strict=True):
        assert not accepted, (part, at)
        assert not pinned.accepts(pinned.with_part(part, flipped(parts[part], at))), (part, at)


# --- the failing cases of sigstore-conformance ------------------------------------------------------------------------


class Variants(NamedTuple):
    """What wrong cases are made of: a good record, another one of the same signer, and one of another exchange."""

    record: SignedRecord
    other: SignedRecord
    elsewhere: SignedRecord
    tsa: OpensslTsa
    folder: Path

    def stamped(self, stamp: bytes = b"", tsa: OpensslTsa | None = None) -> Pinned:
        return Pinned.stamped(self.record, tsa or self.tsa, stamp)

    def another_tsa(self, *, signs_from: datetime | None = None, signs_until: datetime | None = None) -> OpensslTsa:
        folder = self.folder / f"tsa-{len(list(self.folder.iterdir()))}"
        return OpensslTsa.build(folder, signs_from=signs_from, signs_until=signs_until)

    def ended(self) -> tuple[Pinned, SigstoreFiles]:
        """A record of a certificate that has ended, with a timestamp of today."""
        pki = SamplePki.build(self.folder / "ended", now=LONG_AGO)
        envelope = RecordMaker(pki, ManualClock(pki.now_ms + 1000)).make()
        bundle = bundle_of(pki, self.folder / "ended.bundle", envelope)
        record = signed_record(bundle.path, (bundle.root,), record_id(envelope))
        pinned = Pinned.stamped(record, self.tsa)
        return pinned, pinned.files


@pytest.fixture(scope="module")
def variants(exported: Exported, tsa: OpensslTsa, tmp_path_factory: pytest.TempPathFactory) -> Variants:
    folder = tmp_path_factory.mktemp("variants")
    elsewhere = SamplePki.build(folder / "elsewhere")
    envelope = RecordMaker(elsewhere, ManualClock(elsewhere.now_ms + 1000)).make()
    bundle = bundle_of(elsewhere, folder / "elsewhere.bundle", envelope)
    other = signed_record(exported.bundle.path, (exported.bundle.root,), exported.other_id)
    there = signed_record(bundle.path, (bundle.root,), record_id(envelope))
    return Variants(exported.record(), other, there, tsa, folder)


def in_place(pinned: Pinned, part: str, value: bytes | str) -> tuple[Pinned, SigstoreFiles]:
    return pinned, pinned.with_part(part, value)


def with_bundle(pinned: Pinned, bundle: bytes) -> tuple[Pinned, SigstoreFiles]:
    return pinned, pinned.files._replace(bundle=bundle)


def without_timestamp(pinned: Pinned) -> tuple[Pinned, SigstoreFiles]:
    document = json.loads(pinned.files.bundle)
    del document["verificationMaterial"]["timestampVerificationData"]
    return with_bundle(pinned, json.dumps(document).encode() + b"\n")


def later(stamp: bytes) -> bytes:
    """The timestamp with another year in its time."""
    at = stamp.index(b"\x18\x0f20") + 4
    return stamp[:at] + b"99" + stamp[at + 2 :]


CASES: dict[str, Callable[[Variants], tuple[Pinned, SigstoreFiles]]] = {
    "bundle-empty-certificate-chain": lambda v: in_place(v.stamped(), "certificate", b""),
    "bundle-from-wrong-instance": lambda v: (
        v.stamped(),
        Pinned.stamped(v.elsewhere, v.tsa).files._replace(root=v.stamped().files.root),
    ),
    "bundle-invalid-base64-signature": lambda v: in_place(v.stamped(), "signature", "!not base64!"),
    "bundle-malformed-json": lambda v: with_bundle(v.stamped(), v.stamped().files.bundle[:-9]),
    "bundle-with-root-cert": lambda v: in_place(v.stamped(), "certificate", der(v.record.authority)),
    "incorrect-public-key": lambda v: in_place(Pinned.named(v.record), "signature", v.elsewhere.signature),
    "intoto-tsa-timestamp-outside-cert-validity": lambda v: v.ended(),
    "managed-key-no-key": lambda v: in_place(Pinned.named(v.record), "hint", "00" * 32),
    "managed-key-wrong-key": lambda v: (
        Pinned.named(v.record)._replace(signer=v.elsewhere.signer),
        Pinned.named(v.record).files._replace(signer=pem(v.elsewhere.certificate)),
    ),
    "rekor2-no-timestamp": lambda v: without_timestamp(v.stamped()),
    "rekor2-timestamp-outside-tsa-cert-validity": lambda v: (
        (early := v.stamped(tsa=v.another_tsa(signs_from=LONG_AGO, signs_until=YESTERDAY))),
        early.files,
    ),
    "rekor2-timestamp-payload-mismatch": lambda v: in_place(v.stamped(), "timestamp", v.tsa.stamp(b"another")),
    "rekor2-timestamp-untrusted-tsa-with-embedded-cert": lambda v: in_place(
        v.stamped(), "timestamp", v.another_tsa().stamp(v.record.signature)
    ),
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert": lambda v: in_place(
        v.stamped(), "timestamp", v.another_tsa().stamp(v.record.signature, with_certificate=False)
    ),
    "rekor2-timestamp-with-incorrect-time": lambda v: in_place(
        v.stamped(), "timestamp", later(v.tsa.stamp(v.record.signature))
    ),
    "signature-mismatch": lambda v: in_place(v.stamped(), "signature", v.other.signature),
    "wrong-material": lambda v: in_place(v.stamped(), "artifact", v.other.envelope.signed_bytes),
}


def test_what_sigstore_conformance_wants_refused_is_refused_here_and_by_sigstore(variants: Variants) -> None:
    made = {name: make(variants) for name, make in CASES.items()}
    good = variants.stamped().files
    theirs, _ = sigstore_accepts(good, [good, *(files for _, files in made.values())])
    assert theirs[0]
    assert dict(zip(made, theirs[1:], strict=True)) == dict.fromkeys(made, False)
    assert {name: pinned.accepts(files) for name, (pinned, files) in made.items()} == dict.fromkeys(made, False)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        # message-digest-mismatch: the format says that the digest only helps to find the artifact.
        pytest.param("digest", bytes(32), id="message-digest-mismatch"),
        # @sigstore/bundle takes any version that it does not know for the newest one that it does.
        pytest.param("type", "application/vnd.dev.sigstore.bundle.v9.9+json", id="bundle-unknown-version"),
    ],
)
def test_what_sigstore_overlooks_in_a_bundle_is_refused_here(variants: Variants, part: str, value: bytes | str) -> None:
    pinned, files = in_place(variants.stamped(), part, value)
    assert not pinned.accepts(files)
    assert sigstore_accepts(files, [files])[0] == [True]


def test_a_timestamp_counts_without_the_certificate_of_its_authority_in_it(variants: Variants) -> None:
    pinned = variants.stamped(variants.tsa.stamp(variants.record.signature, with_certificate=False))
    assert pinned.accepts(pinned.files)
    assert sigstore_accepts(pinned.files, [pinned.files])[0] == [True]


CMS_CASES: dict[str, Callable[[Variants], tuple[bytes, bytes]]] = {
    "bundle-empty-certificate-chain": lambda v: (b"", v.record.envelope.signed_bytes),
    "bundle-from-wrong-instance": lambda v: (cms_of(v.elsewhere), v.elsewhere.envelope.signed_bytes),
    "bundle-with-root-cert": lambda v: (
        marshal_cms(DetachedSignature(v.record.signature, v.record.authority)),
        v.record.envelope.signed_bytes,
    ),
    "incorrect-public-key": lambda v: (
        marshal_cms(DetachedSignature(v.elsewhere.signature, v.record.certificate)),
        v.record.envelope.signed_bytes,
    ),
    "signature-mismatch": lambda v: (
        marshal_cms(DetachedSignature(v.other.signature, v.record.certificate)),
        v.record.envelope.signed_bytes,
    ),
    "wrong-material": lambda v: (cms_of(v.record), v.other.envelope.signed_bytes),
}


def test_what_sigstore_conformance_wants_refused_is_refused_as_cms_here_and_by_openssl(
    variants: Variants, tmp_path: Path
) -> None:
    record = variants.record
    authority = authority_file(record, tmp_path)
    openssl = OpensslCms(authority, record.accepted_at_ms)
    assert openssl.accepts(cms_of(record), record.envelope.signed_bytes)
    for name, make in CMS_CASES.items():
        document, message = make(variants)
        assert not openssl.accepts(document, message), name
        assert not holds(lambda d=document, m=message: check_cms(d, m, record.signer)), name  # type: ignore[misc]


@pytest.mark.parametrize(
    ("end", "seconds", "verdicts"),
    [
        ("first_ms", -1, (False, False)),
        ("first_ms", 0, (True, True)),
        ("last_ms", -1, (True, True)),
        # RFC 5280 counts the last second in, and OpenSSL does not.
        ("last_ms", 0, (True, False)),
        ("last_ms", 1, (False, False)),
    ],
)
def test_the_certificate_counts_in_its_period_here_and_for_openssl(
    record: SignedRecord, tmp_path: Path, end: str, seconds: int, verdicts: tuple[bool, bool]
) -> None:
    # intoto-expired-certificate
    at_ms = getattr(signing_validity(record.certificate, [record.authority]), end) + 1000 * seconds
    signer, message = record.signer._replace(at_ms=at_ms), record.envelope.signed_bytes
    ours, theirs = verdicts
    assert holds(lambda: check_cms(cms_of(record), message, signer)) is ours
    assert holds(lambda: check_dsse(dsse_of(record), signer)) is ours
    assert OpensslCms(authority_file(record, tmp_path), at_ms).accepts(cms_of(record), message) is theirs


def test_what_sigstore_conformance_wants_refused_is_refused_as_dsse_here_and_by_securesystemslib(
    variants: Variants,
) -> None:
    record, document = variants.record, json.loads(dsse_of(variants.record))
    key, key_id = p256_pem(record), fingerprint(record.certificate).hex()
    made = {
        "dsse-invalid-sig": altered(document, signature=b"no signature"),
        "dsse-mismatch-envelope": altered(document, body=variants.other.envelope.body),
        "dsse-mismatch-sig": altered(document, signature=variants.other.signature),
        "bundle-from-wrong-instance": dsse_of(variants.elsewhere),
        "bundle-invalid-base64-signature": altered(document, kind="x").replace(b'"sig": "', b'"sig": "!'),
        "bundle-malformed-json": dsse_of(record)[:-9],
        "managed-key-wrong-key": altered(document, signature=variants.elsewhere.signature),
    }
    assert securesystemslib_accepts(dsse_of(record), key, key_id)
    for name, wrong in made.items():
        assert not securesystemslib_accepts(wrong, key, key_id), name
        assert not holds(lambda w=wrong: check_dsse(w, record.signer)), name  # type: ignore[misc]
