"""Bundles made by an exchange that may lie: it holds every key of its own, and none of an agency's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from broker.core.audit import AuditReport, BundleAudit
from broker.core.bundle import BundleEnd, BundleEntry, BundleHeader, PartitionEnd, PartitionRecords, PartitionStart
from broker.core.checkpoint import Checkpoint, NoteSignature, VerifierKey, checkpoint_origin, marshal_note
from broker.core.envelope import Signature
from broker.core.findings import DirectoryVersion
from broker.core.judge import BatchJudge
from broker.core.leaf import Leaf
from broker.core.merkle import CompactRange, leaf_hash
from broker.core.receipt import ReceiptStatement, SignedReceipts, receipts_message
from broker.core.streams import Position
from broker.messagelog.sqlite import SqliteLog
from broker.services.audittrail import AuditTrailService
from broker.trust.signing import note_verifier
from broker.trust.system import SystemEntropy
from tests.support.fakes import FixedDirectory
from tests.support.records import CODEC

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.entry import LogEntry
    from broker.core.envelope import Envelope
    from broker.core.events import AuditEvent
    from broker.core.policy import Directory
    from broker.core.streams import StreamPartition
    from broker.ports import Clock
    from broker.trust.keyring import DirectoryKeyring
    from tests.support.pki import SamplePki


class LyingExchange:
    """Signs what it likes over records that agencies signed, and has it audited."""

    def __init__(
        self, pki: SamplePki, directory: Directory | None = None, keyring: DirectoryKeyring | None = None
    ) -> None:
        self.pki = pki
        self._directory = directory or pki.directory
        self._keyring = keyring or pki.keyring(self._directory)
        self._partitions: list[tuple[StreamPartition, list[BundleEntry]]] = []

    def add(self, partition: StreamPartition, envelopes: Sequence[Envelope], accepted_at_ms: int) -> None:
        """A partition that holds these records."""
        entries = [
            BundleEntry(Position(*partition, offset), accepted_at_ms, "f" * 32, 0, envelope)
            for offset, envelope in enumerate(envelopes)
        ]
        self._partitions.append((partition, entries))

    def audit(self) -> AuditReport:
        """What an auditor finds out about a bundle of everything added, with trees and receipts that fit it."""
        streams = tuple(dict.fromkeys(partition.stream for partition, _ in self._partitions))
        header = BundleHeader("case-exchange.example", "spiffe://a", "test", 1, None, None, streams)
        keys = [VerifierKey.parse(text) for text in self._directory.log_keys]
        audit = BundleAudit(
            header, self._directory, {(key.name, key.key_id): note_verifier(key.public_key) for key in keys}
        )
        judge = BatchJudge([DirectoryVersion(0, self._directory, self._keyring)], CODEC)
        records = 0
        for partition, entries in self._partitions:
            audit.start_partition(PartitionStart(partition, self._note(partition, entries), 0, ()))
            audit.add_batch(judge.judge(partition, PartitionRecords(tuple(entries), self._receipts(entries))))
            audit.end_partition(PartitionEnd(len(entries), ()))
            records += len(entries)
        return audit.finish(BundleEnd(0, records, Signature(b"", b"")), 0)

    def _note(self, partition: StreamPartition, entries: Sequence[BundleEntry]) -> bytes:
        tree = CompactRange()
        for entry in entries:
            record_id = CODEC.parse_body(entry.envelope.body).record_id
            sha256 = entry.envelope.record_sha256
            leaf = Leaf(entry.position, entry.log_id, entry.epoch, record_id, sha256, entry.accepted_at_ms)
            tree.append(leaf_hash(leaf.marshal()))
        signer = self.pki.note_signer
        text = Checkpoint(checkpoint_origin("case-exchange.example", partition), tree.size, tree.root()).marshal()
        return marshal_note(text, [NoteSignature(signer.name, signer.key_id, signer.sign(text))])

    def _receipts(self, entries: Sequence[BundleEntry]) -> SignedReceipts:
        statements = []
        for entry in entries:
            body = CODEC.parse_body(entry.envelope.body)
            statement = ReceiptStatement(
                body.record_id, entry.envelope.record_sha256, entry.position, entry.accepted_at_ms, body.publisher
            )
            statements.append(CODEC.encode_statement(statement))
        signer = self.pki.signer("exchange")
        signature = Signature(signer.certificate_sha256, signer.sign(receipts_message(statements)))
        return SignedReceipts(tuple(statements), signature)


async def audit_record(pki: SamplePki, clock: Clock, events: Sequence[AuditEvent]) -> Envelope:
    """A record of the audit stream that tells these events, as the exchange's own writer makes it."""
    log = await SqliteLog.open(None, clock)
    trail = AuditTrailService(
        directory=FixedDirectory(pki.directory),
        signer=pki.signer("exchange"),
        codec=CODEC,
        log=log,
        entropy=SystemEntropy(),
        clock=clock,
    )
    await trail.record(events)
    entry: LogEntry
    (entry,) = await log.read(_audit(log), 0, 10, 1 << 20)
    await log.close()
    return CODEC.decode_envelope(entry.value)


def without_right(directory: Directory, agency: str, kind: str) -> Directory:
    """The directory without an agency's right to publish a kind."""
    member = directory.agencies[agency]
    publish = {name: right for name, right in member.publish.items() if name != kind}
    return dataclasses.replace(
        directory, agencies={**directory.agencies, agency: dataclasses.replace(member, publish=publish)}
    )


def _audit(log: SqliteLog) -> StreamPartition:
    return log._partitions[-1]
