"""TLS whose handshakes have an end.

kafka-python (3.0.12) puts no bound on a handshake, whatever its timeouts are set to. A node that stands still while its
machine goes on (paused, swapped out, or behind a network that swallows packets) accepts connections and says nothing: a
client that happens to ask it first would wait for as long as it stands, and so would whoever called the client.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from typing import Any, Final

HANDSHAKE_SECONDS: Final = 5.0
"""A node under load answers in well under a second; Kafka itself gives up on one after six."""


class BoundedContext(ssl.SSLContext):
    """A context that ends every connection whose handshake is not done ``HANDSHAKE_SECONDS`` after it was wrapped."""

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        """See ``ssl.SSLContext``."""
        wrapped = super().wrap_socket(*args, **kwargs)
        # A thread of its own, because the client's only thread is what waits. It is over after these seconds.
        watch = threading.Timer(HANDSHAKE_SECONDS, _end_unless_done, [wrapped])
        watch.daemon = True
        watch.start()
        return wrapped


def _end_unless_done(connection: ssl.SSLSocket) -> None:
    if connection.version() is None:
        with contextlib.suppress(OSError):
            # The plain socket's: SSLSocket's own would take the TLS state away under the thread that uses it. Whoever
            # waits sees the connection's end, as if the other side had closed it.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
