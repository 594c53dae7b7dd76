"""Make missing topics, and refuse topics that could lose a record or its order."""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from tenacity import Retrying, retry_if_exception_type, stop_after_delay

from broker.core.errors import CaseExchangeError, LogSettingsRefused, LogUnavailable
from broker.core.streams import STREAMS
from broker.messagelog.kafka.connection import LARGEST_REQUEST, RETRY_WAIT, translate
from broker.messagelog.kafka.seat import TRANSACTION_MS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from kafka import KafkaAdminClient

    from broker.core.streams import StreamPartition
    from broker.messagelog.kafka.connection import KafkaConnection
    from broker.messagelog.kafka.topicsettings import TopicSettings

_LEAST_OFFSETS_RETENTION_MINUTES: Final = 365 * 24 * 60
"""A durable subscription keeps its place for at least this time while its subscriber is away."""
_OFFSETS_RETENTION: Final = "offsets.retention.minutes"
_TRANSACTION: Final = "transaction.max.timeout.ms"
_REQUEST: Final = "socket.request.max.bytes"
_GROUP_PROTOCOLS: Final = "group.coordinator.rebalance.protocols"


class TopicState(NamedTuple):
    """A topic as the cluster describes it: its id as text, and whether its partitions can be appended to."""

    topic_id: str
    partitions: int
    replication: int
    without_leader: int
    in_sync: int


