"""The seams: every Protocol through which services meet clocks, keys, codecs and stores.

Each is named for its role and says in prose what an implementation promises. One contract suite per port
(tests/contract) runs over every backend. Only bootstrap chooses implementations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.ackstate import AckState
    from broker.core.body import Body
    from broker.core.bundle import Frame
    from broker.core.checkpoint import SignatureCheck
    from broker.core.entry import Appended, LogEntry, NewEntry, Stray
    from broker.core.envelope import Envelope
    from broker.core.events import AuditEvent
    from broker.core.identity import Principal
    from broker.core.merkle import Coordinate
    from broker.core.policy import Directory
    from broker.core.receipt import ReceiptStatement
    from broker.core.streams import StreamPartition


class Clock(Protocol):
    """Time, and nothing else. Safe to call from any thread."""

    def now_ms(self) -> int:
        """Wall time: milliseconds since the Unix epoch, UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back; only differences mean anything."""


class Entropy(Protocol):
    """Unpredictable numbers. Safe to call from any thread."""

    def record_id(self) -> str:
        """A fresh RFC 9562 UUIDv7 in canonical text."""

    def token(self, size: int) -> bytes:
        """``size`` fresh random bytes, fit for salts and ids."""


# --- keys and who holds them -----------------------------------------------------------------------------------------


class Signer(Protocol):
    """A signing key with its certificate. Safe to call from any thread."""

    @property
    def certificate_sha256(self) -> bytes:
        """SHA-256 of the certificate's DER."""

    @property
    def algorithm(self) -> str:
        """The algorithm's name as bodies state it."""

    def sign(self, message: bytes) -> bytes:
        """Sign exactly these bytes."""


class NoteSigner(Protocol):
    """A checkpoint key in the C2SP signed-note sense. Safe to call from any thread."""

    @property
    def name(self) -> str:
        """The key's name."""

    @property
    def key_id(self) -> bytes:
        """Its 4-byte id."""

    def sign(self, text: bytes) -> bytes:
        """Sign a note's text, including its last newline."""


class LogKeys(Protocol):
    """The checkpoint keys of the exchange's brokers. Safe to call from any thread."""

    def check(self, key_id: bytes) -> SignatureCheck | None:
        """Whether a signature over a text is good under the key of this id; None where no such key is listed."""

    def verifiers(self) -> Mapping[tuple[str, bytes], SignatureCheck]:
        """The same for each key by its name and id."""


class SignerCertificate(Protocol):
    """A signing certificate that the directory lists, ready for use. Safe to call from any thread."""

    @property
    def agency(self) -> str:
        """The agency that the directory lists it for; always the one that the certificate names itself."""

    @property
    def public_key_der(self) -> bytes:
        """Its public key: SubjectPublicKeyInfo."""

    def check_valid(self, at_ms: int) -> None:
        """Check that it chains to the signing authority, and is valid and unrevoked at this time.

        Raises:
            SignerCertificateInvalid, SignerRevoked, RevocationUnavailable
        """

    def verify(self, message: bytes, signature: bytes) -> None:
        """Check a signature over exactly these bytes. Releases the interpreter lock while it computes.

        Raises:
            SignatureInvalid
        """


class Signed(NamedTuple):
    """Bytes, and a signature that a certificate is said to have made over them."""

    certificate: SignerCertificate
    message: bytes
    signature: bytes


class SignatureVerifier(Protocol):
    """Checks many signatures at once. Safe to call from any thread; blocks until all are checked."""

    def verify(self, signed: Sequence[Signed]) -> list[bool]:
        """Whether each signature holds, in order."""


class Keyring(Protocol):
    """The signing certificates of the directory in force. Safe to call from any thread."""

    def signer(self, certificate_sha256: bytes) -> SignerCertificate:
        """The certificate of this fingerprint.

        Raises:
            SignerUnknown: the directory lists no such certificate.
        """


class DirectoryInForce(Protocol):
    """The directory that governance signed last, as far as this process has seen. Versions never go back."""

    def current(self) -> Directory:
        """The version in force.

        Raises:
            DirectoryUnavailable: it has expired.
        """


