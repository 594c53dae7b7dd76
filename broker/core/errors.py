"""The one error tree.

Every class carries four facts, so that a program, an operator and the reference table (docs/errors.md, generated
from here) read the same thing: ``reason`` (stable, upper snake case, travels as ErrorInfo.reason), ``retriable``
(whether the same request may succeed later without being changed), ``remedy`` (what to do next) and ``security_event``
(whether a refusal for this reason is worth an auditor's attention).

Messages and details hold opaque ids, names of fields and sizes; never record content, and never a person's data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator


class CaseExchangeError(Exception):
    """Root of the tree. ``details`` are opaque strings, sent to the caller as ErrorInfo metadata."""

    reason: ClassVar[str] = "INTERNAL"
    retriable: ClassVar[bool] = False
    security_event: ClassVar[bool] = False
    remedy: ClassVar[str] = "Report it with the log lines around it; this is a defect."

    def __init__(self, message: str, **details: str) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class Internal(CaseExchangeError):
    """Something failed that no other class names. The caller learns nothing but that."""


# --- what a caller sent cannot be accepted as it is -------------------------------------------------------------------


class InputRefused(CaseExchangeError):
    """The request is not well formed. Sending it again unchanged cannot help."""

    reason = "INPUT_REFUSED"
    remedy = "Correct the request."


class EnvelopeMalformed(InputRefused):
    """The envelope or its body does not parse, or lacks a field that every record has."""

    reason = "ENVELOPE_MALFORMED"
    remedy = "Build the envelope with the client library; compare with protos/caseexchange/broker/v1/envelope.proto."


class BodyTypeUnsupported(InputRefused):
    """The signed body is of a type that this broker does not know."""

    reason = "BODY_TYPE_UNSUPPORTED"
    remedy = "Sign bodies of type application/vnd.case-exchange.body.v1+protobuf, or upgrade the broker."


class RecordTooLarge(InputRefused):
    """The envelope is larger than the broker's configured limit."""

    reason = "RECORD_TOO_LARGE"
    remedy = "Send photographs smaller, or in a record of their own; the limit is records.record_bytes in the config."


class KindUnknown(InputRefused):
    """The record's kind is not in the exchange's vocabulary, or does not belong on the stream that it names."""

    reason = "KIND_UNKNOWN"
    remedy = "Use a kind and its stream from docs/glossary.md, or upgrade the broker."


class SectionMismatch(InputRefused):
    """A section's bytes are not those whose digest was signed, or a signed section is missing, repeated or extra."""

    reason = "SECTION_MISMATCH"
    security_event = True
    remedy = "Sign again over the sections that are sent; if the sender is certain, look for tampering in between."


class RecordInvalid(InputRefused):
    """A record is not what its kind must be, so it is not signed."""

    reason = "RECORD_INVALID"
    remedy = "Correct the record as the message says; if an adapter made it, report that as the adapter's defect."


class SubscriptionInvalid(InputRefused):
    """A subscribe request is not well formed: no name, no kinds, or flow control that can never be met."""

    reason = "SUBSCRIPTION_INVALID"
    remedy = "Open the stream with a name, at least one kind, and positive limits."


class PositionUnknown(InputRefused):
    """The stream, partition, offset or tree size that was asked for does not exist."""

    reason = "POSITION_UNKNOWN"
    remedy = "Ask for the latest checkpoint and stay within its size."


class PurposeMissing(InputRefused):
    """A replay was asked for without a stated purpose. Reading is evidence, so its reason is part of it."""

    reason = "PURPOSE_MISSING"
    remedy = "State why the log is read, for example --purpose 'quarterly audit 2026-Q3'."


# --- who is asking, and may they -----------------------------------------------------------------------------------


class IdentityRefused(CaseExchangeError):
    """The peer's identity does not entitle it to be heard."""

    reason = "IDENTITY_REFUSED"
    security_event = True
    remedy = "Connect with the TLS certificate that the exchange issued to this system."


class PeerIdentityMissing(IdentityRefused):
    """The TLS certificate has not exactly one spiffe:// URI name (X509-SVID section 2), so it names no principal."""

    reason = "PEER_IDENTITY_MISSING"
    remedy = "Issue a certificate with exactly one spiffe:// URI SAN: case-exchange certs issue."


