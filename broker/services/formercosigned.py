"""What witnesses have cosigned of a log and of its former incarnations, as far as that survives."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.incarnations import Incarnations
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.core.tree.origin import checkpoint_origin, incarnation_of, trust_domain_of

if TYPE_CHECKING:
    from broker.core.policy import Directory
    from broker.core.streams import StreamPartition
    from broker.ports import CosignedStore


class KeptCosigned(NamedTuple):
    """A checkpoint with a quorum. ``since_s``: see ``WitnessPolicy.satisfied_since``."""

    checkpoint: Checkpoint
    note: bytes
    since_s: int


async def kept_notes(kept: CosignedStore, directory: Directory, partition: StreamPartition, origin: str) -> list[bytes]:
    """The notes that are kept of a log and of what survives of its formers, the log's own last.

    Raises:
        LogUnavailable
    """
    trust_domain = trust_domain_of(origin)
    log_id = incarnation_of(origin, trust_domain, partition)
    found = [] if (own := await kept.cosigned(origin)) is None else [own]
    for former, survives in Incarnations(directory.incarnations).formers(partition, log_id):
        note = await kept.cosigned(checkpoint_origin(trust_domain, partition, former))
        if note is not None and Checkpoint.parse(parse_note(note).text).size <= survives:
            found.append(note)
    return found[::-1]
