"""What one subscription has set aside in one partition."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class SetAside:
    """What is set aside in one partition: dead letters and parked records.

    Attributes:
        offsets: those from the subscription's floor on. They are read again, because their commit is not durable.
        read_again_to: the offset behind the last of them.
        cases: those that have anything set aside.
        due: the cases of which the first one is to be delivered again: it is no dead letter, or no more.
    """

    offsets: set[int] = field(default_factory=set)
    read_again_to: int = 0
    cases: set[str] = field(default_factory=set)
    due: tuple[str, ...] = ()
