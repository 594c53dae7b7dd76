"""Records of a replay bundle that follow each other, with the broker's receipts for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.bundle import BundleEntry, PartitionRecords
from broker.core.envelope import Signature
from broker.core.policy import ANY
from broker.core.receipt import ReceiptStatement, SignedReceipts, receipts_message

if TYPE_CHECKING:
    from collections.abc import Collection

    from broker.core.body import Routing
    from broker.core.entry import LogEntry
    from broker.core.envelope import Envelope
    from broker.ports import RecordCodec, Signer


class Batch:
    """Consecutive records, and the receipts for them. Without a signer there are none."""

    def __init__(self, codec: RecordCodec, signer: Signer | None) -> None:
        self._codec = codec
        self._signer = signer
        self._entries: list[BundleEntry] = []
        self._statements: list[bytes] = []

    def add(
        self, entry: LogEntry, envelope: Envelope, routing: Routing, visible: Collection[str], *, as_accepted: bool
    ) -> None:
        """Add a record.

        Args:
            entry: its place.
            envelope: the record, with every section.
            routing: the part of its body that says what it is.
            visible: the sections that the reader may have, or ``ANY``.
            as_accepted: whether it is that of its leaf. If not, it gets no receipt.
        """
        copy = envelope if ANY in visible else envelope.with_sections(frozenset(visible))
        self._entries.append(BundleEntry(entry.position, entry.accepted_at_ms, entry.log_id, entry.epoch, copy))
        # A receipt is given only for an entry that matches its leaf, never for what the log now has in its place.
        if self._signer is not None and as_accepted:
            statement = ReceiptStatement(
                routing.record_id,
                envelope.record_sha256,
                entry.position,
                entry.log_id,
                entry.epoch,
                entry.accepted_at_ms,
                routing.publisher,
            )
            self._statements.append(self._codec.encode_statement(statement))

    def close(self) -> list[PartitionRecords]:
        """Return the frame of the batch, if it is not empty. Then the batch is empty again."""
        entries, statements = tuple(self._entries), tuple(self._statements)
        self._entries.clear()
        self._statements.clear()
        receipts = None
        if self._signer is not None and statements:
            signature = Signature(self._signer.certificate_sha256, self._signer.sign(receipts_message(statements)))
            receipts = SignedReceipts(statements, signature)
        return [PartitionRecords(entries, receipts)] if entries else []
