"""What an edge knows of the other agencies from earlier directory versions, and when a new one is to be believed.

Governance signs the directory, with the list of authorities and certificates in it. Alone it could list a certificate
of its own for an agency, and let that state an encryption key. So an edge seals only to a key that was stated with a
certificate that it has known for some days. Until then the agency can see the certificate, and say that it is not its
own. The edge goes on sealing to the keys that it knows.
"""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import structlog

from broker.trust.kept import Kept
from broker.trust.keystatements import signed_by

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.policy import Agency, Directory
    from broker.ports import Clock

_log = structlog.get_logger("adapters.edge.known")
WAIT_MS: Final = 7 * 24 * 3_600_000
"""So long an edge knows a signing certificate before it seals to keys that were stated with it."""
_MAX_BYTES: Final = 16 * 1024 * 1024
_NO_END: Final = 1 << 62
_UNPROVED: Final = "an encryption key was stated with a certificate that is new here: nothing is sealed to it yet"
_ASK: Final = "Ask the agency by another way whether certificate and key are its own. If not, alarm governance."


class KnownAgencies:
    """The certificates and plain rights that an edge has seen, stored so that a restart forgets none.

    Safe to call from any thread.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        """Begin with what was stored. Without that, the certificates in the next version are believed at once."""
        self._kept = Kept(path, _MAX_BYTES)
        self._clock = clock
        self._lock = threading.Lock()
        self._certificates, self._plain = _read(self._kept.read())
        self._told: set[bytes] = set()
        self._noted: Directory | None = None
        self._usable: tuple[Directory, Directory, int] | None = None

    def usable(self, directory: Directory) -> Directory:
        """The directory without the keys to which this edge does not seal yet. Each of them is logged once."""
        with self._lock:
            now_ms = self._clock.now_ms()
            if self._usable is None or self._usable[0] is not directory or now_ms >= self._usable[2]:
                self._note(directory, now_ms)
                self._usable = self._without_unproved(directory, now_ms)
            return self._usable[1]

    def _note(self, directory: Directory, now_ms: int) -> None:
        if self._noted is directory:
            return
        first = not self._certificates
        for agency in directory.agencies.values():
            # Of an agency that is new here nothing is known to compare with.
            since_ms = now_ms if self._certificates.get(agency.id) else 0
            known = self._certificates.setdefault(agency.id, {})
            for certificate in _listed(agency):
                known.setdefault(sha256(certificate).hexdigest(), since_ms)
        plain = _plain(directory)
        for right in sorted(plain - self._plain):
            if not first:
                publisher, kind, section = right.split("/")
                text = "a directory version lets sections be plain that had to be sealed before"
                _log.error(text, agency=publisher, kind=kind, section=section, version=directory.version)
        self._plain, self._noted = plain, directory
        self._kept.write(json.dumps({"certificates": self._certificates, "plain": sorted(plain)}).encode())

    def _without_unproved(self, directory: Directory, now_ms: int) -> tuple[Directory, Directory, int]:
        agencies, until_ms = dict(directory.agencies), _NO_END
        for agency in directory.agencies.values():
            proved = []
            for key in agency.encryption_keys:
                known = self._certificates[agency.id]
                signers = [sha256(one).hexdigest() for one in _listed(agency) if signed_by(key.statement, one)]
                since_ms = min((known[signer] for signer in signers), default=now_ms)
                if since_ms == 0 or now_ms >= since_ms + WAIT_MS:
                    proved.append(key)
                    continue
                until_ms = min(until_ms, since_ms + WAIT_MS)
                if key.key_id not in self._told:
                    self._told.add(key.key_id)
                    where = {"agency": agency.id, "key_id": key.key_id.hex(), "version": directory.version}
                    _log.error(_UNPROVED, remedy=_ASK, **where)
            if len(proved) < len(agency.encryption_keys):
                agencies[agency.id] = replace(agency, encryption_keys=tuple(proved))
        return directory, replace(directory, agencies=agencies), until_ms


def _listed(agency: Agency) -> list[bytes]:
    return [*agency.signing_certificates, *(one.certificate for one in agency.retired_certificates)]


def _plain(directory: Directory) -> set[str]:
    return {
        f"{agency.id}/{kind}/{section}"
        for agency in directory.agencies.values()
        for kind, right in agency.publish.items()
        for section in right.plain
    }


def _read(data: bytes) -> tuple[dict[str, dict[str, int]], set[str]]:
    try:
        stored: dict[str, Any] = json.loads(data or b"{}")
        certificates = {
            str(agency): {str(name): int(since_ms) for name, since_ms in known.items()}
            for agency, known in stored.get("certificates", {}).items()
        }
        return certificates, set(map(str, stored.get("plain", ())))
    except (ValueError, TypeError, AttributeError):
        _log.exception("what this edge knew of other agencies cannot be read: it begins anew")
        return {}, set()
