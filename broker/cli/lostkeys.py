"""What becomes unreadable when a private key is destroyed, and what still opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.encryptionkeys import ARCHIVE, RECORDS
from broker.trust.directory_fields import rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.bootstrap.ownkeys import OwnKeys
    from broker.core.encryptionkeys import EncryptionKey


def lost(own: OwnKeys, key: EncryptionKey) -> list[str]:
    """What becomes unreadable without a key, and what still opens it."""
    period = f"from {rfc3339(key.not_before_ms)} to {rfc3339(key.ends_at_ms)}"
    if key.use == ARCHIVE:
        what = f"what {own.agency} published {period} cannot be opened with its archive key any more"
        still = "the keys of the agencies that each section was sealed to"
    else:
        what = f"what publishers sealed for {own.agency} to this key {period} cannot be opened here any more"
        still = "the keys of other recipients, and the archive keys of the publishers"
    return [
        f"{what}: in the log, in bundles, in spools and in backups, for ever",
        f"what still opens it: {still}; and every copy of this private key (other systems, backups)",
        *_still_open(own, key),
        "what is in plain in your outbox, done/, quarantine/ or your own systems stays readable",
        "the log keeps the ciphertext: `case-exchange erase` removes a section that you published",
    ]


def _still_open(own: OwnKeys, key: EncryptionKey) -> Iterator[str]:
    """Which other keys of that time there are, as far as the folder and the directory tell."""

    def of_that_time(other: EncryptionKey) -> bool:
        return other.not_before_ms < key.ends_at_ms and key.not_before_ms < other.ends_at_ms

    # A publisher wraps to all archive keys of its own, but to one key for records of each recipient.
    listed = own.listed() if key.use == ARCHIVE else {}
    for other in (entry.key for entry in own.entries() if entry.has_private and entry.key.key_id in listed):
        if other.use == ARCHIVE and other.key_id != key.key_id and of_that_time(other):
            begin_ms = max(key.not_before_ms, other.not_before_ms)
            both = f"from {rfc3339(begin_ms)} to {rfc3339(min(key.ends_at_ms, other.ends_at_ms))}"
            yield f"your own archive key {other.key_id.hex()[:16]} opens what {own.agency} published {both}"
    use = ARCHIVE if key.use == RECORDS else RECORDS
    members = own.directory().agencies.values()
    having = sorted(
        member.id
        for member in members
        if member.id != own.agency and any(other.use == use and of_that_time(other) for other in member.encryption_keys)
    )
    holders = ", ".join(having) if having else "none"
    who = "publishers that had an archive key" if use == ARCHIVE else "recipients that had a key"
    yield f"{who} at that time, by the directory: {holders} (whether they still have it, they know)"
