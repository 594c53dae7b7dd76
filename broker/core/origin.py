"""Origins: how a checkpoint says which log it is of, and which incarnation of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import CheckpointInvalid

if TYPE_CHECKING:
    from broker.core.streams import StreamPartition


def checkpoint_origin(trust_domain: str, partition: StreamPartition, log_id: str) -> str:
    """The origin of one incarnation of a partition's log: ``<trust domain>/<stream>/<partition>/<log id>``.

    A log that was made anew has another log id, and so another origin: whoever remembers a checkpoint of the earlier
    one never takes the new log's for a later state of it. One key signs for all of an exchange's logs, under a name of
    its own; C2SP recommends, and does not demand, that key and origin have one name.
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
