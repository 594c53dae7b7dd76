"""Real Kafka clusters for tests. One that does not start fails its tests; it never skips them."""

from __future__ import annotations

import contextlib
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from certs import development
from deploy.kafka.cluster import PREFIX, KafkaCluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from certs.folder import PkiFolder


def kafka_pki(root: Path) -> PkiFolder:
    """A PKI of the cluster's own, issued now."""
    return development.create(root, datetime.now(UTC).replace(microsecond=0))


@contextlib.contextmanager
def running_cluster(root: Path, pki: PkiFolder, *, nodes: int) -> Iterator[KafkaCluster]:
    """A cluster that is ready and has the exchange's access rules, until the block ends. None of it is left running."""
    cluster = KafkaCluster(root, pki.kafka, nodes=nodes)
    try:
        cluster.start()
        cluster.wait_ready()
        cluster.apply_access()
        yield cluster
    finally:
        cluster.stop()


def new_topic() -> str:
    """The name of a topic that no other test has, within the exchange's prefix."""
    return f"{PREFIX}.test-{uuid.uuid4().hex[:12]}"
