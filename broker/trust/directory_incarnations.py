"""The declared incarnations of logs in a directory's payload: JSON to the core's Incarnation and back."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from broker.core.errors import CheckpointInvalid, DirectoryInvalid
from broker.core.incarnations import Incarnation, Incarnations, SignedCheckpoint
from broker.core.streams import STREAMS, StreamPartition
from broker.core.strict import parse_json
from broker.core.tree.checkpoint import parse_note, verify_note
from broker.core.tree.origin import incarnation_of
from broker.trust.directory_fields import read_keys, read_text, read_time, refuse, rfc3339
from broker.trust.logkeys import log_verifiers
from broker.trust.signedjson import strictly

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.policy import Directory

INCARNATIONS: Final = "incarnations"
_KEYS: Final = frozenset({"partition", "log_id", "last_checkpoint", "reason", "declared_at"})
_CARRIED: Final = "carried_checkpoint"
_RESTORED: Final = "restored"
_MAX_REASON: Final = 500
_PARTITION: Final = re.compile(r"(?P<stream>[a-z]{1,20})/(?P<number>0|[1-9][0-9]{0,2})")
LOG_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""The id of a log: that of a Kafka topic, or hexadecimal digits."""


def read_incarnations(value: Any, trust_domain: str, known: Sequence[Incarnation] = ()) -> tuple[Incarnation, ...]:
    """Read the list. ``known`` are declared already: those of the same former log of a partition are replaced.

    Raises:
        DirectoryInvalid: an entry is malformed, or contradicts itself or another one.
    """
    if not isinstance(value, list):
        refuse(f"{INCARNATIONS} is not a list")
    found = tuple(_read(item, f"{INCARNATIONS}[{place}]", trust_domain) for place, item in enumerate(value))
    former, new = {each[:2] for each in found}, {(each.partition, each.log_id) for each in found}
    for names in (former, new):
        if len(names) != len(found):
            refuse(f"{INCARNATIONS} names a log of a partition twice, as former or as new")
    declared = Incarnations((*(each for each in known if each[:2] not in set(former)), *found))
    for each in found:
        _check_carried(each, declared, trust_domain)
        # A chain that comes back to its beginning has no end.
        if declared.between(each.partition, each.log_id, each.former_log_id) is not None:
            refuse(f"{INCARNATIONS} declares a log of {each.partition} that takes its own place")
    return found


def check_declared_by_then(directory: Directory) -> None:
    """Refuse a declaration that is later than the directory: it would excuse losses that are still to come.

    Raises:
        DirectoryInvalid
    """
    for each in directory.incarnations:
        if each.declared_at_ms > directory.issued_at_ms:
            refuse(f"the incarnation of {each.partition} is declared after issued_at")


def incarnation_fields(incarnation: Incarnation) -> dict[str, Any]:
    """An entry as JSON."""
    carried = {} if incarnation.carried is None else {_CARRIED: incarnation.carried.note.decode()}
    return {
        "partition": str(incarnation.partition),
        "log_id": incarnation.log_id,
        "last_checkpoint": incarnation.last.note.decode(),
        **carried,
        "reason": incarnation.reason,
        "declared_at": rfc3339(incarnation.declared_at_ms),
        **({_RESTORED: True} if incarnation.restored else {}),
    }


def with_incarnations(directory: Directory, text: bytes, now_ms: int) -> Directory:
    """Add declarations to a directory, which is then issued now. One of the same former log of a partition is replaced.

    Args:
        directory: the directory.
        text: JSON, an object with the list.
        now_ms: milliseconds since the Unix epoch, UTC.

    Raises:
        DirectoryInvalid
    """
    with strictly():
        fields = read_keys(parse_json(text), frozenset({INCARNATIONS}), "the file of incarnations")
        added = read_incarnations(fields[INCARNATIONS], directory.trust_domain, directory.incarnations)
    former = {each[:2] for each in added}
    kept = [each for each in directory.incarnations if each[:2] not in former]
    issued_at_ms = max(directory.issued_at_ms, now_ms)
    return replace(directory, incarnations=(*kept, *added), issued_at_ms=issued_at_ms)


