from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adapters.public_notice.defects import without_failing

if TYPE_CHECKING:
    from collections.abc import Sequence


def fractions(numbers: Sequence[int]) -> list[int]:
    return [12 // number for number in numbers]


def test_what_fails_is_left_out_and_told_of_and_the_rest_keeps_its_order() -> None:
    failed: list[tuple[int, str]] = []
    made = without_failing([3, 0, 2, 0], fractions, lambda item, defect: failed.append((item, type(defect).__name__)))
    assert made == [4, 6]
    assert failed == [(0, "ZeroDivisionError")] * 2


def test_where_nothing_fails_all_is_made_at_once() -> None:
    calls: list[Sequence[int]] = []
    without_failing([1, 2], calls.append, lambda *_: pytest.fail("nothing failed"))
    assert calls == [[1, 2]]


def test_what_fails_without_any_item_too_is_no_fault_of_one() -> None:
    def fail(items: Sequence[int]) -> None:
        raise ZeroDivisionError(len(items))

    with pytest.raises(ZeroDivisionError, match="0"):
        without_failing([1], fail, lambda *_: None)
