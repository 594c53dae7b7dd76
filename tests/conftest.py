"""For all tests: a real Kafka, which the first test that needs it starts, and settings of Hypothesis."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final

import pytest
import structlog
from hypothesis import settings

from tests.support.kafka import kafka_pki, running_cluster

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster


# How long an example takes says nothing on a busy machine.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

_LEAK = r"unclosed <(ssl\.SSLSocket|socket\.socket)"
"""kafka-python leaves the socket of a refused connection to the garbage collector, and killed nodes refuse many."""
_LOGGING: Final = structlog.get_config()
_WITH_KAFKA = pytest.StashKey[bool]()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    # Last, when tests that will not run are removed: a session without Kafka accepts no leak.
    on_kafka = [item for item in items if item.get_closest_marker("kafka") is not None]
    for item in on_kafka:
        item.add_marker(pytest.mark.filterwarnings(f"ignore:{_LEAK}:ResourceWarning"))
    config.stash[_WITH_KAFKA] = bool(on_kafka)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None]:
    # Leaks of the last tests are collected after them, when a test's own filters no longer apply: until the report ...
    if session.config.stash.get(_WITH_KAFKA, False):
        session.config.addinivalue_line("filterwarnings", f"ignore:{_LEAK}:ResourceWarning")
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    # ... and at the very end, where pytest checks once more.
    if config.stash.get(_WITH_KAFKA, False):
        warnings.filterwarnings("ignore", _LEAK, ResourceWarning)


@pytest.fixture(autouse=True)
def _logging_as_at_the_start() -> None:
    """A command that a test, or a fixture of its module, runs in this process sets up logging. Others do not notice."""
    structlog.configure(**_LOGGING)


@pytest.fixture(scope="session")
def kafka_keys(tmp_path_factory: pytest.TempPathFactory) -> PkiFolder:
    """The PKI of the session's Kafka clusters."""
    return kafka_pki(tmp_path_factory.mktemp("kafka-pki") / "pki")


@pytest.fixture(scope="session")
def kafka_cluster(tmp_path_factory: pytest.TempPathFactory, kafka_keys: PkiFolder) -> Iterator[KafkaCluster]:
    """One node for the whole session. Do not kill or pause it. Use your own topics."""
    with running_cluster(tmp_path_factory.mktemp("kafka-one"), kafka_keys, nodes=1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def _three_kafka_nodes(tmp_path_factory: pytest.TempPathFactory, kafka_keys: PkiFolder) -> Iterator[KafkaCluster]:
    with running_cluster(tmp_path_factory.mktemp("kafka-three"), kafka_keys, nodes=3) as cluster:
        yield cluster


@pytest.fixture
def three_kafka_nodes(_three_kafka_nodes: KafkaCluster) -> Iterator[KafkaCluster]:
    """Three nodes, all running and in sync. A test may kill and pause them; afterwards they are started again."""
    _three_kafka_nodes.heal()
    yield _three_kafka_nodes
    _three_kafka_nodes.heal()