class TrustMaterial(Protocol):
    """The public documents that a replay hands over, so that an auditor can check signatures years later."""

    def authorities(self) -> Sequence[bytes]:
        """Certificates (DER) of the signing authorities."""

    def revocation_lists(self) -> Sequence[bytes]:
        """Their revocation lists in force, byte for byte."""


class RevocationCheck(Protocol):
    """Whether a TLS peer is still welcome."""

    def check(self, certificate_der: bytes) -> None:
        """Refuse a certificate that is on its authority's revocation list. Cheap enough for every call.

        Raises:
            PeerRevoked: it is.
            RevocationUnavailable: the list is too old to tell.
        """


class PeerAuthentication(Protocol):
    """Who a TLS peer is. The handshake has shown that it holds its certificate and that an authority issued that."""

    def authenticate(self, certificate_pem: bytes) -> Principal:
        """Name the principal of a peer's certificate, unless it is no longer welcome. Cheap enough for every call.

        Raises:
            PeerIdentityMissing: the certificate names no principal of this exchange.
            PeerUnknown: it names one of another exchange, or of an agency that the directory does not list.
            PeerRevoked, RevocationUnavailable, DirectoryUnavailable
        """


# --- bytes -----------------------------------------------------------------------------------------------------------


class RecordCodec(Protocol):
    """Bytes to core types and back. Pure; never looks into a section."""

    def parse_body(self, body: bytes) -> Body:
        """Read a body whose signature has been verified, or is about to be.

        Raises:
            EnvelopeMalformed: not a body, or one that breaks the rules of ``check_body``.
        """

    def encode_body(self, body: Body) -> bytes:
        """Serialise a body, once, to be signed."""

    def decode_envelope(self, data: bytes) -> Envelope:
        """Read an envelope; body and sections are byte for byte what was put in.

        Raises:
            EnvelopeMalformed: not an envelope.
        """

    def encode_envelope(self, envelope: Envelope) -> bytes:
        """Serialise an envelope for the log. The signed body inside it is copied, never serialised again."""

    def encode_statement(self, statement: ReceiptStatement) -> bytes:
        """Serialise a receipt statement; the same statement always gives the same bytes."""

    def encode_frame(self, frame: Frame) -> bytes:
        """Serialise a frame of a replay bundle; the same frame always gives the same bytes."""

    def parse_statement(self, statement: bytes) -> ReceiptStatement:
        """Read a serialised receipt statement.

        Raises:
            ReceiptInvalid: not a statement.
        """

    def encode_audit_events(self, events: Sequence[AuditEvent]) -> bytes:
        """Serialise what goes into the one section of an audit record."""

    def decode_audit_events(self, data: bytes) -> list[AuditEvent]:
        """Read the content of an audit record's section.

        Raises:
            EnvelopeMalformed: not audit events.
        """


# --- the message log -------------------------------------------------------------------------------------------------


class SubscriptionKey(NamedTuple):
    """A durable subscription: its owner and its name."""

    agency: str
    name: str


class Assigned(NamedTuple):
    """A cursor reads this partition from now on, from ``state.floor``."""

    partition: StreamPartition
    state: AckState


class Revoked(NamedTuple):
    """A cursor reads this partition no more; another broker process may. Commit nothing for it any longer."""

    partition: StreamPartition


AssignmentChange: TypeAlias = Assigned | Revoked


