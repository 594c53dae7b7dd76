"""The configuration of an agency's edge: what its programs need to reach the broker and to judge what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path  # noqa: TC003 - the loader reads the annotations at run time
from typing import Annotated, Final

from broker.config.kafka import KafkaConfig
from broker.config.loader import LoggingConfig, Setting, parse, read_toml

_OF_ONE_PROGRAM: Final = ("gateway", "program", "routes")
"""Sections of a gateway or an agency's own program, whose profile serves every command of the agency."""


@dataclass(frozen=True, kw_only=True)
class BrokerAddress:
    """[broker]: where an agency finds its broker."""

    address: Annotated[str, Setting("host and port of the broker")]
    server_name: Annotated[str, Setting("name that the broker's certificate must carry, if not the host")] = ""


@dataclass(frozen=True, kw_only=True)
class AgencyConfig:
    """[agency]: who an edge is."""

    certificate: Annotated[Path, Setting("TLS client certificate, with its chain")]
    key: Annotated[Path, Setting("its private key, mode 0600")]
    authorities: Annotated[Path, Setting("authorities whose broker certificates are accepted")]
    signing_certificate: Annotated[Path, Setting("the agency's signing certificate, as the directory lists it")]
    signing_key: Annotated[Path, Setting("its private key, mode 0600")]


@dataclass(frozen=True, kw_only=True)
class PinnedTrust:
    """[trust]: what an edge pins, and where it keeps what governance publishes."""

    governance_key: Annotated[Path, Setting("public key that signs directories: pinned")]
    directory: Annotated[Path, Setting("the signed directory")]
    signing_revocations: Annotated[Path, Setting("revocation list of the signing authority")]
    revocation_grace_seconds: Annotated[float, Setting("how long after its next update a list is used", least=0)] = (
        3600.0
    )


@dataclass(frozen=True, kw_only=True)
class EdgeConfig:
    """What every program at an agency's edge needs to reach its broker and to judge what comes back."""

    broker: BrokerAddress
    agency: AgencyConfig
    trust: PinnedTrust
    kafka: KafkaConfig = field(default_factory=KafkaConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)


def load_edge(path: Path) -> EdgeConfig:
    """Read an edge's configuration. Sections of a gateway or program are passed over.

    Raises:
        ConfigInvalid: names the key.
    """
    tables = read_toml(path)
    for name in _OF_ONE_PROGRAM:
        tables.pop(name, None)
    return parse(EdgeConfig, tables, path.parent)
