"""A broker has its checkpoints stamped over HTTP by OpenSSL's authority, and verify judges times by that."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from broker.cli.verify import verify
from broker.core.audit.times import CLOCKS_MS
from broker.core.bundle import PartitionStart, TimestampedCheckpoint
from broker.core.errors import EvidenceUnavailable, TimestampsUnavailable
from broker.core.tree.checkpoint import Checkpoint
from broker.services.timestamping import Timestamping, TimestampingSettings
from broker.trust.certificates import der
from broker.trust.system import SystemClock
from tests.integration.test_bare_install import bare
from tests.integration.test_cosigning import status
from tests.integration.test_proof import proved, record_id
from tests.integration.test_rolled_back_log import Copies
from tests.support.exchange import Exchange, running_exchange
from tests.support.operatorlog import told
from tests.support.pki import ManualClock, SamplePki
from tests.support.replays import covered, replayed
from tests.support.tsa import OpensslTsa
from tests.support.tsaserver import served
from tests.support.witnessing import eventually, publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.core.streams import StreamPartition
    from broker.ports import AskedAuthorities
    from tests.support.replays import Bundle

QUICK = {"interval_seconds": 0.05, "timeout_seconds": 5.0}


@pytest.fixture
def pki(tmp_path: Path) -> SamplePki:
    """A PKI of its own, because the tests sign another directory."""
    return SamplePki.build(tmp_path / "pki")


@pytest.fixture
def tsa(tmp_path: Path) -> OpensslTsa:
    return OpensslTsa.build(tmp_path / "tsa")


def listing(pki: SamplePki, *authorities: OpensslTsa) -> None:
    """Sign a directory that lists these authorities."""
    chains = tuple(tuple(map(der, each.chain)) for each in authorities)
    directory = replace(pki.directory, version=pki.directory.version + 1, timestamp_authorities=chains)
    pki.folder.directory.write_bytes(pki.sign(directory))


async def stamped(exchange: Exchange) -> bool:
    """Whether every partition's newest tree is stamped, if it has records."""
    service = exchange.broker._timestamping
    for partition, origin in service._partitions.items():
        head = await service._store.head(partition)
        if head is None or (head.size and await service._kept.newest_size(origin) != head.size):
            return False
    return True


async def all_stamped(exchange: Exchange) -> None:
    """Return when everything that was accepted is under a checkpoint, and that is stamped."""
    await covered(exchange)
    await eventually(lambda: stamped(exchange))


def facts(bundle: Bundle, *more: str | Path) -> dict[str, Any]:
    done = CliRunner().invoke(verify, [str(bundle.path), "--root", str(bundle.root), "--json", *map(str, more)])
    assert done.exit_code in {0, 1}, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def stamps(bundle: Bundle) -> int:
    return sum(isinstance(frame, TimestampedCheckpoint) for frame in bundle.frames())


async def test_checkpoints_are_stamped_and_carried_in_replays_and_proofs(
    pki: SamplePki, tsa: OpensslTsa, tmp_path: Path
) -> None:
    listing(pki, tsa)
    async with served(tsa.answer) as server:
        settings = QUICK | {"urls": [server.url]}
        async with running_exchange(pki, tmp_path / "log", timestamps=settings) as exchange:
            envelope = exchange.maker().make()
            await (await exchange.publisher()).publish(envelope)
            await all_stamped(exchange)
            bundle = await replayed(exchange, tmp_path / "q.bundle")
            proof = await proved(exchange, "shanxi-police", record_id(envelope), tmp_path / "r.proof")
        assert set(server.types) == {"application/timestamp-query"}
    for each in (bundle, proof):
        report = facts(each)
        assert (report["clean"], report["findings"]) == (True, [])
        assert report["times"]["timestamps"] == stamps(each) >= 1
        assert (report["times"]["unproved"], report["times"]["unchecked"]) == (0, 0)
        (dna,) = [one for one in report["times"]["proven"] if one["partition"].startswith("dna/")]
        assert (dna["size"], dna["by"], dna["witnesses"]) == (1, "sample timestamp signer", False)
    done = CliRunner().invoke(verify, [str(proof.path), "--root", str(proof.root)])
    assert "the tree of 1 records existed before 20" in done.stdout
    assert "independent times below" in done.stdout
    # What the authority stamped is the checkpoint, for OpenSSL too.
    frames = proof.frames()
    (first, *_) = [frame for frame in frames if isinstance(frame, TimestampedCheckpoint)]
    assert tsa.openssl_accepts(first.timestamp, first.text)
    assert Checkpoint.parse(first.text).size == 1
    # They are kept through a restart without any authority.
    async with running_exchange(pki, tmp_path / "log") as exchange:
        again = await proved(exchange, "shanxi-police", record_id(envelope), tmp_path / "again.proof")
    assert facts(again)["times"]["timestamps"] >= 1
    # An auditor's own authority counts alone, and an auditor without the library is told so.
    other = OpensslTsa.build(tmp_path / "other")
    report = facts(proof, "--timestamp-authority", other.folder / "chain.pem")
    assert {item["code"] for item in report["findings"]} == {"TIMESTAMP_UNPROVED"}
    assert (report["clean"], report["times"]["timestamps"]) == (True, 0)
    report = facts(proof, "--timestamp-authority", tsa.folder / "chain.pem")
    assert (report["findings"], report["times"]["timestamps"]) == ([], stamps(proof))
    without = await asyncio.to_thread(bare, "verify", str(proof.path), "--root", str(proof.root))
    assert without.returncode == 0, without.stderr
    assert (
        "could not be checked: the library rfc3161_client is not installed; case-exchange[timestamps]" in without.stdout
    )


