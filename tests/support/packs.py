"""Packs as a broker appends them, and as a consumer reads them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.seal import Sealing, pack_statement, prepare_seals
from broker.messagelog.kafka.packs import VERSION, drafts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.entry import NewEntry
    from broker.trust.signing import Ed25519NoteSigner


class Record(NamedTuple):
    """The used part of what a consumer returns."""

    offset: int
    timestamp: int | None
    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    leader_epoch: int = 4


def packed(
    entries: Sequence[NewEntry],
    signer: Ed25519NoteSigner,
    sealing: Sealing,
    log_id: str,
    version: int = VERSION,
    *,
    key_id: bytes | None = None,
) -> list[bytes]:
    """The values of the Kafka records of one append. ``key_id`` is the key that the seals name, if not the signer's."""
    drafts = drafts_of(entries)
    unsigned = prepare_seals(
        [pack_statement(version, draft.partition, log_id, sealing, draft.header) for draft in drafts]
    )
    seals = unsigned.signed(key_id or signer.key_id, sealing.append_id, signer.sign(unsigned.text))
    return [draft.encode(seal) for draft, seal in zip(drafts, seals, strict=True)]
