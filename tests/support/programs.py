"""An agency's own programs. Each is a system with its own certificate and folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec

from broker.core.identity import Principal
from certs import profiles
from certs.operations import write_credential
from certs.rights import TRUST_DOMAIN
from tests.support.process import edge_tables, write_toml

if TYPE_CHECKING:
    from pathlib import Path

    from adapters.gateway.outbound import Outbound
    from tests.support.pki import SamplePki


def program(pki: SamplePki, folder: Path, agency: str, system: str, target: str, **routes: Any) -> Path:
    """The profile of a system of an agency, with its own certificate."""
    home = folder / system
    home.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    authority = pki.folder.load_authority(profiles.TLS_CLIENT.authority)
    certificate = authority.issue(
        profiles.TLS_CLIENT, Principal(TRUST_DOMAIN, agency, system), key.public_key(), pki.now
    )
    tables = edge_tables(pki, agency, target)
    paths = write_credential(key, certificate, home / "tls.pem")
    tables["agency"]["certificate"], tables["agency"]["key"] = map(str, paths)
    tables["program"] = {"folder": str(home), "retry_seconds": 0.5}
    tables["routes"] = routes
    return write_toml(home / "profile.toml", tables)


def looked_twice(outbound: Outbound) -> int:
    """How many files of the inbox were taken in. At the first look it is not known yet whether a file still grows."""
    return outbound.take_inbox() + outbound.take_inbox()
