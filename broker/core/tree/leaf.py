r"""The leaf: what a log's Merkle tree says of one accepted record.

A tlog-tiles entry has at most 65,535 bytes. So a leaf does not contain the envelope. It names it by the SHA-256 of its
signed bytes, and says where and when it was accepted. The hashed bytes are the manifest, six lines of ASCII::

    case-exchange leaf v1\n
    <stream>/<partition>/<offset>\n
    <log id> <epoch>\n
    <record id>\n
    <base64 of the record's SHA-256>\n
    <accepted at, milliseconds since the Unix epoch>\n

The first line contains a space, so a leaf cannot pass as a checkpoint. It also begins differently from what DSSE signs.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.core.errors import ProofInvalid
from broker.core.streams import Position

if TYPE_CHECKING:
    from broker.core.entry import LogEntry

_NUMBER: Final = rb"(0|[1-9][0-9]{0,18})"
_MAX_NUMBER: Final = 2**63 - 1
_UUID: Final = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_MANIFEST: Final = re.compile(
    rb"case-exchange leaf v1\n"
    rb"([a-z0-9][a-z0-9-]{0,62})/" + _NUMBER + rb"/" + _NUMBER + rb"\n"
    rb"([A-Za-z0-9._:/-]{1,255}) " + _NUMBER + rb"\n"
    rb"(" + _UUID + rb")\n"
    rb"([A-Za-z0-9+/]{43}=)\n" + _NUMBER + rb"\n"
)


class Leaf(NamedTuple):
    """One accepted record, as its log's tree commits to it.

    The attributes are not checked here: the follower makes a leaf of every record that the message log returns.
    ``parse`` checks all of them, and an auditor gets a leaf only from there.

    Attributes:
        position: where the record is.
        log_id: the incarnation of the log: 1 to 255 ASCII letters, digits and ``. _ : / -``.
        epoch: the partition's leader epoch when the record was appended.
        record_id: its UUID in canonical lower-case text.
        record_sha256: SHA-256 of its signed bytes, 32 bytes.
        accepted_at_ms: when it was accepted, milliseconds since the Unix epoch.
    """

    position: Position
    log_id: str
    epoch: int
    record_id: str
    record_sha256: bytes
    accepted_at_ms: int

    def marshal(self) -> bytes:
        """The manifest's bytes, which the tree hashes."""
        stream, partition, offset = self.position
        return b"case-exchange leaf v1\n%b/%d/%d\n%b %d\n%b\n%b%d\n" % (
            stream.encode(),
            partition,
            offset,
            self.log_id.encode(),
            self.epoch,
            self.record_id.encode(),
            binascii.b2a_base64(self.record_sha256),  # which ends the line itself
            self.accepted_at_ms,
        )

    @classmethod
    def parse(cls, manifest: bytes) -> Leaf:
        """Read a manifest. Only the exact bytes that ``marshal`` writes for a well-formed leaf are accepted.

        Raises:
            ProofInvalid: it is not a leaf manifest of this version.
        """
        match = _MANIFEST.fullmatch(manifest)
        if match is None:
            message = "not a leaf manifest"
            raise ProofInvalid(message)
        stream, partition, offset, log_id, epoch, record_id, record_sha256, accepted_at_ms = match.groups()
        leaf = cls(
            position=Position(stream.decode(), int(partition), int(offset)),
            log_id=log_id.decode(),
            epoch=int(epoch),
            record_id=record_id.decode(),
            record_sha256=b64decode(record_sha256),
            accepted_at_ms=int(accepted_at_ms),
        )
        highest = max(leaf.position.partition, leaf.position.offset, leaf.epoch, leaf.accepted_at_ms)
        # Base64's last digit has unused bits. Only one of its spellings comes out the same again.
        if highest > _MAX_NUMBER or leaf.marshal() != manifest:
            message = "a leaf manifest holds a number out of range, or base64 that is not canonical"
            raise ProofInvalid(message)
        return leaf


def leaf_of(entry: LogEntry) -> Leaf:
    """The leaf of an entry. It depends only on the entry's facts, not on its value."""
    return Leaf(
        entry.position,
        entry.log_id,
        entry.epoch,
        record_id_text(entry.record_id),
        entry.record_sha256,
        entry.accepted_at_ms,
    )


def record_id_text(record_id: bytes) -> str:
    """The usual form of a record id of 16 bytes (RFC 9562 section 4)."""
    digits = record_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
