"""Rights in a directory that no record can use, because one side has no right that meets the other's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.policy import ANY

if TYPE_CHECKING:
    from broker.core.policy import Directory


def rights_without_counterpart(directory: Directory) -> list[str]:
    """Sentences about rights that no record can use: one side may publish and the other may not receive, or reversed.

    A right with "*" counts as used if it meets one agency's right.
    """
    sent = {
        (agency.id, kind, recipient)
        for agency in directory.agencies.values()
        for kind, right in agency.publish.items()
        for recipient in right.recipients
    }
    received = {
        (publisher, kind, agency.id)
        for agency in directory.agencies.values()
        for kind, right in agency.receive.items()
        for publisher in right.publishers
    }
    found = []
    for publisher, kind, recipient in sorted(sent):
        if not _met(received, publisher, kind, recipient):
            to, who = ("everybody", "nobody may") if recipient == ANY else (recipient, f"{recipient} may not")
            found.append(f"{publisher} may publish {kind} to {to}, but {who} receive it from {publisher}")
    for publisher, kind, recipient in sorted(received):
        if not _met(sent, publisher, kind, recipient):
            source, who = ("everybody", "nobody may") if publisher == ANY else (publisher, f"{publisher} may not")
            found.append(f"{recipient} may receive {kind} from {source}, but {who} publish it to {recipient}")
    return found


def _met(rights: set[tuple[str, str, str]], publisher: str, kind: str, recipient: str) -> bool:
    """Whether one of these rights covers at least a part of this one."""
    return any(
        one_kind == kind and _meet(one_publisher, publisher) and _meet(one_recipient, recipient)
        for one_publisher, one_kind, one_recipient in rights
    )


def _meet(name: str, other: str) -> bool:
    return name == other or ANY in (name, other)
