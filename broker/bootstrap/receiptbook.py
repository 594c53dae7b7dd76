"""The receipts that an auditor brings to a bundle, in a temporary file: there may be very many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from broker.bootstrap.temporarybook import TemporaryBook
from broker.core.audit.broughtreceipts import Instead, UnmetReceipt
from broker.core.streams import Position

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from broker.core.audit.findings import EntryFacts, EntryLeaf
    from broker.core.bundle import BundleLeaf
    from broker.core.receipt import ReceiptStatement
    from broker.core.streams import StreamPartition

_TABLE: Final = """
CREATE TABLE receipts (
    leaf BLOB PRIMARY KEY, record_id TEXT NOT NULL, stream TEXT NOT NULL, part INTEGER NOT NULL, place INTEGER NOT NULL,
    log_id TEXT NOT NULL, accepted_ms INTEGER NOT NULL, met INTEGER NOT NULL DEFAULT 0,
    elsewhere TEXT NOT NULL DEFAULT '', again INTEGER NOT NULL DEFAULT 0, signed INTEGER NOT NULL DEFAULT 0,
    sha256 BLOB NOT NULL, there_leaf BLOB NOT NULL DEFAULT x'', there_id TEXT NOT NULL DEFAULT '',
    there_sha256 BLOB NOT NULL DEFAULT x''
) WITHOUT ROWID
"""
_NOTE: Final = """
UPDATE receipts SET there_leaf = iif(signed, x'', ?1), there_id = ?2, there_sha256 = ?3 WHERE leaf = ?4
"""
_HELD: Final = 20_000
"""So many records are held until it is noted what stands in the place of unmet ones."""


class TemporaryReceiptBook(TemporaryBook):
    """The port ReceiptBook, in a temporary file."""

    def __init__(self) -> None:
        super().__init__(_TABLE)
        # Of the newest leaves: their hashes, and the records that stand there.
        self._listed: dict[tuple[str, int, int], bytes] = {}
        self._there: dict[tuple[str, int, int], tuple[str, bytes]] = {}

    def add(self, statements: Iterable[tuple[bytes, ReceiptStatement]]) -> None:
        """Take what valid receipts say, each with the hash of its leaf. One that comes twice counts once."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO receipts (leaf, record_id, stream, part, place, log_id, accepted_ms, sha256)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (leaf, said.record_id, *said.position, said.log_id, said.accepted_at_ms, said.record_sha256)
                for leaf, said in statements
            ),
        )

    def ready(self) -> None:
        """Call when every receipt was added."""
        self._connection.execute("CREATE INDEX by_record ON receipts (record_id)")
        self._connection.execute("CREATE INDEX unmet_by_place ON receipts (stream, part, place) WHERE NOT met")

    @property
    def receipts(self) -> int:
        """See ``ReceiptBook``."""
        return int(self._connection.execute("SELECT count(*) FROM receipts").fetchone()[0])

    def meet(self, leaves: Sequence[EntryLeaf]) -> None:
        """See ``ReceiptBook``."""
        self._connection.executemany("UPDATE receipts SET met = 1 WHERE leaf = ?", ((leaf.hash,) for leaf in leaves))
        self._connection.executemany(
            "UPDATE receipts SET elsewhere = ? WHERE record_id = ? AND leaf <> ?",
            ((str(leaf.position), leaf.record_id, leaf.hash) for leaf in leaves if leaf.record_id),
        )

    def stand(self, facts: Iterable[EntryFacts]) -> None:
        """See ``ReceiptBook``."""
        for each in facts:
            self._there[each.position] = (each.record_id, each.record_sha256)
        if len(self._there) > _HELD:
            self._settle()

    def list_leaves(self, partition: StreamPartition, leaves: Iterable[BundleLeaf]) -> None:
        """See ``ReceiptBook``."""
        self._settle()
        self._listed = {(*partition, leaf.offset): leaf.hash for leaf in leaves}
        self._connection.executemany(
            "UPDATE receipts SET signed = 1 WHERE leaf = ?", ((leaf,) for leaf in self._listed.values())
        )

    def distrust(self, partition: StreamPartition) -> None:
        """See ``ReceiptBook``."""
        self._settle()
        forget = "UPDATE receipts SET signed = 0, there_leaf = x'' WHERE stream = ? AND part = ?"
        self._connection.execute(forget, partition)

    def _settle(self) -> None:
        """Note what stands where a receipt is not met. It waits until the records of the leaves came: most are met."""
        query = "SELECT leaf FROM receipts WHERE NOT met AND stream = ? AND part = ? AND place = ?"
        for at in self._listed | self._there:
            for (leaf,) in self._connection.execute(query, at).fetchall():
                there = (self._listed.get(at, b""), *self._there.get(at, ("", b"")))
                self._connection.execute(_NOTE, (*there, leaf))
        self._listed, self._there = {}, {}

    def came_again(self, record_ids: Sequence[str]) -> None:
        """See ``ReceiptBook``."""
        self._connection.executemany(
            "UPDATE receipts SET again = 1 WHERE record_id = ?", ((record_id,) for record_id in record_ids)
        )

    def unmet(self) -> Iterator[UnmetReceipt]:
        """See ``ReceiptBook``."""
        self._settle()
        query = (
            "SELECT stream, part, place, record_id, log_id, accepted_ms, elsewhere, again, leaf, signed, sha256,"
            " there_leaf, there_id, there_sha256 FROM receipts WHERE NOT met ORDER BY stream, part, place"
        )
        for row in self._connection.execute(query):
            record_id, log_id, accepted_ms, elsewhere, again, leaf, signed, sha256 = row[3:11]
            yield UnmetReceipt(
                record_id,
                Position(*row[:3]),
                log_id,
                accepted_ms,
                elsewhere,
                bool(again),
                leaf,
                bool(signed),
                sha256,
                Instead(*row[11:]),
            )
