"""The keys of Kafka's nodes and clients: whose they are, and where their files are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import CertificateInvalid, SetupInvalid
from broker.core.identity import Principal
from broker.trust.certificates import load_certificates
from certs.profiles import KAFKA_CLIENT, KAFKA_NODE, KAFKA_NODE_PREFIX, LOCAL_NAMES
from certs.rights import AUDIT_OFFICE, EXCHANGE, TRUST_DOMAIN

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from certs.profiles import Profile

NODES: Final = (1, 2, 3)
"""The node ids that a development PKI has keys for."""

BROKER: Final = Principal(TRUST_DOMAIN, EXCHANGE, "broker")
"""The exchange's brokers. They append and read, and create the topics that they need."""
AUDITOR: Final = Principal(TRUST_DOMAIN, AUDIT_OFFICE, "auditor")
"""May read the log directly from Kafka, without the brokers, and nothing else."""
BREAK_GLASS: Final = Principal(TRUST_DOMAIN, EXCHANGE, "break-glass")
"""The only client that may alter and delete. Its key belongs in a safe."""
CLIENTS: Final = (BROKER, AUDITOR, BREAK_GLASS)


def node_names(number: int) -> tuple[str, ...]:
    """The host names of a node: on this machine, or in a network of containers."""
    return (*LOCAL_NAMES, f"kafka-{number}")


def node(number: int) -> Principal:
    """The principal of a Kafka node."""
    return Principal(TRUST_DOMAIN, EXCHANGE, f"{KAFKA_NODE_PREFIX}{number}")


class Credential(NamedTuple):
    """A certificate: its file, its purpose, its principal, and the host names of a server."""

    certificate: Path
    profile: Profile
    principal: Principal
    server_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KafkaFiles:
    """The folder kafka/ of a PKI, and the certificate of its authority."""

    folder: Path
    authority: Path

    def node(self, number: int) -> Path:
        """A node's certificate; its key and its keystore are beside it."""
        return self.folder / f"node-{number}.pem"

    def keystore(self, number: int) -> Path:
        """A node's key and certificate in one file, as Kafka needs them."""
        return keystore_of(self.node(number))

    def client(self, client: Principal) -> tuple[Path, Path]:
        """The certificate and key files of a client."""
        certificate = self.folder / f"{client.system}.pem"
        return certificate, certificate.with_suffix(".key")

    def credentials(self) -> tuple[Credential, ...]:
        """Every certificate that belongs in this folder."""
        return (
            *(Credential(self.node(number), KAFKA_NODE, node(number), node_names(number)) for number in NODES),
            *(Credential(self.client(client)[0], KAFKA_CLIENT, client, ()) for client in CLIENTS),
        )

    def check(self, now: datetime) -> None:
        """Check that Kafka can start with these files.

        Raises:
            SetupInvalid: they are missing, because an earlier version made this PKI.
            CertificateInvalid: a certificate has expired.
        """
        keystores = [self.keystore(number) for number in NODES]
        paths = [path for path, *_ in self.credentials()]
        if missing := [path.name for path in (self.authority, *paths, *keystores) if not path.is_file()]:
            message = (
                f"this PKI has no {missing[0]} for Kafka, perhaps because it is from an earlier version; "
                "case-exchange certs init --force makes a new PKI, with new keys for everyone"
            )
            raise SetupInvalid(message)
        if over := [path.name for path in paths if load_certificates(path)[0].not_valid_after_utc <= now]:
            message = (
                f"in {self.folder.name}/ of this PKI these certificates have expired: {', '.join(over)}; replace "
                "each with case-exchange certs renew, or a whole development PKI with case-exchange certs init --force"
            )
            raise CertificateInvalid(message)


def keystore_of(certificate: Path) -> Path:
    """The keystore that belongs to a node's certificate."""
    return certificate.with_suffix(".keystore.pem")