async def test_what_was_stamped_before_a_declared_restore_is_carried_as_far_as_it_survives(
    pki: SamplePki, tsa: OpensslTsa, tmp_path: Path
) -> None:
    listing(pki, tsa)
    copies, maker = Copies(pki, tmp_path), None
    async with served(tsa.answer) as server:
        settings = QUICK | {"urls": [server.url]}
        async with copies.exchange(timestamps=settings) as exchange:
            maker = exchange.maker()
            envelope = maker.make()
            await (await exchange.publisher()).publish(envelope)
            await all_stamped(exchange)
        copies.take("old")
        async with copies.exchange(timestamps=settings) as exchange:
            await publish(exchange, 1, maker)
            await all_stamped(exchange)
    # The newer file has also what is lost.
    newer = (copies.log / "timestamps.db").read_bytes()
    copies.restore("old")
    (copies.log / "timestamps.db").write_bytes(newer)
    await copies.declare(more=["--restored"])
    async with copies.exchange() as exchange:
        bundle = await replayed(exchange, tmp_path / "q.bundle")
        proof = await proved(exchange, "shanxi-police", record_id(envelope), tmp_path / "r.proof")
    for each in (bundle, proof):
        report = facts(each)
        assert (report["clean"], report["findings"]) == (True, [])
        assert report["times"]["timestamps"] == stamps(each) >= 1
        (dna,) = [one for one in report["times"]["proven"] if one["partition"].startswith("dna/")]
        assert (dna["size"], dna["by"]) == (1, "sample timestamp signer")


async def test_a_changed_or_moved_timestamp_is_noticed(pki: SamplePki, tsa: OpensslTsa, tmp_path: Path) -> None:
    listing(pki, tsa)
    async with served(tsa.answer) as server:
        settings = QUICK | {"urls": [server.url]}
        async with running_exchange(pki, tmp_path / "log", timestamps=settings) as exchange:
            await publish(exchange, 2)
            await all_stamped(exchange)
            bundle = await replayed(exchange, tmp_path / "q.bundle")
    frames = bundle.frames()
    at, stamp = next((at, frame) for at, frame in enumerate(frames) if isinstance(frame, TimestampedCheckpoint))
    changed = bytearray(stamp.timestamp)
    changed[-1] ^= 1
    for other in (
        [],
        [replace(stamp, timestamp=bytes(changed))],
        [replace(stamp, text=stamp.text.replace(b"\n", b"x\n", 1))],
    ):
        assert not facts(bundle.altered(tmp_path, [*frames[:at], *other, *frames[at + 1 :]]))["clean"]
    start = next(at for at, frame in enumerate(frames) if isinstance(frame, PartitionStart))
    assert not facts(bundle.altered(tmp_path, [*frames[:start], stamp, *frames[start:at], *frames[at + 1 :]]))["clean"]


