from __future__ import annotations

import contextlib
from itertools import chain, combinations
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.errors import WitnessPolicyInvalid
from broker.core.tree.checkpoint import VerifierKey
from broker.core.tree.witnesspolicy import MAX_LINES, WitnessPolicy, parse_policy
from tests.support.witnesses import SampleWitness

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from broker.core.tree.cosignature import WitnessKey

KEYS = {name: SampleWitness(f"witness.example/{name}").key for name in ("X1", "X2", "X3", "Y1", "Y2", "Y3")}
LOG = VerifierKey("example.com/behind-the-sofa", bytes(32))
# The example of C2SP tlog-policy, with keys.
C2SP_POLICY = f"""
log {LOG}

witness X1 {KEYS["X1"]}
witness X2 {KEYS["X2"]}
witness X3 {KEYS["X3"]}
group X-witnesses 2 X1 X2 X3

witness Y1 {KEYS["Y1"]}
witness Y2 {KEYS["Y2"]}
witness Y3 {KEYS["Y3"]}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
""".encode()


def policy(*lines: str) -> WitnessPolicy:
    return parse_policy("".join(f"{line}\n" for line in lines).encode())


def witness(name: str, url: str = "") -> str:
    return f"witness {name} {KEYS[name]} {url}".rstrip()


def subsets(names: Iterable[str]) -> Iterator[tuple[str, ...]]:
    listed = list(names)
    return chain.from_iterable(combinations(listed, size) for size in range(len(listed) + 1))


def keys(names: Iterable[str]) -> list[WitnessKey]:
    return [KEYS[name] for name in names]


def test_the_specification_s_example_demands_two_x_and_one_y() -> None:
    parsed = parse_policy(C2SP_POLICY)

    assert [log.key for log in parsed.logs] == [LOG]
    assert [(one.name, one.key) for one in parsed.witnesses] == list(KEYS.items())
    for cosigned in subsets(KEYS):
        enough = sum(name[0] == "X" for name in cosigned) >= 2 and any(name[0] == "Y" for name in cosigned)
        assert parsed.satisfied_by(keys(cosigned)) == enough, cosigned
    assert parsed.fewest == 3


def test_quorum_none_demands_nobody() -> None:
    parsed = policy("quorum none")

    assert parsed.satisfied_by([])
    assert parsed.fewest == 0
    assert policy(witness("X1"), "quorum none").satisfied_by([])


def test_a_single_witness_can_be_the_quorum() -> None:
    parsed = policy(witness("X1"), witness("X2"), "quorum X1")

    assert parsed.satisfied_by(keys(["X1"]))
    assert not parsed.satisfied_by(keys(["X2"]))


def test_keys_that_the_policy_does_not_name_do_not_count() -> None:
    parsed = policy(witness("X1"), witness("X2"), "group all-x all X1 X2", "quorum all-x")

    assert not parsed.satisfied_by(keys(["X1", "Y1"]))
    assert not parsed.satisfied_by([VerifierKey(key.name, key.public_key) for key in keys(["X1", "X2"])])


def test_addresses_are_read() -> None:
    parsed = policy(f"log {LOG} https://log.example/", witness("X1", "https://x1.example:7443/w"), "quorum X1")

    assert parsed.logs[0].url == "https://log.example/"
    assert parsed.witnesses[0].url == "https://x1.example:7443/w"


def test_blank_lines_comments_tabs_and_a_missing_last_newline_are_accepted() -> None:
    text = f"\t # who\n \n\twitness \t X1 {KEYS['X1']}\t\n#quorum none\n  quorum\tX1".encode()

    assert parse_policy(text).satisfied_by(keys(["X1"]))


