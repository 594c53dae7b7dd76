"""The folder of a cluster: its identity, and the paths of its files."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from certs.kafka import NODES
from deploy.kafka.errors import KafkaFailed
from deploy.kafka.ports import free_ports
from deploy.kafka.process import NodeProcess
from deploy.kafka.settings import Endpoint, Node, node_settings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from certs.kafka import KafkaFiles

_ADDRESS: Final = "127.0.0.1"
_PORTS_A_NODE: Final = 3


@dataclass(frozen=True, slots=True)
class ClusterFolder:
    """The folder of a cluster on this machine. Its data stay when the cluster is stopped."""

    root: Path

    def identity(self, nodes: int | None, ports: Sequence[int]) -> tuple[str, tuple[Node, ...]]:
        """The cluster's id and nodes. Chosen when the folder is made. ``ports`` replaces the ports, if given.

        Raises:
            KafkaFailed: the folder has a cluster with another number of nodes, or no ports are free.
        """
        path = self.root / "cluster.json"
        if path.exists():
            known = json.loads(path.read_text())
        else:
            self.root.mkdir(parents=True, exist_ok=True)
            known = {"cluster_id": new_cluster_id(), "ports": list(ports) or free_ports(_PORTS_A_NODE * (nodes or 1))}
        count = len(known["ports"]) // _PORTS_A_NODE
        if nodes is not None and count != nodes:
            message = (
                f"{self.root} has a cluster of {count} nodes, not of {nodes}; "
                "to make another one, stop it and remove the folder, with its records"
            )
            raise KafkaFailed(message)
        known["ports"] = list(ports) or known["ports"]
        path.write_text(json.dumps(known) + "\n")
        groups = zip(*[iter(known["ports"])] * _PORTS_A_NODE, strict=True)
        return known["cluster_id"], tuple(
            Node(number, *(Endpoint(_ADDRESS, port, _ADDRESS) for port in group))
            for number, group in enumerate(groups, start=1)
        )

    def processes(self) -> dict[int, NodeProcess]:
        """The running nodes that an earlier process started in this folder."""
        found = {}
        for number in NODES:
            if process := NodeProcess.find(self.pid_file(number), str(self.settings(number))):
                found[number] = process
        return found

    def write_settings(self, node: Node, nodes: Sequence[Node], keys: KafkaFiles) -> None:
        """Write a node's server.properties. Its process reads the file once, when it starts."""
        data = self.data(node.number)
        data.mkdir(parents=True, exist_ok=True)
        settings = node_settings(
            node,
            nodes,
            data=str(data),
            keystore=str(keys.keystore(node.number).absolute()),
            truststore=str(keys.authority.absolute()),
        )
        self.settings(node.number).write_text("".join(f"{key}={value}\n" for key, value in settings.items()))

    def is_formatted(self, number: int) -> bool:
        """Whether a node has formatted storage, with or without records."""
        return (self.data(number) / "meta.properties").exists()

    def data(self, number: int) -> Path:
        """The folder of a node's topics."""
        return self._of(number) / "data"

    def settings(self, number: int) -> Path:
        """A node's server.properties. No other process has this path among its arguments."""
        return self._of(number) / "server.properties"

    def log(self, number: int) -> Path:
        """The file of a node's log messages."""
        return self._of(number) / "node.log"

    def pid_file(self, number: int) -> Path:
        """The file with the process id of a node. It stays if the process that started the node was killed."""
        return self._of(number) / "pid"

    def _of(self, number: int) -> Path:
        return self.root / f"node-{number}"


def new_cluster_id() -> str:
    """An unpadded URL-safe UUID, like Kafka's own tool makes. It never begins with a hyphen, like an option would."""
    return "c" + base64.urlsafe_b64encode(os.urandom(16)).decode()[1:22]
