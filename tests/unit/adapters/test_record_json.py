"""Records as JSON: what a stranger's document may not do before a record of it is looked at."""

from __future__ import annotations

import pytest

from adapters.base import Limits, Source
from adapters.record_json import ADAPTER

_MANY = b"[]," * 2_100_000


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"records": [' + _MANY + b"[]]}", "JSON_TOO_MANY_VALUES"),
        (b'{"records": ' + b"[" * 40 + b"]" * 40 + b"}", "JSON_TOO_DEEP"),
        (b'{"records": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "JSON_MALFORMED"),
        (b'{"records": [], "records": []}', "JSON_MALFORMED"),
        (b'{"records": [NaN]}', "JSON_MALFORMED"),
        (b'{"records": {}}', "JSON_MALFORMED"),
        (b"[]", "JSON_MALFORMED"),
        (b"\xff", "JSON_ENCODING"),
    ],
    ids=["many", "deep", "deeper", "twice", "no number", "no list", "no object", "no text"],
)
def test_a_document_beyond_its_bounds_or_that_readers_take_differently_is_refused_whole(
    content: bytes, code: str
) -> None:
    found = ADAPTER.decode(Source(content), Limits())
    assert [issue.code for issue in found.issues] == [code]
    assert found.rejected
