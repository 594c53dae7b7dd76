from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from broker.core.envelope import BODY_TYPE, DIRECTORY_TYPE, pae
from broker.core.errors import DirectoryInvalid, DirectoryUnavailable
from broker.core.inforce import MOST_AHEAD_MS
from broker.core.policy import RetiredCertificate, corrects_of_others
from broker.core.tree.checkpoint import VerifierKey
from broker.core.tree.cosignature import WitnessKey
from broker.core.tree.witnesspolicy import parse_directory_policy
from broker.trust.certificates import der
from broker.trust.directory import MAX_DIRECTORY_BYTES, PinnedDirectory, open_directory, sign_directory
from broker.trust.directory_files import DirectoryFile
from broker.trust.directory_payload import MAX_NAME, directory_payload
from broker.trust.governance import Governance
from certs.storage import write_public
from tests.support.pki import ManualClock
from tests.support.witnesses import SampleWitness

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.pki import SamplePki


def seal(
    pki: SamplePki, payload: bytes, *, kind: str = DIRECTORY_TYPE, signed_kind: str | None = None
) -> dict[str, Any]:
    """A DSSE envelope signed by governance, without any of the checks of ``sign_directory``."""
    message = pae(signed_kind or kind, payload)
    signature = pki.governance_key.sign(message, ec.ECDSA(hashes.SHA256()))
    return {
        "payloadType": kind,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode()}],
    }


def refused(pki: SamplePki, envelope: Any) -> str:
    document = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    with pytest.raises(DirectoryInvalid) as caught:
        open_directory(document, pki.governance)
    return caught.value.message


def payload_of(pki: SamplePki) -> bytes:
    return directory_payload(pki.directory)


def test_a_signed_directory_reads_back_as_it_was_written(pki: SamplePki) -> None:
    document = pki.sign(pki.directory)
    assert open_directory(document, pki.governance) == replace(pki.directory, document=document)


def test_the_signed_payload_is_kept_byte_for_byte(pki: SamplePki) -> None:
    payload = b" " + payload_of(pki)
    envelope = json.loads(sign_directory(payload, pki.governance_key))
    assert base64.b64decode(envelope["payload"]) == payload


def test_a_directory_of_the_largest_size_is_read(pki: SamplePki) -> None:
    document = pki.sign(pki.directory)
    assert open_directory(document.ljust(MAX_DIRECTORY_BYTES), pki.governance).version == 1


def test_a_directory_signed_by_another_key_is_refused(pki: SamplePki) -> None:
    document = sign_directory(payload_of(pki), ec.generate_private_key(ec.SECP256R1()))
    assert "not signed by the pinned" in refused(pki, document)


def test_one_flipped_byte_of_the_payload_is_refused(pki: SamplePki) -> None:
    payload = payload_of(pki)
    envelope = seal(pki, payload)
    for at in range(0, len(payload), 97):
        mutant = payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
        envelope["payload"] = base64.b64encode(mutant).decode()
        assert "not signed by the pinned" in refused(pki, envelope)


def test_a_record_s_body_cannot_be_passed_off_as_a_directory(pki: SamplePki) -> None:
    assert "not a directory" in refused(pki, seal(pki, payload_of(pki), kind=BODY_TYPE))
    assert "not signed by" in refused(pki, seal(pki, payload_of(pki), signed_kind=BODY_TYPE))


def test_the_payload_is_not_looked_into_before_its_signature_is_verified(pki: SamplePki) -> None:
    envelope = seal(pki, b"not json")
    assert "strict JSON" in refused(pki, envelope)
    envelope["payload"] = base64.b64encode(b"nor is this").decode()
    assert "not signed by" in refused(pki, envelope)


def test_the_key_id_is_only_a_hint_and_a_second_signature_does_no_harm(pki: SamplePki) -> None:
    envelope = seal(pki, payload_of(pki))
    good = envelope["signatures"][0]
    envelope["signatures"] = [{"keyid": "other", "sig": "AAAA"}, {**good, "keyid": "wrong"}]
    open_directory(json.dumps(envelope).encode(), pki.governance)
    envelope["signatures"] = [good] * 16
    open_directory(json.dumps(envelope).encode(), pki.governance)
    envelope["signatures"] = [good] * 17
    assert "between 1 and 16" in refused(pki, envelope)
    envelope["signatures"] = []
    assert "between 1 and 16" in refused(pki, envelope)