class PeerUnknown(IdentityRefused):
    """The principal belongs to no agency in the directory in force."""

    reason = "PEER_UNKNOWN"
    remedy = "Ask governance to add the agency to the directory and sign it."


class PeerRevoked(IdentityRefused):
    """The peer's TLS certificate is on the revocation list."""

    reason = "PEER_REVOKED"
    remedy = "Renew with a new key: case-exchange certs renew. If you did not ask for the revocation, call governance."


class RightDenied(CaseExchangeError):
    """The directory grants no right for this. Rights are deny-by-default."""

    reason = "RIGHT_DENIED"
    security_event = True
    remedy = "Ask governance for the right; `case-exchange directory show` lists what is granted."


class SignatureRefused(CaseExchangeError):
    """The record's signature does not prove that its publisher said it."""

    reason = "SIGNATURE_REFUSED"
    security_event = True
    remedy = "Sign the record with the agency's own valid signing certificate."


class SignatureInvalid(SignatureRefused):
    """No signature over the exact body bytes verifies: a byte was changed, or another key signed."""

    reason = "SIGNATURE_INVALID"
    remedy = "Sign the exact bytes that are sent; if the sender is certain, look for tampering in between."


class SignerUnknown(SignatureRefused):
    """The signing certificate is not one that the directory lists."""

    reason = "SIGNER_UNKNOWN"
    remedy = "Ask governance to list the signing certificate in the directory."


class SignerNotPrincipal(SignatureRefused):
    """The record is signed by, or names as its publisher, an agency or system other than the one that sends it."""

    reason = "SIGNER_NOT_PRINCIPAL"
    remedy = "Publish through the signing agency's own connection, with the TLS certificate of the system named."


class SignerCertificateInvalid(SignatureRefused):
    """The signing certificate does not chain to the signing authority, or is not valid at this time or any more."""

    reason = "SIGNER_CERTIFICATE_INVALID"
    remedy = "Renew the signing certificate: case-exchange certs renew."


class SignerRevoked(SignatureRefused):
    """The signing certificate is on the revocation list."""

    reason = "SIGNER_REVOKED"
    remedy = "Renew the signing certificate with a new key; records signed since the revocation must be signed again."


class IssuedInFuture(InputRefused):
    """The record says that it was issued later than the allowed clock skew permits."""

    reason = "ISSUED_IN_FUTURE"
    retriable = True
    remedy = "Set the publishing machine's clock, then publish again."


class RecordExpired(InputRefused):
    """The record's own expiry has passed."""

    reason = "RECORD_EXPIRED"
    remedy = "Issue a new record if the matter still stands."


class RecordIdConflict(CaseExchangeError):
    """The record id is already in the log with another body. The first stays; this one is refused."""

    reason = "RECORD_ID_CONFLICT"
    security_event = True
    remedy = "Give the new record an id of its own. If the id was not reused on purpose, treat it as an attack."


class LeaseLost(CaseExchangeError):
    """An ack, nack or extension names a delivery whose lease has ended. The record is, or will be, redelivered."""

    reason = "LEASE_LOST"
    remedy = "Finish within the lease or extend it; deliveries are at least once, so make the effect idempotent."


# --- the exchange cannot serve just now; nothing is lost by asking again ---------------------------------------------


class Unavailable(CaseExchangeError):
    """The exchange cannot do this now. The same request is safe to repeat: record ids make publishing idempotent."""

    reason = "UNAVAILABLE"
    retriable = True
    remedy = "Try again with back-off; keep the record until there is a receipt."


class LogUnavailable(Unavailable):
    """The message log did not answer in time, or its outcome is unknown."""

    reason = "LOG_UNAVAILABLE"


class LogFull(Unavailable):
    """The message log's disk has no room. Nothing was stored of the refused records."""

    reason = "LOG_FULL"
    remedy = "Operator: free or add disk space under log.folder; publishers: keep the record and try again."


class FollowerFenced(Unavailable):
    """Another process has taken over the checkpoints of this partition. What this one signed meanwhile is void."""

    reason = "FOLLOWER_FENCED"
    remedy = "Nothing: the other process goes on. If it repeats, look for processes that are often paused."