async def test_a_paused_authority_delays_no_receipt_and_the_next_one_is_asked(
    pki: SamplePki, tsa: OpensslTsa, tmp_path: Path
) -> None:
    listing(pki, tsa)
    with capture_logs() as logs:
        async with served(lambda _: None) as silent, served(tsa.answer) as server:
            settings = QUICK | {"urls": [silent.url], "timeout_seconds": 300.0}
            async with running_exchange(pki, tmp_path / "one", timestamps=settings) as exchange, asyncio.timeout(30):
                # It was asked, it does not answer, and every record gets its receipt.
                await silent.asked.wait()
                await publish(exchange, 20)
                assert not await stamped(exchange)
            settings = QUICK | {"urls": [silent.url, server.url], "timeout_seconds": 0.1}
            async with running_exchange(pki, tmp_path / "two", timestamps=settings) as exchange:
                await publish(exchange, 1)
                await all_stamped(exchange)
            await told(logs, f"the timestamp authority {silent.url}: nothing is stamped")
    (line, *_) = [line for line in logs if silent.url in line["event"]]
    assert line["log_level"] == "warning"
    assert "took longer than 0.1 s" in line["cause"]


def wrong_nonce(tsa: OpensslTsa, _: OpensslTsa) -> Callable[[bytes], bytes]:
    # The last three bytes of the request ask for the certificate. Before them stands the nonce.
    return lambda request: tsa.answer(request[:-4] + bytes([request[-4] ^ 1]) + request[-3:])


def wrong_imprint(tsa: OpensslTsa, _: OpensslTsa) -> Callable[[bytes], bytes]:
    def answer(request: bytes) -> bytes:
        # The digest is the only OCTET STRING of 32 bytes.
        at = request.index(bytes([4, 32])) + 2
        return tsa.answer(request[:at] + bytes([request[at] ^ 1]) + request[at + 1 :])

    return answer


def another_certificate(_: OpensslTsa, other: OpensslTsa) -> Callable[[bytes], bytes]:
    return other.answer


def no_answer(*_: OpensslTsa) -> Callable[[bytes], bytes]:
    return lambda _: b"no DER"


@pytest.mark.parametrize(
    ("lie", "cause"),
    [
        (wrong_nonce, "nonce"),
        (wrong_imprint, "essage"),
        (another_certificate, "verifying certificates"),
        (no_answer, "cannot be read"),
    ],
)
async def test_an_authority_that_lies_is_told_and_nothing_of_it_is_kept(
    pki: SamplePki, tsa: OpensslTsa, tmp_path: Path, lie: Callable[..., Callable[[bytes], bytes]], cause: str
) -> None:
    listing(pki, tsa)
    other = OpensslTsa.build(tmp_path / "other")
    with capture_logs() as logs:
        async with served(lie(tsa, other)) as server:
            settings = QUICK | {"urls": [server.url]}
            async with running_exchange(pki, tmp_path / "log", timestamps=settings) as exchange:
                await publish(exchange, 1)
                name = f"the timestamp authority {server.url}: nothing is stamped"
                line = (await told(logs, name))[name]
                assert (line["log_level"], line["reason"]) == ("warning", "TIMESTAMP_INVALID")
                assert cause in line["cause"]
                bundle = await replayed(exchange, tmp_path / "q.bundle")
    assert stamps(bundle) == 0
    report = facts(bundle)
    assert (report["clean"], report["times"]["timestamps"]) == (True, 0)


async def test_without_an_authority_in_the_directory_nothing_is_asked(
    pki: SamplePki, tsa: OpensslTsa, tmp_path: Path
) -> None:
    with capture_logs() as logs:
        async with served(tsa.answer) as server:
            settings = QUICK | {"urls": [server.url]}
            async with running_exchange(pki, tmp_path / "log", timestamps=settings):
                line = (await told(logs, "timestamps: nothing is stamped"))["timestamps: nothing is stamped"]
                assert "the directory lists no timestamp authority" in line["cause"]
                assert not server.asked.is_set()
                # Governance lists one, and it counts without a restart.
                listing(pki, tsa)
                async with asyncio.timeout(30):
                    await server.asked.wait()


