"""What one subscription has set aside in one partition."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SLICES: Final = 128
_K = TypeVar("_K")
_V = TypeVar("_V")


class SlicedDict(MutableMapping[_K, _V]):
    """A dictionary of a million keys that never takes long to grow: Python copies a whole one, 60 ms at once."""

    def __init__(self) -> None:
        self._slices: list[dict[_K, _V]] = [{} for _ in range(_SLICES)]

    def _slice(self, key: object) -> dict[_K, _V]:
        # The hash of an integer is the integer. Then all slices would grow at the same moment.
        return self._slices[hash((key,)) % _SLICES]

    def __getitem__(self, key: _K) -> _V:
        """See ``dict``."""
        return self._slice(key)[key]

    def __setitem__(self, key: _K, value: _V) -> None:
        """See ``dict``."""
        self._slice(key)[key] = value

    def __delitem__(self, key: _K) -> None:
        """See ``dict``."""
        del self._slice(key)[key]

    def __contains__(self, key: object) -> bool:
        """See ``dict``."""
        return key in self._slice(key)

    def __iter__(self) -> Iterator[_K]:
        """The keys, in no order."""
        for each in self._slices:
            yield from each

    def __len__(self) -> int:
        """See ``dict``."""
        return sum(map(len, self._slices))


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

    offsets: SlicedDict[int, None] = field(default_factory=SlicedDict)
    read_again_to: int = 0
    cases: SlicedDict[str, int] = field(default_factory=SlicedDict)
    due: Sequence[str] = ()
    orders: dict[int, str] = field(default_factory=dict)

    def waits(self, case_id: str, offset: int) -> bool:
        """Whether a record of a case waits: something before it is set aside.

        A subscription that was moved back reads records again that come before what is set aside.
        """
        return case_id in self.cases and offset >= self.cases[case_id]

    def adds(self, case_id: str, offset: int) -> None:
        """A record of a case is set aside."""
        self.cases[case_id] = min(self.cases.get(case_id, offset), offset)
