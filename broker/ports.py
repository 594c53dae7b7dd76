"""The ports: the Protocols through which services use clocks, keys, codecs and stores.

Each port has the name of its role. Its docstrings state what every implementation promises. For each port, one suite of
contract tests (tests/contract) runs over every backend. Only bootstrap chooses implementations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from broker.core.ackstate import AckState
    from broker.core.addcheckpoint import AddCheckpoint, Cosigned
    from broker.core.body import Body, Routing
    from broker.core.bundle import CosignedCheckpoint, Frame
    from broker.core.checkpoint import NoteSignature, SignatureCheck
    from broker.core.cosignature import WitnessKey
    from broker.core.entry import Appended, Interest, LogEntry, NewEntry, Page, Stray
    from broker.core.envelope import Envelope
    from broker.core.events import AuditEvent
    from broker.core.identity import Principal
    from broker.core.merkle import Coordinate
    from broker.core.policy import Directory
    from broker.core.receipt import Receipt, ReceiptStatement
    from broker.core.streams import Position, StreamPartition
    from broker.core.subscriptions import Generation


class Clock(Protocol):
    """The time. Safe to call from any thread."""

    def now_ms(self) -> int:
        """The time of day: milliseconds since the Unix epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back. Use only the difference of two values."""


class WatchedClock(Clock, Protocol):
    """A clock that notices when the machine's time of day leaps."""

    def leap_ms(self) -> int:
        """How far the machine's time of day has leapt away from this clock, in milliseconds. 0: it has not."""


class Entropy(Protocol):
    """Unpredictable numbers. Safe to call from any thread."""

    def record_id(self) -> str:
        """A fresh RFC 9562 UUIDv7 in canonical text."""

    def token(self, size: int) -> bytes:
        """``size`` fresh random bytes, good enough for salts and ids."""


# --- keys and identities ---------------------------------------------------------------------------------------------


class Signer(Protocol):
    """A signing key with its certificate. Safe to call from any thread."""

    @property
    def certificate_sha256(self) -> bytes:
        """SHA-256 of the certificate's DER."""

    @property
    def algorithm(self) -> str:
        """The algorithm's name, as it is written in bodies."""

    def sign(self, message: bytes) -> bytes:
        """Sign exactly these bytes."""


class NoteSigner(Protocol):
    """A checkpoint key, as C2SP signed-note defines it. Safe to call from any thread."""

    @property
    def name(self) -> str:
        """The key's name."""

    @property
    def key_id(self) -> bytes:
        """Its 4-byte id."""

    def sign(self, text: bytes) -> bytes:
        """Sign the text of a note, with its last newline."""


class CosignatureSigner(Protocol):
    """The key of a witness. Safe to call from any thread."""

    @property
    def key(self) -> WitnessKey:
        """Its name and public key."""

    def sign(self, message: bytes) -> bytes:
        """Sign exactly these bytes. 64 bytes of Ed25519."""


class LogKeys(Protocol):
    """The checkpoint keys of the exchange's brokers. Safe to call from any thread."""

    def check(self, key_id: bytes) -> SignatureCheck | None:
        """A function that checks signatures of the key with this id, or None if no such key is listed."""

    def verifiers(self) -> Mapping[tuple[str, bytes], SignatureCheck]:
        """The same function for each listed key, by the key's name and id."""


