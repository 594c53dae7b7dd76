"""Key statements in a directory: who can state what, and what makes the directory invalid."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.encryptionkeys import ARCHIVE, MLKEM768_X25519, P256, RECORDS, EncryptionKey, encryption_key_id
from broker.core.envelope import BODY_TYPE, KEY_RETIREMENT_TYPE, KEY_STATEMENT_TYPE
from broker.core.errors import DirectoryInvalid, KeyStatementInvalid
from broker.core.policy import RetiredCertificate, keys_in_force
from broker.trust.carriedkeys import keep_former_statements, with_statements
from broker.trust.certificates import der
from broker.trust.directory import open_directory, sign_directory
from broker.trust.directory_payload import directory_payload
from broker.trust.hpke import PrivateEncryptionKey
from broker.trust.keystatements import MAX_STATEMENT_BYTES, parse_statement, state_key, state_retirement
from broker.trust.signedjson import signed_json
from certs.authority import Authority
from certs.rights import HEBEI, NGO, SHANXI, TRUST_DOMAIN

if TYPE_CHECKING:
    from broker.core.policy import Directory
    from broker.ports import Signer
    from tests.support.pki import SamplePki

DAY_MS = 86_400_000


class Statements:
    """What agencies state, from the time at which the sample directory was issued."""

    def __init__(self, pki: SamplePki) -> None:
        self.pki = pki

    def key(
        self,
        agency: str = SHANXI,
        *,
        signer: Signer | None = None,
        suite: str = P256,
        at_days: float = 0,
        **fields: Any,
    ) -> EncryptionKey:
        now_ms = self.pki.now_ms + round(at_days * DAY_MS)
        key = PrivateEncryptionKey.generate(suite).stated_as(agency, RECORDS, now_ms, now_ms + 30 * DAY_MS)
        return state_key(replace(key, **fields), TRUST_DOMAIN, now_ms, signer or self.pki.signer(agency))

    def end(self, key: EncryptionKey, at_days: float, *, signer: Signer | None = None, stated_days: float = 0) -> bytes:
        now_ms = self.pki.now_ms + round(stated_days * DAY_MS)
        ends_ms = self.pki.now_ms + round(at_days * DAY_MS)
        return state_retirement(key, ends_ms, TRUST_DOMAIN, now_ms, signer or self.pki.signer(key.agency)).statement

    def opened(self, *statements: bytes, agency: str = SHANXI, directory: Directory | None = None) -> Directory:
        """A directory in which an agency has exactly these statements. They are not looked at before it is opened."""
        payload = json.loads(directory_payload(directory or self.pki.directory))
        payload["agencies"][agency]["encryption_keys"] = [json.loads(statement) for statement in statements]
        document = signed_json(
            "application/vnd.case-exchange.directory.v1+json", json.dumps(payload).encode(), self.pki.governance_key
        )
        return open_directory(json.dumps(document).encode(), self.pki.governance)

    def refused(self, *statements: bytes, agency: str = SHANXI, directory: Directory | None = None) -> str:
        with pytest.raises(KeyStatementInvalid) as caught:
            self.opened(*statements, agency=agency, directory=directory)
        assert caught.value.reason == "KEY_STATEMENT_INVALID"
        return caught.value.message


@pytest.fixture
def says(pki: SamplePki) -> Statements:
    return Statements(pki)


def test_the_sample_directory_has_a_key_and_an_archive_key_of_each_agency_but_the_exchange(pki: SamplePki) -> None:
    for agency in pki.directory.agencies.values():
        uses = sorted(key.use for key in agency.encryption_keys)
        assert uses == ([] if agency.id == pki.directory.exchange else [ARCHIVE, RECORDS])
    own = pki.directory.agency(SHANXI)
    (key,) = keys_in_force(own, pki.now_ms)
    assert (key.agency, key.suite, key.use) == (SHANXI, MLKEM768_X25519, RECORDS)
    assert key.key_id == encryption_key_id(key.suite, key.public_key)
    assert keys_in_force(own, key.not_after_ms) == ()


@pytest.mark.parametrize("suite", [P256, MLKEM768_X25519])
def test_a_directory_reads_statements_back_as_they_were_made_and_an_old_one_has_none(
    says: Statements, suite: str
) -> None:
    key, second = says.key(suite=suite), says.key(use=ARCHIVE)
    end = says.end(key, 3)
    opened = says.opened(key.statement, second.statement, end)
    agency = opened.agency(SHANXI)
    assert agency.encryption_keys == (replace(key, retired_at_ms=says.pki.now_ms + 3 * DAY_MS), second)
    assert [one.statement for one in agency.key_retirements] == [end]
    again = open_directory(says.pki.sign(opened), says.pki.governance)
    assert again.agencies == opened.agencies
    assert says.opened().agency(SHANXI).encryption_keys == ()


def test_a_directory_without_statements_is_written_as_before_there_were_any(pki: SamplePki) -> None:
    agencies = {one.id: replace(one, encryption_keys=()) for one in pki.directory.agencies.values()}
    assert b"encryption_keys" not in directory_payload(replace(pki.directory, agencies=agencies))


def test_neither_governance_nor_another_agency_can_state_a_key_in_an_agency_s_name(
    pki: SamplePki, says: Statements
) -> None:
    for stranger in (pki.signer(HEBEI), pki.signer("exchange"), pki.credential().signer):
        assert "no signing certificate that the directory lists for shanxi-police signed" in says.refused(
            says.key(signer=stranger).statement
        )
        assert "no signing certificate" in says.refused(says.end(says.key(), 1, signer=stranger))
    own = json.loads(says.key().statement)
    governance = signed_json(KEY_STATEMENT_TYPE, base64.b64decode(own["payload"]), pki.governance_key)
    assert "no signing certificate" in says.refused(json.dumps(governance).encode())
    # One signature of two is enough, whoever made the other.
    both = {**own, "signatures": [*governance["signatures"], *own["signatures"]]}
    assert says.opened(json.dumps(both).encode()).agency(SHANXI).encryption_keys


def test_a_certificate_counts_only_if_a_listed_authority_issued_it_and_it_was_valid_then(
    pki: SamplePki, says: Statements
) -> None:
    long_ago = pki.now - timedelta(days=9000)
    for made in (
        pki.of_another_authority(),
        pki.expired(),
        pki.credential(issued=long_ago, lifetime=timedelta(days=30)),
        pki.credential(issued=pki.now + timedelta(days=2)),
    ):
        listed = pki.directory_with(SHANXI, [made.der, *pki.directory.agency(SHANXI).signing_certificates])
        assert "not valid then" in says.refused(says.key(signer=made.signer).statement, directory=listed)
    # It was valid when the statement was made. That it has expired since does not matter.
    made = pki.credential(lifetime=timedelta(days=2))
    listed = replace(pki.directory_with(SHANXI, [made.der]), issued_at_ms=pki.now_ms + 30 * DAY_MS)
    says.opened(says.key(signer=made.signer, at_days=1).statement, directory=listed)
    assert "not valid then" in says.refused(says.key(signer=made.signer, at_days=3).statement, directory=listed)
    # Without its authority in the directory nobody can say that it is the agency's.
    other = replace(listed, signing_authorities=(der(Authority.create("other", pki.now).certificate),))
    key = says.key(signer=made.signer, at_days=1).statement
    assert "not valid then" in says.refused(key, directory=without_keys(other))


def test_a_statement_is_not_made_long_after_its_directory_and_no_key_is_in_force_for_more_than_three_years(
    pki: SamplePki, says: Statements
) -> None:
    says.opened(says.key(at_days=0.9).statement)
    assert "give that a later issued_at" in says.refused(says.key(at_days=1.1).statement)
    late = says.end(says.key(), 3, stated_days=1.1)
    assert "give that a later issued_at" in says.refused(late)
    begin, years = pki.now_ms, pki.now_ms + 3 * 365 * DAY_MS
    says.opened(says.key(not_before_ms=begin, not_after_ms=years).statement)
    assert "three years" in says.refused(says.key(not_before_ms=begin, not_after_ms=years + 10 * DAY_MS).statement)


def without_keys(directory: Directory) -> Directory:
    agencies = {one.id: replace(one, encryption_keys=()) for one in directory.agencies.values()}
    return replace(directory, agencies=agencies)


def test_a_statement_of_another_agency_or_exchange_is_refused(pki: SamplePki, says: Statements) -> None:
    assert "another agency" in says.refused(says.key(HEBEI).statement)
    assert "another agency" in says.refused(says.end(says.key(HEBEI), 1))
    foreign = state_key(says.key(), "other.example", pki.now_ms, pki.signer())
    assert "another agency or exchange" in says.refused(foreign.statement)


def test_no_agency_can_state_the_key_of_another(pki: SamplePki, says: Statements) -> None:
    (key, _) = pki.directory.agency(SHANXI).encryption_keys
    stolen = state_key(replace(key, agency=HEBEI), TRUST_DOMAIN, pki.now_ms, pki.signer(HEBEI))
    with pytest.raises(DirectoryInvalid, match="two agencies state the same encryption key"):
        says.opened(stolen.statement, agency=HEBEI)


def test_a_retired_certificate_states_nothing_after_its_end(pki: SamplePki, says: Statements) -> None:
    police, end_ms = pki.directory.agency(SHANXI), pki.now_ms + DAY_MS
    retired = RetiredCertificate(police.signing_certificates[0], end_ms)
    changed = replace(police, signing_certificates=(), retired_certificates=(retired,), encryption_keys=())
    directory = replace(pki.directory, agencies={**pki.directory.agencies, SHANXI: changed})
    before, after = says.key(at_days=0.9), says.key(at_days=1)
    assert says.opened(before.statement, directory=directory).agency(SHANXI).encryption_keys == (before,)
    assert "or retired before" in says.refused(after.statement, directory=directory)


def altered(statement: bytes, signer: Signer, kind: str = KEY_STATEMENT_TYPE, **fields: Any) -> bytes:
    """The statement with other fields, signed rightly. ``None`` takes a field away."""
    payload = json.loads(base64.b64decode(json.loads(statement)["payload"]))
    payload = {name: value for name, value in {**payload, **fields}.items() if value is not None}
    key = signer._key  # type: ignore[attr-defined]
    return json.dumps(signed_json(kind, json.dumps(payload).encode(), key)).encode()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"more": 1}, "exactly the keys"),
        ({"use": None}, "exactly the keys"),
        ({"use": "signing"}, "use of a key statement is not well formed"),
        ({"suite": "X25519"}, "suite of a key statement is not well formed"),
        ({"suite": MLKEM768_X25519}, "not a public key of the suite"),
        ({"public_key": ""}, "not well formed"),
        ({"public_key": "AAAA"}, "not a public key of the suite"),
        ({"public_key": base64.b64encode(b"\4" + bytes(64)).decode()}, "not a public key of the suite"),
        ({"public_key": "A"}, "not base64"),
        ({"agency": "Shanxi Police"}, "agency of a key statement is not well formed"),
        ({"agency": 1}, "not well formed"),
        ({"trust_domain": ""}, "not well formed"),
        ({"stated_at": "soon"}, "not well formed"),
        ({"not_before": "2026-01-01"}, "not well formed"),
        ({"not_before": "2099-01-01T00:00:00Z"}, "not_after is not after its not_before"),
    ],
)
def test_a_key_statement_of_another_form_is_refused(
    pki: SamplePki, says: Statements, fields: dict[str, Any], message: str
) -> None:
    changed = altered(says.key().statement, pki.signer(), **fields)
    with pytest.raises(DirectoryInvalid, match=message):
        says.opened(changed)


def test_a_hybrid_key_to_which_nothing_can_be_sealed_is_refused(pki: SamplePki, says: Statements) -> None:
    key = says.key(suite=MLKEM768_X25519)
    useless = base64.b64encode(key.public_key[:-32] + bytes(32)).decode()
    assert "nothing can be sealed" in says.refused(altered(key.statement, pki.signer(), public_key=useless))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key_id": "ab"}, "key_id of a key retirement is not well formed"),
        ({"key_id": None}, "exactly the keys"),
        ({"retired_at": "2020-01-01T00:00:00Z"}, "retires a key before the time at which it was stated"),
        ({"use": RECORDS}, "exactly the keys"),
    ],
)
def test_a_retirement_of_another_form_is_refused(
    pki: SamplePki, says: Statements, fields: dict[str, Any], message: str
) -> None:
    assert message in says.refused(altered(says.end(says.key(), 1), pki.signer(), KEY_RETIREMENT_TYPE, **fields))


def test_no_other_thing_that_an_agency_signs_is_a_key_statement(pki: SamplePki, says: Statements) -> None:
    key = says.key()
    for kind in (BODY_TYPE, KEY_RETIREMENT_TYPE, "application/vnd.case-exchange.directory.v1+json"):
        assert says.refused(altered(key.statement, pki.signer(), kind))
    for item in (b"1", b"{}", b"[]", json.dumps({**json.loads(key.statement), "more": 1}).encode()):
        with pytest.raises(DirectoryInvalid):
            says.opened(item)
    unsigned = {**json.loads(key.statement), "signatures": []}
    assert "between 1 and 16 signatures" in says.refused(json.dumps(unsigned).encode())


def test_the_same_statement_stands_there_once(says: Statements) -> None:
    key, other = says.key(), says.key()
    again = state_key(replace(key, use=ARCHIVE), TRUST_DOMAIN, says.pki.now_ms, says.pki.signer())
    assert "twice" in says.refused(key.statement, again.statement)
    assert "twice" in says.refused(says.end(other, 1), says.end(other, 1))


def test_two_keys_of_a_use_may_overlap_and_no_third(says: Statements) -> None:
    first, second, third = says.key(), says.key(at_days=10), says.key(at_days=20)
    archive = [says.key(use=ARCHIVE) for _ in range(2)]
    later = replace(says.pki.directory, issued_at_ms=says.pki.now_ms + 20 * DAY_MS)
    says.opened(first.statement, second.statement, *(key.statement for key in archive), directory=later)
    three = first.statement, second.statement, third.statement
    assert "more than 2 keys for records" in says.refused(*three, directory=later)
    # The first one ends before the third one begins.
    opened = says.opened(*three, says.end(first, 20), directory=later)
    found = opened.agency(SHANXI)
    at = {day: len(keys_in_force(found, says.pki.now_ms + day * DAY_MS)) for day in (0, 10, 20, 30, 40, 50)}
    assert at == {0: 1, 10: 2, 20: 2, 30: 2, 40: 1, 50: 0}


def test_of_several_retirements_the_earliest_counts_in_any_order(says: Statements) -> None:
    key = says.key()
    ends = [says.end(key, 5), says.end(key, 2, stated_days=1), says.end(key, 9)]
    for order in (ends, ends[::-1]):
        (found,) = says.opened(key.statement, *order).agency(SHANXI).encryption_keys
        assert found.retired_at_ms == says.pki.now_ms + 2 * DAY_MS


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_changed_bit_of_a_statement_is_taken(pki: SamplePki, data: st.DataObject) -> None:
    says = Statements(pki)
    statement = json.loads(pki.directory.agency(SHANXI).encryption_keys[0].statement)
    payload = bytearray(base64.b64decode(statement["payload"]))
    bit = data.draw(st.integers(0, len(payload) * 8 - 1))
    payload[bit // 8] ^= 1 << bit % 8
    statement["payload"] = base64.b64encode(payload).decode()
    with pytest.raises(DirectoryInvalid):
        says.opened(json.dumps(statement).encode())


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_a_file_that_is_no_statement_is_refused(data: bytes) -> None:
    with pytest.raises(KeyStatementInvalid):
        parse_statement(data)


def test_a_statement_file_that_is_too_large_is_refused(says: Statements) -> None:
    assert parse_statement(says.key().statement + b"\n").said.agency == SHANXI
    with pytest.raises(KeyStatementInvalid, match="too large"):
        parse_statement(says.key().statement + b" " * MAX_STATEMENT_BYTES)


def test_governance_adds_statements_and_only_such_as_their_agency_signed(pki: SamplePki, says: Statements) -> None:
    key = says.key(at_days=1)
    (former, _) = pki.directory.agency(SHANXI).encryption_keys
    added = with_statements(pki.directory, [key.statement, says.end(former, 2), key.statement])
    assert open_directory(pki.sign(added), pki.governance).agencies == added.agencies
    assert [one.key_id for one in added.agency(SHANXI).encryption_keys][-1] == key.key_id
    assert added.agency(SHANXI).encryption_keys[0].retired_at_ms == pki.now_ms + 2 * DAY_MS
    assert with_statements(added, [key.statement]) == added
    with pytest.raises(KeyStatementInvalid, match="no signing certificate"):
        with_statements(pki.directory, [says.key(signer=pki.signer(HEBEI)).statement])
    with pytest.raises(KeyStatementInvalid, match="lists no agency stranger"):
        with_statements(
            pki.directory, [state_key(replace(key, agency="stranger"), "x.example", 0, pki.signer()).statement]
        )


def test_the_next_version_carries_what_has_not_expired(pki: SamplePki, says: Statements) -> None:
    records, archive = pki.directory.agency(SHANXI).encryption_keys
    former = with_statements(pki.directory, [says.end(records, 2)])

    def carried(days: float, **agencies: Any) -> Directory:
        bare = {one.id: replace(one, encryption_keys=(), key_retirements=()) for one in pki.directory.agencies.values()}
        issued = pki.now_ms + round(days * DAY_MS)
        directory = replace(pki.directory, version=2, issued_at_ms=issued, agencies={**bare, **agencies})
        return keep_former_statements(directory, former)

    def listed(directory: Directory) -> dict[bytes, int | None]:
        return {key.key_id: key.retired_at_ms for key in directory.agency(SHANXI).encryption_keys}

    assert listed(carried(1)) == {records.key_id: pki.now_ms + 2 * DAY_MS, archive.key_id: None}
    assert carried(1).agency(NGO) == pki.directory.agency(NGO)
    assert listed(carried(300)) == listed(carried(1))
    # A record that was sealed before the end may come later (broker/core/sealing.py).
    assert listed(carried(371)) == listed(carried(1))
    assert listed(carried(373)) == {}
    # Whose certificate is dropped, its statements cannot go on.
    dropped = replace(pki.directory.agency(SHANXI), signing_certificates=(pki.credential().der,), encryption_keys=())
    with pytest.raises(KeyStatementInvalid, match="no signing certificate"):
        carried(1, **{SHANXI: dropped})


def test_a_key_that_is_stated_for_a_certificate_that_lasts_less_long_is_good_until_its_own_end(
    pki: SamplePki, says: Statements
) -> None:
    short = pki.credential(lifetime=timedelta(minutes=1))
    key = says.key(signer=short.signer)
    directory = pki.directory_with(SHANXI, [short.der])
    opened = says.opened(key.statement, directory=directory)
    assert keys_in_force(opened.agency(SHANXI), pki.now_ms + 29 * DAY_MS) == (key,)
    assert sign_directory(directory_payload(opened), pki.governance_key)
