"""The first authorities of an exchange: one for each purpose, each a root of its own that may issue only leaves.

docs/enrolment.md has who runs them. ADR 63 has why there is no root above them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import SetupInvalid
from broker.core.identity import is_trust_domain
from broker.files import exclusive
from certs.authority import Authority
from certs.folder import AUTHORITY_KINDS, PkiFolder
from certs.operations import LIST_LIFETIME
from certs.storage import make_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from certs.profiles import AuthorityKind


def found(root: Path, trust_domain: str, now: datetime) -> Mapping[AuthorityKind, Authority]:
    """Make an exchange's authorities and their first revocation lists, in a folder that nobody else can open.

    Nothing there is ever replaced: a second set of authorities would certify what nobody can revoke with the first.

    Raises:
        SetupInvalid: the folder is in use, or nobody could be named in this trust domain. Nothing was changed.
    """
    if not is_trust_domain(trust_domain):
        message = f"{trust_domain!r} is no trust domain; it looks like exchange.example"
        raise SetupInvalid(message)
    pki = PkiFolder(make_folder(root))
    try:
        with exclusive(root):
            if any(root.iterdir()):
                message = (
                    f"{root.name} is not empty. If an earlier run was interrupted there, and nothing of it was handed "
                    "out, delete the folder and begin again"
                )
                raise SetupInvalid(message)
            authorities = new_authorities(trust_domain, trust_domain, now)
            save_authorities(pki, authorities, now)
    except OSError as error:
        message = f"the folder {root.name} cannot be used: {error.strerror}"
        raise SetupInvalid(message) from error
    return authorities


def new_authorities(owner: str, trust_domain: str, now: datetime) -> dict[AuthorityKind, Authority]:
    """A new authority for each purpose. That of TLS is held to its trust domain: its peers know the constraint."""
    return {
        kind: Authority.create(f"{owner} {kind} authority", now, trust_domain if kind == "tls" else "")
        for kind in AUTHORITY_KINDS
    }


def save_authorities(pki: PkiFolder, authorities: Mapping[AuthorityKind, Authority], now: datetime) -> None:
    """Write new authorities, and publish their first revocation lists."""
    make_folder(pki.trust)
    for kind, authority in authorities.items():
        pki.save_new_authority(kind, authority)
        pki.publish_revocation_list(kind, authority, now, LIST_LIFETIME)
