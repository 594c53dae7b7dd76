"""The folder of a PKI, and the stored state of its authorities."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, get_args

from cryptography.hazmat.primitives.serialization import Encoding

from broker.core.errors import SetupInvalid
from broker.trust.certificates import load_certificates
from broker.trust.keys import load_signing_key, private_key_pem
from certs.authority import Authority, Issued
from certs.kafka import KafkaFiles
from certs.profiles import AuthorityKind
from certs.rights import EXCHANGE
from certs.storage import make_folder, write_private, write_public

if TYPE_CHECKING:
    from datetime import timedelta
    from pathlib import Path

AUTHORITY_KINDS: Final[tuple[AuthorityKind, ...]] = get_args(AuthorityKind)


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

    def authority(self, kind: AuthorityKind) -> Path:
        """The folder of an authority."""
        return self.root / "authorities" / kind

    def member(self, agency: str) -> Path:
        """The folder of an agency. The folder of the exchange itself is the broker's."""
        return self.root / "broker" if agency == EXCHANGE else self.root / "agencies" / agency

    def revocation_list(self, kind: AuthorityKind) -> Path:
        """The revocation list, in the place where brokers and agencies look for it."""
        return self.trust / f"{kind}.crl"

    def load_authority(self, kind: AuthorityKind) -> Authority:
        """Continue the work of an authority in this folder.

        Raises:
            SetupInvalid: there is none, or its files contradict each other.
        """
        folder = self.authority(kind)
        try:
            state = json.loads((folder / "issued.json").read_bytes())
            issued = [_issued(entry) for entry in state["certificates"]]
            crl_number = int(state["crl_number"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"this PKI folder has no usable {kind} authority; create one with case-exchange certs init"
            raise SetupInvalid(message) from error
        key, certificate = load_signing_key(folder / "ca.key"), load_certificates(folder / "ca.pem")[0]
        return Authority(key, certificate, issued=issued, crl_number=crl_number)

    def save_new_authority(self, kind: AuthorityKind, authority: Authority) -> None:
        """Write a new authority's key and certificate, and its certificate also into the public folder."""
        folder = make_folder(self.authority(kind))
        certificate = authority.certificate.public_bytes(Encoding.PEM)
        write_private(folder / "ca.key", private_key_pem(authority.key))
        write_public(folder / "ca.pem", certificate)
        write_public(self.trust / f"{kind}-ca.pem", certificate)
        self.save_state(kind, authority)

    def save_state(self, kind: AuthorityKind, authority: Authority) -> None:
        """Write an authority's state. Call it before anything that the authority issued is handed out."""
        state = {
            "crl_number": authority.crl_number,
            "certificates": [_fields(entry) for entry in authority.issued.values()],
        }
        write_public(self.authority(kind) / "issued.json", json.dumps(state, indent=1).encode() + b"\n")

    def publish_revocation_list(
        self, kind: AuthorityKind, authority: Authority, now: datetime, valid_for: timedelta
    ) -> None:
        """Issue the next revocation list, and put it in the place where brokers and agencies look for it."""
        document = authority.revocation_list(now, valid_for).public_bytes(Encoding.PEM)
        self.save_state(kind, authority)
        write_public(self.authority(kind) / "crl.pem", document)
        write_public(self.revocation_list(kind), document)


def _fields(entry: Issued) -> dict[str, Any]:
    return {
        "serial": f"{entry.serial:x}",
        "sha256": entry.sha256.hex(),
        "principal": entry.principal,
        "profile": entry.profile,
        "not_after": entry.not_after.isoformat(),
        "revoked_at": entry.revoked_at.isoformat() if entry.revoked_at else None,
        "reason": entry.reason,
    }


def _issued(fields: dict[str, Any]) -> Issued:
    return Issued(
        serial=int(fields["serial"], 16),
        sha256=bytes.fromhex(fields["sha256"]),
        principal=fields["principal"],
        profile=fields["profile"],
        not_after=datetime.fromisoformat(fields["not_after"]),
        revoked_at=datetime.fromisoformat(fields["revoked_at"]) if fields["revoked_at"] else None,
        reason=fields["reason"],
    )
