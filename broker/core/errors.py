"""The one error tree.

Every class carries four facts. Programs, operators and the reference table (docs/errors.md, generated from here) all
read them here:

- ``reason``: stable, upper snake case; sent as ErrorInfo.reason.
- ``retriable``: whether the same request may succeed later, unchanged.
- ``remedy``: what to do next.
- ``security_event``: whether an auditor should look at a refusal for this reason.

Messages and details hold opaque ids, names of fields and sizes. They never hold record content or a person's data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator


class CaseExchangeError(Exception):
    """Root of the tree. ``details`` are opaque strings, sent to the caller as ErrorInfo metadata.

    ``numbers``: by recipient, the running numbers of the record that is refused, if they are known. Auditors are told.
    """

    reason: ClassVar[str] = "INTERNAL"
    retriable: ClassVar[bool] = False
    security_event: ClassVar[bool] = False
    remedy: ClassVar[str] = "Report it with the log lines around it; this is a defect."

    def __init__(self, message: str, **details: str) -> None:
        super().__init__(message)
        self.message = message
        self.details = details
        self.numbers: tuple[tuple[str, int], ...] = ()

    @property
    def line(self) -> str:
        """For a person: what is wrong, then what to do next."""
        return f"{self.reason}: {self.message}. {self.remedy}"


class Internal(CaseExchangeError):
    """A failure that no other class names. The caller gets no details."""


# --- the request is wrong ---------------------------------------------------------------------------------------------


class InputRefused(CaseExchangeError):
    """The request is not well formed. It does not help to send it again unchanged."""

    reason = "INPUT_REFUSED"
    remedy = "Correct the request."


class AgeFileInvalid(InputRefused):
    """A file with the suffix .age is no age file, or it was cut or changed after it had been sealed."""

    reason = "AGE_FILE_INVALID"
    remedy = "Lay the file again, whole, as age, rage or this program sealed it; or lay it in plain."


class AgeIdentityWrong(InputRefused):
    """A file with the suffix .age is sealed to another identity than those of the agency's key folder."""

    reason = "AGE_IDENTITY_WRONG"
    remedy = (
        "Put the identity that it is sealed to into the key folder again, from a backup or from another system of the "
        "agency. If it was destroyed, nobody can open the file any more."
    )


class EnvelopeMalformed(InputRefused):
    """The envelope or its body cannot be read, or a field that every record needs is missing."""

    reason = "ENVELOPE_MALFORMED"
    remedy = "Build the envelope with the client library; compare with protos/caseexchange/broker/v1/envelope.proto."


class BodyTypeUnsupported(InputRefused):
    """This broker does not know the type of the signed body."""

    reason = "BODY_TYPE_UNSUPPORTED"
    remedy = "Sign bodies of type application/vnd.case-exchange.body.v1+protobuf, or upgrade the broker."


class RecordTooLarge(InputRefused):
    """The envelope is larger than the broker's configured limit."""

    reason = "RECORD_TOO_LARGE"
    remedy = "Send smaller photographs, or send them in a separate record. The limit is records.record_bytes."


class KindUnknown(InputRefused):
    """The exchange does not know the record's kind, or this kind does not belong on the stream of the record."""

    reason = "KIND_UNKNOWN"
    remedy = "Use a kind and its stream from docs/glossary.md, or upgrade the broker."


class SectionMismatch(InputRefused):
    """A section's bytes do not match the signed digest, or a section is missing, repeated or extra."""

    reason = "SECTION_MISMATCH"
    security_event = True
    remedy = "Sign the sections again as they are sent. If that was done, somebody may have changed them on the way."


class KeyWrapsInvalid(InputRefused):
    """A record's wraps are not exactly those that its sealed sections need, or one is not of its key's size."""

    reason = "KEY_WRAPS_INVALID"
    security_event = True
    remedy = (
        "Seal the record with the client library and the newest directory: one wrap for each recipient that may have a "
        "sealed section, with the content keys of exactly these sections."
    )


class Superseded(InputRefused):
    """The record was corrected, withdrawn, or its case was closed since, so it is not sent again."""

    reason = "SUPERSEDED"
    remedy = "Send the newer record instead."