async def test_status_tells_each_authoritys_newest_timestamp_and_what_is_wrong_with_it(
    pki: SamplePki, tsa: OpensslTsa, tmp_path: Path
) -> None:
    listing(pki, tsa)
    async with running_exchange(pki, tmp_path / "log") as exchange:
        told_of = await asyncio.to_thread(status, pki, exchange, tmp_path)
        assert "timestamps: the broker asks no authority" in told_of.stdout, told_of.stderr
    async with served(lambda _: b"no DER") as wrong, served(tsa.answer) as server:
        settings = QUICK | {"urls": [wrong.url, server.url]}
        async with running_exchange(pki, tmp_path / "log", timestamps=settings) as exchange:
            await publish(exchange, 1)
            await all_stamped(exchange)
            told_of = await asyncio.to_thread(status, pki, exchange, tmp_path)
            assert "timestamps: in order" in told_of.stdout, told_of.stderr
            assert f"  {wrong.url}: none since its start; since 20" in told_of.stdout
            assert f"  {server.url}: newest at 20" in told_of.stdout
            told_of = await asyncio.to_thread(status, pki, exchange, tmp_path, "--json")
    first, second = json.loads(told_of.stdout)["timestamps"]["authorities"]
    assert (first["newest"], first["age_seconds"], second["trouble"], second["since"]) == (None, None, "", None)
    assert "cannot be read" in first["trouble"]
    assert 0 <= second["age_seconds"] < 300


async def test_when_nobody_stamps_the_status_says_so_and_since_when(
    pki: SamplePki, tsa: OpensslTsa, tmp_path: Path
) -> None:
    listing(pki, tsa)
    async with served(lambda _: b"no DER") as wrong:
        settings = QUICK | {"urls": [wrong.url]}
        async with running_exchange(pki, tmp_path / "log", timestamps=settings) as exchange:
            await publish(exchange, 1)

            def state() -> AskedAuthorities:
                return exchange.broker._timestamping.asked

            await eventually(lambda: bool(state().trouble))
            (before,) = state().authorities
            wrong.asked.clear()
            async with asyncio.timeout(30):
                await wrong.asked.wait()
            assert state().trouble == "no timestamp authority has stamped the newest checkpoints"
            # It is still wrong since the first time.
            assert state().authorities == (before,)
            # From now on it stamps.
            wrong.answer = tsa.answer
            await all_stamped(exchange)
            await eventually(lambda: not state().trouble)
            (after,) = state().authorities
    assert before.newest_ms is None
    assert before.since_ms is not None
    assert after.newest_ms is not None
    assert (after.trouble, after.since_ms) == ("", None)


class NearTsa:
    """OpenSSL's authority in this process, over the port TimestampCaller."""

    def __init__(self, tsa: OpensslTsa) -> None:
        self._tsa = tsa
        self.asked = 0

    async def ask(self, request: bytes) -> bytes:
        self.asked += 1
        return await asyncio.to_thread(self._tsa.answer, request)

    async def close(self) -> None:
        pass


class Evidence:
    """``late``: the newest checkpoint is too far behind the log."""

    def __init__(self, *, late: bool) -> None:
        self._late = late

    def check(self) -> None:
        if self._late:
            message = "no checkpoint for too long"
            raise EvidenceUnavailable(message)


async def test_nothing_is_stamped_while_checkpoints_are_late_and_nothing_of_another_time_is_kept(
    pki: SamplePki, tsa: OpensslTsa, tmp_path: Path
) -> None:
    listing(pki, tsa)
    async with running_exchange(pki, tmp_path / "log") as exchange:
        await publish(exchange, 1)
        await covered(exchange)
        broker, near, told_of = exchange.broker._timestamping, NearTsa(tsa), list[str]()

        def made(*, late: bool = False, ahead_ms: int = 0) -> Timestamping:
            return Timestamping(
                partitions=broker._partitions,
                store=broker._store,
                proofs=broker._proofs,
                kept=broker._kept,
                directory=broker._directory,
                requests=broker._requests,
                callers={"tsa.example": near},
                evidence=Evidence(late=late),
                clock=ManualClock(SystemClock().now_ms() + ahead_ms),
                settings=TimestampingSettings(),
                report=lambda name, error: told_of.append(f"{name}: {error.message if error else ''}"),
            )

        with pytest.raises(EvidenceUnavailable):
            await made(late=True).stamp_once()
        assert near.asked == 0
        with pytest.raises(TimestampsUnavailable):
            await made(ahead_ms=CLOCKS_MS + 60_000).stamp_once()
        assert near.asked == 1
        assert told_of == ["tsa.example: the authority's clock is more than 300 s away from that of the broker"]
        assert not await stamped(exchange)
        # A tree that is stamped is not asked for again.
        honest = made()
        for _ in range(2):
            await honest.stamp_once()
        assert await stamped(exchange)
        assert near.asked == 1 + len([one for one in broker._partitions if await _size(exchange, one)])


async def _size(exchange: Exchange, partition: StreamPartition) -> int:
    head = await exchange.broker._timestamping._store.head(partition)
    return 0 if head is None else head.size
