"""What one subscription has set aside in one partition."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class SetAside:
    """What is set aside in one partition: dead letters and parked records.

    Attributes:
        offsets: those from the subscription's floor on. They are read again, because their commit is not durable.
        read_again_to: the offset behind the last of them.
        cases: those that have anything set aside, each with the first offset of it.
        due: the cases of which the first one is to be delivered again: it is no dead letter, or no more.
        orders: the offsets of which the agency wants a dead letter to be made, with its codes.
    """

    offsets: set[int] = field(default_factory=set)
    read_again_to: int = 0
    cases: dict[str, int] = field(default_factory=dict)
    due: tuple[str, ...] = ()
    orders: dict[int, str] = field(default_factory=dict)

    def waits(self, case_id: str, offset: int) -> bool:
        """Whether a record of a case waits: something before it is set aside.

        A subscription that was moved back reads records again that come before what is set aside.
        """
        return case_id in self.cases and offset >= self.cases[case_id]

    def adds(self, case_id: str, offset: int) -> None:
        """A record of a case is set aside."""
        self.cases[case_id] = min(self.cases.get(case_id, offset), offset)