class NotReaddressable(InputRefused):
    """Nobody can seal the record again: some of its sections were erased, or were given to other agencies by name."""

    reason = "NOT_READDRESSABLE"
    remedy = "Publish as a new record what is left of it, if the agency may have that."


class SupplementInvalid(InputRefused):
    """A record says that it supplements another one, and that one is not what it says."""

    reason = "SUPPLEMENT_INVALID"
    security_event = True
    remedy = "Make the supplement with `case-exchange readdress send`, from the record as the log has it."


class EncryptionKeyNotInForce(InputRefused):
    """A record is sealed to a key that was not in force when it was issued: unknown, ended, or not of this use."""

    reason = "ENCRYPTION_KEY_NOT_IN_FORCE"
    security_event = True
    remedy = "Get the newest directory, and publish the content again in a new record."


class EncryptionKeyMissing(InputRefused):
    """A recipient has no encryption key in force, so nothing can be sealed for it."""

    reason = "ENCRYPTION_KEY_MISSING"
    remedy = "Ask the recipient for its key statement, wait for the directory that carries it, and publish again."


class SigningKeyMissing(InputRefused):
    """The directory demands a signature for this kind for which the edge has no key, or knows no second principal."""

    reason = "SIGNING_KEY_MISSING"
    remedy = (
        "Set agency.post_quantum_certificate or agency.second_signers, have the directory list the certificates, and "
        "publish again (docs/algorithms.md). Nothing was signed."
    )


class FormerReceiptInvalid(InputRefused):
    """A record came with a former receipt that proves nothing: forged, of another exchange, or of another record."""

    reason = "FORMER_RECEIPT_INVALID"
    security_event = True
    remedy = "Send the receipt that the exchange gave for this record, or send the record without a former receipt."


class RecordInvalid(InputRefused):
    """A record breaks the rules of its kind, so it is not signed."""

    reason = "RECORD_INVALID"
    remedy = "Correct the record as the message says. If an adapter made the record, report a defect of the adapter."


class SubscriptionInvalid(InputRefused):
    """A subscribe request has no name, no kinds, or limits with which nothing can be delivered."""

    reason = "SUBSCRIPTION_INVALID"
    remedy = "Open the stream with a name, at least one kind, and positive limits."


class SubscriptionUnknown(InputRefused):
    """The agency has no subscription of this name. It never had, or it was deleted."""

    reason = "SUBSCRIPTION_UNKNOWN"
    remedy = "List them: case-exchange subscription list."


class SubscriptionInUse(InputRefused):
    """The subscription is open, or leases of a lost stream still run. So it cannot be moved, deleted or changed."""

    reason = "SUBSCRIPTION_IN_USE"
    remedy = "Stop every gateway and program that has it open, wait until their leases end, and try again."


class PositionUnknown(InputRefused):
    """The requested stream, partition, offset or tree size does not exist."""

    reason = "POSITION_UNKNOWN"
    remedy = "Get the newest checkpoint, and stay within its size."


class OriginUnknown(InputRefused):
    """A witness was asked about a log that its configuration does not name."""

    reason = "ORIGIN_UNKNOWN"
    remedy = "Add the log's origin and key to the witness's configuration ([[logs]]), or ask another witness."


class CosignedSizeDiffers(InputRefused):
    """A witness was asked with another old size than that of the checkpoint that it cosigned last."""

    reason = "COSIGNED_SIZE_DIFFERS"
    remedy = "Send a proof from the size that the witness names."


class DeadLetterUnknown(InputRefused):
    """The subscription has no dead letter at this position. It never had, or it is one no more."""

    reason = "DEAD_LETTER_UNKNOWN"
    remedy = "List them: case-exchange deadletter list."


class RecordUnknown(InputRefused):
    """No record of this id, case or position concerns the caller. It is not told whether there is one for others."""

    reason = "RECORD_UNKNOWN"
    remedy = "Check the id. Only the publisher, the recipients and auditors can ask about a record."


class RecordNotWaiting(InputRefused):
    """The subscription does not wait for this record: it has finished it, or has set it aside already."""

    reason = "RECORD_NOT_WAITING"
    remedy = "See what became of it: case-exchange trace RECORD_ID, and case-exchange deadletter list."


