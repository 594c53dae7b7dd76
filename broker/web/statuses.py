"""The HTTP status of an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.core.errors import CaseExchangeError


def http_status(error: CaseExchangeError, table: Mapping[type[CaseExchangeError], int]) -> int:
    """That of the first class in the table which the error belongs to. The table ends with the root of the tree."""
    return next(code for kind, code in table.items() if isinstance(error, kind))
