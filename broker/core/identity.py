"""Agencies and principals: who sends and receives.

A principal is an authenticated peer. The only ``spiffe://`` URI of its certificate names it (SPIFFE-ID and X509-SVID
specifications): ``spiffe://<trust-domain>/agency/<agency>/<system>``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from broker.core.errors import PeerIdentityMissing

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME: Final = re.compile(_LABEL)
_PRINCIPAL: Final = re.compile(
    rf"spiffe://(?P<domain>{_LABEL}(?:\.{_LABEL})*)/agency/(?P<agency>{_LABEL})/(?P<system>{_LABEL})"
)
MAX_SPIFFE_ID_BYTES: Final = 2048
"""SPIFFE-ID section 2.3: implementations must support URIs of this length. Longer ones are refused here."""


def is_agency_id(text: str) -> bool:
    """Whether ``text`` can name an agency: lower-case letters, digits and inner hyphens, at most 63 characters."""
    return _NAME.fullmatch(text) is not None


def is_system_name(text: str) -> bool:
    """Whether ``text`` can name a system of an agency. The form is the same as for agency ids."""
    return _NAME.fullmatch(text) is not None


def is_trust_domain(text: str) -> bool:
    """Whether ``text`` can be a trust domain, as it stands in a principal."""
    match = _PRINCIPAL.fullmatch(f"spiffe://{text}/agency/any/any")
    return match is not None and match["domain"] == text


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated mTLS peer."""

    trust_domain: str
    agency: str
    system: str

    @property
    def spiffe_id(self) -> str:
        """The URI that names this principal."""
        return f"spiffe://{self.trust_domain}/agency/{self.agency}/{self.system}"

    @classmethod
    def parse(cls, spiffe_id: str) -> Principal:
        """Read a SPIFFE id of this exchange's form.

        Raises:
            PeerIdentityMissing: the text has another form, so it names no principal here.
        """
        match = _PRINCIPAL.fullmatch(spiffe_id) if len(spiffe_id) <= MAX_SPIFFE_ID_BYTES else None
        if match is None:
            message = "the certificate's URI name is not spiffe://<trust-domain>/agency/<agency>/<system>"
            raise PeerIdentityMissing(message)
        return cls(trust_domain=match["domain"], agency=match["agency"], system=match["system"])