class PurposeMissing(InputRefused):
    """A replay request states no purpose. The audit stream records who reads the log, and why."""

    reason = "PURPOSE_MISSING"
    remedy = "State why you read the log, for example --purpose 'quarterly audit 2026-Q3'."


# --- who is asking, and may they -----------------------------------------------------------------------------------


class IdentityRefused(CaseExchangeError):
    """The exchange does not accept the identity of the caller."""

    reason = "IDENTITY_REFUSED"
    security_event = True
    remedy = "Connect with the TLS certificate that the exchange issued to this system."


class PeerIdentityMissing(IdentityRefused):
    """The TLS certificate must have exactly one spiffe:// URI name (X509-SVID section 2). It has none, or several."""

    reason = "PEER_IDENTITY_MISSING"
    remedy = "Get a certificate with exactly one spiffe:// URI SAN: case-exchange certs request."


class PeerUnknown(IdentityRefused):
    """The directory in force does not list the caller's agency."""

    reason = "PEER_UNKNOWN"
    remedy = "Ask governance to add the agency to the directory and sign it."


class PeerRevoked(IdentityRefused):
    """The caller's TLS certificate is on the revocation list."""

    reason = "PEER_REVOKED"
    remedy = "Renew with a new key: case-exchange certs renew. If you did not request the revocation, call governance."


class ErasureUnsupported(CaseExchangeError):
    """The message log of this exchange cannot remove bytes of a record: nothing can be changed in a topic of Kafka."""

    reason = "ERASURE_UNSUPPORTED"
    remedy = (
        "Have the keys destroyed that the record was sealed to, each at its agency (case-exchange keys destroy), or "
        "wait until the log's retention deletes the record (docs/erasure.md)."
    )


class RightDenied(CaseExchangeError):
    """The directory does not grant the right to do this. What it does not grant is denied."""

    reason = "RIGHT_DENIED"
    security_event = True
    remedy = "Ask governance for the right. `case-exchange directory show` lists the rights that are granted."


class SealingRequired(RightDenied):
    """A section is plain, and the directory grants its publisher no right to publish it plain."""

    reason = "SEALING_REQUIRED"
    remedy = "Seal the section, as the client library does, or ask governance for the right to publish it plain."


class SignatureRefused(CaseExchangeError):
    """The signature does not prove that the publisher wrote the record."""

    reason = "SIGNATURE_REFUSED"
    security_event = True
    remedy = "Sign the record with the agency's own valid signing certificate."


class SignatureInvalid(SignatureRefused):
    """No signature matches the exact bytes of the body: a byte was changed, or another key signed."""

    reason = "SIGNATURE_INVALID"
    remedy = "Sign the exact bytes that are sent. If the sender did so, somebody may have changed them on the way."


class SignatureMissing(SignatureRefused):
    """A record has fewer signatures than its body names, or than the directory demands for its kind."""

    reason = "SIGNATURE_MISSING"
    remedy = (
        "Sign it as the directory demands: with every algorithm, and by as many principals (docs/algorithms.md). If "
        "that was done, somebody removed a signature on the way."
    )


class AlgorithmEnded(SignatureRefused):
    """The algorithms with which a record is signed had ended when it was accepted."""

    reason = "ALGORITHM_ENDED"
    remedy = "Sign with an algorithm that has not ended. Governance says which, in the directory (docs/algorithms.md)."


class SignerUnknown(SignatureRefused):
    """The directory does not list the signing certificate."""

    reason = "SIGNER_UNKNOWN"
    remedy = "Ask governance to list the signing certificate in the directory."


class SignerNotPrincipal(SignatureRefused):
    """One agency or system sends the record; another one signed it, or is named as its publisher."""

    reason = "SIGNER_NOT_PRINCIPAL"
    remedy = "Publish over the signing agency's own connection, with the TLS certificate of the system that is named."


class SignerCertificateInvalid(SignatureRefused):
    """The signing authority did not issue the signing certificate, or the certificate is not valid at this time."""

    reason = "SIGNER_CERTIFICATE_INVALID"
    remedy = "Renew the signing certificate: case-exchange certs renew."


