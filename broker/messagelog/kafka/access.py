"""The access rules of the cluster: who may do what.

Kafka denies everything that no rule allows. The nodes and the break-glass client are super users, named in the nodes'
own settings; they need no rule. Nobody else may alter or delete a topic, its configuration, its records or a rule. So a
broker under an attacker's control can append false entries, and the evidence shows them. It cannot remove anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from kafka import errors as kafka_errors
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from broker.messagelog.kafka.connection import translate

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from kafka import KafkaAdminClient

    from broker.messagelog.kafka.connection import KafkaConnection

Role = Literal["broker", "auditor"]
Resource = Literal["topic", "group", "transactional_id", "cluster"]
Operation = Literal["create", "describe", "describe_configs", "idempotent_write", "read", "write"]
"""The operations that the rules grant. Kafka's operations to alter and to delete are not among them."""

RULES: Final[Mapping[Role, Mapping[Resource, tuple[Operation, ...]]]] = {
    "broker": {
        # describe_configs: a broker refuses topics that could lose records.
        "topic": ("create", "describe", "describe_configs", "read", "write"),
        # Committing an offset also needs read. Without delete, nobody can make a subscription start again.
        "group": ("describe", "read"),
        # For the checkpoints. One fenced follower at a time writes them, in transactions.
        "transactional_id": ("describe", "write"),
        # describe_configs: a broker refuses a cluster that forgets subscriptions.
        "cluster": ("describe", "describe_configs", "idempotent_write"),
    },
    # An auditor reads with its own positions and joins no group. So nothing that others depend on is changed.
    "auditor": {"topic": ("describe", "describe_configs", "read")},
}
"""The rules for the cluster, and for topics, groups and transactional ids that begin with the exchange's prefix."""

_CLUSTER_NAME: Final = "kafka-cluster"
"""Kafka's own name for the cluster as a resource."""
_ANY_HOST: Final = "*"


class Changes(NamedTuple):
    """How many rules were added and how many were removed."""

    added: int
    removed: int


def rules(prefix: str, principals: Mapping[Role, Sequence[str]]) -> tuple[ACL, ...]:
    """The rules for these principals.

    Args:
        prefix: the exchange's prefix, without the dot.
        principals: for each role, Kafka's names of its principals, without ``User:``.
    """
    return tuple(
        ACL(f"User:{name}", _ANY_HOST, ACLOperation[operation.upper()], ACLPermissionType.ALLOW, _pattern(what, prefix))
        for role, names in principals.items()
        for name in names
        for what, operations in RULES[role].items()
        for operation in operations
    )


def apply(connection: KafkaConnection, principals: Mapping[Role, Sequence[str]]) -> Changes:
    """Make the cluster allow what the rules allow, and nothing else. The caller must be a super user.

    Any other rule that allows something is removed. A rule that denies stays: with it an operator can shut out a stolen
    key. A second call changes nothing.

    Args:
        connection: how to reach the cluster.
        principals: see ``rules``.

    Raises:
        LogAccessDenied: there is something to change, and the connection's certificate is not a super user's.
        LogUnavailable: the cluster did not answer in time. Apply again.
    """
    wanted = set(rules(connection.prefix, principals))
    try:
        with connection.admin() as admin:
            found = set(_allowed(admin))
            # Add first, so that a principal that keeps a right does not lose it for a moment.
            _add(admin, wanted - found)
            _remove(admin, found - wanted)
    except kafka_errors.KafkaError as error:
        raise translate(error) from error
    return Changes(len(wanted - found), len(found - wanted))


def _pattern(resource: Resource, prefix: str) -> ResourcePattern:
    if resource == "cluster":
        return ResourcePattern(ResourceType.CLUSTER, _CLUSTER_NAME, ACLResourcePatternType.LITERAL)
    return ResourcePattern(ResourceType[resource.upper()], f"{prefix}.", ACLResourcePatternType.PREFIXED)


def _allowed(admin: KafkaAdminClient) -> list[ACL]:
    everything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    found, _ = admin.describe_acls(ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ALLOW, everything))
    return list(found)


def _add(admin: KafkaAdminClient, missing: Collection[ACL]) -> None:
    if missing and (failed := admin.create_acls(list(missing))["failed"]):
        raise failed[0]


def _remove(admin: KafkaAdminClient, surplus: Collection[ACL]) -> None:
    # A filter with exactly these values matches only the rule that has them.
    filters = [
        ACLFilter(rule.principal, rule.host, rule.operation, rule.permission_type, rule.resource_pattern)
        for rule in surplus
    ]
    for _, _, error in admin.delete_acls(filters) if filters else ():
        if error is not kafka_errors.NoError:
            raise error
