"""Origins: how a checkpoint names its log, and the log's incarnation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import CheckpointInvalid

if TYPE_CHECKING:
    from broker.core.streams import StreamPartition


def checkpoint_origin(trust_domain: str, partition: StreamPartition, log_id: str) -> str:
    """The origin of one incarnation of a partition's log: ``<trust domain>/<stream>/<partition>/<log id>``.

    A log that was made again has another log id, and so another origin. So a checkpoint of the new log never passes as
    a later state of the earlier one. One key signs for all of an exchange's logs, under its own name. C2SP recommends
    that key and origin have the same name, but does not demand it.
    """
    return f"{trust_domain}/{partition}/{log_id}"


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
