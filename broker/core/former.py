"""A record that its publisher publishes again, with the receipt that it had before the log lost it.

Such a record is judged at the time of its former receipt, because the exchange accepted it then: its expiry, the
certificate of its signer, and the rights that the directory gave. Broker, recipient and auditor use the same checks
(docs/adr/0034). A former receipt counts if all of this holds, otherwise FormerReceiptInvalid:

1. it is a receipt, and of a receipt's size
2. it is for these very bytes: record id, digest and publisher are those of the record
3. the directory in force when the record came again lists the certificate that signed it, in use or retired, for the
   exchange
4. that certificate's key did sign it
5. the certificate had not ended before the time of the receipt, and was not revoked when the record came again: whoever
   has a revoked key of the exchange could state any time

One directory version that allows the record is enough: that of the former acceptance, or that of the new one. The log
may have lost the former version together with the record.

A receipt covers the digest of the signed bytes. So nothing comes in with it that the exchange had not accepted before,
also if the key of the record's signer was stolen since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from broker.core.authorship import BodyReader
from broker.core.errors import FormerReceiptInvalid, ReceiptInvalid, SignatureRefused
from broker.core.inforce import by_any
from broker.core.receipt import receipt_message

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.core.body import Body
    from broker.core.envelope import Envelope
    from broker.core.inforce import DirectoryVersion
    from broker.core.receipt import Receipt, ReceiptStatement

MAX_RECEIPT_BYTES: Final = 4096
"""The largest former receipt. That of a record in the largest batch has about 1,000 bytes."""


class ReceiptReader(BodyReader, Protocol):
    """Reads bodies and receipts."""

    def parse_receipt(self, receipt: bytes) -> Receipt:
        """Read a portable receipt, or raise ReceiptInvalid."""

    def parse_statement(self, statement: bytes) -> ReceiptStatement:
        """Read a receipt's statement, or raise ReceiptInvalid."""


def stated(envelope: Envelope, reader: ReceiptReader) -> ReceiptStatement:
    """Check (1): what the former receipt of a record says. It does not count yet.

    Raises:
        FormerReceiptInvalid
    """
    return _read(envelope, reader)[1]


def check_former(
    envelope: Envelope,
    body: Body,
    reader: ReceiptReader,
    versions: Iterable[DirectoryVersion],
    again_ms: int,
) -> ReceiptStatement:
    """Checks (1) to (5). Returns what the receipt says.

    Args:
        envelope: a record with a former receipt.
        body: its body.
        reader: reads the receipt.
        versions: the directory versions that may have been in force when the record came again.
        again_ms: when the record came again: milliseconds since the Unix epoch, UTC.

    Raises:
        FormerReceiptInvalid, DirectoryVersionMissing
        RevocationUnavailable: no revocation list says whether the exchange's certificate was revoked.
    """
    receipt, statement = _read(envelope, reader)
    # (2) For these bytes.
    if (statement.record_id, statement.record_sha256, statement.publisher) != (
        body.record_id,
        envelope.record_sha256,
        body.publisher,
    ):
        message = "the former receipt is for another record"
        raise FormerReceiptInvalid(message, record_id=body.record_id)
    by_any(versions, lambda version: _check_signer(version, receipt, statement, again_ms))
    return statement


def check_form(former_receipt: bytes) -> None:
    """Refuse what is larger than any receipt. This costs nothing, so a broker asks before it keeps a request.

    Raises:
        FormerReceiptInvalid
    """
    if len(former_receipt) > MAX_RECEIPT_BYTES:
        message = f"the former receipt is larger than {MAX_RECEIPT_BYTES} bytes"
        raise FormerReceiptInvalid(message)


def _read(envelope: Envelope, reader: ReceiptReader) -> tuple[Receipt, ReceiptStatement]:
    # (1) Its form.
    check_form(envelope.former_receipt)
    try:
        receipt = reader.parse_receipt(envelope.former_receipt)
        return receipt, reader.parse_statement(receipt.statement)
    except ReceiptInvalid as error:
        message = f"the former receipt cannot be read: {error.message}"
        raise FormerReceiptInvalid(message) from error


def _check_signer(version: DirectoryVersion, receipt: Receipt, statement: ReceiptStatement, again_ms: int) -> None:
    record_id = statement.record_id
    try:
        # (3) to (5) The exchange's certificate.
        certificate = version.certificates.signer(receipt.signature.certificate_sha256)
        certificate.verify(receipt_message(receipt), receipt.signature.value)
        certificate.check_trusted(statement.accepted_at_ms, again_ms)
    except (SignatureRefused, ReceiptInvalid) as error:
        message = f"the former receipt does not count: {error.message}"
        raise FormerReceiptInvalid(message, record_id=record_id) from error
    if certificate.agency != version.directory.exchange:
        message = "the former receipt does not count: an agency signed it, not the exchange"
        raise FormerReceiptInvalid(message, record_id=record_id)