class EvidenceUnavailable(Unavailable):
    """Checkpoints are older than the configured bound, and without evidence the broker does not accept records."""

    reason = "EVIDENCE_UNAVAILABLE"
    remedy = "Operator: see `case-exchange status` and the checkpointing log lines; publishers: try again."


class RevocationUnavailable(Unavailable):
    """The revocation list is past its next update and the grace period: the revoked cannot be told apart."""

    reason = "REVOCATION_UNAVAILABLE"
    remedy = "Operator: publish a fresh list: case-exchange certs crl."


class DirectoryUnavailable(Unavailable):
    """The directory in force has expired, so no right can be granted from it."""

    reason = "DIRECTORY_UNAVAILABLE"
    remedy = "Governance: sign a new directory version: case-exchange directory sign."


class DirectoryVersionMissing(Unavailable):
    """The directory version that was in force when the record was accepted is not at this edge, and nobody gave it."""

    reason = "DIRECTORY_VERSION_MISSING"
    remedy = "Nothing: the record comes again. If it repeats, see that this edge has governance's newest directory."


class Draining(Unavailable):
    """The broker is shutting down in good order."""

    reason = "DRAINING"
    remedy = "Connect again; another broker process, or this one after its restart, will answer."


class Overloaded(Unavailable):
    """A bound on concurrent work was met."""

    reason = "OVERLOADED"


class ConnectionFailed(Unavailable):
    """No broker answered at the address, or the connection broke."""

    reason = "CONNECTION_FAILED"
    remedy = "Check that the broker runs and that the address is right: case-exchange status."


# --- the log itself --------------------------------------------------------------------------------------------------


class LogError(CaseExchangeError):
    """The message log cannot be used as it is. An operator must act before anything is served."""

    reason = "LOG_ERROR"
    remedy = "Stop the broker, keep a copy of the data folder, and read the message."


class LogCorrupt(LogError):
    """The stored log contradicts itself."""

    reason = "LOG_CORRUPT"
    security_event = True
    remedy = "Stop the broker, keep the data folder as evidence, and restore from a copy."


class LogInUse(LogError):
    """Another process holds the embedded log. It has exactly one owner."""

    reason = "LOG_IN_USE"
    remedy = "Stop the other broker process, or give this one a data folder of its own."


class LogSettingsRefused(LogError):
    """A Kafka topic or cluster is set up in a way that could lose records or their order."""

    reason = "LOG_SETTINGS_REFUSED"
    remedy = "Operator: set it as the message says (docs/kafka.md has the reasons), then start again."


class LogAccessDenied(LogError):
    """Kafka's access rules do not allow what this process needs."""

    reason = "LOG_ACCESS_DENIED"
    remedy = "Operator: see that the TLS certificate is the right principal's, and its rules those of docs/kafka.md."


class CheckpointConflict(LogError):
    """The stored tree grew behind this process's back: a second follower signs checkpoints of the same log."""

    reason = "CHECKPOINT_CONFLICT"
    remedy = "Run one checkpoint follower for each log; stop the other before starting this one."


class LogSchemaUnsupported(LogError):
    """The log was written by a newer version of the broker."""

    reason = "LOG_SCHEMA_UNSUPPORTED"
    remedy = "Run the newer version; a log is never migrated backwards."


class SpoolUnavailable(CaseExchangeError):
    """The gateway's spool cannot be used: its disk is full, or another gateway has it."""

    reason = "SPOOL_UNAVAILABLE"
    retriable = True
    remedy = "See that one gateway uses the spool folder and that its disk has room; nothing was lost."


class AdapterFailed(CaseExchangeError):
    """The edge's own program failed on this record. It is kept aside as it came, and the others go on."""

    reason = "ADAPTER_FAILED"
    remedy = "Report the defect with the type that the message names; after the mend, ask for the record again."


# --- files that an operator gives us ---------------------------------------------------------------------------------


class SetupInvalid(CaseExchangeError):
    """A file or setting that this process was started with cannot be used."""

    reason = "SETUP_INVALID"
    remedy = "Correct the file or setting that the message names."


