"""Two witnesses, of the auditors and of the NGO, which cosign what the log was at every moment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from telling import check, say
from world import AUDIT, NGO

from broker.trust.keys import private_key_pem
from certs.folder import PkiFolder
from certs.storage import write_private

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from world import World

WITNESSES: Final = {f"{agency}-witness": agency for agency in (AUDIT, NGO)}
"""The names of their processes, and whose they are."""


def start_witnesses(world: World, addresses: Sequence[str]) -> Path:
    """Start the witnesses of the log, and let governance name them: both must cosign.

    Args:
        world: the demo's world.
        addresses: of the brokers.

    Returns:
        The auditor's own file of the witnesses that it trusts.
    """
    pki, root = PkiFolder(world.pki), world.pki / "trust" / "governance.pem"
    origins = list(_status(world, addresses[0])["origins"].values())
    payload = json.loads(world.run("directory", "show", pki.directory, "--root", root, "--json"))
    lines = [
        f"witness {name} {_start(world, name, agency, origins, payload['log_keys'])}"
        for name, agency in WITNESSES.items()
    ]
    policy = "\n".join([*lines, f"group both all {' '.join(WITNESSES)}", "quorum both", ""])
    version = payload["version"] + 1
    changed = world.root / "directory-payload.json"
    changed.write_text(json.dumps(payload | {"version": version, "witness_policy": policy}))
    world.run("directory", "sign", changed, "--key", pki.governance_key, "--out", pki.directory)
    for address in addresses:
        world.until(
            "the directory with the witnesses",
            lambda address=address: _status(world, address)["directory_version"] == version,
        )
    say(f"witnesses, named in the directory: {', '.join(WITNESSES)}; both must cosign")
    own = world.root / "auditor.policy"
    own.write_text(policy)
    return own


def wait_until_cosigned(world: World, address: str) -> None:
    """Wait until both witnesses have cosigned the newest checkpoints of all records of agencies."""
    world.until("cosignatures of the newest checkpoints", lambda: _is_cosigned(_status(world, address)))
    check("both witnesses have cosigned the newest checkpoints", _is_cosigned(_status(world, address)))


def _is_cosigned(status: dict[str, Any]) -> bool:
    cosigned = status["witnesses"]["cosigned"]
    # The exchange's own stream grows with every delivery.
    return all(
        cosigned[name] is not None and (name.startswith("audit/") or cosigned[name]["size"] == size)
        for name, size in status["checkpoints"].items()
    )


def _status(world: World, address: str) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(world.run("status", "--profile", world.edge_profile(AUDIT, address), "--json"))
    return status


def _start(world: World, name: str, agency: str, origins: list[str], keys: list[str]) -> str:
    """Start a witness with a new key. Returns its key and its address."""
    folder = world.root / name
    issued = ("--agency", agency, "--system", "witness", "--profile", "tls-server", "--out", folder)
    world.run("certs", "issue", *issued, "--pki", world.pki)
    write_private(folder / "witness.key", private_key_pem(Ed25519PrivateKey.generate()))
    config = world.write(
        name,
        {
            "witness": {
                "name": f"witness.example/{agency}",
                "key": str(folder / "witness.key"),
                "state": str(folder / "witness.db"),
            },
            "server": {
                "address": "localhost:0",
                "certificate": str(folder / "tls.pem"),
                "key": str(folder / "tls.key"),
            },
            "logs": [{"origins": origins, "keys": keys}],
        },
    )
    key = world.run("witness", config, "--show-key").strip()
    return f"{key} {world.start(name, 'witness', config, '--new').split()[-1]}"