@pytest.mark.parametrize(
    "change",
    [
        lambda envelope: [envelope],
        lambda envelope: {**envelope, "more": 1},
        lambda envelope: {key: value for key, value in envelope.items() if key != "payloadType"},
        lambda envelope: {**envelope, "payload": 5},
        lambda envelope: {**envelope, "signatures": [{"sig": envelope["signatures"][0]["sig"]}]},
        lambda envelope: {**envelope, "signatures": [{**envelope["signatures"][0], "more": 1}]},
        lambda envelope: {**envelope, "payload": envelope["payload"] + "\n"},
        lambda envelope: {**envelope, "payload": envelope["payload"].rstrip("=") + "é"},
        lambda envelope: {**envelope, "payload": "aGl="},
        lambda envelope: json.dumps(envelope).encode() + b"{}",
        lambda envelope: json.dumps(envelope).replace("{", '{"payloadType": "x", ', 1).encode(),
        lambda _: b"",
        lambda _: b"\xff",
        lambda _: b"[" * 200_000,
        lambda _: b"1" * 5_000,
        lambda _: b"NaN",
        lambda _: b" " * (16 * 1024 * 1024 + 1),
    ],
    ids=[
        "list",
        "extra key",
        "no type",
        "payload no text",
        "no key id",
        "extra key in signature",
        "newline in base64",
        "not ascii",
        "base64 not canonical",
        "trailing data",
        "key twice",
        "empty",
        "not utf-8",
        "too deep",
        "number too long",
        "NaN",
        "too large",
    ],
)
def test_an_envelope_of_any_other_form_is_refused(pki: SamplePki, change: Callable[[Any], Any]) -> None:
    refused(pki, change(seal(pki, payload_of(pki))))


def changed(pki: SamplePki, path: str, value: Any) -> bytes:
    """The payload with the value at a dotted path replaced, or removed where ``value`` is ``...``."""
    payload = json.loads(payload_of(pki))
    *parents, last = path.split("/")
    place = payload
    for parent in parents:
        place = place[parent]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(payload).encode()


SHANXI = "agencies/shanxi-police"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("more", 1),
        ("version", ...),
        ("version", 0),
        ("version", True),
        ("version", 1.0),
        ("version", "1"),
        ("version", 2**63),
        ("trust_domain", "Case-Exchange.example"),
        ("trust_domain", "case-exchange.example/agency"),
        ("trust_domain", "other.example"),
        ("issued_at", "2026-01-01T00:00:00+00:00"),
        ("issued_at", "2026-13-01T00:00:00Z"),
        ("issued_at", "2999-01-01T00:00:00Z"),
        ("expires_at", 5),
        ("exchange", "nobody"),
        ("signing_authorities", []),
        ("signing_authorities", ["AAAA"]),
        ("signing_authorities", ["aGl="]),
        ("log_keys", ["sample+00000000+AAAA"]),
        ("log_keys", "sample"),
        ("purposes", ["Child Rescue"]),
        ("purposes", ["child-rescue", "child-rescue"]),
        ("agencies", []),
        ("agencies/Shanxi", {}),
        (f"{SHANXI}/more", 1),
        (f"{SHANXI}/replay", ...),
        (f"{SHANXI}/name", ""),
        (f"{SHANXI}/name", "a\nb"),
        (f"{SHANXI}/name", "\ud800"),
        (f"{SHANXI}/signing_certificates", ["AAAA"]),
        (f"{SHANXI}/publish/Rumour", {"recipients": [], "sections": []}),
        (f"{SHANXI}/publish/AuditEvents", {"recipients": [], "sections": []}),
        (f"{SHANXI}/publish/Tip", {"recipients": ["nobody"], "sections": []}),
        (f"{SHANXI}/publish/Tip", {"recipients": [], "sections": ["No Section"]}),
        (f"{SHANXI}/publish/Tip", {"recipients": [], "publishers": [], "sections": []}),
        (f"{SHANXI}/receive/Tip", {"publishers": "*", "sections": []}),
        (f"{SHANXI}/receive/Tip", []),
        (f"{SHANXI}/replay/rumours", {"sections": []}),
        (f"{SHANXI}/replay/cases", {}),
    ],
)
def test_a_payload_with_anything_unknown_missing_or_malformed_is_refused(pki: SamplePki, path: str, value: Any) -> None:
    payload = changed(pki, path, value)
    refused(pki, seal(pki, payload))
    with pytest.raises(DirectoryInvalid):
        sign_directory(payload, pki.governance_key)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 0),
        ("trust_domain", "Case-Exchange.example"),
        ("issued_at", 5),
        ("expires_at", 5),
        ("exchange", "nobody"),
        ("signing_authorities", 5),
        ("log_keys", 5),
        ("purposes", 5),
        ("agencies", 5),
        (f"{SHANXI}/name", 5),
    ],
)
def test_the_field_that_is_wrong_is_named(pki: SamplePki, path: str, value: Any) -> None:
    name = path.removeprefix("agencies/").replace("/", ".")
    assert f"cannot be used: {name} is not" in refused(pki, seal(pki, changed(pki, path, value)))


