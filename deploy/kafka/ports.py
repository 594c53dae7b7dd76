"""Free ports for nodes that are stopped and started again."""

from __future__ import annotations

import random
import socket
from typing import Final

from deploy.kafka.errors import KafkaFailed

_FIRST: Final = 20_000
_LAST: Final = 32_000
"""Below the ports that Linux gives to outgoing connections: a node that was killed finds its ports free again."""
_ATTEMPTS: Final = 1000


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens now. Another process may take one at any time; then the node says so and ends.

    Raises:
        KafkaFailed: there are not as many.
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
    """Whether a node could listen on a port of this machine's own address now."""
    with socket.socket() as probe:
        # As Java does: connections that are over, but not yet forgotten, are in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
