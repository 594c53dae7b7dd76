"""Who may do what on the cluster: the whole table, and making a cluster's rules say just that.

Kafka denies what no rule allows. The nodes and the break-glass client are no rules but super users, named in the nodes'
own settings; nobody else may alter or delete anything, neither a topic, nor its configuration, nor its records, nor a
rule. So a broker that is taken over can append lies, which the evidence shows, but cannot take back what was said.
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
"""The operations that any rule grants. Those of Kafka that alter and delete are not among them."""

RULES: Final[Mapping[Role, Mapping[Resource, tuple[Operation, ...]]]] = {
    "broker": {
        # describe_configs: a broker refuses topics that could lose records.
        "topic": ("create", "describe", "describe_configs", "read", "write"),
        # read is also what committing a place needs. Without delete, nobody makes a subscription start over.
        "group": ("describe", "read"),
        # For the checkpoints, which one fenced follower at a time writes in transactions.
        "transactional_id": ("describe", "write"),
        # describe_configs: a broker refuses a cluster that forgets subscriptions.
        "cluster": ("describe", "describe_configs", "idempotent_write"),
    },
    # An auditor reads with positions of its own and joins no group, so it leaves no trace that others depend on.
    "auditor": {"topic": ("describe", "describe_configs", "read")},
}
"""On the cluster, and on topics, groups and transactional ids whose names begin with the exchange's prefix."""

_CLUSTER_NAME: Final = "kafka-cluster"
"""Kafka's own word for the cluster as a resource."""
_ANY_HOST: Final = "*"


class Changes(NamedTuple):
    """What was not as it should be: how many rules were added, and how many taken away."""

    added: int
    removed: int


def rules(prefix: str, principals: Mapping[Role, Sequence[str]]) -> tuple[ACL, ...]:
    """The table, for these principals.

    Args:
        prefix: the exchange's, without the dot.
        principals: of each role, the names that Kafka has for them, without ``User:``.
    """
    return tuple(
        ACL(f"User:{name}", _ANY_HOST, ACLOperation[operation.upper()], ACLPermissionType.ALLOW, _pattern(what, prefix))
        for role, names in principals.items()
        for name in names
        for what, operations in RULES[role].items()
        for operation in operations
    )


def apply(connection: KafkaConnection, principals: Mapping[Role, Sequence[str]]) -> Changes:
    """Make the cluster allow what the table allows, and nothing else. To be called as a super user.

    A rule that allows something else is taken away, whoever made it. A rule that denies stays: it is how an operator
    shuts out a stolen key. Applying twice changes nothing.

    Args:
        connection: how to reach the cluster.
        principals: see ``rules``.

    Raises:
        LogAccessDenied: there is something to change, and the connection's certificate is not a super user's.
        LogUnavailable: the cluster did not answer in time; apply again.
    """
    wanted = set(rules(connection.prefix, principals))
    try:
        with connection.admin() as admin:
            found = set(_allowed(admin))
            # Added first: nobody who is to keep a right loses it for a moment.
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
    # A filter of these very values matches the one rule that has them.
    filters = [
        ACLFilter(rule.principal, rule.host, rule.operation, rule.permission_type, rule.resource_pattern)
        for rule in surplus
    ]
    for _, _, error in admin.delete_acls(filters) if filters else ():
        if error is not kafka_errors.NoError:
            raise error
