"""Origins: how a checkpoint names its log, and the log's incarnation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import CheckpointInvalid
from broker.core.identity import is_trust_domain
from broker.core.streams import StreamPartition

if TYPE_CHECKING:
    from broker.core.tree.checkpoint import Checkpoint

_LOG_PATH: Final = re.compile(r"([a-z0-9][a-z0-9-]{0,62})/(0|[1-9][0-9]{0,9})/([A-Za-z0-9_-][A-Za-z0-9._:-]{0,254})")


def checkpoint_origin(trust_domain: str, partition: StreamPartition, log_id: str) -> str:
    """The origin of one incarnation of a partition's log: ``<trust domain>/<stream>/<partition>/<log id>``.

    A log that was made again has another log id, and so another origin. So a checkpoint of the new log never passes as
    a later state of the earlier one. One key signs for all of an exchange's logs, under its own name. C2SP recommends
    that key and origin have the same name, but does not demand it.
    """
    return f"{trust_domain}/{log_path(partition, log_id)}"


def incarnation_of(origin: str, trust_domain: str, partition: StreamPartition) -> str:
    """The log id in a checkpoint's origin.

    Raises:
        CheckpointInvalid: it is the origin of another partition, or of another exchange.
    """
    before = checkpoint_origin(trust_domain, partition, "")
    log_id = origin.removeprefix(before)
    if not origin.startswith(before) or not log_id:
        message = "the checkpoint is another partition's"
        raise CheckpointInvalid(message)
    return log_id


def log_path(partition: StreamPartition, log_id: str) -> str:
    """The path at which a log's tiles are served: its origin without the trust domain.

    So if the tiles of an exchange are at ``https://<trust domain>/``, a log's origin is its address without the scheme,
    as tlog-tiles recommends.
    """
    return f"{partition}/{log_id}"


def parse_log_path(path: str) -> tuple[StreamPartition, str]:
    """Read what ``log_path`` gives. The result is safe as a part of a file's path.

    Raises:
        CheckpointInvalid: it is no path of a log.
    """
    match = _LOG_PATH.fullmatch(path)
    if match is None:
        message = "there can be no log of this name"
        raise CheckpointInvalid(message)
    return StreamPartition(match[1], int(match[2])), match[3]


class Origin(NamedTuple):
    """What an origin names: a partition, and the incarnation of its log."""

    partition: StreamPartition
    log_id: str


def origin_of(checkpoint: Checkpoint, trust_domain: str) -> Origin:
    """What a checkpoint's origin names.

    Raises:
        CheckpointInvalid: it names no partition, or another exchange.
    """
    parts = checkpoint.origin.removeprefix(f"{trust_domain}/").split("/")
    try:
        partition = StreamPartition(parts[0], int(parts[1]))
    except (IndexError, ValueError):
        message = "the checkpoint's origin names no partition"
        raise CheckpointInvalid(message) from None
    return Origin(partition, incarnation_of(checkpoint.origin, trust_domain, partition))


def trust_domain_of(origin: str) -> str:
    """The trust domain in a checkpoint's origin. Empty: it has none."""
    domain = origin.partition("/")[0]
    return domain if is_trust_domain(domain) else ""
