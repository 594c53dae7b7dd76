"""Who signed a record of a bundle, so that its signature can be shown to others in their own formats.

An export shows what the publisher signed, with the publisher's own signature. So only what decides about that is
checked, as ``verify`` checks it: the form of the body, who signed it, and that the certificate was good when the record
was accepted. Whether policy allowed the record, and whether the log is complete, is for ``verify``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.authorship import check_proved, check_signature, claim, read_body
from broker.core.former import check_former
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS, by_any, versions_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.authorship import Certificate, Claim
    from broker.core.body import Body
    from broker.core.bundle import BundleEntry
    from broker.core.former import ReceiptReader
    from broker.core.inforce import DirectoryVersion


class Authored(NamedTuple):
    """A record whose publisher signed it, and when it was first accepted (milliseconds since the Unix epoch, UTC)."""

    claim: Claim[Certificate]
    accepted_at_ms: int


def authored(entry: BundleEntry, reader: ReceiptReader, versions: Sequence[DirectoryVersion]) -> Authored:
    """Check who signed an entry of a bundle.

    Args:
        entry: the entry.
        reader: reads bodies and receipts.
        versions: the directory versions that count, in the order in which they came into force.

    Raises:
        CaseExchangeError: the first check of broker/core/authorship.py that failed, or FormerReceiptInvalid.
    """
    body = read_body(entry.envelope, reader)
    at_ms, candidates = entry.accepted_at_ms, versions_at(versions, entry.accepted_at_ms)
    if entry.envelope.former_receipt:
        at_ms = check_former(entry.envelope, body, reader, candidates, at_ms).accepted_at_ms
        candidates = [*versions_at(versions, at_ms), *candidates]
    return Authored(by_any(candidates, lambda version: _signed_under(version, entry, body, at_ms)), at_ms)


def _signed_under(version: DirectoryVersion, entry: BundleEntry, body: Body, at_ms: int) -> Claim[Certificate]:
    claimed = claim(entry.envelope, body, version.certificates, exchange=version.directory.exchange)
    check_signature(claimed)
    check_proved(claimed, version.directory, at_ms, complete=False, slack_ms=CHANGE_OF_DIRECTORY_MS)
    return claimed
