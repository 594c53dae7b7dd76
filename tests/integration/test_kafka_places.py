"""Somebody with a key for Kafka moves subscriptions: with a broker's stolen key, or with the break-glass one."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from broker.core.leasing.ackstate import AckState
from broker.messagelog.kafka.positions import offset_of
from certs.kafka import BREAK_GLASS, BROKER
from tests.support.honest import SAMPLES, Honest, taken
from tests.support.kafkaexchange import OnKafka
from tests.support.tampering import Administrator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from broker.client.subscriber import SubscribeOptions
    from broker.core.identity import Principal
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

pytestmark = pytest.mark.kafka
GROUP = "national-dna-database.samples"
OTHER = replace(SAMPLES, subscription="others")
BEYOND = 1 << 30
"""An offset that no test reaches."""

both = pytest.mark.parametrize("client", [BROKER, BREAK_GLASS], ids=lambda client: client.system)


@pytest.fixture
def kafka(kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> OnKafka:
    return OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)


async def processed(exchange: Exchange, count: int, options: SubscribeOptions = SAMPLES) -> list[str]:
    """Open a stream, acknowledge this many records, and close it. Return the positions of what came."""
    async with (await exchange.subscriber()).subscribe(options) as stream:
        found = await taken(stream, count)
        return [str(each.position) for each in found]


def intruders(logs: Sequence[Mapping[str, object]]) -> list[str]:
    return [str(line["cause"]) for line in logs if line.get("reason") == "LOG_INTRUDER"]


def forged(_: str, honest: Honest) -> str:
    """A state in the form of earlier versions: everything is done. Nobody sealed it."""
    return AckState(honest.positions[-1].offset + 1).encode()


def forged_with_an_old_seal(sealed: str, honest: Honest) -> str:
    return f"{forged(sealed, honest)}.{sealed.rpartition('.')[2]}"


def forged_with_a_longer_number(_: str, honest: Honest) -> str:
    """The number of its generation has four bytes, all of them ones."""
    seal = urlsafe_b64encode(b"\xff" * 8 + bytes(64)).rstrip(b"=").decode()
    return f"{forged(_, honest)}.{seal}"


def nothing(_: str, __: Honest) -> str:
    """Only an offset, as Kafka's own tool writes it."""
    return ""


def garbage(_: str, __: Honest) -> str:
    return "\N{PILE OF POO} not a state"


@both
@pytest.mark.parametrize("state", [nothing, forged, forged_with_an_old_seal, forged_with_a_longer_number, garbage])
async def test_a_place_that_no_broker_sealed_is_refused_and_alarmed_and_every_record_comes_that_was_not_finished(
    kafka: OnKafka, client: Principal, state: Callable[[str, Honest], str]
) -> None:
    attacker = Administrator(kafka, client)
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 6)
        names = [str(position) for position in honest.positions]
        assert await processed(exchange, 2) == names[:2]
        before = await attacker.place(GROUP, honest.partition)
        await attacker.set_place(GROUP, honest.partition, BEYOND, state(before.metadata, honest))
        with capture_logs() as logs:
            # What the audit stream calls finished does not come again either.
            assert await processed(exchange, 2) == names[2:4]
        (told,) = intruders(logs)
        assert "national-dna-database/samples" in told
        assert str(honest.partition) in told
    # The place is sealed again, so another broker goes on without an alarm.
    async with kafka.broker("another") as exchange:
        with capture_logs() as logs:
            assert await processed(exchange, 2) == names[4:]
        assert intruders(logs) == []


async def test_what_a_broker_sealed_for_another_subscription_or_partition_skips_nothing(kafka: OnKafka) -> None:
    attacker = Administrator(kafka)
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 4)
        names = [str(position) for position in honest.positions]
        other = honest.partition._replace(partition=1 - honest.partition.partition)
        # One has read everything, and one nothing.
        assert await processed(exchange, 4, OTHER) == names
        assert await processed(exchange, 1) == names[:1]
        done = await attacker.place("national-dna-database.others", honest.partition)
        for group, where in ((GROUP, honest.partition), ("national-dna-database.others", other)):
            await attacker.set_place(group, where, done.offset, done.metadata)
        with capture_logs() as logs:
            assert await processed(exchange, 3) == names[1:]
            # The other subscription gets what is published now, so its place in both partitions was looked at.
            async with (await exchange.subscriber()).subscribe(OTHER) as stream:
                await honest.publish(1)
                (last,) = await taken(stream, 1)
        assert last.position == honest.positions[-1]
        told = intruders(logs)
        assert sorted(str(honest.partition) in line for line in told) == [False, True]


@both
async def test_an_offset_that_was_moved_beside_a_sealed_place_changes_nothing(
    kafka: OnKafka, client: Principal
) -> None:
    attacker = Administrator(kafka, client)
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 4)
        names = [str(position) for position in honest.positions]
        assert await processed(exchange, 2) == names[:2]
        before = await attacker.place(GROUP, honest.partition)
        for offset in (0, BEYOND):
            await attacker.set_place(GROUP, honest.partition, offset, before.metadata)
            with capture_logs() as logs:
                assert await processed(exchange, 1) == [names.pop(2)]
            assert intruders(logs) == []
            before = await attacker.place(GROUP, honest.partition)


async def test_an_earlier_sealed_place_only_brings_records_again(kafka: OnKafka) -> None:
    attacker = Administrator(kafka)
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 4)
        names = [str(position) for position in honest.positions]
        assert await processed(exchange, 1) == names[:1]
        early = await attacker.place(GROUP, honest.partition)
        assert await processed(exchange, 2) == names[1:3]
        await attacker.set_place(GROUP, honest.partition, early.offset, early.metadata)
        assert await processed(exchange, 3) == names[1:]
        assert offset_of(honest.positions[-1].offset) < (await attacker.place(GROUP, honest.partition)).offset
