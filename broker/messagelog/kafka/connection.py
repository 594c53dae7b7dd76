"""Clients of one Kafka cluster, and the translation of their errors.

Every client is made here, so that all have the same servers, the same mutual TLS and limited times.
"""

from __future__ import annotations

import contextlib
import random
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient
from tenacity import wait_random

from broker.core.errors import (
    CaseExchangeError,
    CertificateInvalid,
    Internal,
    LogAccessDenied,
    LogCorrupt,
    LogUnavailable,
    RecordTooLarge,
)
from broker.messagelog.kafka.handshake import BoundedContext
from broker.messagelog.kafka.lenient import install

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

CHECKPOINTS: Final = "checkpoints"
"""The topic on which the followers publish checkpoints."""
_PAUSE_SECONDS: Final = (0.25, 0.75)
"""Between a failure and the next attempt. A random time, so that processes and members do not return all at once."""
RETRY_WAIT: Final = wait_random(*_PAUSE_SECONDS)
_PATIENCE: Final = 1.5
_MILLISECONDS: Final = 1000
_METADATA_AGE_MS: Final = 30_000
_RECONNECT_MOST_MS: Final = 1000
LARGEST_REQUEST: Final = 100 << 20
"""The largest request that a node takes, and so the largest thing that somebody can write into a topic."""
LARGEST_ANSWER: Final = LARGEST_REQUEST + (1 << 20)
"""The largest answer that a client accepts: room for that. A larger frame is an attack or a defect (CVE-2026-10142)."""


class KafkaTls:
    """Our side of mutual TLS with Kafka, from PEM files: TLS 1.2 or newer, our certificate, the server's name checked.

    Raises:
        CertificateInvalid: a file cannot be used.
    """

    def __init__(self, certificate: Path, key: Path, authorities: Path) -> None:
        self._certificate = certificate
        self._key = key
        self._authorities = authorities
        self.context: Final = BoundedContext(ssl.PROTOCOL_TLS_CLIENT)
        # Only the authorities in the file count. The machine's own are not loaded.
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.reload()

    def reload(self) -> None:
        """Read the files again. Every new connection of any client uses them.

        Raises:
            CertificateInvalid: a file cannot be used.
        """
        try:
            self.context.load_verify_locations(cafile=self._authorities)
            self.context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            message = f"the TLS files for Kafka cannot be used: {self._certificate.name}, {self._authorities.name}"
            raise CertificateInvalid(message) from error


def pause() -> float:
    """Seconds until the next attempt after a failure, where nothing is retried as a whole."""
    return random.uniform(*_PAUSE_SECONDS)  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class KafkaConnection:
    """How to reach a cluster.

    Attributes:
        servers: ``host:port`` of some of its nodes.
        tls: our side of mutual TLS. Without it nothing is encrypted; no configuration of a broker can choose that.
        prefix: the beginning of every topic, group and transactional id of the exchange.
        timeout_seconds: how long one request may take, with its repetitions.
    """

    servers: Sequence[str]
    tls: KafkaTls | None
    prefix: str
    timeout_seconds: float

    def topic(self, name: str) -> str:
        """The topic of a stream, or of the checkpoints."""
        return f"{self.prefix}.{name}"

    def consumer(self, **settings: Any) -> KafkaConsumer:
        """A consumer that does not commit by itself.

        Raises:
            kafka.errors.KafkaError: not translated; the caller does that.
        """
        chosen = {
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "receive_message_max_bytes": LARGEST_ANSWER,
            **settings,
        }
        install()
        return _whole(KafkaConsumer, {**self._common(), **chosen})

    def producer(self, **settings: Any) -> KafkaProducer:
        """An idempotent producer. All in-sync replicas acknowledge each record, in order, once.

        Raises:
            kafka.errors.KafkaError: not translated; the caller does that.
        """
        timeout_ms = int(self.timeout_seconds * _MILLISECONDS)
        chosen = {
            "acks": "all",
            "enable_idempotence": True,
            "delivery_timeout_ms": timeout_ms,
            "max_block_ms": timeout_ms,
            "linger_ms": 0,
            **settings,
        }
        return _whole(KafkaProducer, {**self._common(), **chosen})

    def retire(self, producer: KafkaProducer) -> None:
        """Close a producer in the background. First the records under way are acknowledged or given up."""

        def close() -> None:
            # By then each record is acknowledged, or its time is over.
            patience = _PATIENCE * self.timeout_seconds
            try:
                producer.close(timeout=patience)
            except kafka_errors.KafkaError:
                # The library stops at the first record that is late, and would leave its threads behind.
                producer._sender.force_close()  # noqa: SLF001 - there is no public way
                with contextlib.suppress(kafka_errors.KafkaError):
                    producer.close(timeout=patience)

        threading.Thread(target=close, name="kafka-retired-producer", daemon=True).start()

    def admin(self) -> KafkaAdminClient:
        """An administrative client, with the rights of our principal.

        Raises:
            kafka.errors.KafkaError: not translated; the caller does that.
        """
        return _whole(KafkaAdminClient, self._common())

    def _common(self) -> dict[str, Any]:
        timeout_ms = int(self.timeout_seconds * _MILLISECONDS)
        common: dict[str, Any] = {
            "bootstrap_servers": list(self.servers),
            "bootstrap_timeout_ms": timeout_ms,
            # Half of the time, so that a node that does not answer leaves time for another.
            "request_timeout_ms": max(timeout_ms // 2, 1),
            "metadata_max_age_ms": _METADATA_AGE_MS,
            "reconnect_backoff_max_ms": _RECONNECT_MOST_MS,
        }
        if self.tls is not None:
            common |= {"security_protocol": "SSL", "ssl_context": self.tls.context}
        return common


def _whole(kind: Callable[..., Any], settings: Mapping[str, Any]) -> Any:
    """A complete client, or none. A client that does not reach Kafka would leave its thread and its sockets behind."""
    begun: list[Any] = []

    def begin(**given: Any) -> Any:
        begun.append(KafkaNetClient(**given))
        return begun[-1]

    try:
        return kind(**settings, kafka_client=begin)
    except BaseException:
        for each in begun:
            each.close()
        raise


_DEFECTS: Final = (kafka_errors.KafkaConfigurationError, kafka_errors.IllegalArgumentError)
_ACCESS: Final = (
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailedError,
)


def translate(error: Exception) -> CaseExchangeError:
    """The typed error for an error of the client. The client's text can contain values, so only its class is kept.

    If it is not known to be final, it is LogUnavailable: the outcome is unknown, and the request may be repeated.
    """
    if isinstance(error, CaseExchangeError):
        return error
    name = type(error).__name__
    if isinstance(error, _DEFECTS) or not isinstance(error, kafka_errors.KafkaError | OSError):
        return Internal("a defect in what is asked of Kafka, or in its client", kafka=name)
    if isinstance(error, _ACCESS):
        return LogAccessDenied("Kafka does not allow this to our principal", kafka=name)
    if isinstance(error, kafka_errors.MessageSizeTooLargeError | kafka_errors.RecordListTooLargeError):
        return RecordTooLarge("the record is larger than its Kafka topic takes", kafka=name)
    if isinstance(error, kafka_errors.CorruptRecordError):
        return LogCorrupt("a Kafka topic holds bytes that are no records", kafka=name)
    message = "Kafka did not do it in time, or its outcome is unknown"
    if isinstance(error, kafka_errors.InvalidReceiveError):
        message = "Kafka holds or answers something larger than a broker reads"
    return LogUnavailable(message, kafka=name)
