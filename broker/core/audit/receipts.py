"""Whether the exchange signed a receipt that somebody brings, by the directories of its time or later."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

from broker.core.errors import CaseExchangeError, ReceiptInvalid, RevocationUnavailable
from broker.core.inforce import by_any, versions_at
from broker.core.receipt import receipt_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.inforce import DirectoryVersion
    from broker.core.receipt import Receipt, ReceiptStatement

_REMEMBERED: Final = 256
"""So many checked signatures are remembered. The receipts of one batch have one, and stand near each other."""


class ReceiptCheck:
    """Checks the exchange's signature under receipts. Receipts that share a signature cost one check.

    Args:
        versions: the directory versions, in the order in which they came into force.
        taken_at_ms: when the receipts' word is taken (epoch milliseconds): a key that was revoked by then does not
            count, nor one that had ended before the time that a receipt names. None: this is not checked.
    """

    def __init__(self, versions: Sequence[DirectoryVersion], taken_at_ms: int | None) -> None:
        self._versions = versions
        self._taken_at_ms = taken_at_ms
        self._verified: dict[tuple[int, bytes, bytes, bytes], None] = {}

    def check(self, receipt: Receipt, statement: ReceiptStatement) -> None:
        """Check one receipt.

        Raises:
            ReceiptInvalid: no directory of its time or later lists a key of the exchange that signed it.
        """
        at_ms, message = statement.accepted_at_ms, receipt_message(receipt)
        # The broker may give a receipt again, with the key that it has then.
        versions = [*versions_at(self._versions, at_ms), *(it for it in self._versions if it.in_force_from_ms > at_ms)]
        try:
            by_any(versions, lambda version: self._check_under(version, receipt, message, at_ms))
        except ReceiptInvalid:
            raise
        except CaseExchangeError as refused:
            text = f"the receipt does not count: {refused.message}"
            raise ReceiptInvalid(text) from refused

    def _check_under(self, version: DirectoryVersion, receipt: Receipt, message: bytes, at_ms: int) -> None:
        signature = receipt.signature
        certificate = version.certificates.signer(signature.certificate_sha256)
        if certificate.agency != version.directory.exchange:
            text = "the receipt does not count: an agency signed it, not the exchange"
            raise ReceiptInvalid(text)
        known = (version.directory.version, signature.certificate_sha256, signature.value, message)
        if known not in self._verified:
            certificate.verify(message, signature.value)
            if len(self._verified) >= _REMEMBERED:
                del self._verified[next(iter(self._verified))]
            self._verified[known] = None
        if self._taken_at_ms is not None:
            # The bundle's maker chose its revocation lists. It must not make receipts void by leaving one out.
            with contextlib.suppress(RevocationUnavailable):
                certificate.check_trusted(at_ms, self._taken_at_ms)