class Topics:
    """Looks at the exchange's topics through one administrative client. For one thread."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._admin: KafkaAdminClient | None = None
        self._turn = 0

    def close(self) -> None:
        """Close the client. Idempotent."""
        admin, self._admin = self._admin, None
        if admin is not None:
            with contextlib.suppress(kafka_errors.KafkaError):
                admin.close()

    def open(self, settings: TopicSettings | None) -> dict[str, TopicState]:
        """The states of the streams' topics, by name without prefix. After an error the client is closed.

        Args:
            settings: what topics and cluster must be, or None to accept them as they are.

        Raises:
            LogSettingsRefused, LogUnavailable, LogAccessDenied
        """
        try:
            if settings is not None:
                states = self.ensure(settings)
                self.check_cluster()
                return states
            states = self.look(list(STREAMS))
            if missing := [stream for stream in STREAMS if stream not in states]:
                message = f"the cluster has no topic of the streams {', '.join(missing)}"
                raise LogUnavailable(message)
        except CaseExchangeError:
            self.close()
            raise
        return states

    def ensure(self, settings: TopicSettings) -> dict[str, TopicState]:
        """Make missing topics, check all topics, and return their states by name without prefix.

        Raises:
            LogSettingsRefused: it names the topic, what it has and what it must have.
            LogUnavailable, LogAccessDenied
        """
        wanted = settings.of_topics()
        try:
            found = self._describe(list(wanted))
            missing = [name for name in wanted if name not in found]
            if missing:
                self._create(missing, settings)
            found = self._compared(settings)
        except kafka_errors.KafkaError as error:
            self.close()
            raise translate(error) from error
        return found

    def _compared(self, settings: TopicSettings) -> dict[str, TopicState]:
        """The topics' states, when they are as they must be. A node may hear of a new topic later than another."""
        retrying = Retrying(
            retry=retry_if_exception_type(kafka_errors.UnknownTopicOrPartitionError),
            stop=stop_after_delay(self._connection.timeout_seconds),
            wait=RETRY_WAIT,
            reraise=True,
        )
        return retrying(self._compare_all, settings)

    def check(self, settings: TopicSettings) -> None:
        """Refuse topics and a cluster that are no longer what they must be. Nothing is made.

        Raises:
            LogSettingsRefused, LogUnavailable, LogAccessDenied
        """
        try:
            self._compare_all(settings)
        except kafka_errors.KafkaError as error:
            self.close()
            raise translate(error) from error
        self.check_cluster()

    def look(self, names: list[str]) -> dict[str, TopicState]:
        """The states of these topics. Topics that do not exist are left out.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        try:
            return self._describe(names)
        except kafka_errors.KafkaError as error:
            self.close()
            raise translate(error) from error

    def offsets(self, partitions: Iterable[StreamPartition], *, last: bool = False) -> dict[StreamPartition, int]:
        """The first offset of each partition now, or the one after the last record.

        The first is 0 unless records have expired or were deleted.

        Raises:
            LogUnavailable, LogAccessDenied
        """
        of = {TopicPartition(self._connection.topic(each.stream), each.partition): each for each in partitions}
        try:
            found = self._client().list_partition_offsets(
                dict.fromkeys(of, OffsetSpec.LATEST if last else OffsetSpec.EARLIEST)
            )
        except kafka_errors.KafkaError as error:
            self.close()
            raise translate(error) from error
        return {of[topic]: at.offset for topic, at in found.items()}

    def check_cluster(self) -> None:
        """Refuse a cluster without what our groups and followers need, or that forgets where a subscription stands.

        One node is asked, at each call the next one: an administrator can set each node otherwise. The one that was
        refused is asked again.

        Raises:
            LogSettingsRefused, LogUnavailable, LogAccessDenied
        """
        try:
            values = self._node_configuration()
        except kafka_errors.KafkaError as error:
            self.close()
            raise translate(error) from error
        if "consumer" not in values.get(_GROUP_PROTOCOLS, ""):
            message = f"subscriptions need Kafka 4.0 or newer, with consumer in {_GROUP_PROTOCOLS}"
            raise LogSettingsRefused(message)
        if int(values[_OFFSETS_RETENTION]) < _LEAST_OFFSETS_RETENTION_MINUTES:
            message = (
                f"the cluster has {_OFFSETS_RETENTION} = {values[_OFFSETS_RETENTION]}: a subscription whose subscriber "
                f"is away for longer starts over; it must be at least {_LEAST_OFFSETS_RETENTION_MINUTES}"
            )
            raise LogSettingsRefused(message)
        if int(values[_TRANSACTION]) < TRANSACTION_MS:
            message = (
                f"the cluster has {_TRANSACTION} = {values[_TRANSACTION]}: no broker could publish checkpoints; "
                f"it must be at least {TRANSACTION_MS}"
            )
            raise LogSettingsRefused(message)
        if int(values[_REQUEST]) > LARGEST_REQUEST:
            message = (
                f"the cluster has {_REQUEST} = {values[_REQUEST]}: somebody could write what no broker can read; "
                f"it must be at most {LARGEST_REQUEST}"
            )
            raise LogSettingsRefused(message)
        self._turn += 1

    def _client(self) -> KafkaAdminClient:
        if self._admin is None:
            self._admin = self._connection.admin()
        return self._admin

    def _describe(self, names: list[str]) -> dict[str, TopicState]:
        by_topic = {self._connection.topic(name): name for name in names}
        states = {}
        for described in self._client().describe_topics(list(by_topic)):
            error = kafka_errors.for_code(described["error_code"])
            if error is kafka_errors.UnknownTopicOrPartitionError:
                continue
            if error is not kafka_errors.NoError:
                raise error
            states[by_topic[described["name"]]] = _state(described)
        return states

    def _create(self, names: list[str], settings: TopicSettings) -> None:
        partitions = settings.of_topics()
        topics = {
            self._connection.topic(name): {
                "num_partitions": partitions[name],
                "replication_factor": settings.replication,
                "configs": settings.configuration(name),
            }
            for name in names
        }
        try:
            self._client().create_topics(topics, wait_for_metadata=True)
        except kafka_errors.TopicAlreadyExistsError:
            # Another process makes them at the same time. What it made is checked in the same way.
            pass
        except kafka_errors.InvalidReplicationFactorError as error:
            message = f"the cluster has fewer nodes than the {settings.replication} copies that are configured"
            raise LogSettingsRefused(message) from error

    def _compare_all(self, settings: TopicSettings) -> dict[str, TopicState]:
        found = self._describe(list(settings.of_topics()))
        for name, partitions in settings.of_topics().items():
            state = found.get(name)
            if state is None:
                message = f"there is no topic {self._connection.topic(name)}"
                raise LogUnavailable(message)
            self._compare(name, "partitions", state.partitions, partitions, exact=True)
            self._compare(name, "copies", state.replication, settings.replication)
        topics = {self._connection.topic(name): name for name in found}
        for topic, values in self._configuration(ConfigResourceType.TOPIC, list(topics)).items():
            name = topics[topic]
            for key, text in settings.exact(name).items():
                if values[key] != text:
                    self._refuse(name, key, values[key], text)
            for key, least in settings.at_least().items():
                self._compare(name, key, int(values[key]), least)
        return found

    def _configuration(self, kind: ConfigResourceType, names: list[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(kind, name) for name in names]
        described = self._client().describe_configs(resources, config_filter="all")[kind.name.lower()]
        if not all(described.values()):
            # The library does not say it, but a node answers in this way of a topic that it does not know yet.
            raise kafka_errors.UnknownTopicOrPartitionError
        return {name: {key: entry["value"] for key, entry in entries.items()} for name, entries in described.items()}

    def _node_configuration(self) -> dict[str, str]:
        """A node's settings. A lost node stays listed for a while, or for ever as fenced, so others are asked."""
        described = self._client().describe_cluster()["brokers"]
        nodes = sorted(node["broker_id"] for node in described if not node["is_fenced"])
        first = self._turn % max(1, len(nodes))
        failure: kafka_errors.KafkaError = kafka_errors.BrokerNotAvailableError()
        for name in map(str, nodes[first:] + nodes[:first]):
            try:
                return self._configuration(ConfigResourceType.BROKER, [name])[name]
            except kafka_errors.KafkaError as error:
                failure = error
        raise failure

    def _compare(self, name: str, what: str, has: int, must: int, *, exact: bool = False) -> None:
        if has < must or (exact and has != must):
            self._refuse(name, what, str(has), str(must) if exact else f"at least {must}")

    def _refuse(self, name: str, what: str, has: str, must: str) -> None:
        message = f"topic {self._connection.topic(name)} has {what} = {has}, and it must be {must}"
        raise LogSettingsRefused(message)


def _state(described: Any) -> TopicState:
    partitions = described["partitions"]
    return TopicState(
        topic_id_text(described["topic_id"]),
        len(partitions),
        min((len(item["replica_nodes"]) for item in partitions), default=0),
        sum(item["leader_id"] < 0 for item in partitions),
        min((len(item["isr_nodes"]) for item in partitions), default=0),
    )


def topic_id_text(topic_id: UUID | str) -> str:
    """A topic's id as Kafka's own tools print it: base64url of its 16 bytes, without padding."""
    data = bytes.fromhex(str(topic_id).replace("-", ""))
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
