"""A cluster of one or three Kafka nodes on this machine, which tests may kill, pause and start again."""

from __future__ import annotations

import base64
import json
import os
import signal
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
from deploy.kafka.ports import free_ports
from deploy.kafka.process import Guard, NodeProcess
from deploy.kafka.settings import Endpoint, Node, node_settings

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from broker.core.identity import Principal
    from broker.messagelog.kafka.access import Changes
    from broker.messagelog.kafka.readiness import ClusterState
    from certs.kafka import KafkaFiles

PREFIX: Final = "case-exchange"
"""Before the dot in the name of every topic, group and transactional id of the exchange."""
READY_SECONDS: Final = 90.0
"""Starting takes some 3 s a node on an idle core; this is for machines that have other things to do."""
_STOP_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.1
_ADDRESS: Final = "127.0.0.1"
_PORTS_A_NODE: Final = 3
_LOG_TAIL: Final = 3000
_MAIN: Final = "kafka.Kafka"
_STORAGE_TOOL: Final = "kafka.tools.StorageTool"


class KafkaCluster:
    """Nodes on 127.0.0.1 with their data and logs in one folder. For one thread at a time.

    What was written stays in the folder: a cluster that is made on it again has the same id, ports and records. One
    that is not ``lasting`` ends with the process that started it, even if that is killed.
    """

    def __init__(
        self,
        root: Path,
        keys: KafkaFiles,
        *,
        nodes: int = 1,
        ports: Sequence[int] = (),
        lasting: bool = False,
    ) -> None:
        """Describe a cluster. Nothing is started, and nothing is written but the folder and what the cluster is.

        Args:
            root: the folder of its data, logs and settings; made if it is not there.
            keys: the PKI's keys for Kafka.
            nodes: 1 or 3. A folder that holds a cluster decides for itself.
            ports: three for each node (clients, brokers, controllers); free ones if none are given.
            lasting: whether its nodes go on when this process ends. Those that an earlier one left are taken up.

        Raises:
            KafkaFailed: the folder holds a cluster of another number of nodes, or no ports are free.
        """
        self._root = root.absolute()
        self._keys = keys
        self._root.mkdir(parents=True, exist_ok=True)
        self._cluster_id, chosen = _remember(self._root / "cluster.json", nodes, ports)
        self._nodes = tuple(
            Node(number, *(Endpoint(_ADDRESS, port, _ADDRESS) for port in three))
            for number, three in enumerate(zip(*[iter(chosen)] * _PORTS_A_NODE, strict=True), start=1)
        )
        self._lasting = lasting
        self._guard: Guard | None = None
        self._paused: set[int] = set()
        self._processes: dict[int, NodeProcess] = {}
        for number in self.numbers if lasting else ():
            if found := NodeProcess.find(self._pid_file(number), str(self._settings(number))):
                self._processes[number] = found

    @property
    def numbers(self) -> tuple[int, ...]:
        """The nodes' ids, from 1."""
        return tuple(node.number for node in self._nodes)

    @property
    def bootstrap(self) -> str:
        """Where clients find the cluster: every node's ``host:port``, with commas in between."""
        return ",".join(node.client.advertised for node in self._nodes)

    @property
    def running(self) -> tuple[int, ...]:
        """The nodes whose processes run; those that are paused count."""
        return tuple(number for number in self.numbers if self._runs(number))

    def log(self, number: int) -> Path:
        """The file to which a node writes what it does."""
        return self._folder(number) / "node.log"

    def connection(self, client: Principal, *, nodes: Collection[int] = (), timeout: float = 30.0) -> KafkaConnection:
        """How a client of the development PKI reaches the cluster.

        Args:
            client: one of ``certs.kafka.CLIENTS``.
            nodes: the nodes to name; all without it.
            timeout: how many seconds a request may take.
        """
        certificate, key = self._keys.client(client)
        servers = [node.client.advertised for node in self._nodes if not nodes or node.number in nodes]
        return KafkaConnection(servers, KafkaTls(certificate, key, self._keys.authority), PREFIX, timeout)

    def start(self) -> None:
        """Start every node that does not run, and return at once: ``wait_ready`` waits.

        Raises:
            KafkaFailed: Java or Kafka is missing, or the storage cannot be formatted.
            SetupInvalid, CertificateInvalid: the PKI has no usable keys for Kafka.
        """
        self._keys.check(datetime.now(UTC))
        for node in self._nodes:
            self._write_settings(node)
        self._format([number for number in self.numbers if not (self._data(number) / "meta.properties").exists()])
        for number in self.numbers:
            if not self._runs(number):
                self._start(number)

    def stop(self) -> None:
        """End every node: in order if that takes no more than ten seconds, or else by force. None is left."""
        for process in self._processes.values():
            process.send(signal.SIGTERM)
            process.send(signal.SIGCONT)
        deadline = time.monotonic() + _STOP_SECONDS
        for number, process in self._processes.items():
            # The last ones have no majority left with whom to agree on their leaving, and would wait for minutes.
            if not process.wait(deadline - time.monotonic()):
                process.send(signal.SIGKILL)
                process.wait(_STOP_SECONDS)
            process.close()
            self._pid_file(number).unlink(missing_ok=True)
        self._processes.clear()
        self._paused.clear()
        if self._guard is not None:
            self._guard.close()
            self._guard = None

    def kill(self, number: int) -> None:
        """SIGKILL: nothing is flushed, nobody is told."""
        process = self._processes[number]
        process.send(signal.SIGKILL)
        process.wait(_STOP_SECONDS)
        self._paused.discard(number)

    def pause(self, number: int) -> None:
        """SIGSTOP: connections stay open, and nothing is answered."""
        self._processes[number].send(signal.SIGSTOP)
        self._paused.add(number)

    def resume(self, number: int) -> None:
        """SIGCONT: the node goes on as if no time had passed."""
        self._processes[number].send(signal.SIGCONT)
        self._paused.discard(number)

    def restart(self, number: int) -> None:
        """Stop a node in order, if it runs, and start it again. Returns at once: ``wait_ready`` waits."""
        process = self._processes.pop(number)
        process.send(signal.SIGTERM)
        process.send(signal.SIGCONT)
        if not process.wait(_STOP_SECONDS):
            process.send(signal.SIGKILL)
            process.wait(_STOP_SECONDS)
        process.close()
        self._paused.discard(number)
        self._start(number)

    def wait_ready(self, timeout: float = READY_SECONDS, *, in_sync: bool = False) -> None:
        """Wait until every node that runs and is not paused says itself that the cluster is ready.

        That is: it answers over TLS, it knows an elected controller, and it sees all the others registered.

        Args:
            timeout: the most seconds to wait.
            in_sync: wait also until no copy of a partition is behind, so that another node may be lost.

        Raises:
            KafkaFailed: a node ended, or it took too long. Names the node and shows the end of its log.
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
        """Make the cluster's rules those of ``broker/messagelog/kafka/access.py``, as the break-glass client."""
        principals: dict[access.Role, list[str]] = {"broker": [kafka_name(BROKER)], "auditor": [kafka_name(AUDITOR)]}
        return access.apply(self.connection(BREAK_GLASS, nodes=self._awake()), principals)

    def _awake(self) -> list[int]:
        return [number for number in self.running if number not in self._paused]

    def _ready(self, number: int, *, in_sync: bool) -> bool:
        state = self._state(number)
        if state is None or state.controller < 0 or not state.nodes.issuperset(self._awake()):
            return False
        return not (in_sync and state.behind)

    def _state(self, number: int) -> ClusterState | None:
        try:
            return cluster_state(self.connection(BREAK_GLASS, nodes=[number], timeout=_ANSWER_SECONDS))
        except CaseExchangeError:
            return None

    def _fail(self, number: int, what: str) -> None:
        log = self.log(number)
        message = f"Kafka node {number} {what}; {log} ends so:\n{log.read_text()[-_LOG_TAIL:]}"
        raise KafkaFailed(message)

    def _runs(self, number: int) -> bool:
        process = self._processes.get(number)
        return process is not None and process.runs()

    def _start(self, number: int) -> None:
        if not self._lasting and self._guard is None:
            self._guard = Guard()
        group = None if self._guard is None else self._guard.group
        command = distribution.java(_MAIN, self._settings(number))
        if stale := self._processes.pop(number, None):
            stale.close()
        self._processes[number] = NodeProcess.start(command, self.log(number), self._pid_file(number), group=group)

    def _format(self, numbers: Sequence[int]) -> None:
        """Make the storage of nodes that have none, all at once: it takes a second of Java each."""
        tools = {}
        for number in numbers:
            arguments = ("format", "--cluster-id", self._cluster_id, "--config", self._settings(number))
            with self.log(number).open("ab") as output:
                command = distribution.java(_STORAGE_TOOL, *arguments)
                tools[number] = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603 - ours
        for number, tool in tools.items():
            if tool.wait() != 0:
                self._fail(number, "has no usable storage")

    def _write_settings(self, node: Node) -> None:
        self._data(node.number).mkdir(parents=True, exist_ok=True)
        settings = node_settings(
            node,
            self._nodes,
            data=str(self._data(node.number)),
            keystore=str(self._keys.keystore(node.number).absolute()),
            truststore=str(self._keys.authority.absolute()),
        )
        lines = [f"{key}={value}\n" for key, value in settings.items()]
        self._settings(node.number).write_text("".join(lines))

    def _folder(self, number: int) -> Path:
        return self._root / f"node-{number}"

    def _data(self, number: int) -> Path:
        return self._folder(number) / "data"

    def _settings(self, number: int) -> Path:
        return self._folder(number) / "server.properties"

    def _pid_file(self, number: int) -> Path:
        return self._folder(number) / "pid"


def _remember(path: Path, nodes: int, ports: Sequence[int]) -> tuple[str, list[int]]:
    """What a folder's cluster is: its id and its ports, as chosen when it was made."""
    if not path.exists():
        chosen = list(ports) or free_ports(_PORTS_A_NODE * nodes)
        # An unpadded URL-safe UUID, as Kafka's own tool makes them, but never with a hyphen first, as of an option.
        cluster_id = "c" + base64.urlsafe_b64encode(os.urandom(16)).decode()[1:22]
        path.write_text(json.dumps({"cluster_id": cluster_id, "ports": chosen}) + "\n")
    known = json.loads(path.read_text())
    if len(known["ports"]) != _PORTS_A_NODE * nodes:
        message = f"{path.parent} holds a cluster of {len(known['ports']) // _PORTS_A_NODE} nodes, not of {nodes}"
        raise KafkaFailed(message)
    return known["cluster_id"], known["ports"]
