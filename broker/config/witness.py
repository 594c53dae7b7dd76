"""The configuration of a witness."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from broker.config.loader import LoggingConfig, Section, setting


class WitnessKeyConfig(Section, frozen=True, kw_only=True):
    """[witness]: its name, its key and its memory."""

    name: Annotated[str, setting("name of the key, like an address without scheme: witness.example/ministry")]
    key: Annotated[Path, setting("Ed25519 private key that cosigns, mode 0600; it may name a key in a token")]
    state: Annotated[
        Path, setting("file of what it has cosigned; never put it back from a copy: then take a new key and name")
    ]


class WitnessServerConfig(Section, frozen=True, kw_only=True):
    """[server]: where it listens, and what clients may use."""

    certificate: Annotated[Path, setting("TLS certificate that names the host, with its chain")]
    key: Annotated[Path, setting("its private key")]
    address: Annotated[str, setting("host and port to listen on; port 0 lets the system choose")] = "localhost:7444"
    connections: Annotated[int, setting("connections at once", least=1, most=100_000)] = 100
    request_seconds: Annotated[float, setting("how long a request may take to arrive", least=0.1, most=300)] = 10.0
    idle_seconds: Annotated[float, setting("how long a connection stays without a request", least=1, most=3600)] = 60.0
    drain_seconds: Annotated[float, setting("how long answers may go on after SIGTERM", least=1, most=300)] = 5.0
    reload_seconds: Annotated[float, setting("how often the TLS files are looked at", least=0.1, most=3600)] = 10.0


class WitnessedLogs(Section, frozen=True, kw_only=True):
    """[[logs]]: logs of which checkpoints are cosigned."""

    origins: Annotated[tuple[str, ...], setting("first lines of their checkpoints (`case-exchange status --json`)")]
    keys: Annotated[tuple[str, ...], setting("C2SP verifier keys, one of which signs them (`log_keys` of a directory)")]


class WitnessConfig(Section, frozen=True, kw_only=True):
    """A witness's whole configuration."""

    witness: WitnessKeyConfig
    server: WitnessServerConfig
    logs: tuple[WitnessedLogs, ...]
    logging: LoggingConfig = LoggingConfig()
