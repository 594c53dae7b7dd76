"""Counts that need help from outside a process: its system calls (strace), and the requests that a Kafka node gets."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from bench.processes import family
from certs.kafka import BREAK_GLASS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.kafka.cluster import KafkaCluster

_ROW = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?([a-z]\w*)$", re.MULTILINE)
"""A line of strace's table: share, seconds, microseconds a call, calls, errors (or nothing), name."""
_TOTAL = "total"
_REQUEST = re.compile(r'"requestApiKeyName":"(\w+)"')
_LOGGER = "kafka.request.logger"


@contextlib.contextmanager
def system_calls(pid: int, report: Path) -> Iterator[Counter[str]]:
    """Count the system calls of a process and its children, by name. The counts are there after the block.

    The process is slower meanwhile. Without strace, or where it may not look at the process, the test is skipped.
    """
    counts: Counter[str] = Counter()
    program = shutil.which("strace")
    if program is None:
        pytest.skip("system calls were not counted: apt install strace")
    members = [argument for member in family(pid) for argument in ("-p", str(member))]
    command = [program, "-f", "-c", "-o", str(report), *members]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        attached = tracer.stderr.readline()
        if " attached" not in attached:
            pytest.skip(f"system calls were not counted: {attached.strip()}")
        try:
            yield counts
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate()
    counts.update({name: int(calls) for calls, name in _ROW.findall(report.read_text()) if name != _TOTAL})
    assert counts, report.read_text()


@contextlib.contextmanager
def kafka_requests(cluster: KafkaCluster) -> Iterator[Counter[str]]:
    """Count the requests of all clients to a cluster of one node, by name. The counts are there after the block.

    The node logs each request meanwhile, so what it writes cannot be measured at the same time.
    """
    counts: Counter[str] = Counter()
    _log_requests(cluster, "DEBUG")
    begin = cluster.log(1).stat().st_size
    try:
        yield counts
    finally:
        _log_requests(cluster, "OFF")
    with cluster.log(1).open() as log:
        log.seek(begin)
        counts.update(_REQUEST.findall(log.read()))


def _log_requests(cluster: KafkaCluster, level: str) -> None:
    with cluster.connection(BREAK_GLASS).admin() as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.BROKER_LOGGER, "1", {_LOGGER: level})])
