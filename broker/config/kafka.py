"""How to reach the Kafka cluster that keeps the log, and what its topics must be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from broker.config.loader import Section, setting
from broker.core.errors import ConfigInvalid

_NOT_GIVEN: Final = Path()


class KafkaConfig(Section, frozen=True, kw_only=True):
    """[kafka]: the cluster of a log with ``log.backend = "kafka"``, or the one that an auditor reads directly."""

    servers: Annotated[tuple[str, ...], setting("host:port of some of the cluster's nodes")] = ()
    certificate: Annotated[Path, setting("TLS client certificate for Kafka, with its chain")] = _NOT_GIVEN
    key: Annotated[Path, setting("its private key, mode 0600")] = _NOT_GIVEN
    authorities: Annotated[Path, setting("authorities whose Kafka nodes are accepted")] = _NOT_GIVEN
    prefix: Annotated[str, setting("first part of the names of topics, groups and transactional ids")] = "case-exchange"
    timeout_seconds: Annotated[
        float, setting("how long one request may take, with its repetitions", least=0.5, most=120)
    ] = 10.0
    replication: Annotated[int, setting("copies of each partition", least=1, most=16)] = 3
    min_in_sync: Annotated[
        int, setting("copies that must have a record before it is acknowledged", least=1, most=16)
    ] = 2
    retention_days: Annotated[int, setting("how long records are kept; 0: for ever", least=0, most=36_500)] = 0

    def check(self) -> None:
        """See that everything is there that a connection needs.

        Raises:
            ConfigInvalid: names what is missing.
        """
        given = {
            "servers": bool(self.servers),
            "certificate": self.certificate != _NOT_GIVEN,
            "key": self.key != _NOT_GIVEN,
            "authorities": self.authorities != _NOT_GIVEN,
        }
        missing = [name for name, present in given.items() if not present]
        if missing:
            message = f"[kafka] lacks {', '.join(missing)}"
            raise ConfigInvalid(message)
        if self.min_in_sync > self.replication:
            message = "kafka.min_in_sync must not be larger than kafka.replication"
            raise ConfigInvalid(message)
