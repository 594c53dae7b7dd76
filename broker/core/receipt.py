r"""Receipts: the broker's signed statement that a record is durable at a position.

One signature covers many receipts: the serialised statements are the leaves of an RFC 6962 tree, and the broker signs
``PAE(RECEIPTS_TYPE, "<count>\n<base64 of the root>\n")``. A publisher keeps a *portable* receipt: its own statement,
the inclusion proof and that signature. These are enough without the other statements.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from broker.core.envelope import RECEIPTS_TYPE, Signature, pae
from broker.core.errors import ProofInvalid, ReceiptInvalid
from broker.core.tree import merkle

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.core.streams import Position


class ReceiptStatement(NamedTuple):
    """The statement about one record: everything that its leaf says, and its publisher.

    ``accepted_at_ms`` is milliseconds since the Unix epoch, UTC. ``log_id`` and ``epoch`` are those of ``LogEntry``.
    """

    record_id: str
    record_sha256: bytes
    position: Position
    log_id: str
    epoch: int
    accepted_at_ms: int
    publisher: str


@dataclass(frozen=True, slots=True)
class SignedReceipts:
    """Serialised statements, in the order of their leaves, and one signature over all of them."""

    statements: tuple[bytes, ...]
    signature: Signature


@dataclass(frozen=True, slots=True)
class Receipt:
    """One statement with the proof that the signed root covers it."""

    statement: bytes
    leaf_index: int
    leaf_count: int
    inclusion_path: tuple[bytes, ...]
    signature: Signature


def receipts_message(statements: Sequence[bytes]) -> bytes:
    """The bytes that the broker signs for these statements. At least one is needed."""
    return _message(len(statements), _tree(statements).root())


def portable_receipt(receipts: SignedReceipts, index: int) -> Receipt:
    """Take one statement with its proof.

    Raises:
        PositionUnknown: there is no such statement.
    """
    levels = merkle.complete_subtrees([merkle.leaf_hash(statement) for statement in receipts.statements])
    path = merkle.inclusion_proof(index, len(receipts.statements), lambda level, at: levels[level][at])
    return Receipt(receipts.statements[index], index, len(receipts.statements), path, receipts.signature)


def receipt_message(receipt: Receipt) -> bytes:
    """The bytes that the broker must have signed for this receipt to hold.

    Raises:
        ReceiptInvalid: the proof does not have the shape that index and count demand.
    """
    try:
        root = merkle.root_from_path(
            receipt.leaf_index, receipt.leaf_count, merkle.leaf_hash(receipt.statement), receipt.inclusion_path
        )
    except ProofInvalid as error:
        message = f"the receipt's proof is not well formed: {error.message}"
        raise ReceiptInvalid(message) from error
    return _message(receipt.leaf_count, root)


def _tree(statements: Sequence[bytes]) -> merkle.CompactRange:
    tree = merkle.CompactRange()
    for statement in statements:
        tree.append(merkle.leaf_hash(statement))
    return tree


def _message(count: int, root: bytes) -> bytes:
    return pae(RECEIPTS_TYPE, b"%d\n%b\n" % (count, b64encode(root)))
