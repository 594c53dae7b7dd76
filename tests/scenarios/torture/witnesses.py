"""The witnesses of a run: processes that cosign, what they and the brokers say is cosigned, and a measured absence.

They are the only ones whom brokers ask. Whoever else is asked later, such as a timestamp authority, belongs here too.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from broker.core.errors import CaseExchangeError
from broker.core.streams import STREAMS, StreamPartition
from broker.core.tree.checkpoint import Checkpoint, VerifierKey, parse_note, verify_note
from broker.core.tree.cosignature import cosigners
from broker.core.tree.origin import checkpoint_origin
from broker.core.tree.witnesspolicy import parse_policy
from broker.core.webaddress import WebAddress
from broker.messagelog.kafka.topics import Topics
from broker.trust.witnesskeys import witness_checks
from broker.web.client import HttpClient, HttpFailed
from broker.web.tls import client_context
from deploy.kafka.ports import free_ports
from tests.scenarios.torture.history import Root
from tests.scenarios.torture.processes import ProcessTarget
from tests.support.kafkalog import ListedKeys
from tests.support.process import write_toml
from tests.support.witnesses import SampleWitness, witness_tables
from tests.support.witnessing import govern

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from broker.messagelog.kafka.connection import KafkaConnection
    from tests.scenarios.torture.history import History
    from tests.support.pki import SamplePki

WITNESSES: Final = ("witness-1", "witness-2")
_CALL_SECONDS: Final = 2.0
_ROUND_SECONDS: Final = 0.5
_TOPICS_SECONDS: Final = 90.0
_LARGEST: Final = 1 << 16
_OK: Final = 200
PARTITIONS: Final = tuple(
    StreamPartition(stream, number)
    for stream, count in (("cases", 1), ("dna", 3), ("notices", 1), ("audit", 1))
    for number in range(count)
)


class WitnessTarget(ProcessTarget):
    """A witness. Its memory is never lost: then it would need a new key."""

    def command(self) -> list[str | Path]:
        return ["witness", self.config, *([] if self.memory.exists() else ["--new"])]

    @property
    def memory(self) -> Path:
        return self.config.with_name("witness.db")


class Witnesses:
    """The witnesses that the directory names. Either one is enough, so cosignatures go on while one is away."""

    def __init__(self, root: Path, pki: SamplePki, history: History) -> None:
        self._pki = pki
        self._history = history
        self._keys = [SampleWitness(f"witness.example/{name}") for name in WITNESSES]
        ports = free_ports(len(WITNESSES))
        urls = [f"https://localhost:{port}" for port in ports]
        self._policy = parse_policy(govern(pki, *zip(self._keys, urls, strict=True), needed="any").encode())
        self._folders = {name: root / name for name in WITNESSES}
        self.targets: dict[str, ProcessTarget] = {
            name: WitnessTarget(name, self._folders[name] / "witness.toml", port, history)
            for name, port in zip(WITNESSES, ports, strict=True)
        }
        context = client_context(pki.folder.trust / "tls-ca.pem")
        self._clients = {
            name: HttpClient(WebAddress(tls=True, host="localhost", port=port, prefix=""), context)
            for name, port in zip(WITNESSES, ports, strict=True)
        }
        self._origins: dict[str, StreamPartition] = {}

    async def start(self, connection: KafkaConnection) -> None:
        """Start them. They must know the topics' ids."""
        async with asyncio.timeout(_TOPICS_SECONDS):
            while not (log_ids := await asyncio.to_thread(_log_ids, connection)):  # noqa: ASYNC110 - Kafka tells nobody
                await asyncio.sleep(_ROUND_SECONDS)
        trust_domain = self._pki.directory.trust_domain
        self._origins = {checkpoint_origin(trust_domain, one, log_ids[one.stream]): one for one in PARTITIONS}
        known = dict.fromkeys(self._origins, VerifierKey.parse(self._pki.directory.log_keys[0]))
        for name, key in zip(WITNESSES, self._keys, strict=True):
            tables = witness_tables(self._pki, self._folders[name], key, known)
            tables["server"]["address"] = self.targets[name].address
            write_toml(self.targets[name].config, tables)
            await self.targets[name].start()

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.close()

    async def watch(self, name: str) -> None:
        """Ask a witness again and again what it has cosigned last, until cancelled."""
        client = self._clients[name]
        while True:
            for origin in self._origins:
                try:
                    async with asyncio.timeout(_CALL_SECONDS):
                        answer = await client.get(f"/{sha256(origin.encode()).hexdigest()}/checkpoint", _LARGEST)
                except (HttpFailed, TimeoutError) as error:
                    self._history.failed("witness", type(error).__name__)
                    break
                if answer.status == _OK:
                    self.note(answer.body, name)
            await asyncio.sleep(_ROUND_SECONDS)

    def note(self, note: bytes, source: str) -> None:
        """Check a cosigned note, and keep it as one of the roots that were seen, if it is new from this source."""
        parsed = parse_note(note)
        verify_note(parsed, ListedKeys(self._pki.note_signer).verifiers())
        by = cosigners(parsed, witness_checks(self._policy))
        assert self._policy.satisfied_by(list(by)), (source, note)
        checkpoint = Checkpoint.parse(parsed.text)
        partition, now = self._origins[checkpoint.origin], self._history.now
        root = Root(partition, checkpoint.size, checkpoint.root, source, now, note)
        before = self._history.cosigned.get((source, root.partition))
        if before is None or (before.size, before.root) != (root.size, root.root):
            self._history.cosigned[source, root.partition] = root
            self._history.roots.append(root)

    def stored(self, brokers: Mapping[str, Path]) -> None:
        """Note what is in the stores of witnesses and brokers. None of them runs any more."""
        for name in WITNESSES:
            self._stored(self._folders[name] / "witness.db", f"{name}, stored")
        for name, folder in brokers.items():
            self._stored(folder / "cosigned.db", f"{name}, stored")

    def _stored(self, path: Path, source: str) -> None:
        with closing(sqlite3.connect(path)) as store:
            for (note,) in store.execute("SELECT note FROM cosigned"):
                self.note(note, source)


def _log_ids(connection: KafkaConnection) -> dict[str, str]:
    """The ids of the streams' topics, as soon as there are all."""
    topics = Topics(connection)
    try:
        found = topics.look(list(STREAMS))
    except CaseExchangeError:
        return {}
    finally:
        topics.close()
    return {stream: state.topic_id for stream, state in found.items()} if len(found) == len(STREAMS) else {}