class SignerRevoked(SignatureRefused):
    """The signing certificate is on the revocation list."""

    reason = "SIGNER_REVOKED"
    remedy = "Renew the signing certificate with a new key. Sign again every record signed since the revocation."


class SealRefused(CaseExchangeError):
    """A sealed section, or the wrap with its content key, cannot be opened."""

    reason = "SEAL_REFUSED"
    remedy = "Open it with the key of an agency that the section is for."


class SealKeyMissing(SealRefused):
    """The content keys are wrapped to a key whose private part is not in this agency's key folder."""

    reason = "SEAL_KEY_MISSING"
    remedy = (
        "Put the private key file with this id into the key folder again, from a backup or from another system of the "
        "agency. If the key is lost or destroyed, ask the publisher to seal the record again to a key in force."
    )


class SealInvalid(SealRefused):
    """A wrap or a sealed section was changed, moved to another record, or made for another key or agency."""

    reason = "SEAL_INVALID"
    security_event = True
    remedy = "Keep the bytes: they are evidence. Tell the publisher, which must seal the record again."


class KeyCommitmentBroken(SealInvalid):
    """A wrap holds another content key than the one that the publisher signed for the section."""

    reason = "KEY_COMMITMENT_BROKEN"


class IssuedInFuture(InputRefused):
    """The record's time of issue is too far in the future. Small differences between clocks are allowed."""

    reason = "ISSUED_IN_FUTURE"
    retriable = True
    remedy = "Correct the clock of the publishing machine. An edge then issues the record again by itself."


class RecordExpired(InputRefused):
    """The record has expired: the end that its publisher gave it has passed, or it is older than what the log keeps."""

    reason = "RECORD_EXPIRED"
    remedy = "If the content is still true, publish it in a new record."


class RecordIdConflict(CaseExchangeError):
    """The log already has a record with this id and another body. The first record stays; this one is refused."""

    reason = "RECORD_ID_CONFLICT"
    security_event = True
    remedy = "Give the new record a new id. If nobody on your side used the id twice, treat this as an attack."


class LeaseLost(CaseExchangeError):
    """An ack, nack or extension came after the lease of its delivery ended. The record is delivered again."""

    reason = "LEASE_LOST"
    remedy = "Finish within the lease, or extend it. A record can come twice: make sure that this does no harm."


# --- the exchange cannot serve now; it is safe to ask again ----------------------------------------------------------


class Unavailable(CaseExchangeError):
    """The exchange cannot do this now. It is safe to repeat the request: each record id is published only once."""

    reason = "UNAVAILABLE"
    retriable = True
    remedy = "Try again, and wait longer each time. Keep the record until you have its receipt."


class LogUnavailable(Unavailable):
    """The message log did not answer in time, or it is unknown whether it did what was asked."""

    reason = "LOG_UNAVAILABLE"


class LogFull(Unavailable):
    """The disk of the message log is full, or has only its reserve left. None of the refused records was stored."""

    reason = "LOG_FULL"
    remedy = "Operator: free or add disk space under log.folder. Publisher: keep the record and try again."


class FollowerFenced(Unavailable):
    """Another process makes the checkpoints of this partition now. What this process signed since then is void."""

    reason = "FOLLOWER_FENCED"
    remedy = "Do nothing: the other process continues. If it happens again, look for processes that often stand still."


class EvidenceUnavailable(Unavailable):
    """The newest checkpoint is older than the configuration allows. The broker then accepts no records."""

    reason = "EVIDENCE_UNAVAILABLE"
    remedy = "Operator: see `case-exchange status` and the log lines about checkpoints. Publisher: try again."


class ClockLeapt(Unavailable):
    """The time of day of the broker's machine has leapt. It accepts no records, because their times could be wrong."""

    reason = "CLOCK_LEAPT"
    remedy = (
        "Operator: set the machine's clock right. Publishing then goes on by itself if the leap was the fault. If the "
        "clock is right now and was wrong before, restart the broker. Publisher: try again."
    )


class ProofNotReady(Unavailable):
    """No checkpoint covers the record yet, or none with enough cosignatures. The error says when to ask again."""

    reason = "PROOF_NOT_READY"
    remedy = (
        "Ask again, or wait with `case-exchange proof --wait SECONDS`. If witnesses are late, --without-cosignatures "
        "takes the checkpoint that there is."
    )


