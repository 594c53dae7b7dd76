from __future__ import annotations

import socket
import ssl
import time
from typing import TYPE_CHECKING

import pytest

from broker.messagelog.kafka import handshake
from broker.messagelog.kafka.handshake import BoundedContext

if TYPE_CHECKING:
    from collections.abc import Iterator

BOUND = 30.0


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server at which only the kernel answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_handshake_with_a_server_that_stands_still_ends(
    silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "HANDSHAKE_SECONDS", 0.1)
    context = BoundedContext(ssl.PROTOCOL_TLS_CLIENT)
    begun = time.monotonic()
    with socket.create_connection(silent.getsockname()) as raw:
        connection = context.wrap_socket(raw, server_hostname="127.0.0.1", do_handshake_on_connect=False)
        with connection, pytest.raises(OSError, match=r"EOF|closed|reset"):
            connection.do_handshake()
    assert time.monotonic() - begun < BOUND


def test_a_connection_that_is_closed_before_its_time_is_over_is_left_alone(
    silent: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshake, "HANDSHAKE_SECONDS", 0.0)
    context = BoundedContext(ssl.PROTOCOL_TLS_CLIENT)
    with socket.create_connection(silent.getsockname()) as raw:
        connection = context.wrap_socket(raw, server_hostname="127.0.0.1", do_handshake_on_connect=False)
        connection.close()
        handshake._end_unless_done(connection)
