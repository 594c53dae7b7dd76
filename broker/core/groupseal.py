r"""What brokers sign of a consumer group on a shared log: where a subscription stands, and which members are brokers.

Everyone with a key for the log's cluster can write both. So each is a text with a seal by the checkpoint key::

    <text>.<unpadded base64url of the key's id (4 bytes) and the Ed25519 signature (64 bytes)>

The seal of a *place* (the ack state of a subscription in one partition) covers five lines of UTF-8::

    case-exchange place v1\n
    <log id>\n
    <stream>/<partition>\n
    <agency>/<subscription>\n
    <text of the ack state>\n

From the second generation of the subscription on (broker/core/subscriptions.py), the first line is
``case-exchange place v2`` and the next one is the number of the generation. Then its three bytes stand in the text of
the seal, behind the key's id.

So the place of another log, partition or subscription is none here. An earlier place of the same subscription is one.
It only makes records come again. The offset that is committed beside it is not covered: it counts for nothing.

The seal of a *member id* covers three lines::

    case-exchange member v1\n
    <group>\n
    <random text>\n

The first lines contain a space, so neither can pass as a checkpoint. They differ from those of append seals.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from broker.core.streams import StreamPartition

_KEY_ID_BYTES: Final = 4
_SIGNATURE_BYTES: Final = 64
_GENERATION_BYTES: Final = 3
_MARK: Final = "."
SEAL_TEXT_BYTES: Final = len(_MARK) + ((_KEY_ID_BYTES + _GENERATION_BYTES + _SIGNATURE_BYTES) * 8 + 5) // 6
"""What a seal adds to a text: at most 96 bytes."""


class SealedText(NamedTuple):
    """A text, the id of the key that sealed it, and the signature. It says nothing until the signature is checked.

    ``generation`` is that of a place's subscription.
    """

    text: str
    key_id: bytes
    signature: bytes
    generation: int = 0

    def encode(self) -> str:
        """The text with its seal."""
        number = self.generation.to_bytes(_GENERATION_BYTES) if self.generation else b""
        seal = urlsafe_b64encode(self.key_id + number + self.signature).rstrip(b"=").decode("ascii")
        return f"{self.text}{_MARK}{seal}"

    @classmethod
    def decode(cls, sealed: str) -> SealedText | None:
        """Read a text with its seal. None if it has none. No text raises anything: strangers write them too."""
        text, mark, seal = sealed.rpartition(_MARK)
        try:
            binary = urlsafe_b64decode(seal + "=" * (-len(seal) % 4))
        except (binascii.Error, ValueError):
            return None
        number = binary[_KEY_ID_BYTES:-_SIGNATURE_BYTES]
        if not mark or len(binary) != _KEY_ID_BYTES + len(number) + _SIGNATURE_BYTES:
            return None
        if len(number) not in {0, _GENERATION_BYTES}:
            # No number of this length can be written.
            return None
        found = cls(text, binary[:_KEY_ID_BYTES], binary[-_SIGNATURE_BYTES:], int.from_bytes(number))
        return found if found.encode() == sealed else None


def place_statement(
    log_id: str, partition: StreamPartition, agency: str, subscription: str, state: str, *, generation: int = 0
) -> bytes:
    """What is signed for a place.

    Args:
        log_id: the incarnation of the log.
        partition: where the subscription reads.
        agency: the owner of the subscription.
        subscription: its name.
        state: the text of the ack state.
        generation: the number of the subscription's generation.
    """
    first = ("case-exchange place v2", str(generation)) if generation else ("case-exchange place v1",)
    return _lines(*first, log_id, str(partition), f"{agency}/{subscription}", state)


def member_statement(group: str, random: str) -> bytes:
    """What is signed for a member id.

    Args:
        group: the group's name on the cluster, with the exchange's prefix.
        random: another text for each member that ever was.
    """
    return _lines("case-exchange member v1", group, random)


def _lines(*lines: str) -> bytes:
    return "\n".join((*lines, "")).encode(errors="surrogatepass")