def test_names_are_opaque_bytes() -> None:
    kelvin, latin = "\N{KELVIN SIGN}".encode(), b"\xff"
    lines = [
        b"witness K " + str(KEYS["X1"]).encode(),
        b"witness " + kelvin + b" " + str(KEYS["X2"]).encode(),
        b"witness " + latin + b" " + str(KEYS["X3"]).encode(),
        b"group both all " + kelvin + b" " + latin,
        b"quorum both",
    ]
    parsed = parse_policy(b"\n".join(lines) + b"\n")

    assert parsed.satisfied_by(keys(["X2", "X3"]))
    assert not parsed.satisfied_by(keys(["X1", "X3"]))


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([], "no quorum"),
        ([witness("X1")], "no quorum"),
        (["quorum X1", witness("X1")], "line 1.*no line above"),
        ([witness("X1"), "quorum X1", "quorum X1"], "line 3.*second quorum"),
        ([witness("X1"), witness("X1"), "quorum X1"], "line 2.*taken"),
        ([witness("X1"), f"witness other {KEYS['X1']}", "quorum X1"], "line 2.*key again"),
        ([f"witness none {KEYS['X1']}", "quorum none"], "line 1.*taken"),
        ([witness("X1"), "group none any X1", "quorum none"], "line 2.*taken"),
        ([witness("X1"), "group g any none", "quorum g"], "line 2.*no line above"),
        ([witness("X1"), "group g any g", "quorum g"], "line 2.*no line above"),
        ([witness("X1"), "group g 2 X1 X1", "quorum g"], "line 2.*in a group already"),
        ([witness("X1"), "group g 1 X1", "group h 1 X1", "quorum g"], "line 3.*in a group already"),
        ([witness("X1"), "group g 2 X1", "quorum g"], "line 2.*more members"),
        ([witness("X1"), "group g 0 X1", "quorum g"], "line 2.*threshold"),
        ([witness("X1"), "group g 01 X1", "quorum g"], "line 2.*threshold"),
        ([witness("X1"), "group g most X1", "quorum g"], "line 2.*threshold"),
        ([witness("X1"), "group g any", "quorum X1"], "line 2"),
        ([f"log {LOG}", f"log {LOG}", "quorum none"], "line 2.*key again"),
        ([f"log {KEYS['X1']}", "quorum none"], "line 1.*type 1"),
        ([f"witness w {LOG}", "quorum none"], "line 1.*type 4"),
        (["witness w", "quorum none"], "line 1"),
        (["sometimes X1", "quorum none"], "line 1"),
        (["quorum", "quorum none"], "line 1"),
        (["quorum none more"], "line 1"),
        (["# \x07", "quorum none"], "line 1.*control"),
        (["quorum none\r"], "line 1.*control"),
        (["quorum\N{NO-BREAK SPACE}none"], "line 1"),
        (["witness w not-a-key", "quorum none"], "line 1.*type 4"),
    ],
)
def test_a_policy_with_a_fault_is_refused_and_the_line_named(lines: list[str], fault: str) -> None:
    with pytest.raises(WitnessPolicyInvalid, match=fault):
        policy(*lines)


def test_a_policy_with_too_many_lines_is_refused() -> None:
    lines = [f"witness w{number} {SampleWitness(f'w{number}').key}" for number in range(MAX_LINES)]

    with pytest.raises(WitnessPolicyInvalid, match="more than"):
        policy(*lines, "quorum none")


def test_thirty_two_logs_witnesses_and_groups_are_accepted() -> None:
    logs = [f"log {VerifierKey('a', bytes([number]) * 32)}" for number in range(32)]
    witnesses = [f"witness w{number} {SampleWitness(f'w{number}').key}" for number in range(32)]
    groups = [f"group g{number} any w{number}" for number in range(31)]
    top = "group g 31 " + " ".join(f"g{number}" for number in range(31))

    assert policy(*logs, *witnesses, *groups, top, "quorum g").fewest == 31


@given(st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_refused(text: bytes) -> None:
    with contextlib.suppress(WitnessPolicyInvalid):
        assert parse_policy(text).fewest == 0


@given(st.integers(1, 6), st.sets(st.sampled_from(sorted(KEYS))))
def test_k_of_n_is_satisfied_by_k_and_by_no_fewer(threshold: int, cosigned: set[str]) -> None:
    parsed = policy(*map(witness, KEYS), f"group g {threshold} {' '.join(KEYS)}", "quorum g")

    assert parsed.satisfied_by(keys(cosigned)) == (len(cosigned) >= threshold)
    assert parsed.fewest == threshold


def test_a_quorum_is_as_old_as_the_oldest_cosignature_that_it_needs() -> None:
    parsed = policy(*map(witness, ("X1", "X2", "X3")), "group two 2 X1 X2 X3", "quorum two")
    times = {KEYS["X1"]: 100, KEYS["X2"]: 300, KEYS["X3"]: 200}

    assert parsed.satisfied_since(times) == 200
    assert parsed.satisfied_since({KEYS["X1"]: 100, KEYS["X3"]: 200}) == 100
    assert parsed.satisfied_since({KEYS["X1"]: 100, KEYS["Y1"]: 200}) is None
    assert parsed.satisfied_since({}) is None
    assert policy("quorum none").satisfied_since({}) == 0
