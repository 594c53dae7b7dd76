"""A record that is damaged on Kafka is repaired by its publisher: the same record is published again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from structlog.testing import capture_logs

from broker.core.errors import RecordIdConflict
from broker.core.seal import Sealing
from broker.telemetry import allow_fields
from deploy.kafka.segments import rewrite
from tests.support.honest import SAMPLES, Honest, taken
from tests.support.kafka import running_cluster
from tests.support.kafkaexchange import OnKafka
from tests.support.operatorlog import told
from tests.support.packs import packed
from tests.support.records import CODEC
from tests.support.tampering import Administrator, Raw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, MutableMapping, Sequence
    from pathlib import Path

    from broker.core.envelope import Envelope
    from broker.core.streams import Position
    from certs.folder import PkiFolder
    from deploy.kafka.cluster import KafkaCluster
    from tests.support.exchange import Exchange
    from tests.support.pki import SamplePki

pytestmark = pytest.mark.kafka
SET_ASIDE = "a record is a dead letter"


class Damaged(NamedTuple):
    """Topics in which the last of three records of one pack was changed on the node's disk."""

    kafka: OnKafka
    honest: Honest

    @property
    def position(self) -> Position:
        return self.honest.positions[2]


async def covered(exchange: Exchange, honest: Honest) -> None:
    async with asyncio.timeout(30):
        await exchange.broker.follower.covered({honest.partition: honest.positions[-1].offset + 1})


@pytest.fixture
async def damaged(kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path) -> AsyncIterator[Damaged]:
    with running_cluster(tmp_path / "kafka", kafka_keys, nodes=1) as cluster:
        kafka = OnKafka(cluster, kafka_keys, pki, tmp_path)
        async with kafka.broker() as exchange:
            honest = await Honest.begin(exchange, 0)
            await honest.publish_together(3)
            await covered(exchange, honest)
            (pack,) = await Administrator(kafka).records(honest.partition)
        assert pack.value
        await asyncio.to_thread(cluster.stop)
        # In the middle of the last signature. These bytes are nowhere else.
        at = pack.value.rindex(b"ecdsa-p256-sha256") + 60
        old = pack.value[at : at + 16]
        rewrite(
            cluster.data(1) / f"{kafka.prefix}.dna-{honest.partition.partition}", old, old[:-1] + bytes([old[-1] ^ 1])
        )
        cluster.start()
        await asyncio.to_thread(cluster.wait_ready)
        yield Damaged(kafka, honest)


async def set_aside(lines: Sequence[MutableMapping[str, Any]], damaged: Damaged) -> None:
    """Return when the subscription has set the damaged record aside, and every process can know."""
    line = (await told(lines, SET_ASIDE))[SET_ASIDE]
    assert line["position"] == str(damaged.position)


def another_under_its_id(exchange: Exchange, envelope: Envelope) -> Envelope:
    """Signed by the same agency, with the same id, and not the same record."""
    body = CODEC.parse_body(envelope.body)
    unsigned = replace(envelope, body=CODEC.encode_body(replace(body, issued_at_ms=body.issued_at_ms + 1)))
    value = exchange.pki.signer("shanxi-police").sign(unsigned.signed_bytes)
    return replace(unsigned, signatures=(envelope.signatures[0]._replace(value=value),))