class CountersignatureAwaited(Unavailable):
    """A record waits in the spool for the signature of another principal of its agency."""

    reason = "COUNTERSIGNATURE_AWAITED"
    remedy = (
        "Take its file in the folder countersign to the second principal, who signs it with `case-exchange "
        "countersign`, and lay the answer beside it."
    )


class RevocationUnavailable(Unavailable):
    """The revocation list is past its next update and the grace period. It is not known what is revoked now."""

    reason = "REVOCATION_UNAVAILABLE"
    remedy = "Operator: publish a fresh list: case-exchange certs crl."


class DirectoryUnavailable(Unavailable):
    """The directory in force has expired, so it grants no rights."""

    reason = "DIRECTORY_UNAVAILABLE"
    remedy = "Governance: sign a new directory version: case-exchange directory sign."


class DirectoryVersionMissing(Unavailable):
    """This edge does not have the directory version that was in force when the broker accepted the record."""

    reason = "DIRECTORY_VERSION_MISSING"
    remedy = "Do nothing: the record comes again. If this repeats, give this edge the newest directory of governance."


class Draining(Unavailable):
    """The broker is shutting down. This is no failure."""

    reason = "DRAINING"
    remedy = "Connect again. Another broker process will answer, or this one after its restart."


class SubscriptionChanged(Unavailable):
    """The subscription was moved, deleted or opened with other kinds meanwhile."""

    reason = "SUBSCRIPTION_CHANGED"
    remedy = "Connect again. The stream then goes on where the order says."


class Overloaded(Unavailable):
    """Too many requests run at the same time."""

    reason = "OVERLOADED"


class QuotaExceeded(Overloaded):
    """The agency uses as much of this broker as one agency may."""

    reason = "QUOTA_EXCEEDED"
    remedy = "Wait for the time that the answer names, and try again. Ask the operator if the quota is too small."


class ConnectionFailed(Unavailable):
    """No broker answered at the address, or the connection broke."""

    reason = "CONNECTION_FAILED"
    remedy = "Check that the broker runs and that the address is right: case-exchange status."


class WitnessUnavailable(Unavailable):
    """A witness did not answer in time, or its answer cannot be used."""

    reason = "WITNESS_UNAVAILABLE"
    remedy = "The broker asks again. Check that the witness runs, and its address and key in the directory."


class TimestampsUnavailable(Unavailable):
    """No timestamp authority stamps the newest checkpoints."""

    reason = "TIMESTAMPS_UNAVAILABLE"
    remedy = "Ask the authority's operator; compare timestamps.urls with timestamp_authorities in the directory."


class CosignaturesLate(Unavailable):
    """The witnesses that the directory demands have not cosigned the newest checkpoints for too long."""

    reason = "COSIGNATURES_LATE"
    remedy = "Read the lines about witnesses in the operator's log; witnesses.bound_seconds is the limit."


# --- the log itself --------------------------------------------------------------------------------------------------


class LogError(CaseExchangeError):
    """The message log cannot be used. The broker serves nobody until an operator has acted."""

    reason = "LOG_ERROR"
    remedy = "Stop the broker, keep a copy of the data folder, and read the message."


class LogCorrupt(LogError):
    """The stored log contradicts itself."""

    reason = "LOG_CORRUPT"
    security_event = True
    remedy = "Stop the broker, keep the data folder as evidence, and restore from a copy."


class LogRolledBack(LogError):
    """The log lacks records that the exchange had accepted: an old copy was restored. Nobody can publish."""

    reason = "LOG_ROLLED_BACK"
    remedy = (
        "Operator: keep a copy of the data folder, and restore the newest copy. If there is none, prepare a new "
        "incarnation of the log (`case-exchange incarnation`), have governance declare it, restart, and ask agencies "
        "to `case-exchange publish --again`."
    )


class LogInUse(LogError):
    """Another process uses the embedded log. Only one process may use it."""

    reason = "LOG_IN_USE"
    remedy = "Stop the other broker process, or give this one another data folder."


