"""Checking receipts: a publisher trusts the exchange's signature, not the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import CaseExchangeError, ReceiptInvalid
from broker.core.receipt import receipt_message, receipts_message
from broker.wire.receipts import statement_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.envelope import Envelope, Signature
    from broker.core.receipt import Receipt, ReceiptStatement, SignedReceipts
    from broker.ports import DirectoryInForce, Keyring


class ReceiptVerifier:
    """Checks receipts with the exchange's signing certificates in the directory. Safe to call from any thread."""

    def __init__(self, directory: DirectoryInForce, keyring: Keyring) -> None:
        self._directory = directory
        self._keyring = keyring

    def verify_batch(self, receipts: SignedReceipts) -> list[ReceiptStatement]:
        """Check the signature over a whole batch, and read its statements.

        Raises:
            ReceiptInvalid: the exchange did not sign these statements.
        """
        self._check(receipts.signature, receipts_message(receipts.statements))
        return [statement_from(statement) for statement in receipts.statements]

    def verify(self, receipt: Receipt) -> ReceiptStatement:
        """Check a portable receipt, and read its statement.

        Raises:
            ReceiptInvalid: the exchange did not sign this statement.
        """
        self._check(receipt.signature, receipt_message(receipt))
        return statement_from(receipt.statement)

    def _check(self, signature: Signature, message: bytes) -> None:
        try:
            certificate = self._keyring.signer(signature.certificate_sha256)
            certificate.verify(message, signature.value)
        except CaseExchangeError as error:
            text = f"the receipt's signature is not valid: {error.message}"
            raise ReceiptInvalid(text) from error
        if certificate.revoked_at_ms is not None:
            text = "the certificate that signed the receipt is revoked"
            raise ReceiptInvalid(text)
        if certificate.agency != self._directory.current().exchange:
            text = "an agency signed the receipt, not the exchange"
            raise ReceiptInvalid(text)


def check_matches(statement: ReceiptStatement, envelope: Envelope, record_id: str) -> None:
    """Check that a statement is about this record.

    Raises:
        ReceiptInvalid: it is about another record.
    """
    if (statement.record_id, statement.record_sha256) != (record_id, envelope.record_sha256):
        message = "the receipt is not for the record that was sent"
        raise ReceiptInvalid(message, record_id=record_id)


def check_count(statements: Sequence[object], index: int) -> None:
    """Check that the receipt with this index exists.

    Raises:
        ReceiptInvalid: it does not exist.
    """
    if not 0 <= index < len(statements):
        message = "the broker accepted a record but gave no receipt for it"
        raise ReceiptInvalid(message)
