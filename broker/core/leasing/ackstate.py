"""How far one subscription is in one stream partition, and the text that is committed for it.

Text: unpadded base64url of ``version (0x02) || floor || n || n x (gap, more) || m || m x (step, failed, lost)``. Every
number is an unsigned LEB128 varint of at most 63 bits, in its shortest form.

- A range ``first..last``: ``gap`` counts from the smallest possible ``first`` (floor + 1, or the previous last + 2),
  and ``more`` is ``last - first``. So the text cannot contain ranges that overlap, touch or are out of order.
- The offset of a record with attempts that count: ``step`` counts from the smallest possible offset (floor, or the
  previous offset + 1). ``failed`` is its number of failed attempts, 0 to 127, and ``lost`` its number of counted lost
  leases, 0 to 3 (suspects.py). One of them is not 0.

Version 1 had ``m x (step, failed)``, and did not tell failed attempts from lost leases. It is read, and the counts
begin again: a record that was only lost in the company of others must not be a dead letter for it.

The text goes into the metadata of a Kafka offset commit. A Kafka broker limits it to 4096 bytes by default
(offset.metadata.max.bytes). window.py keeps every state within this limit, together with its seal
(broker/core/groupseal.py).
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from broker.core.errors import Internal, LogCorrupt, LogSchemaUnsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_TEXT_BYTES: Final = 4096
MAX_BINARY_BYTES: Final = MAX_TEXT_BYTES // 4 * 3
MAX_FAILED_ATTEMPTS: Final = 127
LOSSES_TO_SUSPECT: Final = 3
"""After this many counted lost leases a record is a suspect. No more are counted."""
MAX_VARINT_BYTES: Final = 9
_VERSION: Final = 2
_VERSION_WITHOUT_LOSSES: Final = 1
_VARINT_DIGIT: Final = 0x7F
"""LEB128: seven bits in each byte. The top bit says whether more bytes follow."""
_MAX_OFFSET: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class AckState:
    """The committed state of one subscription on one stream partition.

    Attributes:
        floor: every record below it is done, so reading continues from here.
        done: ascending inclusive ranges of offsets above the floor. No two of them touch. Every record that the log
            has in a range is done (acked, dead, or not wanted). Offsets may have gaps, so a range may hold fewer
            records than numbers.
        counts: ascending (offset, failed attempts, counted lost leases) of undone records that have any.

    Raises:
        ValueError: the parts contradict each other.
    """

    floor: int = 0
    done: tuple[tuple[int, int], ...] = ()
    counts: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        lowest = self.floor + 1
        for first, last in self.done:
            if not lowest <= first <= last:
                message = "done ranges must ascend above the floor without touching"
                raise ValueError(message)
            lowest = last + 2
        lowest = self.floor
        for offset, failed, lost in self.counts:
            if offset < lowest or self.is_done(offset):
                message = "counts must be of ascending undone offsets"
                raise ValueError(message)
            if not (0 <= failed <= MAX_FAILED_ATTEMPTS and 0 <= lost <= LOSSES_TO_SUSPECT and failed + lost):
                message = "counts must be 0 to 127 failed attempts and 0 to 3 lost leases, and one of them not 0"
                raise ValueError(message)
            lowest = offset + 1
        highest = max(self.floor, lowest - 1, self.done[-1][1] if self.done else 0)
        if self.floor < 0 or highest > _MAX_OFFSET:
            message = "offsets must be within 0..2**63 - 1"
            raise ValueError(message)

    def is_done(self, offset: int) -> bool:
        """Whether the record at ``offset`` no longer needs a delivery. O(log n)."""
        if offset < self.floor:
            return True
        index = bisect_right(self.done, offset, key=lambda span: span[0])
        return index > 0 and offset <= self.done[index - 1][1]

    def reopened(self, offset: int) -> AckState:
        """The same state, but the record at ``offset`` is not done."""
        if not self.is_done(offset):
            return self
        if offset < self.floor:
            done = ((offset + 1, self.floor - 1), *self.done) if offset + 1 < self.floor else self.done
            return AckState(offset, done, self.counts)
        split = [
            part
            for first, last in self.done
            for part in (((first, offset - 1), (offset + 1, last)) if first <= offset <= last else ((first, last),))
        ]
        return AckState(self.floor, tuple((first, last) for first, last in split if first <= last), self.counts)

    def encode(self) -> str:
        """The text of this state, ASCII, at most 4096 bytes.

        Raises:
            Internal: the text would be longer. This never happens with a state from a window.
        """
        out = bytearray([_VERSION])
        for number in self._numbers():
            write_varint(out, number)
        if len(out) > MAX_BINARY_BYTES:
            message = "the ack state does not fit into an offset commit"
            raise Internal(message, binary_bytes=str(len(out)))
        return urlsafe_b64encode(out).rstrip(b"=").decode("ascii")

    def _numbers(self) -> Iterator[int]:
        yield self.floor
        yield len(self.done)
        lowest = self.floor + 1
        for first, last in self.done:
            yield first - lowest
            yield last - first
            lowest = last + 2
        yield len(self.counts)
        lowest = self.floor
        for offset, failed, lost in self.counts:
            yield offset - lowest
            yield failed
            yield lost
            lowest = offset + 1

    @classmethod
    def decode(cls, text: str) -> AckState:
        """Read the text of a state. Only the exact texts that ``encode`` writes, or wrote as version 1, are accepted.

        Raises:
            LogCorrupt: the text is not an ack state.
            LogSchemaUnsupported: a newer version of the broker wrote it.
        """
        reader = _Reader(_binary(text))
        version = reader.byte()
        if version not in (_VERSION, _VERSION_WITHOUT_LOSSES):
            message = f"the committed ack state is of version {version}, and this broker knows version {_VERSION}"
            raise LogSchemaUnsupported(message)
        floor = reader.varint()
        done = []
        lowest = floor + 1
        for _ in range(reader.varint()):
            first = lowest + reader.varint()
            last = first + reader.varint()
            done.append((first, last))
            lowest = last + 2
        counts = []
        lowest = floor
        for _ in range(reader.varint()):
            offset = lowest + reader.varint()
            counts.append((offset, reader.varint(), reader.varint() if version == _VERSION else 0))
            lowest = offset + 1
        reader.end()
        try:
            state = cls(floor, tuple(done), tuple(counts))
        except ValueError as error:
            raise _corrupt() from error
        return state if version == _VERSION else cls(state.floor, state.done)


def write_varint(out: bytearray, number: int) -> None:
    """Append an unsigned LEB128 varint."""
    while number > _VARINT_DIGIT:
        out.append(number & _VARINT_DIGIT | 0x80)
        number >>= 7
    out.append(number)


def varint_bytes(number: int) -> int:
    """The length of the varint of ``number``. It is subadditive: v(a + b) is at most v(a) + v(b)."""
    return max(1, (number.bit_length() + 6) // 7)


def _corrupt() -> LogCorrupt:
    return LogCorrupt("a committed ack state is not readable")


def _binary(text: str) -> bytes:
    if len(text) > MAX_TEXT_BYTES:
        raise _corrupt()
    try:
        binary = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise _corrupt() from error
    # The decoder ignores foreign characters and unused low bits. So the bytes are encoded again and compared.
    if urlsafe_b64encode(binary).rstrip(b"=").decode("ascii") != text:
        raise _corrupt()
    return binary


class _Reader:
    """A cursor over the binary form. Each method raises LogCorrupt if bytes are missing or not canonical."""

    __slots__ = ("_at", "_binary")

    def __init__(self, binary: bytes) -> None:
        self._binary = binary
        self._at = 0

    def byte(self) -> int:
        if self._at == len(self._binary):
            raise _corrupt()
        self._at += 1
        return self._binary[self._at - 1]

    def varint(self) -> int:
        number = 0
        for place in range(MAX_VARINT_BYTES):
            byte = self.byte()
            number |= (byte & _VARINT_DIGIT) << 7 * place
            if byte <= _VARINT_DIGIT:
                if byte == 0 and place > 0:
                    break
                return number
        raise _corrupt()

    def end(self) -> None:
        if self._at != len(self._binary):
            raise _corrupt()
