"""A timestamp authority (RFC 3161) of OpenSSL's own: `openssl ts` makes and signs the answers."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from broker.trust.certificates import pem
from broker.trust.keys import private_key_pem

if TYPE_CHECKING:
    from pathlib import Path

# DER of the object identifiers id-ct-TSTInfo and id-contentType, and the begin of the names of ECDSA's algorithms.
_TST_INFO = bytes.fromhex("2a864886f70d0109100104")
_CONTENT_TYPE = bytes.fromhex("06092a864886f70d010903")
_ECDSA = bytes.fromhex("06082a8648ce3d040302")

CONFIGURATION = """\
[tsa]
default_tsa = it
[it]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/signer.pem
signer_key = {folder}/signer.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256, sha384, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
{more}
"""


@dataclass(frozen=True)
class OpensslTsa:
    """A root, the signer under it, and a folder with the configuration of `openssl ts`."""

    folder: Path
    root: x509.Certificate
    signer: x509.Certificate

    @classmethod
    def build(
        cls, folder: Path, *, signs_from: datetime | None = None, signs_until: datetime | None = None, more: str = ""
    ) -> OpensslTsa:
        """Make keys, certificates and configuration in a new folder.

        Args:
            folder: the folder.
            signs_from: the begin of the signer's certificate. Without it: an hour ago.
            signs_until: its end. Without it: in a year.
            more: further lines of the configuration.
        """
        folder.mkdir()
        now = datetime.now(UTC).replace(microsecond=0)
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        authority = _name("sample timestamp root")
        root = (
            _builder(authority, authority, root_key.public_key(), now - timedelta(days=1), now + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        begin, end = signs_from or now - timedelta(hours=1), signs_until or now + timedelta(days=365)
        signer = (
            _builder(_name("sample timestamp signer"), authority, key.public_key(), begin, end)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
            .sign(root_key, hashes.SHA256())
        )
        (folder / "serial").write_text("01\n")
        (folder / "signer.key").write_bytes(private_key_pem(key))
        (folder / "signer.pem").write_bytes(pem(signer))
        (folder / "root.pem").write_bytes(pem(root))
        (folder / "chain.pem").write_bytes(pem(signer) + pem(root))
        (folder / "ts.cnf").write_text(CONFIGURATION.format(folder=folder, more=more))
        return cls(folder, root, signer)

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        return self.signer, self.root

    def answer(self, request: bytes, *options: str) -> bytes:
        """The authority's answer to a request, both DER."""
        (self.folder / "request.tsq").write_bytes(request)
        arguments = ["-queryfile", "request.tsq", "-config", "ts.cnf", "-out", "answer.tsr", *options]
        subprocess.run(["openssl", "ts", "-reply", *arguments], cwd=self.folder, check=True, capture_output=True)
        return (self.folder / "answer.tsr").read_bytes()

    def stamp(self, message: bytes, *, with_certificate: bool = True) -> bytes:
        """A timestamp over a message, asked for by OpenSSL too."""
        (self.folder / "message").write_bytes(message)
        arguments = ["-data", "message", "-sha256", "-out", "asked.tsq", *(["-cert"] if with_certificate else [])]
        subprocess.run(["openssl", "ts", "-query", *arguments], cwd=self.folder, check=True, capture_output=True)
        return self.answer((self.folder / "asked.tsq").read_bytes())

    def openssl_accepts(self, timestamp: bytes, message: bytes) -> bool:
        """Whether `openssl ts -verify` accepts a timestamp of this authority over a message."""
        (self.folder / "message").write_bytes(message)
        (self.folder / "asked.tsr").write_bytes(timestamp)
        arguments = ["-data", "message", "-in", "asked.tsr", "-CAfile", "root.pem", "-untrusted", "signer.pem"]
        command = ["openssl", "ts", "-verify", *arguments]
        return subprocess.run(command, cwd=self.folder, check=False, capture_output=True).returncode == 0


def signed_parts(timestamp: bytes) -> tuple[range, ...]:
    """Where the bytes of a response are that its signature covers, and the signature: all that has a meaning.

    They are the statement (TSTInfo), the signed attributes, and the signature, as OpenSSL's authority writes them.
    """
    # After the headers of [0] and of the OCTET STRING, which no signature covers (RFC 5652 section 5.4).
    statement = timestamp.index(_TST_INFO) + len(_TST_INFO) + 4
    attributes = timestamp.index(_CONTENT_TYPE) - 2
    algorithm = timestamp.rindex(_ECDSA)
    return (
        range(statement, statement + timestamp[statement - 1]),
        range(attributes, algorithm - 2),
        range(algorithm + len(_ECDSA) + 2, len(timestamp)),
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )
