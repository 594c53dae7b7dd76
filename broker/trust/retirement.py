"""Former signing certificates: a new directory version keeps them as retired, unless governance drops them.

Records with their signatures may not be delivered yet, and old records must verify as long as they are kept. A retired
certificate is good for records that were accepted before its end, and for no others.
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
    """A certificate that the previous version lists as in use, and the new one as retired. SHA-256 in hexadecimal."""

    agency: str
    certificate_sha256: str


def keep_former_certificates(
    directory: Directory, previous: Directory, now_ms: int, dropped: AbstractSet[str]
) -> tuple[Directory, list[Retirement]]:
    """The next directory version, with every signing certificate of the previous one that it leaves out.

    Args:
        directory: what governance wrote.
        previous: the previous version.
        now_ms: the end of the certificates that were in use until now, milliseconds since the Unix epoch, UTC.
        dropped: agency ids, and SHA-256 fingerprints of certificates in hexadecimal. None of their certificates is
            kept.

    Raises:
        CertificatesUnlisted: an agency is left out, and nobody asked to drop its certificates; or a name in ``dropped``
            has no certificate to drop.
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
    """The certificates in an agency's former entry, in use or retired, that its new entry does not list."""
    listed = set[bytes]()
    if member is not None:
        listed.update(member.signing_certificates, (retired.certificate for retired in member.retired_certificates))
    in_use = (RetiredCertificate(certificate, now_ms) for certificate in former.signing_certificates)
    return [one for one in (*former.retired_certificates, *in_use) if one.certificate not in listed]
