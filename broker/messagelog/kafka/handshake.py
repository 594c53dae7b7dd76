"""TLS with a time limit for handshakes.

kafka-python (3.0.12) sets no limit for a handshake, whatever its timeouts are. A node can stop while its machine goes
on: paused, swapped out, or behind a network that drops packets. It still accepts connections, and never answers. A
client that asks such a node first would wait for as long as the node is stopped, and so would the client's caller.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Any, Final

HANDSHAKE_SECONDS: Final = 5.0
"""A node under load answers in well under a second. Kafka itself gives up a handshake after six."""


class BoundedContext(ssl.SSLContext):
    """A context that ends each connection with a handshake that takes longer than ``HANDSHAKE_SECONDS``."""

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """See ``ssl.SSLContext``."""
        wrapped = super().wrap_socket(*args, **kwargs)
        # In its own thread, because the client's only thread is the one that waits. The thread ends after these
        # seconds.
        watch = threading.Timer(HANDSHAKE_SECONDS, _end_unless_done, [wrapped])
        watch.daemon = True
        watch.start()
        return wrapped


def _end_unless_done(connection: ssl.SSLSocket) -> None:
    if connection.version() is None:
        with contextlib.suppress(OSError):
            # This is the plain socket's method. SSLSocket's own would remove the TLS state while another thread uses
            # it. The waiting thread sees the end of the connection, as if the other side had closed it.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