@pytest.mark.parametrize(("letters", "read"), [(1, True), (MAX_NAME, True), (MAX_NAME + 1, False)])
def test_an_agency_s_name_is_short(pki: SamplePki, letters: int, read: bool) -> None:  # noqa: FBT001
    payload = changed(pki, f"{SHANXI}/name", "样" * letters)
    if read:
        open_directory(json.dumps(seal(pki, payload)).encode(), pki.governance)
    else:
        assert "shanxi-police.name" in refused(pki, seal(pki, payload))


def test_a_directory_is_valid_for_some_time(pki: SamplePki) -> None:
    assert "not after issued_at" in refused(pki, seal(pki, changed(pki, "expires_at", "2026-01-01T00:00:00Z")))
    begin = json.loads(payload_of(pki))["issued_at"]
    assert "not after issued_at" in refused(pki, seal(pki, changed(pki, "expires_at", begin)))


def test_the_largest_version_is_read(pki: SamplePki) -> None:
    document = pki.sign(replace(pki.directory, version=2**63 - 1))
    assert open_directory(document, pki.governance).version == 2**63 - 1


def test_governance_can_read_what_it_signs(pki: SamplePki, monkeypatch: pytest.MonkeyPatch) -> None:
    """One key in each line, letters unescaped, whole seconds without a fraction, UTC on every machine."""
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        member = replace(pki.directory.agency("shanxi-police"), name="样例公安")
        directory = replace(
            pki.directory, issued_at_ms=1_700_000_000_000, agencies={**pki.directory.agencies, "shanxi-police": member}
        )
        lines = directory_payload(directory).decode().split("\n")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert ' "issued_at": "2023-11-14T22:13:20Z",' in lines
    assert '   "name": "样例公安",' in lines
    assert not [line for line in lines if "retired" in line]
    assert lines[-1] == ""


def test_another_agency_s_certificate_cannot_be_listed(pki: SamplePki) -> None:
    hebei = [base64.b64encode(pki.signer("hebei-police").certificate.public_bytes(Encoding.DER)).decode()]
    message = refused(pki, seal(pki, changed(pki, f"{SHANXI}/signing_certificates", hebei)))
    assert "names another agency" in message


RESERVED = ["responsible"]


@pytest.mark.parametrize("path", RESERVED)
def test_a_reserved_key_is_refused_by_its_name_when_it_is_filled(pki: SamplePki, path: str) -> None:
    name = path.removeprefix("agencies/").replace("/", ".")
    nothing: tuple[Any, ...] = ([], {}, "", None)
    something: tuple[Any, ...] = ([0], {"*": "ministry"}, "x", 0, False)
    for value in nothing:
        opened = open_directory(json.dumps(seal(pki, changed(pki, path, value))).encode(), pki.governance)
        assert opened == replace(pki.directory, document=opened.document)
    for value in something:
        assert f"does not apply {name}" in refused(pki, seal(pki, changed(pki, path, value)))


ALPHA, BETA = SampleWitness("witness.example/alpha").key, SampleWitness("witness.example/beta").key
POLICY = f"""witness a {ALPHA} https://alpha.example
witness b {BETA} https://beta.example:7444/w
group both all a b
quorum both
"""


def test_the_witness_policy_is_read_back_as_it_was_written(pki: SamplePki) -> None:
    opened = open_directory(pki.sign(replace(pki.directory, witness_policy=POLICY)), pki.governance)
    assert opened.witness_policy == POLICY
    policy = parse_directory_policy(opened.witness_policy, opened.log_keys)
    assert policy is not None
    assert [(one.key, one.url) for one in policy.witnesses] == [
        (ALPHA, "https://alpha.example"),
        (BETA, "https://beta.example:7444/w"),
    ]


