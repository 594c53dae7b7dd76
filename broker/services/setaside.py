"""What one subscription has set aside in one partition."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class SetAside:
    """What is set aside in one partition: dead letters and parked records.

    Attributes:
        offsets: those from the subscription's floor on. They are read again, because their commit is not durable.
        cases: how many each case has.
        due: the cases of which the first one is to be delivered again: it is no dead letter, or no more.
    """

    offsets: set[int] = field(default_factory=set)
    cases: Counter[str] = field(default_factory=Counter)
    due: tuple[str, ...] = ()
