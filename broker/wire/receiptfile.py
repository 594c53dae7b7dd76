"""A file of receipts, which an agency gives to an auditor. It can be checked offline, with the pinned governance key.

It is text. The first line is ``case-exchange receipts v1``. Each other line is one of these, in standard base64:

- ``directory <signed directory>``: a directory version as governance signed it. They come first, lowest version first
- ``receipt <Receipt>``: a portable receipt (protos/caseexchange/broker/v1/receipt.proto)
- ``received <SignedCopies>``: what the agency says that it was handed (protos/caseexchange/broker/v1/received.proto)

Lines may end as on Windows, and blank lines count for nothing. The first line may come again: so files that were joined
are a file.
"""

from __future__ import annotations

import contextlib
from base64 import b64encode
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from broker.core.errors import EvidenceFileInvalid, ReceiptInvalid
from broker.core.former import MAX_RECEIPT_BYTES
from broker.core.strict import NotStrict, decode_base64
from broker.wire.receipts import read_receipt, statement_from
from broker.wire.receivedcopies import read_signed_copies

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from broker.core.audit.received import SignedCopies
    from broker.core.receipt import Receipt, ReceiptStatement

MAGIC: Final = b"case-exchange receipts v1\n"
_TITLE: Final = MAGIC.rstrip()
_RECEIPT: Final = b"receipt "
_DIRECTORY: Final = b"directory "
_RECEIVED: Final = b"received "
_MAX_LINE_BYTES: Final = 24 * 1024 * 1024
"""Room for the largest directory (16 MiB) in base64."""


class Line(NamedTuple):
    """One line: a receipt and what it says, a directory, or a list of what the agency got. Nothing is verified."""

    number: int
    receipt: Receipt | None = None
    statement: ReceiptStatement | None = None
    directory: bytes | None = None
    received: SignedCopies | None = None

    @property
    def unreadable(self) -> bool:
        """Whether it is none of these."""
        return self.receipt is None and self.directory is None and self.received is None


def write_receipts(
    file: BinaryIO, directories: Iterable[bytes], receipts: Iterable[bytes], received: Iterable[bytes] = ()
) -> int:
    """Write a whole file. Returns the number of receipts. ``received``: serialised SignedCopies."""
    file.write(MAGIC)
    file.writelines(_DIRECTORY + b64encode(document) + b"\n" for document in directories)
    written = 0
    for receipt in receipts:
        file.write(_RECEIPT + b64encode(receipt) + b"\n")
        written += 1
    file.writelines(_RECEIVED + b64encode(copies) + b"\n" for copies in received)
    return written


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines after the first.

    Raises:
        EvidenceFileInvalid: it is not a file of receipts, or a line is too long for one.
    """
    if file.readline(len(MAGIC) + 1).rstrip() != _TITLE:
        message = "the file is not a file of receipts: it does not begin with `case-exchange receipts v1`"
        raise EvidenceFileInvalid(message)
    number = 1
    while line := file.readline(_MAX_LINE_BYTES):
        number += 1
        if len(line) == _MAX_LINE_BYTES:
            message = f"line {number} is too long for a file of receipts"
            raise EvidenceFileInvalid(message)
        text = line.rstrip()
        if text and text != _TITLE:
            yield _read(number, text)


def _read(number: int, line: bytes) -> Line:
    with contextlib.suppress(NotStrict, ReceiptInvalid, UnicodeDecodeError):
        if line.startswith(_RECEIPT):
            data = decode_base64(line.removeprefix(_RECEIPT).decode())
            if len(data) <= MAX_RECEIPT_BYTES:
                receipt = read_receipt(data)
                return Line(number, receipt, statement_from(receipt.statement))
        elif line.startswith(_DIRECTORY):
            return Line(number, directory=decode_base64(line.removeprefix(_DIRECTORY).decode()))
        elif line.startswith(_RECEIVED):
            return Line(number, received=read_signed_copies(decode_base64(line.removeprefix(_RECEIVED).decode())))
    return Line(number)