def test_a_directory_without_a_witness_policy_has_no_witnesses(pki: SamplePki) -> None:
    none = open_directory(json.dumps(seal(pki, changed(pki, "witness_policy", ""))).encode(), pki.governance)
    assert none.witness_policy == pki.directory.witness_policy == ""
    assert parse_directory_policy("", none.log_keys) is None


def test_a_witness_policy_that_cannot_be_used_is_refused(pki: SamplePki) -> None:
    log = VerifierKey.parse(pki.directory.log_keys[0])
    many = [f"witness w{n} {SampleWitness(f'w{n}').key} https://w.example/{n}\n" for n in range(33)]
    wrong: dict[str, Any] = {
        "line 1": "quorum somebody\n",
        "log line": f"log {log}\nquorum none\n",
        "no address": f"witness a {ALPHA}\nquorum a\n",
        "not https": f"witness a {ALPHA} http://alpha.example\nquorum a\n",
        "key of a log": f"witness a {WitnessKey('a', log.public_key)} https://alpha.example\nquorum a\n",
        "more than 32": "".join(many) + "quorum none\n",
        "witness_policy is not well formed": ["quorum none"],
    }
    for fault, text in wrong.items():
        assert fault in refused(pki, seal(pki, changed(pki, "witness_policy", text))), fault


def test_an_agency_s_quotas_are_read_back_as_they_were_written(pki: SamplePki) -> None:
    limits = {"calls": 5, "undelivered_bytes": 1 << 20, "records_per_second": 5, "bytes_per_second": 0}
    member = replace(pki.directory.agency("shanxi-police"), limits=limits)
    directory = replace(pki.directory, agencies={**pki.directory.agencies, "shanxi-police": member})
    opened = open_directory(pki.sign(directory), pki.governance)
    assert opened.agency("shanxi-police").limits == limits
    assert opened.agency("hebei-police").limits == {}
    none = open_directory(json.dumps(seal(pki, changed(pki, f"{SHANXI}/limits", {}))).encode(), pki.governance)
    assert none.agency("shanxi-police").limits == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"cals": 5},
        {"calls": 0},
        {"calls": True},
        {"calls": "5"},
        {"publishing_bytes": (1 << 20) - 1},
        {"records_per_second": -1},
        {"records_per_second": None},
        ["calls"],
    ],
    ids=str,
)
def test_what_is_no_quota_is_refused(pki: SamplePki, wrong: object) -> None:
    assert "shanxi-police.limits" in refused(pki, seal(pki, changed(pki, f"{SHANXI}/limits", wrong)))


def test_who_may_correct_the_records_of_others_is_read_back_as_it_was_written(pki: SamplePki) -> None:
    may_correct = {"PublicNotice": frozenset({"shanxi-police", "ministry"}), "Tip": frozenset[str]()}
    opened = open_directory(pki.sign(replace(pki.directory, may_correct=may_correct)), pki.governance)
    assert opened.may_correct == may_correct
    assert corrects_of_others(opened, "ministry") == {"PublicNotice"}
    assert corrects_of_others(opened, "child-aid-ngo") == set()
    nobody = open_directory(json.dumps(seal(pki, changed(pki, "may_correct", {}))).encode(), pki.governance)
    assert nobody.may_correct == {}


@pytest.mark.parametrize(
    "wrong",
    [
        {"Gossip": ["ministry"]},
        {"AuditEvents": ["ministry"]},
        {"Tip": ["*"]},
        {"Tip": ["nobody"]},
        {"Tip": "ministry"},
        {"Tip": ["ministry", "ministry"]},
        ["ministry"],
    ],
    ids=str,
)
def test_a_right_to_correct_that_is_not_well_formed_is_refused(pki: SamplePki, wrong: object) -> None:
    assert "may_correct" in refused(pki, seal(pki, changed(pki, "may_correct", wrong)))


def test_retired_certificates_are_read_back_as_they_were_written(pki: SamplePki) -> None:
    retired = (RetiredCertificate(pki.credential().der, 1_700_000_000_001),)
    member = replace(pki.directory.agency("shanxi-police"), retired_certificates=retired)
    directory = replace(pki.directory, agencies={**pki.directory.agencies, "shanxi-police": member})
    assert open_directory(pki.sign(directory), pki.governance).agency("shanxi-police") == member