class LogCursor(Protocol):
    """A reader on behalf of one durable subscription. For one task at a time."""

    def assignment_changes(self) -> list[AssignmentChange]:
        """What changed since the last call, in order. Empty until the first ``wait`` has returned."""

    async def wait(self) -> None:
        """Return when there may be entries to read or changes of assignment. May return early; may be cancelled."""

    async def read(self, partition: StreamPartition, max_records: int, max_bytes: int) -> list[LogEntry]:
        """The next entries of an assigned partition, in order, without waiting for new ones.

        At most ``max_records``; it stops after the entry that reaches ``max_bytes``. What is returned is not returned
        again by this cursor.

        Raises:
            LogUnavailable: nothing was read; the same call may succeed later.
        """

    async def commit(self, states: Mapping[StreamPartition, AckState]) -> frozenset[StreamPartition]:
        """Remember where the subscription stands. Durable when it returns; the states replace the earlier ones.

        Returns:
            The partitions whose state was remembered. One that this cursor no longer reads is left out, so that it
            cannot undo what another process has committed since.

        Raises:
            LogUnavailable: it is unknown whether they were remembered.
        """

    async def close(self) -> None:
        """Stop reading. Idempotent."""


class MessageLog(Protocol):
    """The store behind streams. Methods may be called concurrently."""

    def log_id(self, stream: str) -> str:
        """Names this incarnation of a stream's log; its entries carry the name. A log made anew has another."""

    def partitions(self, stream: str) -> int:
        """How many partitions a stream has; the same for the log's whole life."""

    async def append(self, entries: Sequence[NewEntry]) -> list[Appended]:
        """Append records, each once by its record id, and return where each stands, in order.

        When it returns, every record is durable as the backend defines it (SQLite: fsync; Kafka: acks=all). Records
        of one call keep their order within a partition; concurrent calls share the cost of becoming durable. A record
        id that the log holds already is not appended again, whatever its bytes.

        Raises:
            LogFull: there is no room; none of the entries was appended.
            LogUnavailable: it is unknown which entries were appended; appending them again is safe.
        """

    async def lookup(self, record_ids: Sequence[bytes]) -> dict[bytes, Appended]:
        """Where these records stand; ids that the log does not hold are left out.

        Raises:
            LogUnavailable
        """

    async def read(
        self, partition: StreamPartition, offset: int, max_records: int, max_bytes: int, *, values: bool = True
    ) -> list[LogEntry]:
        """Entries from ``offset`` on, in order; empty at the end. Stops after the entry that reaches ``max_bytes``.

        An entry that the log has lost is left out, or comes without its value where its facts are still known.

        Args:
            partition: where to read.
            offset: the lowest offset wanted; it need not exist.
            max_records: the most entries returned.
            max_bytes: of values; at least one entry is returned where there is one.
            values: whether the entries' values are wanted.

        Raises:
            LogUnavailable, LogCorrupt
        """

    async def strays(self, partition: StreamPartition) -> list[Stray]:
        """What stands in a partition and no broker of this exchange appended, in order of position.

        ``read`` and cursors never return any of it. A log that nobody but its broker writes to has none.

        Raises:
            LogUnavailable
        """

    async def end_offset(self, partition: StreamPartition) -> int:
        """One more than the highest durable offset; 0 where the partition is empty."""

    async def catch_up(self, partition: StreamPartition, offset: int) -> None:
        """Return once this process can read everything that the partition holds below an offset.

        Raises:
            LogCorrupt: the partition ends before it.
            LogUnavailable
        """

    async def wait_beyond(self, partitions: Mapping[StreamPartition, int]) -> None:
        """Return once one of the partitions has an entry at or beyond its offset given. May be cancelled.

        Raises:
            LogError: none ever will.
        """

    async def open_cursor(self, subscription: SubscriptionKey, streams: Sequence[str]) -> LogCursor:
        """Begin to read on behalf of a subscription, from where it stands, or from the beginning if it is new."""

    async def ping(self) -> None:
        """Check that appending would work now.

        Raises:
            LogUnavailable, LogFull
        """

    async def close(self) -> None:
        """Let appends in flight finish, then release everything. Idempotent."""


# --- checkpoints -----------------------------------------------------------------------------------------------------


class LeafRow(NamedTuple):
    """What is kept of one leaf: which entry it stands for, when that was accepted, and its hash."""

    offset: int
    accepted_at_ms: int
    hash: bytes


class TreeHead(NamedTuple):
    """The newest checkpoint of a partition: size, signed note, and when it was signed (epoch milliseconds)."""

    size: int
    note: bytes
    signed_at_ms: int


