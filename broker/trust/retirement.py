"""Former signing certificates: a new directory version goes on listing them, as retired, unless it is told not to.

Records that they signed may be undelivered still, and old ones must verify as long as they are kept. A retired
certificate verifies what was accepted before its end, and nothing after.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from broker.core.errors import CertificatesUnlisted
from broker.core.policy import RetiredCertificate

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from broker.core.policy import Agency, Directory


class Retirement(NamedTuple):
    """A certificate that the version before lists as in use, and the new one as retired. SHA-256 in hexadecimal."""

    agency: str
    certificate_sha256: str


def keep_former_certificates(
    directory: Directory, previous: Directory, now_ms: int, dropped: AbstractSet[str]
) -> tuple[Directory, list[Retirement]]:
    """The next directory version, with every signing certificate of the one before that it leaves out.

    Args:
        directory: what governance wrote.
        previous: the version before it.
        now_ms: the end of those that were in use until now, milliseconds since the Unix epoch, UTC.
        dropped: agency ids, and SHA-256 fingerprints of certificates in hexadecimal, of which nothing is kept.

    Raises:
        CertificatesUnlisted: an agency is left out whose certificates nobody asked to drop; or there is nothing to be
            dropped under one of the names given.
    """
    agencies, retirements, used = dict(directory.agencies), list[Retirement](), set[str]()
    for former in previous.agencies.values():
        member = agencies.get(former.id)
        left: list[RetiredCertificate] = []
        for retired in _left_out(former, member, now_ms):
            fingerprint = hashlib.sha256(retired.certificate).hexdigest()
            asked = {former.id, fingerprint} & dropped
            used |= asked
            if asked:
                continue
            left.append(retired)
            if retired.certificate in former.signing_certificates:
                retirements.append(Retirement(former.id, fingerprint))
        if left and member is None:
            message = f"{former.id} is left out, and with it {len(left)} of its signing certificates"
            raise CertificatesUnlisted(message, agency=former.id)
        if left and member is not None:
            kept = (*member.retired_certificates, *left)
            agencies[former.id] = replace(member, retired_certificates=kept)
    if dropped - used:
        message = "nothing that the version before lists and this one leaves out has the name given to be dropped"
        raise CertificatesUnlisted(message, names=" ".join(sorted(dropped - used)))
    return replace(directory, agencies=agencies), retirements


def _left_out(former: Agency, member: Agency | None, now_ms: int) -> list[RetiredCertificate]:
    """What an agency's former entry lists, as in use or as retired, and its new one does not list at all."""
    listed = set[bytes]()
    if member is not None:
        listed.update(member.signing_certificates, (retired.certificate for retired in member.retired_certificates))
    in_use = (RetiredCertificate(certificate, now_ms) for certificate in former.signing_certificates)
    return [one for one in (*former.retired_certificates, *in_use) if one.certificate not in listed]
