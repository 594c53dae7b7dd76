"""What a directory says of its exchange, whoever signed it. With it a broker sees that a log is another exchange's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.errors import CheckpointInvalid, DirectoryInvalid
from broker.core.identity import is_agency_id, is_trust_domain
from broker.core.strict import parse_json
from broker.core.tree.checkpoint import VerifierKey
from broker.ports import DirectoryClaim
from broker.trust.directory import open_directory, unverified_payload
from broker.trust.logkeys import FixedLogKeys
from broker.trust.signedjson import strictly

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.policy import Directory
    from broker.trust.governance import Governance

_MAX_KEYS = 64


class DirectoryClaims:
    """Reads claims, and tells those of this exchange from others. Safe to call from any thread.

    Args:
        latest: gives this exchange's newest directory.
        governance: its pinned keys.
    """

    def __init__(self, latest: Callable[[], Directory], governance: Governance) -> None:
        self._latest = latest
        self._governance = governance

    def read(self, document: bytes) -> DirectoryClaim | None:
        """The claim of a signed directory. None: it is no directory, or says nothing that could be proved.

        Another exchange may be newer than this program. So only the fields of the claim are read.
        """
        try:
            with strictly():
                match parse_json(unverified_payload(document)):
                    case {"trust_domain": str(domain), "exchange": str(exchange), "log_keys": list(texts)}:
                        pass
                    case _:
                        return None
            if not (is_trust_domain(domain) and is_agency_id(exchange)):
                return None
            keys = [VerifierKey.parse(text) for text in texts[:_MAX_KEYS] if isinstance(text, str)]
        except (DirectoryInvalid, CheckpointInvalid):
            return None
        listed = tuple(f"{key.name}+{key.key_id.hex()}" for key in keys)
        ours = self._is_ours(document)
        return DirectoryClaim(domain, exchange, listed, FixedLogKeys(keys), ours)

    def _is_ours(self, document: bytes) -> bool:
        try:
            directory = open_directory(document, self._governance)
        except DirectoryInvalid:
            return False
        latest = self._latest()
        return (directory.trust_domain, directory.exchange) == (latest.trust_domain, latest.exchange)
