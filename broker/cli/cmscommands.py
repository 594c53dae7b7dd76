"""Commands of OpenSSL that verify a record's signature, for an export and for the page of a report."""

from __future__ import annotations

from typing import Final

# The authority in the export is the only one that counts, also if it is itself issued by another.
ONLY_THIS_AUTHORITY: Final = "-CAfile authority.pem -no-CApath -no-CAstore -partial_chain -purpose any"
WHO: Final = "openssl x509 -in signer.pem -noout -ext subjectAltName"
"""Prints who signed."""


def cms_commands(accepted_at_ms: int) -> tuple[str, ...]:
    """The commands that verify an export as CMS, in its folder, and say who signed it.

    Args:
        accepted_at_ms: when the record was accepted: milliseconds since the Unix epoch, UTC.
    """
    verify = (
        "openssl cms -verify -binary -inform DER -in record.p7s -content record.pae "
        f"{ONLY_THIS_AUTHORITY} -attime {seconds(accepted_at_ms)} -signer signer.pem -out /dev/null"
    )
    return verify, WHO


def seconds(accepted_at_ms: int) -> int:
    """The time for ``-attime``. A certificate is judged as of then: today it may have ended."""
    return accepted_at_ms // 1000