def test_a_retired_certificate_that_is_no_such_thing_is_refused(pki: SamplePki) -> None:
    def item(agency: str, **fields: Any) -> dict[str, Any]:
        certificate = base64.b64encode(pki.credential(agency=agency).der).decode()
        return {"certificate": certificate, "retired_at": "2026-01-01T00:00:00Z", **fields}

    own = base64.b64encode(pki.directory.agency("shanxi-police").signing_certificates[0]).decode()
    good = item("shanxi-police")
    for value, message in [
        ({}, "not a list"),
        (["x"], "not an object"),
        ([{**good, "more": 1}], "exactly the keys"),
        ([{**good, "retired_at": "soon"}], "not well formed"),
        ([{**good, "certificate": "!"}], "not base64"),
        ([{**good, "certificate": "AAAA"}], "cannot be used"),
        ([item("hebei-police")], "names another agency"),
        ([good, good], "twice"),
        ([{**good, "certificate": own}], "twice"),
    ]:
        assert message in refused(pki, seal(pki, changed(pki, f"{SHANXI}/retired_certificates", value))), value


def test_a_key_that_stands_twice_is_refused_however_deep(pki: SamplePki) -> None:
    payload = payload_of(pki)
    twice = payload.replace(b'"replay": {', b'"replay": {}, "replay": {', 1)
    assert twice != payload
    assert "strict JSON" in refused(pki, seal(pki, twice))
    assert "strict JSON" in refused(pki, seal(pki, payload + b"{}"))


def test_times_are_kept_to_the_millisecond(pki: SamplePki) -> None:
    directory = replace(pki.directory, issued_at_ms=pki.now_ms + 1, expires_at_ms=4_000_000_000_999)
    opened = open_directory(pki.sign(directory), pki.governance)
    assert (opened.issued_at_ms, opened.expires_at_ms) == (pki.now_ms + 1, 4_000_000_000_999)


# --- the directory in force ------------------------------------------------------------------------------------------


def test_a_directory_is_in_force_until_the_moment_of_its_expiry(pki: SamplePki) -> None:
    clock = ManualClock(pki.directory.expires_at_ms - 1)
    pinned = PinnedDirectory(pki.directory.document, pki.governance, clock)
    assert pinned.current() == pki.directory
    clock.value_ms += 1
    with pytest.raises(DirectoryUnavailable) as caught:
        pinned.current()
    assert caught.value.details == {"version": str(pki.directory.version)}
    assert pinned.latest == pki.directory


def test_a_directory_of_the_future_does_not_come_into_force(pki: SamplePki) -> None:
    clock = ManualClock(pki.now_ms)
    near, far = (
        pki.sign(replace(pki.directory, version=2, issued_at_ms=pki.now_ms + MOST_AHEAD_MS + more)) for more in (0, 1)
    )
    pinned = PinnedDirectory(pki.directory.document, pki.governance, clock)
    with pytest.raises(DirectoryInvalid, match="issued more than an hour after now"):
        pinned.offer(far)
    with pytest.raises(DirectoryInvalid, match="issued more than an hour after now"):
        PinnedDirectory(far, pki.governance, clock)
    assert pinned.current().version == 1
    # Clocks differ.
    assert pinned.offer(near)


@pytest.fixture
def file(pki: SamplePki, tmp_path: Path) -> DirectoryFile:
    path = tmp_path / "directory.json"
    write_public(path, pki.sign(replace(pki.directory, version=5)))
    return DirectoryFile(path, pki.governance, ManualClock(pki.now_ms))


def test_a_newer_file_takes_effect_and_an_unchanged_one_does_not(file: DirectoryFile, pki: SamplePki) -> None:
    assert not file.reload()
    write_public(file._path, pki.sign(replace(pki.directory, version=6)))
    assert file.reload()
    assert file.current().version == 6
    assert not file.reload()


def test_the_same_bytes_in_a_new_file_are_no_new_version(file: DirectoryFile) -> None:
    write_public(file._path, file.current().document)
    assert not file.reload()


@pytest.mark.parametrize(
    ("version", "message", "details"),
    [(4, "older", {"version": "4", "seen": "5"}), (5, "same version", {"version": "5"})],
)
def test_an_older_version_or_another_of_the_same_number_is_refused_and_the_newer_stays(
    file: DirectoryFile, pki: SamplePki, version: int, message: str, details: dict[str, str]
) -> None:
    write_public(file._path, pki.sign(replace(pki.directory, version=version, purposes=frozenset())))
    for _ in range(2):
        with pytest.raises(DirectoryInvalid, match=message) as caught:
            file.reload()
        assert caught.value.details == details
    assert file.current().version == 5
    assert file.current().purposes


