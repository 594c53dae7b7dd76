"""Judge the records of a replay without trusting the broker: what can be said of one batch on its own.

For each entry, in this order; a check that fails is a finding, and the later ones that depend on it are left out:

1. it stands in the partition begun last
2. its body is one, of a kind that belongs on its stream: ENVELOPE_MALFORMED, KIND_UNKNOWN
3. its publisher signed these very bytes, with a certificate that the directory in force at its acceptance listed, that
   was valid then and not revoked: SIGNER_UNKNOWN, SIGNER_NOT_PRINCIPAL, SIGNATURE_INVALID, ...
4. the sections present are those that were signed: SECTION_MISMATCH
5. policy allowed it then: RIGHT_DENIED
6. the broker's receipt says the same of it, and the exchange signed that: RECEIPT_INVALID. A bundle that the auditor
   made from the message log has no receipts, and then this is left out: they are the exchange's word for what the tree
   says too, and add no proof to it but the name of who gave it

and its leaf is hashed, so that the whole can be compared with the signed checkpoint (broker/core/audit.py). Batches can
be judged in any order and in any process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.core.bundle import BundleSource
from broker.core.envelope import BODY_TYPE
from broker.core.errors import (
    BodyTypeUnsupported,
    CaseExchangeError,
    EnvelopeMalformed,
    KindUnknown,
    ReceiptInvalid,
    SignatureInvalid,
    SignerNotPrincipal,
)
from broker.core.events import DeliveryMade
from broker.core.findings import (
    CHANGE_OF_DIRECTORY_MS,
    BatchReport,
    Delivery,
    DirectoryVersion,
    EntryFacts,
    EntryLeaf,
    Reader,
    error,
)
from broker.core.leaf import Leaf
from broker.core.merkle import leaf_hash
from broker.core.policy import check_publish
from broker.core.receipt import ReceiptStatement, receipts_message
from broker.core.sections import check_sections, unsalted
from broker.core.streams import AUDIT, AUDIT_EVENTS, DIRECTORY_VERSION, StreamPartition, check_kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.body import Body
    from broker.core.bundle import BundleEntry, PartitionRecords
    from broker.core.envelope import Signature
    from broker.core.streams import Position


class BatchJudge:
    """Judges batches against directory versions in order of their coming into force. Keeps no state between batches."""

    def __init__(self, versions: Sequence[DirectoryVersion], reader: Reader, source: BundleSource) -> None:
        self._versions = versions
        self._reader = reader
        self._source = source

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
        """Check that the exchange signed this, under any of the directory versions.

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
            return
        text = "no directory version lists the certificate"
        raise ReceiptInvalid(text)

    def _judge_entry(self, partition: StreamPartition, entry: BundleEntry, report: BatchReport) -> Body | None:
        # (1) In its place.
        if entry.position.stream_partition != partition:
            report.findings.append(error("MISPLACED", "the entry stands in another partition", position=entry.position))
        body: Body | None = None
        try:
            # (2) Its form.
            body = self._body(entry)
            # (3) to (5), under the directory of the time.
            withheld = self._check_at_the_time(entry, body)
        except CaseExchangeError as refused:
            record_id = body.record_id if body is not None else ""
            report.findings.append(error(refused.reason, refused.message, record_id, entry.position))
            withheld = ()
        if body is not None:
            recipients = tuple((recipient.agency, recipient.sequence) for recipient in body.recipients)
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
                    recipients,
                    len(withheld),
                )
            )
            if body.kind == AUDIT_EVENTS and not withheld:
                self._read_deliveries(entry, report)
        return body

    def _body(self, entry: BundleEntry) -> Body:
        if entry.envelope.body_type != BODY_TYPE:
            message = "the envelope's body type is not that of a record"
            raise BodyTypeUnsupported(message)
        body = self._reader.parse_body(entry.envelope.body)
        if len(entry.envelope.signatures) != 1 or len(body.signers) != 1:
            message = "a record carries exactly one signature"
            raise EnvelopeMalformed(message)
        return body

    def _check_at_the_time(self, entry: BundleEntry, body: Body) -> tuple[str, ...]:
        """Checks (2) to (5). The version in force decides; around a change, either may allow.

        Where none is known to have been in force, the first that is known decides, and the judgement of the whole says
        so once: a lost directory version must not cast doubt on every record of its time.

        Raises:
            CaseExchangeError: the first check that failed, under the version in force.
        """
        refusal: CaseExchangeError | None = None
        for version in self._versions_at(entry.accepted_at_ms):
            try:
                return _check_under(version, entry, body)
            except CaseExchangeError as refused:
                refusal = refusal or refused
        raise refusal or SignatureInvalid("there is no directory version to judge the record by")

    def _versions_at(self, at_ms: int) -> list[DirectoryVersion]:
        versions = self._versions
        if len(versions) == 1 and versions[0].in_force_from_ms <= at_ms:
            return [versions[0]]
        begun = [version for version in versions if version.in_force_from_ms <= at_ms]
        near = [version for version in versions if abs(version.in_force_from_ms - at_ms) <= CHANGE_OF_DIRECTORY_MS]
        before = begun[-2:-1] if begun and begun[-1] in near else []
        found = [*begun[-1:], *before, *(version for version in near if version.in_force_from_ms > at_ms)]
        return found or [*versions[:1]]

    def _statements(self, batch: PartitionRecords, report: BatchReport) -> dict[Position, ReceiptStatement] | None:
        """Check the one signature over the batch's receipts, and read them; None where there need be none."""
        receipts = batch.receipts
        if receipts is None:
            return None if self._source is BundleSource.MESSAGE_LOG else {}
        try:
            # The broker issues these for the replay, so any version's certificate of the exchange will do.
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

    def _read_deliveries(self, entry: BundleEntry, report: BatchReport) -> None:
        try:
            for section in entry.envelope.sections:
                for event in self._reader.decode_audit_events(unsalted(section)):
                    if isinstance(event.event, DeliveryMade):
                        # spiffe://<trust domain>/agency/<agency>/<system>
                        agency = event.principal.split("/")[-2]
                        report.deliveries.append(Delivery(agency, event.event.position, entry.position))
        except (CaseExchangeError, IndexError):
            message = "the audit record's events cannot be read"
            report.findings.append(error("ENVELOPE_MALFORMED", message, position=entry.position))


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
        message = "the exchange's receipt does not say this of the record"
        # A body that cannot be read any more still has its receipt, which names it.
        report.findings.append(error("RECEIPT_INVALID", message, statement.record_id, entry.position))


