"""The configuration of an agency's edge: what its programs need to reach the broker and to judge what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from broker.config.kafka import KafkaConfig
from broker.config.loader import LoggingConfig, Section, parse, read_toml, setting

_OF_ONE_PROGRAM: Final = ("gateway", "program", "retention", "routes")
"""Sections of a gateway or an agency's own program, whose profile serves every command of the agency."""


class BrokerAddress(Section, frozen=True, kw_only=True):
    """[broker]: where an agency finds its broker."""

    address: Annotated[str, setting("host and port of the broker")]
    server_name: Annotated[str, setting("name in the broker's certificate, if it is not the host")] = ""


class AgencyConfig(Section, frozen=True, kw_only=True):
    """[agency]: who an edge is."""

    certificate: Annotated[Path, setting("TLS client certificate, with its chain")]
    key: Annotated[Path, setting("its private key, mode 0600")]
    authorities: Annotated[Path, setting("authorities whose broker certificates are accepted")]
    signing_certificate: Annotated[Path, setting("the agency's signing certificate, as the directory lists it")]
    signing_key: Annotated[Path, setting("its private key, mode 0600; it may name a key in a token (docs/keys.md)")]
    post_quantum_certificate: Annotated[
        Path, setting("its ML-DSA-65 signing certificate, where the directory demands one (docs/algorithms.md)")
    ] = Path()
    post_quantum_key: Annotated[Path, setting("its private key, mode 0600")] = Path()
    second_signers: Annotated[
        Path, setting("certificates of the principals who sign second, where the directory demands several")
    ] = Path()
    encryption_keys: Annotated[
        Path, setting("its key folder: private encryption keys with their statements (docs/keys.md); none: no keys")
    ] = Path()
    plain_kinds: Annotated[
        tuple[str, ...], setting("kinds that it ever publishes plain, if the directory lets it; all others are sealed")
    ] = ("PublicNotice",)


class PinnedTrust(Section, frozen=True, kw_only=True):
    """[trust]: what an edge pins, and where it keeps what governance publishes."""

    governance_key: Annotated[Path, setting("public key that signs directories, or several: pinned")]
    directory: Annotated[Path, setting("the signed directory")]
    signing_revocations: Annotated[Path, setting("revocation list of the signing authority")]
    revocation_grace_seconds: Annotated[float, setting("how long after its next update a list is used", least=0)] = (
        3600.0
    )
    reload_seconds: Annotated[
        float, setting("how often these files and the TLS files are looked at", least=0.1, most=3600)
    ] = 2.0
    checkpoint_seconds: Annotated[
        float, setting("how often the log's checkpoints are compared with those seen before", least=0.1, most=3600)
    ] = 30.0


class EdgeConfig(Section, frozen=True, kw_only=True):
    """What every program at an agency's edge needs to reach its broker and to judge what comes back."""

    broker: BrokerAddress
    agency: AgencyConfig
    trust: PinnedTrust
    kafka: KafkaConfig = KafkaConfig()
    logging: LoggingConfig = LoggingConfig()


def load_edge(path: Path) -> EdgeConfig:
    """Read an edge's configuration. Sections of a gateway or program are passed over.

    Raises:
        ConfigInvalid: names the key.
    """
    tables = read_toml(path)
    for name in _OF_ONE_PROGRAM:
        tables.pop(name, None)
    return parse(EdgeConfig, tables, path.parent)