class SignerCertificate(Protocol):
    """A signing certificate that the directory lists, ready for use. Safe to call from any thread."""

    @property
    def agency(self) -> str:
        """The agency that the directory lists it for. The certificate always names the same agency."""

    @property
    def public_key_der(self) -> bytes:
        """Its public key, as SubjectPublicKeyInfo (DER)."""

    def check_valid(self, at_ms: int) -> None:
        """Check that the signing authority issued it, and that it is valid and not revoked at this time.

        Raises:
            SignerCertificateInvalid, SignerRevoked, RevocationUnavailable
        """

    def check_trusted(self, of_ms: int, now_ms: int) -> None:
        """Check that its word of now about a time in the past counts: not ended before that time, not revoked now.

        Raises:
            SignerCertificateInvalid, SignerRevoked, RevocationUnavailable
        """

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature over exactly these bytes. Releases the interpreter lock while it computes.

        Raises:
            SignatureInvalid
        """


class Signed(NamedTuple):
    """Bytes, a signature over them, and the certificate that is said to have made it. Not yet checked."""

    certificate: SignerCertificate
    message: bytes
    signature: bytes


class SignatureVerifier(Protocol):
    """Checks many signatures at once. Safe to call from any thread; blocks until all are checked."""

    def verify(self, signed: Sequence[Signed]) -> list[bool]:
        """Whether each signature is valid, in order."""


class MessageExaminer(Protocol):
    """Looks into large messages before they are parsed. Safe to call from any thread; blocks until it has an answer."""

    def fields_fit(self, data: bytes, nested: Mapping[int, Any], most: int) -> bool:
        """Whether a serialised message is within bounds, as ``fields_fit`` of broker/wire/bounds.py says."""


class Keyring(Protocol):
    """The signing certificates of the directory in force. Safe to call from any thread."""

    def signer(self, certificate_sha256: bytes) -> SignerCertificate:
        """The certificate of this fingerprint.

        Raises:
            SignerUnknown: the directory lists no such certificate.
        """


class DirectoryInForce(Protocol):
    """The newest directory that this process has seen. Governance signed it. Versions never go back."""

    def current(self) -> Directory:
        """The version in force.

        Raises:
            DirectoryUnavailable: it has expired.
        """


class TrustMaterial(Protocol):
    """The public documents in a replay. With them an auditor can check signatures years later."""

    def authorities(self) -> Sequence[bytes]:
        """Certificates (DER) of the signing authorities."""

    def revocation_lists(self) -> Sequence[bytes]:
        """The revocation lists of these authorities that are in force, byte for byte."""


class RevocationCheck(Protocol):
    """Whether the certificate of a TLS peer is revoked."""

    def check(self, certificate_der: bytes) -> None:
        """Refuse a certificate that is on its authority's revocation list. Fast enough for every call.

        Raises:
            PeerRevoked: it is on the list.
            RevocationUnavailable: the list is too old, so this is not known.
        """


class PeerAuthentication(Protocol):
    """Who a TLS peer is.

    The handshake has already proved two things: the peer has the key, and an authority issued the certificate.
    """

    def authenticate(self, certificate_pem: bytes) -> Principal:
        """Return the principal that a peer's certificate names. Fast enough for every call.

        Raises:
            PeerIdentityMissing: the certificate does not name exactly one principal.
            PeerUnknown: the principal belongs to another exchange, or to an agency that the directory does not list.
            PeerRevoked, RevocationUnavailable, DirectoryUnavailable
        """

    def named(self, certificate_pem: bytes) -> str:
        """The SPIFFE id of the principal that the certificate names, also if it may not call. Empty: it names none."""


# --- bytes -----------------------------------------------------------------------------------------------------------


class RecordCodec(Protocol):
    """Turns bytes into core types, and back. Pure. Never reads the content of a section."""

    def parse_body(self, body: bytes) -> Body:
        """Read a body. The caller has verified its signature, or verifies it next.

        Raises:
            EnvelopeMalformed: this is no body, or it breaks the rules of ``check_body``.
        """

    def read_routing(self, body: bytes) -> Routing:
        """Read a part of a body that was accepted: the caller compares its digest, so its form needs no second check.

        Raises:
            EnvelopeMalformed: this is no body.
        """

    def encode_body(self, body: Body) -> bytes:
        """Serialise a body once, so that these bytes can be signed."""

    def decode_envelope(self, data: bytes) -> Envelope:
        """Read an envelope. Its body and sections are returned byte for byte.

        Raises:
            EnvelopeMalformed: this is no envelope.
        """

    def encode_envelope(self, envelope: Envelope) -> bytes:
        """Serialise an envelope for the log. The signed body is copied; it is never serialised again."""

    def encode_statement(self, statement: ReceiptStatement) -> bytes:
        """Serialise a receipt statement. The same statement always gives the same bytes."""

    def encode_frame(self, frame: Frame) -> bytes:
        """Serialise a frame of a replay bundle. The same frame always gives the same bytes."""

    def parse_receipt(self, receipt: bytes) -> Receipt:
        """Read a serialised portable receipt.

        Raises:
            ReceiptInvalid: this is no receipt, or has something else in it too.
        """

    def parse_statement(self, statement: bytes) -> ReceiptStatement:
        """Read a serialised receipt statement.

        Raises:
            ReceiptInvalid: this is no statement.
        """

    def encode_audit_events(self, events: Sequence[AuditEvent]) -> bytes:
        """Serialise events as the only section of an audit record."""

    def decode_audit_events(self, data: bytes) -> list[AuditEvent]:
        """Read the content of an audit record's section.

        Raises:
            EnvelopeMalformed: these are no audit events.
        """


# --- the message log -------------------------------------------------------------------------------------------------


class SubscriptionKey(NamedTuple):
    """Names a durable subscription: the agency that owns it, and its name."""

    agency: str
    name: str


class DeadLetterState(NamedTuple):
    """One dead letter. ``principal`` held it last. ``since_ms`` is in milliseconds since the Unix epoch, UTC.

    ``parked`` records of its case wait. ``reason`` is empty if it failed too often, or says why not: it is damaged.
    ``publisher`` published the record; empty if that is not known. ``code`` is that of the agency if it ordered this.
    """

    subscription: SubscriptionKey
    position: Position
    case_id: str
    attempts: int
    principal: str
    since_ms: int
    parked: int
    reason: str
    publisher: str = ""
    code: str = ""


class UnprocessedRecord(NamedTuple):
    """A record that a subscription refused with a code, or gave up: ``dead_letter`` says which.

    ``publisher`` is empty if it is not known, and ``record_id`` if the log has lost the record. ``at_ms`` is in epoch
    milliseconds. ``attempts``, ``reason`` and perhaps ``code`` are those of the dead letter.
    """

    publisher: str
    subscription: SubscriptionKey
    position: Position
    record_id: str
    at_ms: int
    code: str
    dead_letter: bool = False
    attempts: int = 0
    reason: str = ""


class Assigned(NamedTuple):
    """From now on, the cursor reads this partition. It begins at ``state.floor``.

    If ``shared``, another process may have read it before, and may not know yet that it does not read it any more.
    """

    partition: StreamPartition
    state: AckState
    shared: bool = False


class Revoked(NamedTuple):
    """The cursor no longer reads this partition; another broker process may read it. Commit nothing more for it."""

    partition: StreamPartition


class PlaceState(NamedTuple):
    """Where a subscription stands in a partition: every record that it wants below ``floor`` is finished.

    ``behind`` records that it wants are not finished. ``oldest_ms`` is when the first of them was accepted, in
    milliseconds since the Unix epoch. None: there is none, or the log has lost it.
    """

    partition: StreamPartition
    floor: int
    behind: int
    oldest_ms: int | None


class SubscriptionState(NamedTuple):
    """One subscription as it stands now.

    ``created_ms`` is in milliseconds since the Unix epoch. ``readers``: see ``Standing``. Its agency ordered
    to skip ``skipped`` records since it was made.
    """

    key: SubscriptionKey
    kinds: frozenset[str]
    created_ms: int
    generation: int
    readers: int
    places: tuple[PlaceState, ...]
    dead_letters: int
    parked: int
    skipped: int


class Standing(NamedTuple):
    """Where a subscription stands. ``states`` has what was committed in its generation; the rest begins at its starts.

    ``readers`` is how many cursors it has now in this process or, if processes share the log, how many of them read.
    ``latest`` is the highest generation of which anything was committed; None: nothing ever was.
    """

    states: Mapping[StreamPartition, AckState]
    readers: int
    latest: int | None


AssignmentChange: TypeAlias = Assigned | Revoked


class LogCursor(Protocol):
    """Reads for one durable subscription: only the entries that it wants. Only one task at a time may use it."""

    def assignment_changes(self) -> list[AssignmentChange]:
        """The changes since the last call, in order. Empty until the first ``wait`` has returned."""

    async def wait(self) -> None:
        """Wait until there may be new entries or new assignment changes. May return early. May be cancelled.

        Only an entry that the subscription wants ends the wait. The caller then reads every partition to its end,
        because what has arrived before the wait begins does not end it.

        Raises:
            LogError: there will never be new entries.
        """

    async def read(self, partition: StreamPartition, max_records: int, max_bytes: int) -> Page:
        """The next wanted entries of an assigned partition, in order, without waiting for new ones.

        Returns at most ``max_records``, and stops after the entry that reaches ``max_bytes``. This cursor returns each
        entry once. A page without entries says that there are no more now. Time: by what is wanted, not by what is not.

        A wanted entry that the log has lost or changed does not stop the others. If the log finds this, the entry has
        no value. A log without digests of values cannot find it. So the caller checks each (services/accepted.py).

        Raises:
            LogCorrupt: more is lost than single entries.
            LogUnavailable: nothing was read. The same call may succeed later.
        """

    async def commit(self, states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
        """Store how far the subscription is. The new states replace the old ones. They are durable when it returns.

        Returns:
            The partitions for which the state was stored. A partition that this cursor no longer reads is left out:
            another process may have committed a newer state. What is left out was surely not stored.

        Raises:
            LogUnavailable: it is unknown which of the states were stored.
        """

    async def close(self) -> None:
        """Stop reading. Idempotent."""


class MessageLog(Protocol):
    """Stores the records of all streams. Methods may be called concurrently."""

    def log_id(self, stream: str) -> str:
        """The id of this stream's log. Every entry of the log carries it. A log that is made again gets a new id."""

    def partitions(self, stream: str) -> int:
        """The number of a stream's partitions. It never changes for this log."""

    async def append(self, entries: Sequence[NewEntry]) -> list[Appended]:
        """Append records, each record id once. Return the position of each record, in order.

        When it returns, every record is durable as the backend defines it (SQLite: fsync; Kafka: acks=all). Records
        of one call keep their order within a partition, and so do concurrent calls, in the order in which they began.
        If one fails, those fail too that began after it and before its failure was known. Appends to the stream audit
        alone do so among themselves: a log that is too full for records may still take them. Concurrent calls share the
        cost of becoming durable. If the log already has a record id, that record is not appended again, even if its
        bytes differ.

        Raises:
            LogFull: there is no space. None of the entries was appended.
            LogUnavailable: it is unknown which entries were appended. It is safe to append them again.
        """

    async def lookup(self, record_ids: Sequence[bytes]) -> dict[bytes, Appended]:
        """The positions of these records. Ids that are not in the log are left out.

        Raises:
            LogUnavailable
        """

    async def read(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int, *, values: bool = True
    ) -> list[LogEntry]:
        """Entries from ``offset`` on, in order; empty at the end. Stops after the entry that reaches ``max_bytes``.

        If the log has lost an entry, the entry is left out. If its other facts are still known, it is returned without
        its value.

        Args:
            partition: the partition to read.
            offset: the lowest offset to return. It need not exist.
            max_records: the largest number of entries to return.
            max_bytes: the limit for the values together. If there is an entry, at least one is returned.
            values: whether to return the values of the entries.

        Raises:
            LogUnavailable, LogCorrupt
        """

    async def read_wanted(
        self, partition: StreamPartition, offset: int, interest: Interest, max_records: int, max_bytes: int
    ) -> Page:
        """The wanted entries from ``offset`` on, as ``LogCursor.read`` promises.

        Raises:
            LogCorrupt: more is lost than single entries.
            LogUnavailable
        """

    async def not_indexed(self, entries: Sequence[LogEntry]) -> list[Position]:
        """The positions of those entries that a reader would not find who looks for them by their kind and recipients.

        Raises:
            LogUnavailable
        """

    async def strays(self, partition: StreamPartition) -> list[Stray]:
        """Everything in a partition that no broker of this exchange appended, in order of position.

        ``read`` and cursors never return strays. If only the broker can write to the log, there are none.

        Raises:
            LogUnavailable
        """

    async def end_offset(self, partition: StreamPartition) -> int:
        """The highest durable offset plus one, or 0 if the partition is empty."""

    async def catch_up(self, partition: StreamPartition, offset: int) -> None:
        """Wait until this process can read every entry of the partition below an offset.

        Raises:
            LogCorrupt: the partition ends before this offset.
            LogUnavailable
        """

    async def wait_beyond(self, partitions: Mapping[StreamPartition, int]) -> None:
        """Wait until one of the partitions has an entry at or after the given offset. May be cancelled.

        Raises:
            LogError: there will never be such an entry.
        """

    async def open_cursor(
        self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation
    ) -> LogCursor:
        """Begin to read for a subscription: after its last commit in this generation, or from the generation's starts.

        It wants the records of these kinds that are addressed to its agency, from each kind's start on. All kinds are
        in the vocabulary. A commit never replaces one of a later generation.
        """

    async def standing(self, subscription: SubscriptionKey, kinds: frozenset[str], generation: Generation) -> Standing:
        """Where a subscription of this generation and these kinds stands.

        Raises:
            LogUnavailable
        """

    async def count_wanted(self, partition: StreamPartition, offsets: Sequence[range], interest: Interest) -> int:
        """How many entries at these offsets an interest concerns. Time: by how many there are.

        Raises:
            LogUnavailable
        """

    async def ping(self) -> None:
        """Check that an append would succeed now.

        Raises:
            LogUnavailable, LogFull
        """

    async def close(self) -> None:
        """Finish the appends that have begun, then release everything. Idempotent."""


