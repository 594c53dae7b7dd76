"""The same cluster with Docker: deploy/compose.yaml, generated from the same settings."""

from __future__ import annotations

import json
from typing import Final

from deploy.kafka.distribution import version
from deploy.kafka.settings import Endpoint, Node, node_settings

NODES: Final = tuple(
    Node(
        number,
        client=Endpoint("127.0.0.1", 19091 + number, "0.0.0.0"),  # noqa: S104 - inside the container
        peer=Endpoint(f"kafka-{number}", 9093, "0.0.0.0"),  # noqa: S104 - as above
        controller=Endpoint(f"kafka-{number}", 9094, "0.0.0.0"),  # noqa: S104 - as above
    )
    for number in (1, 2, 3)
)
_DATA: Final = "/var/lib/kafka/data"
_KEYSTORE: Final = "/etc/kafka/secrets/keystore.pem"
_TRUSTSTORE: Final = "/etc/kafka/secrets/ca.pem"
_CLUSTER_ID: Final = "case-exchange-dev-AAAA"
"""22 characters of URL-safe base64. Any value works, but it must not change."""

_HEADER: Final = """\
# Apache Kafka with mutual TLS in Docker. `make kafka NODES=3` starts the same cluster without Docker. This file is
# generated: change deploy/kafka/settings.py, which has the reasons, and run `make kafka-compose`.
#
#   make certs
#   docker compose -f deploy/compose.yaml up --detach
#   .venv/bin/python -m deploy.kafka access --servers 127.0.0.1:19092,127.0.0.1:19093,127.0.0.1:19094
#
# The image runs as user 1000. This user must be able to read the keystores in .dev/pki/kafka.
name: case-exchange
services:
"""


def environment(node: Node, *, data: str = _DATA) -> dict[str, str]:
    """The environment that the image's start-up turns into the node's server.properties."""
    settings = node_settings(node, NODES, data=data, keystore=_KEYSTORE, truststore=_TRUSTSTORE)
    return {
        "CLUSTER_ID": _CLUSTER_ID,
        "KAFKA_HEAP_OPTS": "-Xms64m -Xmx320m",
        **{variable(key): value for key, value in sorted(settings.items())},
    }


def variable(key: str) -> str:
    """The environment variable of a setting, by the image's rule: a dot becomes ``_``, an underscore ``__``."""
    return "KAFKA_" + key.replace("_", "__").replace("-", "___").replace(".", "_").upper()


def compose() -> str:
    """The text of deploy/compose.yaml."""
    services = "".join(map(_service, NODES))
    volumes = "".join(f"  kafka-{node.number}:\n" for node in NODES)
    return f"{_HEADER}{services}volumes:\n{volumes}"


def _service(node: Node) -> str:
    name = f"kafka-{node.number}"
    keystore = f"../.dev/pki/kafka/node-{node.number}.keystore.pem"
    lines = [
        f"  {name}:",
        f"    image: apache/kafka:{version()}",
        f"    hostname: {name}",
        "    ports:",
        f'      - "127.0.0.1:{node.client.port}:{node.client.port}"',
        "    volumes:",
        f"      - {name}:{_DATA}",
        f"      - {keystore}:{_KEYSTORE}:ro",
        f"      - ../.dev/pki/trust/kafka-ca.pem:{_TRUSTSTORE}:ro",
        "    environment:",
        # A JSON text is also a YAML text. Compose takes a dollar sign for a variable unless there are two.
        *(f"      {key}: {json.dumps(value.replace('$', '$$'))}" for key, value in environment(node).items()),
    ]
    return "\n".join(lines) + "\n"
