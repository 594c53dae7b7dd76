"""What differs between two directories, field by field, for the people who sign the second.

It compares the payloads as JSON, so a field that is new in a later version of the format is compared, too.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from broker.core.errors import CaseExchangeError
from broker.core.strict import decode_base64
from broker.trust.certificates import fingerprint, parse_certificate
from broker.trust.directory_payload import directory_payload
from broker.trust.recordkeys import record_key
from broker.trust.requests import key_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.core.policy import Directory

_ABSENT: Final = object()
_SECTIONS: Final = "sections"
NO_SECTIONS: Final = "none: signatures and digests only"
"""What a right without sections gives."""


class Difference(NamedTuple):
    """One thing that only one of them has: ``sign`` is + for the second, - for the first."""

    path: str
    sign: str
    value: str


def differences(first: Directory, second: Directory) -> list[Difference]:
    """Everything that differs, in the order of the fields. Nothing only if the payloads are the same value."""
    one, other = (json.loads(directory_payload(directory)) for directory in (first, second))
    return payload_differences(one, other)


def payload_differences(first: Any, second: Any) -> list[Difference]:
    """Everything that differs between two payloads, as JSON. Nothing only if they are the same value."""
    return list(_compared("", first, second))


def _compared(path: str, first: Any, second: Any) -> Iterator[Difference]:
    if _same(first, second):
        return
    if isinstance(first, dict) and isinstance(second, dict):
        for key in sorted({*first, *second}):
            yield from _compared(_below(path, key), first.get(key, _ABSENT), second.get(key, _ABSENT))
    elif isinstance(first, list) and isinstance(second, list):
        yield from _listed(path, first, second)
    else:
        yield from _whole(path, "-", first)
        yield from _whole(path, "+", second)


def _whole(path: str, sign: str, value: Any) -> Iterator[Difference]:
    """What only one of them has, line by line. An empty list or object is something, too: it may be a right."""
    if value is _ABSENT:
        return
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _whole(_below(path, key), sign, value[key])
    elif isinstance(value, list) and value:
        yield from (Difference(path, sign, _shown(item)) for item in value)
    elif value == [] and path.rpartition(".")[2] == _SECTIONS:
        yield Difference(path, sign, NO_SECTIONS)
    else:
        yield Difference(path, sign, _shown(value))


def _listed(path: str, first: list[Any], second: list[Any]) -> Iterator[Difference]:
    one, other = (Counter(map(_canonical, items)) for items in (first, second))
    if one == other:
        yield Difference(path, "+", "(the same in another order)")
    for sign, items, more in (("-", first, one - other), ("+", second, other - one)):
        if not items:
            yield from _whole(path, sign, items)
        yield from (Difference(path, sign, _shown(json.loads(item))) for item in more.elements())


def _same(first: Any, second: Any) -> bool:
    if first is _ABSENT or second is _ABSENT:
        return first is second
    # Python takes 1 and true for the same.
    return _canonical(first) == _canonical(second)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _shown(item: Any) -> str:
    if item in ([], {}, ""):
        return "(nothing)"
    if isinstance(item, dict):
        return ", ".join(f"{key} {_shown(value)}" for key, value in item.items())
    if isinstance(item, list):
        return ", ".join(map(_shown, item))
    return _certificate(item) or str(item)


def _certificate(item: Any) -> str:
    """What a certificate is, or nothing if the item is none. An agency tells governance the key's fingerprint."""
    try:
        certificate = parse_certificate(decode_base64(item))
        key = key_sha256(record_key(certificate))
    except (CaseExchangeError, ValueError, TypeError, AttributeError):
        return ""
    ends = certificate.not_valid_after_utc.isoformat()
    subject = certificate.subject.rfc4514_string()
    return f"certificate {fingerprint(certificate).hex()} ({subject}, until {ends}, key {key})"