class LogRepair(Protocol):
    """Puts back what the log has lost or changed.

    ``rereads``: every subscription reads again by itself what was put back.
    """

    @property
    def rereads(self) -> bool:
        """See the class."""

    def suspected(self, positions: Collection[Position]) -> frozenset[Position]:
        """Those that are worth a look of ``restore``, besides what others know to be damaged.

        A log in which a look costs little returns all of them.
        """

    async def restore(
        self, again: Sequence[tuple[Position, NewEntry]], sound: Callable[[LogEntry], bool]
    ) -> list[Position]:
        """Put back damaged entries.

        The embedded log puts back value, kind, case and recipients, and every subscription of the recipients reads them
        again, also if it had finished them. On Kafka only a value can be damaged for all processes. Its record is
        appended as a copy, and whoever reads the entry from now on, in any process, gets the value of the copy.

        Args:
            again: records that were offered again, with their positions. The caller has checked them.
            sound: whether an entry is what was accepted. Called from another thread.

        Returns:
            The positions of those that were put back: they were not as accepted, or not in the index, and had the same
            record id and digest.

        Raises:
            LogFull, LogUnavailable
        """


# --- checkpoints -----------------------------------------------------------------------------------------------------


class LeafRow(NamedTuple):
    """One stored leaf: the offset of its entry, the time when the entry was accepted, and its hash."""

    offset: int
    accepted_at_ms: int
    hash: bytes


