"""Judge the records of a replay, one batch at a time, without trusting the broker.

Each entry is checked in this order. A check that fails is a finding; later checks that depend on it are left out.

1. it is in the current partition
2. its body is well formed: BODY_TYPE_UNSUPPORTED, ENVELOPE_MALFORMED
3. it is on the stream that it names: KIND_UNKNOWN
4. its publisher signed it, by the directory in force at its acceptance (broker/core/authorship.py): KIND_UNKNOWN,
   SIGNER_UNKNOWN, SIGNER_NOT_PRINCIPAL, SIGNATURE_INVALID, ...
5. policy and its own times allowed it then: RIGHT_DENIED, ISSUED_IN_FUTURE, RECORD_EXPIRED; it was sealed for those who
   may have it (broker/core/sealing.py): SEALING_REQUIRED, KEY_WRAPS_INVALID, ENCRYPTION_KEY_NOT_IN_FORCE; and the
   directory had not expired: DIRECTORY_UNAVAILABLE. For a record that was published again after the log had lost it,
   (4) and (5) are of the time of its former receipt, if that counts (broker/core/former.py): FORMER_RECEIPT_INVALID
6. the broker's receipt says the same of it, and the exchange signed that: RECEIPT_INVALID. An auditor's bundle from the
   message log has no receipts, and this check is left out. Receipts add only who says what the tree also says

Its leaf is hashed too, for whole.py. Batches can be judged in any order and in any process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.audit.findings import (
    BatchReport,
    Compared,
    EntryFacts,
    EntryLeaf,
    Reader,
    Republished,
    Stated,
    error,
    identified,
)
from broker.core.audit.told import note
from broker.core.authorship import check_proved, check_signature, claim, read_body
from broker.core.bundle import BundleSource
from broker.core.errors import (
    CaseExchangeError,
    DirectoryUnavailable,
    KindUnknown,
    ReceiptInvalid,
    RevocationUnavailable,
)
from broker.core.former import check_former
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS as SLACK_MS
from broker.core.inforce import DirectoryVersion, by_any, signer_end, versions_at
from broker.core.policy import check_publish, check_times
from broker.core.receipt import ReceiptStatement, receipts_message
from broker.core.sealing import check_past_sealing
from broker.core.sections import unsalted
from broker.core.streams import EVENT_KINDS, Position, StreamPartition
from broker.core.supplements import repeats
from broker.core.tree.leaf import Leaf
from broker.core.tree.merkle import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.core.body import Body
    from broker.core.bundle import BundleEntry, PartitionRecords
    from broker.core.envelope import Envelope, Signature
    from broker.core.events import AuditEvent

MOST_SKEW_MS: Final = 3_600_000
"""No broker accepts a record that was issued later than this after its acceptance (``records.clock_skew_seconds``)."""


class BatchJudge:
    """Judges batches against directory versions, in the order in which they came into force. Keeps no state.

    ``made_at_ms`` is when the bundle was made (epoch milliseconds). None: the ends of certificates are not judged.
    """

    def __init__(
        self, versions: Sequence[DirectoryVersion], reader: Reader, source: BundleSource, made_at_ms: int | None = None
    ) -> None:
        self._versions = versions
        self._reader = reader
        self._source = source
        self._made_at_ms = made_at_ms

    def judge(self, partition: StreamPartition, batch: PartitionRecords) -> BatchReport:
        """Judge one batch of a partition."""
        report = BatchReport([], [], [], [])
        if not batch.entries:
            report.findings.append(error("BUNDLE_INVALID", "a batch has no entries"))
        statements = self._statements(batch, report)
        for entry in batch.entries:
            body = self._judge_entry(partition, entry, report)
            record_id = body.record_id if body is not None else ""
            if statements is not None:
                _compare_receipt(entry, record_id, statements.get(entry.position), report)
            leaf = Leaf(
                entry.position,
                entry.log_id,
                entry.epoch,
                record_id,
                entry.envelope.record_sha256,
                entry.accepted_at_ms,
            )
            report.leaves.append(EntryLeaf(entry.position, record_id, leaf_hash(leaf.marshal())))
        return report

    def check_exchange(self, message: bytes, signature: Signature) -> None:
        """Check that the exchange signed this for the bundle. The newest directory that lists the certificate decides.

        Raises:
            CaseExchangeError: it did not.
        """
        for version in reversed(self._versions):
            try:
                certificate = version.certificates.signer(signature.certificate_sha256)
            except CaseExchangeError:
                continue
            certificate.verify(message, signature.value)
            if certificate.agency != version.directory.exchange:
                text = "an agency signed them, not the exchange"
                raise ReceiptInvalid(text)
            if certificate.revoked_at_ms is not None:
                text = "the exchange's certificate is revoked"
                raise ReceiptInvalid(text)
            retired_at_ms, made_at_ms = certificate.retired_at_ms, self._made_at_ms
            if retired_at_ms is not None and made_at_ms is not None and retired_at_ms <= made_at_ms:
                text = "the exchange's certificate had been retired when the bundle was made"
                raise ReceiptInvalid(text)
            return
        text = "no directory version lists the certificate"
        raise ReceiptInvalid(text)

    def _judge_entry(self, partition: StreamPartition, entry: BundleEntry, report: BatchReport) -> Body | None:
        # (1) Its partition.
        if entry.position.stream_partition != partition:
            report.findings.append(error("MISPLACED", "the entry stands in another partition", position=entry.position))
        body: Body | None = None
        former: ReceiptStatement | None = None
        holds = True
        try:
            # (2) Its body.
            body = read_body(entry.envelope, self._reader)
            # (3) to (5), under the directory of that time.
            former = self._former(entry, body, report)
            withheld = self._check_at_the_time(entry, body, former)
        except CaseExchangeError as refused:
            which = ("" if body is None else body.record_id, entry.position, identified(entry.envelope))
            report.findings.append(error(refused.reason, refused.message, *which))
            # Without the list of revoked keys the signature itself still holds.
            withheld, holds = (), isinstance(refused, RevocationUnavailable)
        if body is not None:
            judged_at_ms = entry.accepted_at_ms if former is None else former.accepted_at_ms
            report.facts.append(
                EntryFacts(
                    entry.position,
                    entry.accepted_at_ms,
                    entry.log_id,
                    entry.epoch,
                    body.record_id,
                    body.publisher,
                    body.system,
                    body.kind,
                    body.recipients,
                    len(withheld),
                    body.case_id,
                    body.issued_at_ms,
                    tuple((section.name, section.audience) for section in body.sections),
                    entry.envelope.record_sha256,
                    again=former is not None,
                    erased=entry.envelope.erased,
                    signer_end=signer_end(self._versions, entry.envelope, entry.accepted_at_ms, judged_at_ms),
                    repeats=repeats(body),
                )
            )
            # What the exchange did not sign, it did not tell.
            if body.kind in EVENT_KINDS and holds and not withheld:
                self._read_events(entry, report)
        return body

    def _former(self, entry: BundleEntry, body: Body, report: BatchReport) -> ReceiptStatement | None:
        """The former receipt of a record that was published again. If it does not count, this is a finding."""
        if not entry.envelope.former_receipt:
            return None
        versions = versions_at(self._versions, entry.accepted_at_ms)
        try:
            former = check_former(entry.envelope, body, self._reader, versions, entry.accepted_at_ms)
        except CaseExchangeError as refused:
            report.findings.append(error(refused.reason, refused.message, body.record_id, entry.position))
            return None
        report.republished.append(
            Republished(body.record_id, entry.position, former.position, former.log_id, former.accepted_at_ms)
        )
        return former

    def _check_at_the_time(self, entry: BundleEntry, body: Body, former: ReceiptStatement | None) -> tuple[str, ...]:
        """Checks (3) to (5). The version in force decides. Near a change, either version may allow the record.

        If no known version was in force, the first known version decides. The judgement of the whole bundle says so
        once: a lost directory version must not make every record of its time doubtful.

        Raises:
            CaseExchangeError: the first check that failed, under the version in force.
        """
        versions, at_ms = versions_at(self._versions, entry.accepted_at_ms), entry.accepted_at_ms
        if former is not None:
            at_ms = former.accepted_at_ms
            versions = [*versions_at(self._versions, at_ms), *versions]
        return by_any(versions, lambda version: _check_under(version, entry, body, at_ms, self._versions))

    def _statements(self, batch: PartitionRecords, report: BatchReport) -> dict[Position, ReceiptStatement] | None:
        """Check the one signature over the batch's receipts, and read them. Return None if no receipts are needed."""
        receipts = batch.receipts
        if receipts is None:
            return None if self._source is BundleSource.MESSAGE_LOG else {}
        try:
            # The broker signs these for the replay, so the exchange's certificate in any version is good.
            self.check_exchange(receipts_message(receipts.statements), receipts.signature)
        except CaseExchangeError as refused:
            message = f"the receipts of the batch that begins here do not hold: {refused.message}"
            place = batch.entries[0].position if batch.entries else None
            report.findings.append(error("RECEIPT_INVALID", message, position=place))
        statements: dict[Position, ReceiptStatement] = {}
        present = {entry.position for entry in batch.entries}
        for data in receipts.statements:
            try:
                statement = self._reader.parse_statement(data)
            except ReceiptInvalid as refused:
                report.findings.append(error("RECEIPT_INVALID", refused.message))
                continue
            if statement.position in statements:
                message = "the exchange gave two receipts for this position"
                report.findings.append(error("RECEIPT_INVALID", message, statement.record_id, statement.position))
            elif statement.position not in present:
                message = "the exchange gave a receipt for this record, and the record is missing"
                report.findings.append(error("RECORD_MISSING", message, statement.record_id, statement.position))
            statements[statement.position] = statement
        return statements

    def _read_events(self, entry: BundleEntry, report: BatchReport) -> None:
        try:
            for event in events_in(entry.envelope, self._reader):
                note(event, entry.position, report, self._versions[-1].directory)
        except (CaseExchangeError, IndexError):
            message = "the audit record's events cannot be read"
            report.findings.append(error("ENVELOPE_MALFORMED", message, position=entry.position))