def test_a_broken_or_missing_file_leaves_the_version_in_force(file: DirectoryFile) -> None:
    write_public(file._path, b"{")
    with pytest.raises(DirectoryInvalid):
        file.reload()
    file._path.unlink()
    with pytest.raises(DirectoryInvalid, match="cannot be read"):
        file.reload()
    assert file.current().version == 5


@pytest.fixture
def restart(pki: SamplePki, tmp_path: Path) -> Callable[[int], DirectoryFile]:
    """Restarts a program with this version in the file."""
    path = tmp_path / "directory.json"

    def again(version: int) -> DirectoryFile:
        write_public(path, pki.sign(replace(pki.directory, version=version)))
        clock = ManualClock(pki.now_ms)
        return DirectoryFile(path, pki.governance, clock, tmp_path / "state" / "directory.json")

    return again


def test_no_restart_goes_back_to_an_older_version_or_another_of_the_same_number(
    restart: Callable[[int], DirectoryFile], pki: SamplePki
) -> None:
    first = restart(5)
    write_public(first._path, pki.sign(replace(pki.directory, version=6)))
    assert first.reload()
    in_force = first.current().document
    for version in (5, 6, 1):
        again = restart(version)
        assert again.current().document == in_force
        write_public(again._path, pki.sign(replace(pki.directory, version=5, purposes=frozenset())))
        with pytest.raises(DirectoryInvalid, match="older"):
            again.reload()
    assert restart(7).current().version == 7
    assert restart(6).current().version == 7


@pytest.mark.parametrize("copy", [b"{", b"", None])
def test_a_copy_that_cannot_be_used_or_written_stops_no_start(
    restart: Callable[[int], DirectoryFile], tmp_path: Path, copy: bytes | None
) -> None:
    kept = tmp_path / "state" / "directory.json"
    kept.parent.mkdir()
    if copy is None:
        kept.mkdir()
    else:
        kept.write_bytes(copy)
    assert restart(5).current().version == 5
    assert copy is None or restart(4).current().version == 5


def test_the_copy_of_another_governance_does_not_count(
    restart: Callable[[int], DirectoryFile], pki: SamplePki, tmp_path: Path
) -> None:
    restart(9)
    other = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "other.json"
    path.write_bytes(sign_directory(directory_payload(pki.directory), other))
    kept = tmp_path / "state" / "directory.json"
    again = DirectoryFile(path, Governance(other.public_key()), ManualClock(pki.now_ms), kept)
    assert again.current().version == pki.directory.version


def test_timestamp_authorities_are_read_back_as_they_were_written(pki: SamplePki) -> None:
    chain = (der(pki.authority("signing").certificate), der(pki.authority("tls").certificate))
    directory = replace(pki.directory, timestamp_authorities=(chain, chain[::-1]))
    assert open_directory(pki.sign(directory), pki.governance).timestamp_authorities == (chain, chain[::-1])
    assert pki.directory.timestamp_authorities == ()


def test_timestamp_authorities_that_cannot_be_used_are_refused(pki: SamplePki) -> None:
    signer = base64.b64encode(der(pki.authority("signing").certificate)).decode()
    faults = {
        "not a list": {},
        "not a list of texts": ["x"],
        "without the certificates above it": [[signer]],
        "whose certificate cannot be read": [[signer, "AAAA"]],
        "holds an item twice": [[signer, signer]],
    }
    for fault, value in faults.items():
        assert fault in refused(pki, seal(pki, changed(pki, "timestamp_authorities", value))), fault


def test_how_many_partitions_streams_have_is_read_back_as_it_was_written(pki: SamplePki) -> None:
    for partitions in ({"dna": 256, "cases": 1}, {}):
        opened = open_directory(pki.sign(replace(pki.directory, partitions=partitions)), pki.governance)
        assert opened.partitions == partitions
    assert "partitions" not in json.loads(directory_payload(pki.directory))


@pytest.mark.parametrize("wrong", [{"dna": 0}, {"dna": 257}, {"dna": True}, {"dna": "4"}, {"gossip": 1}, [4]], ids=str)
def test_partitions_that_no_log_can_have_are_refused(pki: SamplePki, wrong: object) -> None:
    assert "partitions" in refused(pki, seal(pki, changed(pki, "partitions", wrong)))
