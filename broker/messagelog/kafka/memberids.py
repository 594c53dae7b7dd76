"""The ids of brokers' members in consumer groups. The checkpoint key signs them (broker/core/groupseal.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.groupseal import SealedText, member_statement

if TYPE_CHECKING:
    from broker.ports import LogKeys, NoteSigner


def sealed_member_id(group: str, random: str, signer: NoteSigner) -> str:
    """The id of a broker's member. ``random`` is another text for each member that ever was."""
    signature = signer.sign(member_statement(group, random))
    return SealedText(random, signer.key_id, signature).encode()


def is_broker(group: str, member_id: str, keys: LogKeys) -> bool:
    """Whether a broker of this exchange made this id, for this group."""
    sealed = SealedText.decode(member_id)
    # A member lives, so no key that ended seals it.
    check = None if sealed is None or keys.ended(sealed.key_id) is not None else keys.check(sealed.key_id)
    return sealed is not None and check is not None and check(member_statement(group, sealed.text), sealed.signature)
