"""Start and stop a cluster: nothing is left behind, and an error says why it did not start."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from certs.kafka import BROKER
from deploy.kafka.cluster import KafkaCluster
from deploy.kafka.errors import KafkaFailed
from deploy.kafka.process import NodeProcess
from tests.support.kafka import create_topic, read_values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from certs.folder import PkiFolder

pytestmark = pytest.mark.kafka

ROOT = Path(__file__).parents[2]
BOUND = 60.0


def ends(pid: int) -> bool:
    """Whether a process that is not our child ends within the time limit."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(BOUND * 1000))
    finally:
        os.close(descriptor)


@pytest.fixture
def lasting(tmp_path: Path, kafka_keys: PkiFolder) -> Iterator[KafkaCluster]:
    cluster = KafkaCluster(tmp_path / "lasting", kafka_keys.kafka, lasting=True)
    yield cluster
    cluster.stop()


def test_stopping_leaves_no_process_and_keeps_the_records(tmp_path: Path, kafka_keys: PkiFolder) -> None:
    cluster = KafkaCluster(tmp_path / "kafka", kafka_keys.kafka)
    cluster.start()
    cluster.wait_ready()
    cluster.apply_access()
    topic = create_topic(cluster)
    with cluster.connection(BROKER, timeout=BOUND).producer() as producer:
        producer.send(topic, partition=0, value=b"kept").get(BOUND)
    pid = cluster.pid(1)
    cluster.stop()
    assert not Path(f"/proc/{pid}").exists()
    again = KafkaCluster(tmp_path / "kafka", kafka_keys.kafka)
    assert again.bootstrap == cluster.bootstrap
    again.start()
    try:
        again.wait_ready()
        assert read_values(again, topic, 1) == [b"kept"]
    finally:
        again.stop()


def test_a_cluster_does_not_outlive_a_starter_that_is_killed(tmp_path: Path, kafka_keys: PkiFolder) -> None:
    program = textwrap.dedent(
        f"""
        import sys, time
        from pathlib import Path
        from certs.folder import PkiFolder
        from deploy.kafka.cluster import KafkaCluster
        cluster = KafkaCluster(Path({str(tmp_path / "kafka")!r}), PkiFolder(Path({str(kafka_keys.root)!r})).kafka)
        cluster.start()
        print(cluster.pid(1), flush=True)
        sys.stdin.read()
        """
    )
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        starter.send_signal(signal.SIGKILL)
    assert ends(pid)


def test_a_lasting_cluster_is_taken_up_and_stopped_by_another_process(
    lasting: KafkaCluster, tmp_path: Path, kafka_keys: PkiFolder
) -> None:
    lasting.start()
    lasting.wait_ready()
    pid = lasting.pid(1)
    other = KafkaCluster(tmp_path / "lasting", kafka_keys.kafka, nodes=None, lasting=True)
    assert other.running == (1,)
    other.start()
    assert other.pid(1) == pid
    other.stop()
    assert ends(pid)
    assert lasting.running == ()


def test_a_process_that_got_a_node_s_old_id_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    assert NodeProcess.find(tmp_path / "pid", str(tmp_path / "server.properties")) is None


def test_a_port_that_is_in_use_is_named(tmp_path: Path, kafka_keys: PkiFolder) -> None:
    cluster = KafkaCluster(tmp_path / "kafka", kafka_keys.kafka)
    peer = cluster.nodes[0].peer
    with (
        socket.create_server((peer.host, peer.port)),
        pytest.raises(KafkaFailed, match=f"node 1 cannot listen on port {peer.port}"),
    ):
        cluster.start()
    assert cluster.running == ()


def test_a_node_that_ends_is_named_with_the_end_of_its_log(tmp_path: Path, kafka_keys: PkiFolder) -> None:
    cluster = KafkaCluster(tmp_path / "kafka", kafka_keys.kafka)
    cluster.data(1).mkdir(parents=True)
    (cluster.data(1) / "meta.properties").write_text("version=1\nnode.id=2\ncluster.id=another\n")
    cluster.start()
    try:
        with pytest.raises(KafkaFailed, match=r"(?s)node 1 ended; the end of .*node\.log:.*node id"):
            cluster.wait_ready()
    finally:
        cluster.stop()
