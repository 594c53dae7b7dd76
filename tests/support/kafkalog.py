"""Logs and boards on a real Kafka, with separate topics for each test."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from broker.messagelog.kafka.board import KafkaBoard
from broker.messagelog.kafka.log import KafkaLog
from broker.messagelog.kafka.topicsettings import KafkaSettings, TopicSettings
from broker.trust.signing import Ed25519NoteSigner, note_verifier
from broker.trust.system import SystemEntropy
from certs.kafka import BROKER
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from broker.core.errors import CaseExchangeError
    from broker.core.logkeyends import EndedLogKey
    from broker.core.tree.checkpoint import SignatureCheck
    from broker.messagelog.kafka.connection import KafkaConnection
    from broker.ports import Clock
    from deploy.kafka.cluster import KafkaCluster

TRUST_DOMAIN = "case-exchange.example"
PARTITIONS = {"cases": 4, "dna": 4, "notices": 1, "audit": 1}


class ListedKeys:
    """The port LogKeys, with the keys of these signers."""

    def __init__(self, *signers: Ed25519NoteSigner) -> None:
        self._signers = signers
        self.ends: dict[bytes, EndedLogKey] = {}

    def ended(self, key_id: bytes) -> EndedLogKey | None:
        return self.ends.get(key_id)

    def check(self, key_id: bytes) -> SignatureCheck | None:
        return next((note_verifier(one.public_key) for one in self._signers if one.key_id == key_id), None)

    def verifiers(self) -> Mapping[tuple[str, bytes], SignatureCheck]:
        return {(one.name, one.key_id): note_verifier(one.public_key) for one in self._signers}


class LogOnKafka:
    """One log on a cluster. A test opens it once for each of its processes."""

    def __init__(self, cluster: KafkaCluster, signer: Ed25519NoteSigner, clock: Clock, *, copies: int = 1) -> None:
        self.signer = signer
        self.connection = self.connect(cluster.connection(BROKER))
        self.topics = TopicSettings(PARTITIONS, copies, max(1, copies - 1), 0, 4 << 20)
        self.reported: list[CaseExchangeError] = []
        self._clock = clock

    def connect(self, connection: KafkaConnection, timeout_seconds: float = 10.0) -> KafkaConnection:
        """The same principal's connection, to this test's topics."""
        if not hasattr(self, "_prefix"):
            self._prefix = f"{connection.prefix}.{uuid.uuid4().hex[:12]}"
        return replace(connection, prefix=self._prefix, timeout_seconds=timeout_seconds)

    async def open(self, index: Path | None = None, *, read_only: bool = False, tail_bytes: int = 1 << 20) -> KafkaLog:
        return await KafkaLog.open(
            KafkaSettings(self.connection, None if read_only else self.topics, tail_bytes),
            index,
            signer=None if read_only else self.signer,
            keys=ListedKeys(self.signer),
            codec=CODEC,
            clock=self._clock,
            entropy=SystemEntropy(),
            report=self.reported.append,
        )

    def board(self, log: KafkaLog) -> KafkaBoard:
        return KafkaBoard(
            log.groups,
            log.all_partitions,
            trust_domain=TRUST_DOMAIN,
            keys=ListedKeys(self.signer),
            report=self.reported.append,
        )