class TreeExtension(NamedTuple):
    """Leaves that follow the stored ones, the inner nodes that they complete, and the checkpoint over all of them."""

    leaves: Sequence[LeafRow]
    nodes: Sequence[tuple[int, int, bytes]]
    head: TreeHead


class CheckpointStore(Protocol):
    """Where the follower keeps each partition's tree. It can be rebuilt from the log, but for the notes' signatures."""

    async def head(self, partition: StreamPartition) -> TreeHead | None:
        """The newest checkpoint, or None before the first."""

    async def next_offset(self, partition: StreamPartition) -> int:
        """One more than the offset of the last leaf stored; 0 before the first."""

    async def extend(self, partition: StreamPartition, size: int, extension: TreeExtension) -> None:
        """Store an extension of the tree of ``size`` leaves, all of it or nothing, durably.

        Raises:
            CheckpointConflict: the stored tree has another size: a second follower is at work. Nothing is stored.
            LogUnavailable, LogFull
        """

    async def nodes(self, partition: StreamPartition, coordinates: Sequence[Coordinate]) -> list[bytes]:
        """The hashes of complete subtrees, in the order asked for.

        Raises:
            PositionUnknown: the tree is not that large.
        """

    async def leaves(self, partition: StreamPartition, first: int, end: int) -> list[LeafRow]:
        """The leaves from index ``first`` up to, not including, ``end``. The caller asks for few enough at once.

        Raises:
            PositionUnknown: not ``0 <= first <= end``, or the tree is not that large.
        """

    async def leaf_index(self, partition: StreamPartition, offset: int) -> int | None:
        """The index of the leaf of the entry at ``offset``, or None where it has no leaf (yet)."""

    async def leaf_offset(self, partition: StreamPartition, index: int) -> int:
        """The offset of the entry that the leaf at ``index`` stands for.

        Raises:
            PositionUnknown: there is no such leaf.
        """

    async def first_leaf_since(self, partition: StreamPartition, accepted_at_ms: int) -> int:
        """How many leaves were accepted before this time: the index of the first that was not, or the tree's size."""

    async def close(self) -> None:
        """Release everything. Idempotent."""


class CheckpointBoard(Protocol):
    """Where the processes on one log agree on its checkpoints. At any time at most one of them follows a partition."""

    def follows(self, partition: StreamPartition) -> bool:
        """Whether this process is the one that extends the partition's tree now.

        Once it is, ``published`` gives everything that its predecessors published, and they can publish no more.
        """

    async def publish(self, partition: StreamPartition, size: int, extension: TreeExtension) -> None:
        """Publish what extends the tree of ``size`` leaves. Durable, and visible to every process, when it returns.

        Raises:
            FollowerFenced: another process follows the partition. Nothing was published.
            LogUnavailable: it is unknown whether it was published. Until that is known this process does not follow.
        """

    async def published(self, partition: StreamPartition, size: int) -> TreeExtension | None:
        """The next extension of the tree of ``size`` leaves that a follower published, without inner nodes.

        None where there is none yet. Its note is signed by a key that the directory lists, and is the partition's;
        whether it is of this incarnation of the log, and its leaves are those of the log, is for the caller to check.
        An extension of the empty tree by nothing is given as long as there is no other.
        """

    async def close(self) -> None:
        """Follow no partition any more, and release everything. Idempotent."""


class Evidence(Protocol):
    """Whether checkpoints keep up with the log: evidence or stop (design decision 8)."""

    def check(self) -> None:
        """Refuse to go on without evidence. Cheap enough for every batch.

        Raises:
            EvidenceUnavailable: the newest checkpoint lags behind the log by more than the configured bound.
        """


class AuditTrail(Protocol):
    """The audit stream, from the writer's side."""

    async def record(self, events: Sequence[AuditEvent]) -> None:
        """Write these events to the audit stream; durable when it returns. Concurrent calls share one record.

        Raises:
            LogUnavailable, LogFull
        """
