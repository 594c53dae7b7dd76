"""Records of a replay bundle that follow each other, with the broker's receipts for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.bundle import BundleEntry, PartitionRecords
from broker.core.envelope import Signature
from broker.core.receipt import SignedReceipts, receipts_message

if TYPE_CHECKING:
    from broker.ports import Signer


class Batch:
    """Consecutive records, and the receipts for them."""

    def __init__(self) -> None:
        self.entries: list[BundleEntry] = []
        self.statements: list[bytes] = []

    def close(self, signer: Signer | None) -> list[PartitionRecords]:
        """Return the frame of the batch, if it is not empty. Then the batch is empty again."""
        entries, statements = tuple(self.entries), tuple(self.statements)
        self.entries.clear()
        self.statements.clear()
        receipts = None
        if signer is not None and statements:
            signature = Signature(signer.certificate_sha256, signer.sign(receipts_message(statements)))
            receipts = SignedReceipts(statements, signature)
        return [PartitionRecords(entries, receipts)] if entries else []