class LogSettingsRefused(LogError):
    """The settings of a Kafka topic or cluster could lose records or their order."""

    reason = "LOG_SETTINGS_REFUSED"
    remedy = "Operator: change the setting as the message says, then start again. docs/kafka.md gives the reasons."


class LogOfAnotherExchange(LogError):
    """The Kafka topics belong to another exchange: it was the first that sealed a directory version there."""

    reason = "LOG_OF_ANOTHER_EXCHANGE"
    remedy = (
        "Operator: give this exchange a kafka.prefix of its own. Two exchanges never share topics. "
        "If it wrote here before, check that kafka.servers and kafka.prefix are still those of this exchange."
    )


class LogAccessDenied(LogError):
    """The access rules of Kafka do not allow something that this process needs."""

    reason = "LOG_ACCESS_DENIED"
    remedy = "Operator: check the TLS certificate of this process, and give it the access rules in docs/kafka.md."


class CheckpointConflict(LogError):
    """Another process changed the stored tree: a second follower signs checkpoints of the same log."""

    reason = "CHECKPOINT_CONFLICT"
    remedy = "Run one checkpoint follower for each log. Stop the other one before you start this one."


class LogSchemaUnsupported(LogError):
    """A newer version of the broker wrote the log."""

    reason = "LOG_SCHEMA_UNSUPPORTED"
    remedy = "Run the newer version. A log cannot go back to an older version."


class WitnessRefused(CaseExchangeError):
    """A witness does not cosign a checkpoint of this log."""

    reason = "WITNESS_REFUSED"
    security_event = True
    remedy = (
        "If it does not know the log or its key, correct the witness's configuration. If it has seen another history "
        "of this log, keep its answer and both checkpoints, and report to governance."
    )


class LogIntruder(CaseExchangeError):
    """Somebody who is no broker of this exchange uses its groups on Kafka. What that one wrote there is refused."""

    reason = "LOG_INTRUDER"
    security_event = True
    remedy = "Operator: find out who holds a key for Kafka, and deny that principal everything (docs/kafka.md)."


class HardwareKeyUnavailable(Unavailable):
    """A private key in a PKCS #11 token cannot be used now: the token is away, or does not answer as it must."""

    reason = "HARDWARE_KEY_UNAVAILABLE"
    remedy = "Put the token back, or start what serves it. Nothing was lost: what needs this key waits and goes on."


class KeyModuleMissing(HardwareKeyUnavailable):
    """The library that reaches a PKCS #11 token cannot be loaded."""

    reason = "KEY_MODULE_MISSING"
    remedy = "Install the module of the token, and name its library in the module-path of the key's URI."


class TokenPinRefused(HardwareKeyUnavailable):
    """A token refused the PIN, or the file of the PIN cannot be used. A process tries each PIN once."""

    reason = "TOKEN_PIN_REFUSED"
    remedy = (
        "Write the right PIN into the file of the pin-source, mode 0600. It is then tried without a restart, unless "
        "this process was refused with it before."
    )


class TokenLocked(HardwareKeyUnavailable):
    """A token takes no PIN any more: it was locked after wrong ones, or its PIN was never set."""

    reason = "TOKEN_LOCKED"
    remedy = "Set the user PIN anew as the token's security officer. Write it into the file of the pin-source first."


class HardwareKeyInvalid(HardwareKeyUnavailable):
    """A token has no such key or several, or one of another kind than the program needs, or not the stated one."""

    reason = "HARDWARE_KEY_INVALID"
    remedy = "Name exactly one key with object and id in the key's URI, or make one: case-exchange token-key."


class SpoolUnavailable(CaseExchangeError):
    """The spool cannot be used: its disk is full, or another gateway or program uses it."""

    reason = "SPOOL_UNAVAILABLE"
    retriable = True
    remedy = "Let only one gateway or program use the spool folder, and free its disk. Nothing was lost."


class AdapterFailed(CaseExchangeError):
    """The program at the edge failed on this record. The record is kept unchanged, and the others go on."""

    reason = "ADAPTER_FAILED"
    remedy = "Report the defect, with the type that the message names. When it is repaired, ask for the record again."


# --- files and settings of the operator ------------------------------------------------------------------------------