class ConfigInvalid(SetupInvalid):
    """The configuration has an unknown key, a wrong type or a value outside its bounds."""

    reason = "CONFIG_INVALID"
    remedy = "Correct the named key; docs/configuration.md lists every key with its unit and default."


class ExtraMissing(SetupInvalid):
    """A library is not installed that this needs. Each role's libraries are an extra of the package."""

    reason = "EXTRA_MISSING"
    remedy = "Install the extra that the message names, for example: pip install 'case-exchange[gateway]'."


class MappingInvalid(SetupInvalid):
    """A mapping file of an agency's own columns cannot be used. The message names every fault with its line."""

    reason = "MAPPING_INVALID"
    remedy = "Correct the lines that the message names; docs/police-tables.md describes mappings."


class CertificateInvalid(SetupInvalid):
    """A certificate file cannot be used: unreadable, expired, the wrong profile, or issued by another authority."""

    reason = "CERTIFICATE_INVALID"
    remedy = "Issue or renew the certificate: case-exchange certs issue / renew."


class KeyInvalid(SetupInvalid):
    """A private key file cannot be used: unreadable, of a wrong type, not the certificate's, or readable by others."""

    reason = "KEY_INVALID"
    remedy = "Give the key file mode 0600 and see that it belongs to its certificate."


class DirectoryInvalid(SetupInvalid):
    """The directory is not signed by the pinned governance key, is malformed, or is older than one already seen."""

    reason = "DIRECTORY_INVALID"
    security_event = True
    remedy = "Fetch the directory from governance again; never accept one that the pinned key did not sign."


class CertificatesUnlisted(SetupInvalid):
    """A directory to be signed would let go of signing certificates that the version before it lists."""

    reason = "CERTIFICATES_UNLISTED"
    remedy = (
        "Name the version before with --previous: its certificates are then kept as retired. To let go of an agency's "
        "certificates, or of one, for ever: --drop AGENCY or --drop SHA256."
    )


class RevocationListInvalid(SetupInvalid):
    """A revocation list is malformed, not signed by its authority, or older than one already seen."""

    reason = "REVOCATION_LIST_INVALID"
    security_event = True
    remedy = "Publish the list again with case-exchange certs crl."


# --- what a client finds out about the exchange ----------------------------------------------------------------------


class EvidenceRefused(CaseExchangeError):
    """What the exchange handed over does not prove what it should. Keep it: it is evidence."""

    reason = "EVIDENCE_REFUSED"
    security_event = True
    remedy = "Keep the bytes, stop relying on this broker, and report to governance."


class NotAddressed(EvidenceRefused):
    """The broker delivered a record that its publisher did not address to this agency."""

    reason = "NOT_ADDRESSED"


class SectionNotAllowed(EvidenceRefused):
    """The broker delivered a section that the directory does not let this agency have."""

    reason = "SECTION_NOT_ALLOWED"


class ReceiptInvalid(EvidenceRefused):
    """A receipt is not signed by the broker, or is for another record."""

    reason = "RECEIPT_INVALID"


class ProofInvalid(EvidenceRefused):
    """An inclusion or consistency proof does not lead to the root that was signed."""

    reason = "PROOF_INVALID"


class CheckpointInvalid(EvidenceRefused):
    """A checkpoint is malformed, or not signed by the log key that the directory names."""

    reason = "CHECKPOINT_INVALID"


class BundleInvalid(CaseExchangeError):
    """The file is not a replay bundle, is of an unknown version, or breaks off before its end."""

    reason = "BUNDLE_INVALID"
    remedy = "Replay again; a bundle that breaks off proves nothing about what is missing from it."


class HandshakeRefused(CaseExchangeError):
    """TLS failed: one side does not accept the other's certificate."""

    reason = "HANDSHAKE_REFUSED"
    remedy = "Check both sides' certificates and authorities: case-exchange certs show FILE."


def all_errors() -> Iterator[type[CaseExchangeError]]:
    """Every class of the tree that is defined now, depth first in order of definition."""
    stack: list[type[CaseExchangeError]] = [CaseExchangeError]
    while stack:
        error = stack.pop()
        yield error
        stack.extend(reversed(error.__subclasses__()))
