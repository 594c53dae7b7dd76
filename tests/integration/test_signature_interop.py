"""Our signatures, checked by programs of other projects."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined] # public, but not listed as exported

from broker.core.envelope import BODY_TYPE, Envelope, Signature, pae
from broker.core.errors import DirectoryInvalid, SignatureInvalid
from broker.trust.directory import open_directory
from broker.trust.keys import public_key_pem
from tests.support.pki import SamplePki

if TYPE_CHECKING:
    from pathlib import Path

BODY = b"\x0a\x07sample!\x00\xff body with an \xe4\xbe\x8b"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def envelope(pki: SamplePki) -> Envelope:
    signer = pki.signer()
    value = signer.sign(pae(BODY_TYPE, BODY))
    return Envelope(BODY_TYPE, BODY, (Signature(signer.certificate_sha256, value),), ())


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


def openssl_accepts(folder: Path, public_key: bytes, message: bytes, signature: bytes) -> bool:
    (folder / "key.pem").write_bytes(public_key)
    (folder / "message").write_bytes(message)
    (folder / "signature").write_bytes(signature)
    arguments = ("-verify", folder / "key.pem", "-signature", folder / "signature", folder / "message")
    return openssl("dgst", "-sha256", *arguments).returncode == 0


def signer_key(pki: SamplePki) -> bytes:
    return pki.signer().certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_openssl_verifies_a_record_s_signature(pki: SamplePki, envelope: Envelope, tmp_path: Path) -> None:
    assert openssl_accepts(tmp_path, signer_key(pki), envelope.signed_bytes, envelope.signatures[0].value)


def test_openssl_and_we_refuse_a_flipped_byte_anywhere(pki: SamplePki, envelope: Envelope, tmp_path: Path) -> None:
    listed = pki.keyring().signer(pki.signer().certificate_sha256)
    message, signature = envelope.signed_bytes, envelope.signatures[0].value
    mutants = [(flipped(message, at), signature) for at in (0, 8, 12, len(message) - len(BODY), len(message) - 1)]
    mutants += [(message, flipped(signature, at)) for at in (0, 4, len(signature) - 1)]
    for text, value in mutants:
        assert not openssl_accepts(tmp_path, signer_key(pki), text, value)
        with pytest.raises(SignatureInvalid):
            listed.verify(text, value)


def test_openssl_verifies_a_checkpoint_s_signature(pki: SamplePki, tmp_path: Path) -> None:
    text = b"case-exchange.example/log/cases/0\n1\nAAAA\n"
    key = public_key_pem(pki.note_signer._key.public_key())
    for name, data in (("key.pem", key), ("text", text), ("signature", pki.note_signer.sign(text))):
        (tmp_path / name).write_bytes(data)
    arguments = ("-verify", "-pubin", "-inkey", tmp_path / "key.pem", "-rawin", "-in", tmp_path / "text")
    assert openssl("pkeyutl", *arguments, "-sigfile", tmp_path / "signature").returncode == 0
    (tmp_path / "text").write_bytes(flipped(text, 4))
    assert openssl("pkeyutl", *arguments, "-sigfile", tmp_path / "signature").returncode != 0


def test_openssl_agrees_on_chains_purposes_and_revocation(pki: SamplePki, tmp_path: Path) -> None:
    revoked, _ = pki.revoked["tls"].write(tmp_path, "revoked")
    trust = pki.folder.trust
    flags = ("-x509_strict", "-crl_check", "-CAfile", trust / "tls-ca.pem", "-CRLfile", trust / "tls.crl")
    good = pki.tls_paths("shanxi-police")[0]
    assert openssl("verify", *flags, "-purpose", "sslclient", good).returncode == 0
    assert openssl("verify", *flags, "-purpose", "sslserver", good).returncode != 0
    assert "certificate revoked" in openssl("verify", *flags, revoked).stderr
    signing = pki.folder.member("shanxi-police") / "signing.pem"
    assert openssl("verify", *flags, signing).returncode != 0
    assert openssl("verify", "-x509_strict", "-CAfile", trust / "signing-ca.pem", signing).returncode == 0


def dsse_json(envelope: Envelope) -> dict[str, Any]:
    return {
        "payloadType": envelope.body_type,
        "payload": base64.b64encode(envelope.body).decode(),
        "signatures": [
            {"keyid": signature.certificate_sha256.hex(), "sig": base64.b64encode(signature.value).decode()}
            for signature in envelope.signatures
        ],
    }


def other_key(public_key: bytes, key_id: str) -> SSlibKey:
    return SSlibKey(key_id, "ecdsa", "ecdsa-sha2-nistp256", {"public": public_key.decode()})


def test_securesystemslib_verifies_a_record_s_envelope_and_refuses_a_flipped_byte(
    pki: SamplePki, envelope: Envelope
) -> None:
    key = other_key(signer_key(pki), envelope.signatures[0].certificate_sha256.hex())
    OtherEnvelope.from_dict(dsse_json(envelope)).verify([key], 1)
    for mutant in (
        Envelope(envelope.body_type, flipped(BODY, 3), envelope.signatures, ()),
        Envelope("application/vnd.case-exchange.bodx.v1+protobuf", BODY, envelope.signatures, ()),
        Envelope(
            envelope.body_type,
            BODY,
            (envelope.signatures[0]._replace(value=flipped(envelope.signatures[0].value, 9)),),
            (),
        ),
    ):
        with pytest.raises(VerificationError):
            OtherEnvelope.from_dict(dsse_json(mutant)).verify([key], 1)


def test_securesystemslib_verifies_the_directory_as_it_stands(pki: SamplePki) -> None:
    document = json.loads(pki.folder.directory.read_bytes())
    key = other_key(pki.folder.governance_public_key.read_bytes(), document["signatures"][0]["keyid"])
    OtherEnvelope.from_dict(json.loads(json.dumps(document))).verify([key], 1)
    payload = base64.b64decode(document["payload"])
    document["payload"] = base64.b64encode(flipped(payload, 40)).decode()
    with pytest.raises(VerificationError):
        OtherEnvelope.from_dict(json.loads(json.dumps(document))).verify([key], 1)
    with pytest.raises(DirectoryInvalid):
        open_directory(json.dumps(document).encode(), pki.governance)
