"""Continue without the items on which the program fails. A defect in one notice must not stop the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Made = TypeVar("Made")


def without_failing(
    items: Sequence[Item], make: Callable[[Sequence[Item]], Made], failed: Callable[[Item, Exception], None]
) -> Made:
    """Make the result of all items. If ``make`` raises, leave out each item on which it raises alone.

    Args:
        items: in their order.
        make: must have no effects of its own, because it is called again.
        failed: called with each item that is left out, and its exception.

    Raises:
        Exception: ``make`` also fails without these items.
    """
    try:
        return make(items)
    except Exception:  # noqa: BLE001 - whatever it is, the rest must be made
        return make([item for item in items if _succeeds(item, make, failed)])


def _succeeds(item: Item, make: Callable[[Sequence[Item]], Made], failed: Callable[[Item, Exception], None]) -> bool:
    try:
        make([item])
    except Exception as defect:  # noqa: BLE001 - as above
        failed(item, defect)
        return False
    return True
