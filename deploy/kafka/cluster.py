"""A cluster of one or three Kafka nodes on this machine, which tests may kill, pause and start again."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from broker.core.errors import CaseExchangeError
from broker.messagelog.kafka import access
from broker.messagelog.kafka.connection import KafkaConnection, KafkaTls
from broker.messagelog.kafka.readiness import cluster_state
from certs.kafka import AUDITOR, BREAK_GLASS, BROKER
from certs.profiles import kafka_name
from deploy.kafka import distribution
from deploy.kafka.errors import KafkaFailed
from deploy.kafka.folder import ClusterFolder
from deploy.kafka.ports import is_free
from deploy.kafka.process import Guard, NodeProcess

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from broker.core.identity import Principal
    from broker.messagelog.kafka.access import Changes
    from broker.messagelog.kafka.readiness import ClusterState
    from certs.kafka import KafkaFiles
    from deploy.kafka.settings import Node

PREFIX: Final = "case-exchange"
"""The part before the dot in the name of every topic, group and transactional id of the exchange."""
PRINCIPALS: Final[Mapping[access.Role, Sequence[str]]] = {
    "broker": (kafka_name(BROKER),),
    "auditor": (kafka_name(AUDITOR),),
}
"""The roles in a development PKI."""
READY_SECONDS: Final = 90.0
"""A node starts in about 3 s on an idle core. This limit is for busy machines."""
_STOP_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1
_LOG_TAIL: Final = 3000
_MAIN: Final = "kafka.Kafka"
_STORAGE_TOOL: Final = "kafka.tools.StorageTool"


class KafkaCluster:
    """Nodes on 127.0.0.1 with their data and logs in one folder. For one thread at a time.

    Data stays in the folder: a new cluster on it has the same id, ports and records. If the cluster is not ``lasting``,
    it ends with the process that started it, even if that process is killed.
    """

    def __init__(
        self,
        root: Path,
        keys: KafkaFiles,
        *,
        nodes: int | None = 1,
        ports: Sequence[int] = (),
        lasting: bool = False,
    ) -> None:
        """Describe a cluster. Nothing is started. Only the folder and the cluster's identity are written.

        Args:
            root: the folder of its data, logs and settings. It is made if it does not exist.
            keys: the PKI's keys for Kafka.
            nodes: 1 or 3; None: the number of nodes of the folder's cluster.
            ports: three for each node (clients, brokers, controllers). Without them: the same as before, or free ports.
            lasting: whether its nodes outlive this process. Running nodes of an earlier process are used.

        Raises:
            KafkaFailed: the folder has a cluster with another number of nodes, or no ports are free.
        """
        self._keys = keys
        self._folder = ClusterFolder(root.absolute())
        self._lasting = lasting
        self._guard: Guard | None = None
        self._paused: set[int] = set()
        self._processes = self._folder.processes() if lasting else {}
        # Running nodes keep their ports.
        self._cluster_id, self._nodes = self._folder.identity(nodes, () if self._processes else ports)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes, with the addresses of their listeners."""
        return self._nodes

    @property
    def numbers(self) -> tuple[int, ...]:
        """The nodes' ids, from 1."""
        return tuple(node.number for node in self._nodes)

    @property
    def bootstrap(self) -> str:
        """The cluster's address for clients: every node's ``host:port``, separated by commas."""
        return ",".join(node.client.advertised for node in self._nodes)

    @property
    def running(self) -> tuple[int, ...]:
        """The nodes with a running process. Paused nodes count."""
        return tuple(number for number in self.numbers if self._runs(number))

    def pid(self, number: int) -> int:
        """The process id of a node that was started and not stopped."""
        return self._processes[number].pid

    def log(self, number: int) -> Path:
        """The file of a node's log messages."""
        return self._folder.log(number)

    def data(self, number: int) -> Path:
        """The folder in which a node keeps its topics."""
        return self._folder.data(number)

    def connection(self, client: Principal, *, nodes: Collection[int] = (), timeout: float = 30.0) -> KafkaConnection:
        """The connection of a client of the development PKI to the cluster.

        Args:
            client: one of ``certs.kafka.CLIENTS``.
            nodes: the nodes to name. Without it: all.
            timeout: the most seconds for a request.
        """
        certificate, key = self._keys.client(client)
        servers = [node.client.advertised for node in self._nodes if not nodes or node.number in nodes]
        return KafkaConnection(servers, KafkaTls(certificate, key, self._keys.authority), PREFIX, timeout)

    def start(self) -> None:
        """Start every node that does not run, and return at once. ``wait_ready`` waits.

        Raises:
            KafkaFailed: Java or Kafka is missing, a port is in use, or the storage cannot be formatted.
            SetupInvalid, CertificateInvalid: the PKI has no usable keys for Kafka.
        """
        self._keys.check(datetime.now(UTC))
        self._check_ports()
        for node in self._nodes:
            self._folder.write_settings(node, self._nodes, self._keys)
        self._format([number for number in self.numbers if not self._folder.is_formatted(number)])
        for number in self.numbers:
            if not self._runs(number):
                self._start(number)

    def stop(self) -> None:
        """End every node: normally if this takes at most ten seconds, or else by force. No node is left."""
        self._end(self.numbers)
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def kill(self, number: int) -> None:
        """SIGKILL: nothing is flushed, and no other node is informed."""
        process = self._processes[number]
        process.send(signal.SIGKILL)
        process.wait(_STOP_SECONDS)
        self._paused.discard(number)

    def pause(self, number: int) -> None:
        """SIGSTOP: connections stay open, but nothing is answered."""
        self._processes[number].send(signal.SIGSTOP)
        self._paused.add(number)

    def resume(self, number: int) -> None:
        """SIGCONT: the node continues as if no time had passed."""
        self._processes[number].send(signal.SIGCONT)
        self._paused.discard(number)

    def restart(self, number: int) -> None:
        """Stop a node normally, if it runs, and start it again. Returns at once. ``wait_ready`` waits."""
        self._end([number])
        self._start(number)

    def heal(self) -> None:
        """Resume paused nodes, start stopped nodes, and wait until no copy is behind.

        Raises:
            KafkaFailed: see ``wait_ready``.
        """
        for number in tuple(self._paused):
            self.resume(number)
        self.start()
        self.wait_ready(in_sync=True)

    def wait_ready(self, timeout: float = READY_SECONDS, *, in_sync: bool = False) -> None:
        """Wait until every node that runs and is not paused reports that the cluster is ready.

        A ready node answers over TLS, knows an elected controller, and sees all other nodes registered.

        Args:
            timeout: the most seconds to wait.
            in_sync: wait also until no copy of a partition is behind, so that another node may be lost.

        Raises:
            KafkaFailed: a node ended, or it took too long. The message names the node and shows the end of its log.
        """
        deadline = time.monotonic() + timeout
        for number in self._awake():
            while not self._ready(number, in_sync=in_sync):
                if not self._runs(number):
                    self._fail(number, "ended")
                if time.monotonic() > deadline:
                    self._fail(number, f"was not ready within {timeout:g} s")
                time.sleep(_LOOK_SECONDS)

    def apply_access(self) -> Changes:
        """Give the cluster the access rules of ``broker/messagelog/kafka/access.py``, as the break-glass client."""
        return access.apply(self.connection(BREAK_GLASS, nodes=self._awake()), PRINCIPALS)

    def _end(self, numbers: Iterable[int]) -> None:
        ending = {number: self._processes.pop(number) for number in numbers if number in self._processes}
        for process in ending.values():
            process.send(signal.SIGTERM)
            process.send(signal.SIGCONT)
        deadline = time.monotonic() + _STOP_SECONDS
        for number, process in ending.items():
            # The last nodes have no majority that could agree to their leaving. They would wait for minutes.
            if not process.wait(deadline - time.monotonic()):
                process.send(signal.SIGKILL)
                process.wait(_STOP_SECONDS)
            process.close()
            self._paused.discard(number)
            self._folder.pid_file(number).unlink(missing_ok=True)

    def _awake(self) -> list[int]:
        return [number for number in self.running if number not in self._paused]

    def _ready(self, number: int, *, in_sync: bool) -> bool:
        state = self._state(number)
        if state is None or state.controller < 0 or not state.nodes.issuperset(self._awake()):
            return False
        return not (in_sync and state.behind)

    def _state(self, number: int) -> ClusterState | None:
        try:
            client = self._nodes[number - 1].client
            # While no node answers, this costs less than a Kafka client's own attempts.
            socket.create_connection((client.host, client.port), _ANSWER_SECONDS).close()
            return cluster_state(self.connection(BREAK_GLASS, nodes=[number], timeout=_ANSWER_SECONDS))
        except (CaseExchangeError, OSError):
            return None

    def _fail(self, number: int, what: str) -> None:
        log = self.log(number)
        message = f"Kafka node {number} {what}; the end of {log}:\n{log.read_text()[-_LOG_TAIL:]}"
        raise KafkaFailed(message)

    def _runs(self, number: int) -> bool:
        process = self._processes.get(number)
        return process is not None and process.runs()

    def _start(self, number: int) -> None:
        if not self._lasting and self._guard is None:
            self._guard = Guard()
        group = None if self._guard is None else self._guard.group
        command = distribution.java(_MAIN, self._folder.settings(number))
        if stale := self._processes.pop(number, None):
            stale.close()
        self._processes[number] = NodeProcess.start(
            command, self.log(number), self._folder.pid_file(number), group=group
        )

    def _check_ports(self) -> None:
        for node in self._nodes:
            for endpoint in (node.client, node.peer, node.controller):
                if not self._runs(node.number) and not is_free(endpoint.port):
                    message = (
                        f"node {node.number} cannot listen on port {endpoint.port}: another process uses it "
                        "(make kafka PORT=… chooses other ports)"
                    )
                    raise KafkaFailed(message)

    def _format(self, numbers: Sequence[int]) -> None:
        """Make the storage of nodes that have none. All at once, because each takes a second of Java."""
        tools = {}
        for number in numbers:
            arguments = ("format", "--cluster-id", self._cluster_id, "--config", self._folder.settings(number))
            with self.log(number).open("ab") as output:
                command = distribution.java(_STORAGE_TOOL, *arguments)
                tools[number] = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603 - ours
        for number, tool in tools.items():
            if tool.wait() != 0:
                self._fail(number, "has no usable storage")
