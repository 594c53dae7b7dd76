"""To go on without what a program fails on: one notice with a defect must not keep the others from the public."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Made = TypeVar("Made")


def without_failing(
    items: Sequence[Item], make: Callable[[Sequence[Item]], Made], failed: Callable[[Item, Exception], None]
) -> Made:
    """What ``make`` makes of the items, or where it raises, of those of which it does not raise alone.

    Args:
        items: in their order.
        make: without effects of its own, for it is called again.
        failed: told of each item that is left out, and of what was raised.

    Raises:
        Exception: ``make`` fails without the failing items too.
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
