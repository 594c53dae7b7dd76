"""What the contract's tests check with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator

    from google.protobuf.message import Message

    from adapters.base import Issue

_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]*")
_OWN_WORDS: Final = {"Provenance", "Code"}
"""Messages with texts that come from the exchange or from standards, not from a case."""
_LONG_ENOUGH: Final = 6
"""A text with this many characters is not in an issue by chance."""


def refused(issues: Iterable[Issue]) -> bool:
    """Whether a record or the file was refused."""
    return any(issue.refuses for issue in issues)


def check_issue(issue: Issue) -> None:
    """Check that an issue has a stable code, a place and a message, each on one line.

    Raises:
        AssertionError: it does not.
    """
    if not (_CODE.fullmatch(issue.code) and issue.locator.isprintable() and issue.message.isprintable()):
        raise AssertionError(issue)
    if not (issue.locator and issue.message):
        raise AssertionError(issue)


def texts_of(message: Message) -> Iterator[str]:
    """The texts in a record that belong to a person or a case, and are not short."""
    for field, value in message.ListFields():
        for item in value if field.is_repeated else (value,):
            if field.message_type is not None:
                if field.message_type.name not in _OWN_WORDS:
                    yield from texts_of(item)
            elif field.type == field.TYPE_STRING and len(item) >= _LONG_ENOUGH:
                yield item


def called(server: socket.socket) -> int:
    """How many connections a listening, non-blocking socket has received."""
    calls = 0
    while True:
        try:
            connection, _ = server.accept()
        except BlockingIOError:
            return calls
        connection.close()
        calls += 1