async def test_a_damaged_record_that_is_published_again_reaches_its_recipient_once_and_the_auditor_sees_both(
    damaged: Damaged,
) -> None:
    kafka, honest = damaged.kafka, damaged.honest
    first, second, third = honest.positions
    with capture_logs(processors=[allow_fields]) as lines:
        # One has read the record while it was sound. The other reads it for the first time, and starts all the same.
        async with kafka.broker("one") as one, kafka.broker("two") as two:
            await honest.go_on(one)
            async with (await two.subscriber()).subscribe(SAMPLES) as stream:
                assert [each.position for each in await taken(stream, 2)] == [first, second]
                await set_aside(lines, damaged)
                assert await kafka.audited() == [("RECORD_CHANGED", str(third))]
                assert await honest.publish_again(honest.envelopes[2]) == third
                (again,) = await taken(stream, 1)
                assert (again.position, again.envelope) == (third, honest.envelopes[2])
                # Nothing is repaired twice, and nobody gets it twice.
                appended = len(await Administrator(kafka).records(honest.partition))
                assert await honest.publish_again(honest.envelopes[2]) == third
                await honest.publish(1)
                assert [each.position for each in await taken(stream, 1)] == honest.positions[3:]
            await covered(one, honest)
            assert len(await Administrator(kafka).records(honest.partition)) == appended + 1
    facts = await kafka.verified()
    found = [(item["severity"], item["code"], item["position"]) for item in facts["findings"]]
    assert [item for item in found if item[1] != "SEQUENCE_GAP"] == [("warning", "RECORD_REPAIRED", str(third))]
    assert facts["unprocessed"] == []


async def test_who_comes_later_gets_the_repaired_record_in_its_place(damaged: Damaged) -> None:
    kafka, honest = damaged.kafka, damaged.honest
    event = "a record is damaged in the log"
    with capture_logs(processors=[allow_fields]) as lines:
        async with kafka.broker("one") as one:
            # Its scrub names it. Then it knows what to repair, though no subscription has met it.
            assert (await told(lines, event))[event]["position"] == str(damaged.position)
            await honest.go_on(one)
            assert await honest.publish_again(honest.envelopes[2]) == damaged.position
    for name in ("one", "new"):
        async with (
            kafka.broker(name) as exchange,
            (await exchange.subscriber()).subscribe(replace(SAMPLES, subscription=name)) as stream,
        ):
            found = await taken(stream, 3)
        assert [each.position for each in found] == honest.positions
        assert [each.envelope for each in found] == honest.envelopes
    assert await kafka.audited() == []


async def test_another_record_under_the_id_of_a_damaged_one_is_refused_and_repairs_nothing(damaged: Damaged) -> None:
    kafka, honest = damaged.kafka, damaged.honest
    with capture_logs(processors=[allow_fields]) as lines:
        async with kafka.broker("two") as exchange, (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            await taken(stream, 2)
            await set_aside(lines, damaged)
            await honest.go_on(exchange)
            stood = await Administrator(kafka).records(honest.partition)
            with pytest.raises(RecordIdConflict):
                await honest.publish_again(another_under_its_id(exchange, honest.envelopes[2]))
            assert await Administrator(kafka).records(honest.partition) == stood
    assert await kafka.audited() == [("RECORD_CHANGED", str(damaged.position))]


async def test_a_record_that_was_changed_on_its_way_has_no_receipt_until_it_is_repaired(
    kafka_cluster: KafkaCluster, kafka_keys: PkiFolder, pki: SamplePki, tmp_path: Path
) -> None:
    """A broker sealed it, and somebody on the way to the disk changed its value, as if the broker had ended then."""
    kafka = OnKafka(kafka_cluster, kafka_keys, pki, tmp_path)
    async with kafka.broker() as exchange:
        honest = await Honest.begin(exchange, 1)
        envelope = honest.make()
        entry = honest.entry_of(envelope)
        (first,) = await exchange.broker.log.read(honest.partition, 0, 1, 1)
        sealing = Sealing(b"the id of append", exchange.clock.now_ms())
        (pack,) = packed([entry], exchange.pki.note_signer, sealing, first.log_id)
        at = pack.rindex(b"ecdsa-p256-sha256") + 60
        changed = pack[:at] + bytes([pack[at] ^ 1]) + pack[at + 1 :]
        (position,) = await Administrator(kafka).put(honest.partition, Raw(changed, timestamp=sealing.at_ms))
        assert await honest.publish_again(envelope) == position
        assert len(await Administrator(kafka).records(honest.partition)) == 3
        async with (await exchange.subscriber()).subscribe(SAMPLES) as stream:
            found = await taken(stream, 2)
        assert [(each.position, each.envelope.record_sha256) for each in found] == [
            (honest.positions[0], honest.digests[0]),
            (position, envelope.record_sha256),
        ]