def _check_under(version: DirectoryVersion, entry: BundleEntry, body: Body) -> tuple[str, ...]:
    directory = version.directory
    own = body.publisher == directory.exchange
    # (2) A kind that belongs on the stream where it stands; the broker's own kinds are the broker's alone.
    if body.stream != entry.position.stream or (own and (body.stream, body.kind) not in _OWN_KINDS):
        message = "the record does not belong on the stream where it stands"
        raise KindUnknown(message)
    if not own:
        check_kind(body.kind, body.stream)
    # (3) Who signed it.
    (signature,), (signer,) = entry.envelope.signatures, body.signers
    if signature.certificate_sha256 != signer.certificate_sha256:
        message = "the signature's certificate is not the one that the body names"
        raise SignatureInvalid(message)
    certificate = version.certificates.signer(signer.certificate_sha256)
    if certificate.agency != body.publisher:
        message = "the signing certificate is another agency's"
        raise SignerNotPrincipal(message)
    certificate.verify(entry.envelope.signed_bytes, signature.value)
    certificate.check_valid(entry.accepted_at_ms)
    # (4) Its sections, as far as they are here.
    withheld = check_sections(body, entry.envelope.sections, complete=False)
    # (5) Allowed then.
    if not own:
        check_publish(directory, body)
    return withheld


_OWN_KINDS: Final = frozenset({(AUDIT, AUDIT_EVENTS), (AUDIT, DIRECTORY_VERSION)})