def events_in(envelope: Envelope, reader: Reader) -> Iterator[AuditEvent]:
    """The events in a record of the audit stream, as far as its sections are here.

    Raises:
        EnvelopeMalformed: they cannot be read.
    """
    for section in envelope.sections:
        yield from reader.decode_audit_events(unsalted(section))


def _compare_receipt(
    entry: BundleEntry, record_id: str, statement: ReceiptStatement | None, report: BatchReport
) -> None:
    # (6) The receipt says the same.
    if statement is None:
        message = "the exchange gave no receipt for this record"
        report.findings.append(error("RECEIPT_INVALID", message, record_id, entry.position))
    elif (statement.record_sha256, statement.log_id, statement.epoch, statement.accepted_at_ms) != (
        entry.envelope.record_sha256,
        entry.log_id,
        entry.epoch,
        entry.accepted_at_ms,
    ):
        compared: tuple[Compared, ...] = ()
        message = "the exchange's receipt names another log, leader or time of acceptance for the record"
        if statement.record_sha256 != entry.envelope.record_sha256:
            message = "the exchange's receipt is of another record"
            here = Compared(Stated.RECORD_HERE, entry.envelope.record_sha256.hex())
            compared = (Compared(Stated.RECORD_RECEIPT, statement.record_sha256.hex()), here)
        # If the body cannot be read any more, the receipt still names the record.
        report.findings.append(error("RECEIPT_INVALID", message, statement.record_id, entry.position, compared))


def _check_under(
    version: DirectoryVersion, entry: BundleEntry, body: Body, at_ms: int, versions: Sequence[DirectoryVersion]
) -> tuple[str, ...]:
    directory = version.directory
    # (3) The stream that it names.
    if body.stream != entry.position.stream:
        message = "the record does not belong on the stream where it stands"
        raise KindUnknown(message)
    # (4) Who signed it.
    claimed = claim(entry.envelope, body, version.certificates, exchange=directory.exchange)
    check_signature(claimed)
    withheld = check_proved(claimed, directory, at_ms, complete=False, slack_ms=SLACK_MS)
    # (5) Allowed then. The exchange tells what happened also when its directory has expired.
    if body.publisher != directory.exchange:
        check_publish(directory, body)
        # The broker checked it a moment before it was appended.
        check_past_sealing(directory, versions, body, entry.envelope.sections, at_ms - SLACK_MS)
        check_times(body, at_ms - SLACK_MS, MOST_SKEW_MS + SLACK_MS)
        if at_ms >= directory.expires_at_ms + SLACK_MS:
            message = f"version {directory.version} of the directory had expired when the record was accepted"
            raise DirectoryUnavailable(message)
    return withheld
