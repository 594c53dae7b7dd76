"""What differs between two directories, field by field, for the people who sign the second.

It compares the payloads as JSON, so a field that is new in a later version of the format is compared, too.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker.core.errors import CaseExchangeError
from broker.core.strict import decode_base64
from broker.trust.certificates import fingerprint, p256_public_key, parse_certificate
from broker.trust.directory_payload import directory_payload
from broker.trust.requests import key_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.policy import Directory

_ABSENT: Final = object()


class Difference(NamedTuple):
    """One thing that only one of them has: ``sign`` is + for the second, - for the first."""

    path: str
    sign: str
    value: str


def differences(first: Directory, second: Directory) -> list[Difference]:
    """Everything that differs, in the order of the fields. The order of a list's items does not count."""
    one, other = (json.loads(directory_payload(directory)) for directory in (first, second))
    return list(_compared("", one, other))


def _compared(path: str, first: Any, second: Any) -> Iterator[Difference]:
    if first == second:
        return
    if isinstance(first, dict) or isinstance(second, dict):
        one, other = _as_object(first), _as_object(second)
        for key in sorted({*one, *other}):
            yield from _compared(f"{path}.{key}" if path else key, one.get(key, _ABSENT), other.get(key, _ABSENT))
        return
    one_items, other_items = _items(first), _items(second)
    for sign, items, others in (("-", one_items, other_items), ("+", other_items, one_items)):
        for item in items:
            if item not in others:
                yield Difference(path, sign, _shown(item))


def _as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    if value is _ABSENT:
        return []
    return value if isinstance(value, list) else [value]


def _shown(item: Any) -> str:
    if isinstance(item, dict):
        return ", ".join(f"{key} {_shown(value)}" for key, value in item.items())
    if isinstance(item, list):
        return ", ".join(map(_shown, item))
    return _certificate(item) or str(item)


def _certificate(item: Any) -> str:
    """What a certificate is, or nothing if the item is none. An agency tells governance the key's fingerprint."""
    try:
        certificate = parse_certificate(decode_base64(item))
        key = key_sha256(p256_public_key(certificate))
    except (CaseExchangeError, ValueError, TypeError, AttributeError):
        return ""
    ends = certificate.not_valid_after_utc.isoformat()
    subject = certificate.subject.rfc4514_string()
    return f"certificate {fingerprint(certificate).hex()} ({subject}, until {ends}, key {key})"
