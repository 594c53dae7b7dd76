"""The folder of a PKI, and the stored state of its authorities."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, get_args

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from broker.core.errors import SetupInvalid
from broker.files import exclusive
from broker.trust.certificates import load_certificates
from broker.trust.keys import load_signing_key, private_key_pem
from certs.authority import Authority, Issued
from certs.kafka import KafkaFiles
from certs.profiles import AuthorityKind
from certs.rights import EXCHANGE
from certs.storage import make_folder, write_private, write_public

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta
    from pathlib import Path

AUTHORITY_KINDS: Final[tuple[AuthorityKind, ...]] = get_args(AuthorityKind)


class _State(msgspec.Struct):
    """issued.json: what an authority remembers."""

    crl_number: int
    certificates: list[Issued]


@dataclass(frozen=True, slots=True)
class PkiFolder:
    """The paths in a PKI folder.

    governance/, authorities/, agencies/, broker/ and kafka/ have private keys. trust/ is public.
    """

    root: Path

    @property
    def governance_key(self) -> Path:
        """The private key that signs directories."""
        return self.root / "governance" / "governance.key"

    @property
    def governance_public_key(self) -> Path:
        """The key that everyone pins."""
        return self.root / "governance" / "governance.pem"

    @property
    def checkpoint_key(self) -> Path:
        """The broker's private key for checkpoints."""
        return self.root / "broker" / "checkpoint.key"

    @property
    def checkpoint_vkey(self) -> Path:
        """The same key's C2SP verifier key."""
        return self.root / "broker" / "checkpoint.vkey"

    @property
    def trust(self) -> Path:
        """What everyone may have: authorities, revocation lists, the governance key, the directory."""
        return self.root / "trust"

    @property
    def directory(self) -> Path:
        """The signed directory."""
        return self.trust / "directory.json"

    @property
    def kafka(self) -> KafkaFiles:
        """The keys for Kafka and its clients."""
        return KafkaFiles(self.root / "kafka", self.trust / "kafka-ca.pem")

    def check_development(self) -> None:
        """Refuse to make an agency's key here if this is no development PKI.

        Raises:
            SetupInvalid: the governance key is not in this folder, so its authorities are of a real exchange.
        """
        if not self.governance_key.exists():
            message = (
                "only a development PKI makes the keys of agencies. In an exchange a key stays with its agency: it "
                "runs case-exchange certs request; then the authority runs case-exchange certs sign"
            )
            raise SetupInvalid(message)

    def authority(self, kind: AuthorityKind) -> Path:
        """The folder of an authority."""
        return self.root / "authorities" / kind

    def member(self, agency: str) -> Path:
        """The folder of an agency. The folder of the exchange itself is the broker's."""
        return self.root / "broker" if agency == EXCHANGE else self.root / "agencies" / agency

    def revocation_list(self, kind: AuthorityKind) -> Path:
        """The revocation list, in the place where brokers and agencies look for it."""
        return self.trust / f"{kind}.crl"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only command that changes the authorities here, from their load to the end of what it writes.

        Raises:
            SetupInvalid: there are no authorities here.
        """
        try:
            with exclusive(self.root / "authorities"):
                yield
        except OSError as error:
            message = f"the folder of the authorities cannot be used: {error.strerror}"
            raise SetupInvalid(message) from error

    def load_authority(self, kind: AuthorityKind) -> Authority:
        """Continue the work of an authority in this folder.

        Raises:
            SetupInvalid: there is none, or its files contradict each other.
        """
        folder = self.authority(kind)
        try:
            state = msgspec.json.decode((folder / "issued.json").read_bytes(), type=_State)
        except (OSError, ValueError) as error:
            message = (
                f"there is no usable {kind} authority in this PKI folder; make the authorities of an exchange with "
                "case-exchange certs authority, or those for development with certs init"
            )
            raise SetupInvalid(message) from error
        key, certificate = load_signing_key(folder / "ca.key"), load_certificates(folder / "ca.pem")[0]
        return Authority(key, certificate, issued=state.certificates, crl_number=state.crl_number)

    def save_new_authority(self, kind: AuthorityKind, authority: Authority) -> None:
        """Write a new authority's key and certificate, and its certificate also into the public folder."""
        folder = make_folder(self.authority(kind))
        certificate = authority.certificate.public_bytes(Encoding.PEM)
        write_private(folder / "ca.key", private_key_pem(authority.key))
        write_public(folder / "ca.pem", certificate)
        write_public(self.trust / f"{kind}-ca.pem", certificate)
        self.save_state(kind, authority)

    def save_state(self, kind: AuthorityKind, authority: Authority) -> None:
        """Write what an authority remembers. To be done before anything that it issued is handed out."""
        state = msgspec.json.encode(_State(authority.crl_number, list(authority.issued.values())))
        write_public(self.authority(kind) / "issued.json", msgspec.json.format(state, indent=1) + b"\n")

    def publish_revocation_list(
        self, kind: AuthorityKind, authority: Authority, now: datetime, valid_for: timedelta
    ) -> None:
        """Issue the next revocation list, and put it in the place where brokers and agencies look for it.

        Raises:
            SetupInvalid: a list that was published before names a certificate that this one does not.
                Nothing is written.
        """
        made = authority.revocation_list(now, valid_for)
        for path in (self.authority(kind) / "crl.pem", self.revocation_list(kind)):
            _check_keeps(path, authority, made)
        document = made.public_bytes(Encoding.PEM)
        self.save_state(kind, authority)
        write_public(self.authority(kind) / "crl.pem", document)
        write_public(self.revocation_list(kind), document)


def _check_keeps(path: Path, authority: Authority, made: x509.CertificateRevocationList) -> None:
    """Refuse to take a revocation back, as after a copy of the authority's folder was put back."""
    try:
        published = x509.load_pem_x509_crl(path.read_bytes())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        message = (
            f"{path.name}, the list that was published last, cannot be read; put it back from where it was published"
        )
        raise SetupInvalid(message) from error
    if not published.is_signature_valid(authority.key.public_key()):
        return
    missing = {entry.serial_number for entry in published} - {entry.serial_number for entry in made}
    if missing:
        numbers = ", ".join(sorted(f"{serial:x}" for serial in missing))
        message = (
            f"{path.name} was published with {numbers}, which issued.json does not know as revoked; restore that file"
        )
        raise SetupInvalid(message)