class TreeHead(NamedTuple):
    """The newest checkpoint of a partition: size, signed note, and time of signing (epoch milliseconds)."""

    size: int
    note: bytes
    signed_at_ms: int


class TreeExtension(NamedTuple):
    """New leaves after the stored ones, the inner nodes that become complete, and the checkpoint of the new tree."""

    leaves: Sequence[LeafRow]
    nodes: Sequence[tuple[int, int, bytes]]
    head: TreeHead


class ScrubPlace(NamedTuple):
    """How far the scrub is in a partition, in leaves: no scrub read ``unread``, and a pass goes on with ``next``."""

    unread: int = 0
    next: int = 0


class CheckpointStore(Protocol):
    """Stores the tree of each partition for the follower. The log can rebuild all of it but the notes' signatures."""

    async def head(self, partition: StreamPartition) -> TreeHead | None:
        """The newest checkpoint, or None before the first."""

    async def next_offset(self, partition: StreamPartition) -> int:
        """The offset of the last stored leaf plus one, or 0 before the first."""

    async def extend(self, partition: StreamPartition, size: int, extension: TreeExtension) -> None:
        """Extend the tree of ``size`` leaves, durably. Either all of the extension is stored, or nothing.

        Raises:
            CheckpointConflict: the stored tree has another size, so a second follower runs. Nothing was stored.
            LogUnavailable, LogFull
        """

    async def nodes(self, partition: StreamPartition, coordinates: Sequence[Coordinate]) -> list[bytes]:
        """The hashes of complete subtrees, in the order of ``coordinates``.

        Raises:
            PositionUnknown: the tree is not that large.
        """

    async def leaves(self, partition: StreamPartition, first: int, end: int) -> list[LeafRow]:
        """The leaves from index ``first`` to ``end``, without ``end``. The caller limits how many it asks for.

        Raises:
            PositionUnknown: ``0 <= first <= end`` is false, or the tree is not that large.
        """

    async def leaf_index(self, partition: StreamPartition, offset: int) -> int | None:
        """The index of the leaf for the entry at ``offset``, or None if the entry has no leaf (yet)."""

    async def leaf_offset(self, partition: StreamPartition, index: int) -> int:
        """The offset of the entry of the leaf at ``index``.

        Raises:
            PositionUnknown: there is no such leaf.
        """

    async def first_leaf_since(self, partition: StreamPartition, accepted_at_ms: int) -> int:
        """The index of the first leaf that was accepted at or after this time, or the tree's size if there is none."""

    async def scrub_place(self, partition: StreamPartition) -> ScrubPlace:
        """What was stored last, or the beginning."""

    async def put_scrub_place(self, partition: StreamPartition, place: ScrubPlace) -> None:
        """Store how far the scrub is.

        Raises:
            LogUnavailable, LogFull
        """

    async def close(self) -> None:
        """Release everything. Idempotent."""


