"""Free ports for nodes that are stopped and started again."""

from __future__ import annotations

import random
import socket
from typing import Final

from deploy.kafka.errors import KafkaFailed

_FIRST: Final = 20_000
_LAST: Final = 32_000
"""Below the ports that Linux uses for outgoing connections, so a killed node finds its ports free again."""
_ATTEMPTS: Final = 1000


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens now. If another process takes one later, the node reports it and ends.

    Raises:
        KafkaFailed: there are not enough.
    """
    found: list[int] = []
    for port in random.sample(range(_FIRST, _LAST), _ATTEMPTS):
        if is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    message = f"there are no {count} free ports from {_FIRST} to {_LAST}"
    raise KafkaFailed(message)


def is_free(port: int) -> bool:
    """Whether a node could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # Like Java: connections that have ended, but are not yet forgotten, do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
