"""Two exchanges on the topics of one prefix. Only the one whose directory was there first may write."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from broker.bootstrap.log import open_log
from broker.bootstrap.trust import BrokerTrust
from broker.config.broker import BrokerConfig
from broker.config.loader import parse
from broker.core.errors import LogOfAnotherExchange
from broker.core.streams import Position, StreamPartition
from broker.core.tree.checkpoint import VerifierKey
from broker.messagelog.kafka.topicsettings import TopicSettings
from broker.services.audittrail import AuditTrailService
from broker.trust.system import SteadyClock, SystemEntropy
from tests.support.exchange import broker_tables
from tests.support.honest import Honest
from tests.support.kafkaexchange import OnKafka
from tests.support.pki import SamplePki
from tests.support.records import CODEC
from tests.support.tampering import Administrator, Raw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.bootstrap.opened import OpenedLog
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster

pytestmark = pytest.mark.kafka
AUDIT = StreamPartition("audit", 0)
EXPIRING: dict[str, Any] = {"retention_days": 1}


class Two(OnKafka):
    """An exchange on a cluster, and another one with equal names and other keys, on the same prefix."""

    def __init__(self, cluster: KafkaCluster, keys: PkiFolder, pki: SamplePki, root: Path) -> None:
        super().__init__(cluster, keys, pki, root)
        self.other_pki = SamplePki.build(root / "other-pki")
        self.other = OnKafka(cluster, keys, self.other_pki, root / "other")
        self.other.prefix = self.prefix
        (root / "other").mkdir()

    @contextlib.asynccontextmanager
    async def other_has_opened(self, **kafka: Any) -> AsyncIterator[tuple[OpenedLog, AuditTrailService]]:
        """The other exchange's log, before that exchange writes anything, and its audit stream."""
        folder, clock = self.other.folder("opened"), SteadyClock()
        tables = broker_tables(self.other_pki, folder, **self.other.sections(**kafka))
        config = parse(BrokerConfig, tables, folder)
        async with contextlib.AsyncExitStack() as stack:
            trust = BrokerTrust.load(config, clock)
            opened = await open_log(config, trust, clock, stack)
            audit = AuditTrailService(
                directory=trust.directory,
                system="broker",
                signer=self.other_pki.signer("exchange"),
                codec=CODEC,
                log=opened.log,
                entropy=SystemEntropy(),
                clock=clock,
            )
            yield opened, audit


@pytest.fixture
def two(kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> Two:
    return Two(kafka_cluster, kafka_keys, pki, tmp_path)


async def everything(two: Two) -> dict[str, int]:
    admin = Administrator(two)
    return {
        f"{topic}/{number}": len(await admin.records(StreamPartition(topic, number)))
        for topic, count in {**two.partitions, "checkpoints": sum(two.partitions.values())}.items()
        for number in range(count)
    }


async def test_a_second_exchange_under_the_same_prefix_is_refused_by_name_and_writes_nothing(two: Two) -> None:
    async with two.broker() as exchange:
        await Honest.begin(exchange, 1)
    before = await everything(two)
    ended = await two.other.serve("two")
    assert ended.code == 1
    (line,) = ended.lines()
    own = exchange.pki.directory
    key = VerifierKey.parse(own.log_keys[0])
    assert line.startswith("case-exchange: LOG_OF_ANOTHER_EXCHANGE: ")
    for said in (two.prefix, own.exchange, own.trust_domain, f"{key.name}+{key.key_id.hex()}", "kafka.prefix"):
        assert said in line
    assert await everything(two) == before
    async with two.broker() as exchange:
        await Honest.begin(exchange, 1)
        assert not await exchange.broker.log.strays(AUDIT)


async def test_of_two_exchanges_that_begin_at_the_same_time_the_first_goes_on_also_when_its_beginning_has_expired(
    two: Two,
) -> None:
    sections = two.sections(**EXPIRING)
    # When the first one writes, the topics are still nobody's to the other one.
    async with two.other_has_opened(**EXPIRING) as (late, audit), two.broker("one", **sections) as exchange:
        await audit.directory_in_force()
        with pytest.raises(LogOfAnotherExchange, match=two.prefix):
            await late.begun()
        await Honest.begin(exchange, 1)
        claim = max(stray.position for stray in await exchange.broker.log.strays(AUDIT))
    # What is first now is the other one's directory. But this exchange has signed checkpoints.
    await Administrator(two).delete_below(Position(*AUDIT, claim.offset))
    async with two.broker("one", **sections) as exchange:
        await Honest.begin(exchange, 1)
    (line,) = (await two.other.serve("two", **sections)).lines()
    assert line.startswith("case-exchange: LOG_OF_ANOTHER_EXCHANGE: ")
    assert f"another exchange (the trust domain in its checkpoints: {two.other_pki.directory.trust_domain})" in line


async def test_what_an_administrator_wrote_there_first_does_not_stop_an_exchange_unless_it_is_sealed(
    two: Two, kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, tmp_path: Path
) -> None:
    elsewhere = OnKafka(kafka_cluster, kafka_keys, two.other_pki, tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    async with elsewhere.broker():
        pass
    copied = await Administrator(elsewhere).records(AUDIT)
    admin = Administrator(two)
    await admin.create_topic("audit", 1, TopicSettings({}, 1, 1, 0, 5 << 20).configuration("audit"))
    inserted = await admin.put(AUDIT, Raw(b"garbage"), *copied, Raw(None, b"a tombstone"))
    async with two.broker() as exchange:
        await Honest.begin(exchange, 1)
        assert [stray.position for stray in await exchange.broker.log.strays(AUDIT)] == inserted
    assert (await two.other.serve("two")).lines()[0].startswith("case-exchange: LOG_OF_ANOTHER_EXCHANGE: ")
