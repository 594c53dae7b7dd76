"""``python -m deploy.kafka``: the commands behind ``make kafka`` and the related targets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import tomli_w

from broker.core.errors import CaseExchangeError
from broker.messagelog.kafka import access
from broker.messagelog.kafka.connection import KafkaConnection, KafkaTls
from certs.folder import PkiFolder
from certs.kafka import BREAK_GLASS, BROKER
from deploy.kafka import distribution
from deploy.kafka.cluster import PREFIX, PRINCIPALS, KafkaCluster
from deploy.kafka.compose import compose
from deploy.kafka.errors import KafkaFailed

if TYPE_CHECKING:
    from certs.kafka import KafkaFiles

_ROOT: Final = distribution.SCRATCH / "cluster"
_PKI: Final = distribution.SCRATCH.parent / "pki"
_PORT: Final = 19092
_LISTENERS_APART: Final = 100
_COMPOSE: Final = Path(__file__).parents[1] / "compose.yaml"
_ANSWER_SECONDS: Final = 30.0

pki_option = click.option(
    "--pki",
    "pki_folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=_PKI,
    show_default=True,
    help="The PKI folder.",
)


@click.group()
def kafka() -> None:
    """Run a Kafka cluster for development."""


@kafka.command()
@click.option("--nodes", type=click.Choice(["1", "3"]), default="1", show_default=True, help="How many nodes.")
@click.option(
    "--port",
    type=click.IntRange(1024, 65000),
    default=_PORT,
    show_default=True,
    help="Port of the first node for clients. Others use the next ports, and those 100 and 200 above.",
)
@pki_option
def start(nodes: str, port: int, pki_folder: Path) -> None:
    """Start the development cluster, unless it runs already. It keeps running after this command."""
    count = int(nodes)
    ports = [port + _LISTENERS_APART * listener + index for index in range(count) for listener in range(3)]
    keys = PkiFolder(pki_folder).kafka
    cluster = KafkaCluster(_ROOT, keys, nodes=count, ports=ports, lasting=True)
    already = cluster.running == cluster.numbers
    try:
        cluster.start()
        cluster.wait_ready()
        changes = cluster.apply_access()
    except KafkaFailed:
        # A cluster that is only half started would block the ports for the next attempt.
        if not already:
            cluster.stop()
        raise
    click.echo(f"Kafka {distribution.version()} {'runs already' if already else 'runs'}: {cluster.bootstrap}")
    if any(changes):
        click.echo(f"access rules: {changes.added} added, {changes.removed} removed")
    click.echo(
        f"for a broker's configuration (docs/kafka.md), besides the folder in its [log]:\n\n{_tables(cluster, keys)}"
    )
    click.echo(f"data and logs: {_ROOT}; stop it with make kafka-stop")


def _tables(cluster: KafkaCluster, keys: KafkaFiles) -> str:
    certificate, key = keys.client(BROKER)
    table: dict[str, Any] = {
        "servers": cluster.bootstrap.split(","),
        "certificate": str(certificate.absolute()),
        "key": str(key.absolute()),
        "authorities": str(keys.authority.absolute()),
    }
    if len(cluster.numbers) == 1:
        table |= {"replication": 1, "min_in_sync": 1}
    return tomli_w.dumps({"log": {"backend": "kafka"}, "kafka": table})


@kafka.command()
@pki_option
def stop(pki_folder: Path) -> None:
    """Stop the development cluster, if it runs. Its records stay."""
    if not (_ROOT / "cluster.json").exists():
        click.echo("there is no cluster to stop")
        return
    cluster = KafkaCluster(_ROOT, PkiFolder(pki_folder).kafka, nodes=None, lasting=True)
    running = cluster.running
    cluster.stop()
    click.echo(f"stopped {len(running)} of {len(cluster.numbers)} nodes" if running else "it was not running")


@kafka.command(name="access")
@click.option("--servers", required=True, help="host:port of the cluster's nodes, with commas in between.")
@pki_option
def apply_access(servers: str, pki_folder: Path) -> None:
    """Give a cluster that was started by other means the access rules of the exchange."""
    keys = PkiFolder(pki_folder).kafka
    tls = KafkaTls(*keys.client(BREAK_GLASS), keys.authority)
    changes = access.apply(KafkaConnection(servers.split(","), tls, PREFIX, _ANSWER_SECONDS), PRINCIPALS)
    click.echo(f"access rules: {changes.added} added, {changes.removed} removed")


@kafka.command()
def fetch() -> None:
    """Check that Java is installed, and fetch Kafka if it is missing."""
    distribution.java("kafka.Kafka")
    click.echo(f"Kafka {distribution.version()}: {distribution.libraries()}")


@kafka.command(name="compose")
def write_compose() -> None:
    """Generate deploy/compose.yaml from the settings."""
    _COMPOSE.write_text(compose())


def main() -> None:
    """Run the command. A known error is printed as one message, with exit code 1."""
    try:
        kafka(prog_name="python -m deploy.kafka")
    except (CaseExchangeError, KafkaFailed) as error:
        click.echo(f"kafka: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