class CheckpointBoard(Protocol):
    """All processes of one log agree here on its checkpoints. At most one process follows a partition at any time."""

    def follows(self, partition: StreamPartition) -> bool:
        """Whether this process extends the partition's tree now.

        If so, ``published`` returns everything that earlier followers published, and they can publish nothing more.
        """

    async def publish(self, partition: StreamPartition, size: int, extension: TreeExtension) -> None:
        """Publish an extension of the tree of ``size`` leaves. Durable, and visible to all processes, when it returns.

        Raises:
            FollowerFenced: another process follows the partition. Nothing was published.
            LogUnavailable: it is unknown whether it was published. This process does not follow until it is known.
        """

    async def published(self, partition: StreamPartition, size: int) -> TreeExtension | None:
        """The next published extension of the tree of ``size`` leaves, without inner nodes. None if there is none yet.

        A key that the directory lists has signed its note, and the note names this partition. The caller must check two
        more things: that the note has the id of this log, and that the leaves match the log's entries. A follower may
        publish the empty tree; that extension is returned only while there is no other.
        """

    async def close(self) -> None:
        """Stop following every partition, and release everything. Idempotent."""


class WitnessedNote(NamedTuple):
    """What a witness cosigned last for an origin: size, root, and the note with the log's line and its own."""

    size: int
    root: bytes
    note: bytes


