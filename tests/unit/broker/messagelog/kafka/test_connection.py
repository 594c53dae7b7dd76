from __future__ import annotations

import gc
import logging
import socket
import threading
from pathlib import Path

import pytest
from kafka.errors import KafkaError

from broker.messagelog.kafka.connection import KafkaConnection


def open_files() -> int:
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def nobody() -> str:
    """An address at which no server listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning")
@pytest.mark.parametrize("kind", ["admin", "consumer", "producer"])
def test_a_client_that_does_not_reach_kafka_leaves_no_thread_and_no_socket(
    caplog: pytest.LogCaptureFixture, nobody: str, kind: str
) -> None:
    # The garbage collector frees the sockets of refused connections. Kept lines of a log would prevent this.
    caplog.set_level(logging.CRITICAL, "kafka")
    # An outage makes very many of them, one after the other.
    connection = KafkaConnection([nobody], None, "exchange", timeout_seconds=1.2)
    threads, files = set(threading.enumerate()), open_files()
    for _ in range(2):
        with pytest.raises(KafkaError):
            getattr(connection, kind)()
    assert set(threading.enumerate()) <= threads
    assert open_files() <= files