class SetupInvalid(CaseExchangeError):
    """This process was started with a file or setting that cannot be used."""

    reason = "SETUP_INVALID"
    remedy = "Correct the file or setting that the message names."


class ConfigInvalid(SetupInvalid):
    """The configuration has an unknown key, a wrong type or a value outside its bounds."""

    reason = "CONFIG_INVALID"
    remedy = "Correct the named key; docs/configuration.md lists every key with its unit and default."


class ExtraMissing(SetupInvalid):
    """This needs a library that is not installed. The package has an extra for each role."""

    reason = "EXTRA_MISSING"
    remedy = "Install the extra that the message names, for example: pip install 'case-exchange[gateway]'."


class MappingInvalid(SetupInvalid):
    """A mapping file (for an agency's own columns) cannot be used. The message names every fault with its line."""

    reason = "MAPPING_INVALID"
    remedy = "Correct the lines that the message names. docs/police-tables.md explains mapping files."


class CertificateInvalid(SetupInvalid):
    """A certificate cannot be used: unreadable, expired, of the wrong profile, or issued by another authority."""

    reason = "CERTIFICATE_INVALID"
    remedy = "Get a certificate (docs/enrolment.md), or renew it: case-exchange certs renew."


class RequestInvalid(SetupInvalid):
    """A certificate request cannot be signed: forged, of another agency or profile, or its key is certified already."""

    reason = "REQUEST_INVALID"
    remedy = "Have the agency make a new request where its keys are: case-exchange certs request. Never send a key."


class KeyInvalid(SetupInvalid):
    """A private key cannot be used: unreadable, of a wrong type, not for this certificate, or readable by others."""

    reason = "KEY_INVALID"
    remedy = "Give the key file mode 0600, and check that the key and the certificate belong together."


class KeyUriInvalid(KeyInvalid):
    """The PKCS #11 URI that names a key in a token is malformed, or holds a PIN."""

    reason = "KEY_URI_INVALID"
    remedy = "Write it as docs/keys.md shows. A PIN stands only in the file of its pin-source, with mode 0600."


class AgeIdentityMissing(SetupInvalid):
    """Files are to be sealed to the agency, or opened, and there is no age identity for it."""

    reason = "AGE_IDENTITY_MISSING"
    remedy = "Make one with case-exchange keys identity make, or copy one into the key folder; and name that folder."


class DirectoryInvalid(SetupInvalid):
    """The pinned governance key did not sign the directory, or it is malformed, or a newer one is already known."""

    reason = "DIRECTORY_INVALID"
    security_event = True
    remedy = "Get the directory from governance again. Never accept one that the pinned key did not sign."


class EvidenceFileInvalid(SetupInvalid):
    """A file that an auditor brings is of another kind, or its copy cannot be made."""

    reason = "EVIDENCE_FILE_INVALID"
    remedy = "Give what `case-exchange receipts export` or `receipts checkpoints` wrote. Keep some disk free, too."


class ClockUnchecked(SetupInvalid):
    """The machine's time of day is more than a day ahead of the log. It may be wrong, and accepted times never fall."""

    reason = "CLOCK_UNCHECKED"
    remedy = (
        "Compare the machine's clock with another. If it is right, start with: case-exchange serve --clock-checked."
    )


class CertificatesUnlisted(SetupInvalid):
    """A directory to be signed would drop signing certificates that the previous version lists."""

    reason = "CERTIFICATES_UNLISTED"
    remedy = (
        "Name the previous version with --previous: its certificates are then kept as retired. To drop all "
        "certificates of an agency for ever: --drop AGENCY. To drop one certificate: --drop SHA256."
    )


class EnrolmentRefused(SetupInvalid):
    """An agency cannot be put into the directory, or get another certificate in it, as asked."""

    reason = "ENROLMENT_REFUSED"
    remedy = "See which agencies it lists: case-exchange directory show. docs/enrolment.md has the order of steps."


class KeyStatementInvalid(DirectoryInvalid):
    """A key statement is malformed, or a certificate of its agency did not sign it, or it contradicts another one."""

    reason = "KEY_STATEMENT_INVALID"
    remedy = "Get the statement again from the agency that it names. Only that agency can make and sign one."