class WitnessStore(Protocol):
    """What a witness has cosigned. Never put it back from a copy: a witness that forgets signs two histories."""

    async def advance(self, origin: str, judge: Callable[[Cosigned], WitnessedNote]) -> WitnessedNote:
        """Judge a checkpoint of an origin by what was cosigned last, and store the result in its place.

        Nobody else can change it between the judgement and the storing. The result is durable when this returns.

        Args:
            origin: the log's.
            judge: gets what was cosigned last. It raises to refuse; then nothing is stored. Called from another thread,
                perhaps more than once.

        Raises:
            CaseExchangeError: as ``judge`` raised it.
            LogUnavailable, LogFull: it is unknown whether it was stored. So the cosignature must not be given out.
        """

    async def note(self, origin_sha256: bytes) -> bytes | None:
        """What was cosigned last for the origin with this SHA-256, or None.

        Raises:
            LogUnavailable
        """

    async def close(self) -> None:
        """Release everything. Idempotent."""


class WitnessCaller(Protocol):
    """Asks one witness. For one task at a time."""

    async def add_checkpoint(self, request: AddCheckpoint) -> Sequence[NoteSignature]:
        """Ask for cosignatures of a checkpoint. Return the signature lines of the answer. Nothing in them is verified.

        It may take as long as the witness likes: the caller bounds it. May be cancelled.

        Raises:
            CosignedSizeDiffers: the witness has cosigned another size last. The error has it.
            WitnessRefused: it does not cosign this checkpoint.
            WitnessUnavailable: it did not answer, or its answer cannot be used.
        """

    async def latest(self, origin: str) -> bytes:
        """The note that it has cosigned last for an origin. Nothing in it is verified. As for time: ``add_checkpoint``.

        Raises:
            WitnessUnavailable: it did not answer, or does not show it.
        """

    async def close(self) -> None:
        """Close its connection. Idempotent."""