def check_incarnations(directory: Directory) -> None:
    """Check, before governance signs, that the exchange did sign the checkpoints in the declarations.

    Raises:
        DirectoryInvalid: a log key that the directory lists did not sign one.
    """
    verifiers = log_verifiers([directory])
    for each in directory.incarnations:
        notes: Sequence[SignedCheckpoint] = [each.last, *([] if each.carried is None else [each.carried])]
        try:
            for signed in notes:
                verify_note(parse_note(signed.note), verifiers)
        except CheckpointInvalid as error:
            message = f"a checkpoint in the incarnation of {each.partition} does not count: {error.message}"
            raise DirectoryInvalid(message) from error


def _read(value: Any, where: str, trust_domain: str) -> Incarnation:
    fields = read_keys(value, _KEYS, where, frozenset({_CARRIED, _RESTORED}))
    partition = read_partition(fields["partition"], where)
    last = _checkpoint(fields["last_checkpoint"], where)
    carried = _checkpoint(fields[_CARRIED], where) if _CARRIED in fields else None
    try:
        former = incarnation_of(last.checkpoint.origin, trust_domain, partition)
    except CheckpointInvalid as error:
        message = f"{where}: {error.message}"
        raise DirectoryInvalid(message) from error
    log_id = read_text(fields["log_id"], LOG_ID.fullmatch, f"{where}.log_id")
    if log_id == former:
        refuse(f"{where}: the new log has the id of the former one")
    restored = fields.get(_RESTORED, False)
    if not isinstance(restored, bool) or (carried is not None and not restored):
        refuse(f"{where}.{_RESTORED} is not true or false, or something survives in a log that was not restored")
    reason = read_text(fields["reason"], lambda text: 0 < len(text) <= _MAX_REASON and text.isprintable(), where)
    at_ms = read_time(fields["declared_at"], where)
    return Incarnation(partition, former, log_id, last, carried, reason, at_ms, restored)


def _check_carried(declaration: Incarnation, declared: Incarnations, trust_domain: str) -> None:
    """What survives is of the former log, or of one before it and survived in the former one, too."""
    if declaration.carried is None:
        return
    partition, carried, last = declaration.partition, declaration.carried.checkpoint, declaration.last.checkpoint
    what = f"the incarnation of {partition}: what survives"
    if carried.size > last.size:
        refuse(f"{what} is larger than the last checkpoint")
    if carried.size == last.size and carried.root != last.root:
        refuse(f"{what} is not the tree of the last checkpoint, and has its size")
    if carried.origin == last.origin:
        return
    try:
        log_id = incarnation_of(carried.origin, trust_domain, partition)
    except CheckpointInvalid as error:
        message = f"{what}: {error.message}"
        raise DirectoryInvalid(message) from error
    if carried.size > dict(declared.formers(partition, declaration.former_log_id)).get(log_id, 0):
        refuse(f"{what} is of another log than the last checkpoint, and did not survive in that one")


def read_partition(value: Any, where: str) -> StreamPartition:
    """A partition, such as ``cases/0``."""
    found = _PARTITION.fullmatch(read_text(value, bool, where))
    if found is None or found["stream"] not in STREAMS:
        refuse(f"{where} names no partition, such as cases/0")
    return StreamPartition(found["stream"], int(found["number"]))


def _checkpoint(value: Any, where: str) -> SignedCheckpoint:
    try:
        return SignedCheckpoint.read(read_text(value, bool, where).encode("utf-8", "strict"))
    except (CheckpointInvalid, UnicodeEncodeError) as error:
        message = f"{where} holds something that is not the note of a checkpoint"
        raise DirectoryInvalid(message) from error
