"""What a stranger's record-json can hold, and what becomes of it."""

from __future__ import annotations

import json

import pytest

from adapters.base import Limits, Source
from adapters.records.record_json import ADAPTER

TIP = {"kind": "Tip", "caseReference": "SYN-1", "record": {"text": "seen"}}


def codes(*items: str) -> tuple[int, list[str]]:
    content = f'{{"records": [{",".join(items)}]}}'.encode()
    decoded = ADAPTER.decode(Source(content), Limits())
    return len(decoded.records), [issue.code for issue in decoded.issues]


@pytest.mark.parametrize("kind", ["[]", "{}", "null", "1", "[[]]"])
def test_a_kind_that_is_no_text_is_unknown_and_the_next_record_is_read(kind: str) -> None:
    assert codes(f'{{"kind": {kind}, "record": {{}}}}', json.dumps(TIP)) == (1, ["KIND_UNKNOWN"])


@pytest.mark.parametrize("field", ["kind", "eventDate"])
def test_halves_of_characters_cost_their_record_only(field: str) -> None:
    item = f'{{"kind": "CaseRecord", "caseReference": "a", "record": {{"{field}": "\\ud800"}}}}'
    assert codes(item, json.dumps(TIP)) == (1, ["RECORD_MALFORMED"])


def test_a_case_reference_of_half_a_character_is_refused() -> None:
    assert codes(json.dumps({**TIP, "caseReference": "\ud800"})) == (0, ["RECORD_MALFORMED"])


def test_a_case_reference_that_is_no_text_is_told_of() -> None:
    assert codes(json.dumps({**TIP, "caseReference": 5})) == (0, ["REFERENCE_MALFORMED"])


_MANY = b"[]," * 2_100_000


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"records": [' + _MANY + b"[]]}", "JSON_TOO_MANY_VALUES"),
        (b'{"records": ' + b"[" * 40 + b"]" * 40 + b"}", "JSON_TOO_DEEP"),
        (b'{"records": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "JSON_MALFORMED"),
        (b'{"records": [], "records": []}', "JSON_MALFORMED"),
        (b'{"records": [NaN]}', "JSON_MALFORMED"),
        (b'{"records": [1e999]}', "JSON_MALFORMED"),
        (b'{"records": {}}', "JSON_MALFORMED"),
        (b"[]", "JSON_MALFORMED"),
        (b"\xff", "JSON_ENCODING"),
    ],
    ids=["many", "deep", "deeper", "twice", "no number", "a number without end", "no list", "no object", "no text"],
)
def test_a_document_beyond_its_bounds_or_that_readers_take_differently_is_refused_whole(
    content: bytes, code: str
) -> None:
    found = ADAPTER.decode(Source(content), Limits())
    assert [issue.code for issue in found.issues] == [code]
    assert found.rejected