class CosignedCheckpoints(Protocol):
    """What witnesses have cosigned."""

    async def cosigned(self, partition: StreamPartition, size: int) -> CosignedCheckpoint | None:
        """The newest checkpoint that a quorum has cosigned, with the proof that the tree of this size extends it.

        None: there is none, or it is of a larger tree.

        Raises:
            LogUnavailable
        """


class CosignedStore(Protocol):
    """The newest checkpoint of each origin that had a quorum of witnesses."""

    async def cosigned(self, origin: str) -> bytes | None:
        """Its note, or None.

        Raises:
            LogUnavailable
        """

    async def put(self, origin: str, note: bytes) -> None:
        """Replace it, durably.

        Raises:
            LogUnavailable, LogFull
        """

    async def close(self) -> None:
        """Release everything. Idempotent."""


class Evidence(Protocol):
    """Checks that the checkpoints are not too far behind the log (design decision 8)."""

    def check(self) -> None:
        """Refuse to go on without evidence. Fast enough for every batch.

        Raises:
            EvidenceUnavailable: the newest checkpoint is further behind the log than the configuration allows.
            LogRolledBack: the log contradicts a checkpoint that was signed for it.
            CosignaturesLate: witnesses are late, and the configuration says that publishing then stops.
        """


class KeptBytes(Protocol):
    """A few bytes that outlive a restart. Whoever can write to the file can only make the process forget."""

    def read(self) -> bytes:
        """What was written last, or nothing. Blocks."""

    def write(self, data: bytes) -> None:
        """Replace it. If it cannot be written, this is logged. Blocks."""


class AuditTrail(Protocol):
    """Writes to the audit stream."""

    async def record(self, events: Sequence[AuditEvent]) -> None:
        """Write these events to the audit stream. Durable when it returns. Concurrent calls share one record.

        Raises:
            LogUnavailable, LogFull
        """
