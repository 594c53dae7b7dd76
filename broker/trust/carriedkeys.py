"""What the next directory version says of encryption keys: new statements, and those of the version before it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from broker.core.encryptionkeys import LONGEST_WAIT_MS, EncryptionKey, KeyRetirement
from broker.core.errors import KeyStatementInvalid
from broker.trust.keystatements import Carrier, parse_statement, statement_fields, with_listed_keys

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from broker.core.policy import Agency, Directory


def with_statements(directory: Directory, files: Sequence[bytes]) -> Directory:
    """Add statements that agencies made. One that the directory has already is not added again.

    Raises:
        KeyStatementInvalid: a statement is malformed, or of no agency of the directory, or not signed by a certificate
            that the directory lists for it.
    """
    agencies = dict(directory.agencies)
    for said in (parse_statement(file).said for file in files):
        member = agencies.get(said.agency)
        if member is None:
            message = f"the directory lists no agency {said.agency}, so it cannot carry a statement of it"
            raise KeyStatementInvalid(message)
        if not _says(member, said):
            agencies[said.agency] = _add(member, [said], directory)
    return replace(directory, agencies=agencies)


def keep_former_statements(directory: Directory, former: Directory) -> Directory:
    """Add the statements of the version before, as far as they still matter: edges refuse a version without them.

    These are the keys that have not expired long since, and their retirements: a record may come late that was sealed
    before (broker/core/sealing.py). A key whose retirement the new version lists
    already, and not the key, stays left out.

    Raises:
        KeyStatementInvalid: the certificate that signed one is not listed any more.
    """
    agencies, late_ms = dict(directory.agencies), directory.issued_at_ms - LONGEST_WAIT_MS
    for before in former.agencies.values():
        member = agencies.get(before.id)
        if member is None:
            continue
        ended = {one.key_id for one in member.key_retirements if one.retired_at_ms <= directory.issued_at_ms}
        left: list[EncryptionKey | KeyRetirement] = [
            key
            for key in before.encryption_keys
            if key.not_after_ms > late_ms and key.key_id not in ended and not _says(member, key)
        ]
        expired = {key.key_id for key in before.encryption_keys if key.not_after_ms <= late_ms}
        left += [one for one in before.key_retirements if one.key_id not in expired and not _says(member, one)]
        if left:
            agencies[before.id] = _add(member, left, directory)
    return replace(directory, agencies=agencies)


def _says(member: Agency, said: EncryptionKey | KeyRetirement) -> bool:
    """Whether an agency's entry has a statement, perhaps with another signature."""
    if isinstance(said, EncryptionKey):
        return any(key.key_id == said.key_id for key in member.encryption_keys)
    return any((one.key_id, one.retired_at_ms) == (said.key_id, said.retired_at_ms) for one in member.key_retirements)


def _add(member: Agency, said: Iterable[EncryptionKey | KeyRetirement], directory: Directory) -> Agency:
    items = [*statement_fields(member), *(json.loads(one.statement) for one in said)]
    carrier = Carrier(directory.trust_domain, directory.issued_at_ms, directory.signing_authorities)
    return with_listed_keys(member, items, carrier)
