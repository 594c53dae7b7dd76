"""Which witnesses an auditor counts: those of a file, or those of the directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.audit.witnesses import WitnessAudit, WitnessPolicyInUse
from broker.core.errors import WitnessPolicyInvalid
from broker.core.incarnations import Incarnations
from broker.core.tree.witnesspolicy import MAX_POLICY_BYTES, parse_directory_policy, parse_policy
from broker.files import read_file
from broker.trust.witnesskeys import witness_checks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from broker.core.audit.brought import BroughtCheckpoint
    from broker.core.policy import Directory
    from broker.core.tree.checkpoint import SignatureCheck
    from broker.core.tree.witnesspolicy import WitnessPolicy


def read_policy(path: Path) -> WitnessPolicy:
    """Read a policy file.

    Raises:
        WitnessPolicyInvalid
    """
    try:
        return parse_policy(read_file(path, MAX_POLICY_BYTES))
    except OSError as error:
        message = f"{path.name} cannot be read as a witness policy: {error.strerror}"
        raise WitnessPolicyInvalid(message) from error


def witness_audit(
    brought: WitnessPolicy | None,
    directory: Directory,
    logs: Mapping[tuple[str, bytes], SignatureCheck],
    seen: Sequence[BroughtCheckpoint] = (),
) -> WitnessAudit:
    """What judges the cosignatures in a bundle.

    Args:
        brought: the auditor's own policy. If it lists logs, one of them must have signed.
        directory: the newest in the bundle. Its policy is used if the auditor has brought none.
        logs: the checks of the keys of the exchange's log, by name and id.
        seen: the checkpoints that the auditor brings.
    """
    policy = brought or parse_directory_policy(directory.witness_policy, directory.log_keys)
    if policy is None:
        return WitnessAudit(None, logs, seen)
    declared = Incarnations(directory.incarnations)
    listed = {(log.key.name, log.key.key_id) for log in policy.logs}
    counted = {key: check for key, check in logs.items() if key in listed} if listed else logs
    using = WitnessPolicyInUse(policy, witness_checks(policy), brought is not None)
    return WitnessAudit(using, counted, seen, declared=declared)
