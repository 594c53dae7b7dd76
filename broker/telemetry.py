"""Logs: one JSON object in each line on standard error, with fields that cannot contain a record.

Only listed fields of harmless types are written. Whoever adds a field decides here that it is harmless.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

import structlog

if TYPE_CHECKING:
    from collections.abc import MutableMapping

ALLOWED_FIELDS: Final = frozenset(
    {
        # structlog's own
        "event",
        "level",
        "timestamp",
        "logger",
        # who and what, opaque
        "method",
        "principal",
        "agency",
        "reason",
        "code",
        "record_id",
        "subscription",
        "partition",
        "position",
        "version",
        "log_id",
        "key_id",
        # the place of a defect: a class and a line of code
        "cause",
        # the process
        "address",
        "path",
        "signal",
        "remedy",
        # numbers
        "count",
        "parked",
        "size",
        "seconds",
        "hours",
        "attempts",
    }
)
MAX_CHARACTERS: Final = 300


def configure(level: str) -> None:
    """Set up logging for this process.

    Args:
        level: the lowest level that is written: debug, info, warning or error.
    """
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            allow_fields,
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def allow_fields(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep the fields of ``ALLOWED_FIELDS`` that hold a number or a short line of text. Name the others."""
    kept: dict[str, Any] = {}
    dropped = 0
    for name, value in event.items():
        if name in ALLOWED_FIELDS and isinstance(value, str | int | float | bool):
            kept[name] = _line(value) if isinstance(value, str) else value
        elif value is not None:
            dropped += 1
    if dropped:
        kept["fields_dropped"] = dropped
    return kept


def _line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:MAX_CHARACTERS])