class KeyHistoryBroken(DirectoryInvalid):
    """A directory leaves out or changes a key statement that was seen before, and its agency did not retire the key."""

    reason = "KEY_HISTORY_BROKEN"
    remedy = (
        "Keep both directories: they are evidence. Ask the agency whether it retired the key, and governance for a "
        "directory that carries the statement again, or the agency's retirement."
    )


class WitnessPolicyInvalid(SetupInvalid):
    """A witness policy cannot be used. The message names the first wrong line."""

    reason = "WITNESS_POLICY_INVALID"
    remedy = "Correct the line. The form is that of C2SP tlog-policy; docs/directory.md has an example."


class RevocationListInvalid(SetupInvalid):
    """A revocation list is malformed, or its authority did not sign it, or a newer one is already known."""

    reason = "REVOCATION_LIST_INVALID"
    security_event = True
    remedy = "Publish the list again with case-exchange certs crl."


# --- a client finds a fault of the exchange --------------------------------------------------------------------------


class EvidenceRefused(CaseExchangeError):
    """The broker's answer does not prove what it must prove. Keep the answer: it is evidence."""

    reason = "EVIDENCE_REFUSED"
    security_event = True
    remedy = "Keep the bytes, do not trust this broker any more, and report to governance."


class NotAddressed(EvidenceRefused):
    """The broker delivered a record that is not addressed to this agency."""

    reason = "NOT_ADDRESSED"


class SectionNotAllowed(EvidenceRefused):
    """The broker delivered a section that the directory does not allow for this agency."""

    reason = "SECTION_NOT_ALLOWED"


class ReceiptInvalid(EvidenceRefused):
    """The exchange did not sign the receipt, or the receipt is for another record."""

    reason = "RECEIPT_INVALID"


class ProofInvalid(EvidenceRefused):
    """An inclusion or consistency proof does not lead to the signed root."""

    reason = "PROOF_INVALID"


class IncarnationUndeclared(EvidenceRefused):
    """Another log took the place of the one seen before. The directory does not declare it, or not the whole loss."""

    reason = "INCARNATION_UNDECLARED"
    remedy = (
        "Get the newest directory. If it does not declare the incarnation and its last checkpoint, keep the spool and "
        "tell governance: accepted records were lost."
    )


class CheckpointInvalid(EvidenceRefused):
    """A checkpoint is malformed, or the log key in the directory did not sign it."""

    reason = "CHECKPOINT_INVALID"


class TimestampInvalid(CaseExchangeError):
    """A timestamp is malformed, of other bytes, or not by the pinned timestamp authority."""

    reason = "TIMESTAMP_INVALID"
    remedy = "Ask the authority for another timestamp; pin the certificates that its operator publishes."


class ExportInvalid(CaseExchangeError):
    """An exported signature is not what this program writes for the record."""

    reason = "EXPORT_INVALID"
    remedy = "Export the record again: case-exchange export."


class DisclosureInvalid(CaseExchangeError):
    """A disclosure has another form, is of another record, or shows another content than the section has."""

    reason = "DISCLOSURE_INVALID"
    remedy = "It proves nothing. Keep it, and have the holder disclose the section again: case-exchange disclose."


class BundleInvalid(CaseExchangeError):
    """The file is no replay bundle, or has an unknown version, or its end is missing."""

    reason = "BUNDLE_INVALID"
    remedy = "Replay again. A bundle without its end proves nothing about the missing part."


class HandshakeRefused(CaseExchangeError):
    """TLS failed: one side does not accept the other's certificate."""

    reason = "HANDSHAKE_REFUSED"
    remedy = "Check the certificates and authorities of both sides: case-exchange certs show FILE."


def all_errors() -> Iterator[type[CaseExchangeError]]:
    """Every class of the tree, depth first, in order of definition."""
    stack: list[type[CaseExchangeError]] = [CaseExchangeError]
    while stack:
        error = stack.pop()
        yield error
        stack.extend(reversed(error.__subclasses__()))


def forget_frames(error: BaseException | None) -> None:
    """Let the frames of an error go, so that what they hold is freed at once, and not when garbage is collected.

    They are not cleared: to clear one of a coroutine that waits would end it.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
