"""The parts of a directory that say which signatures a record needs, and when algorithms end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from broker.core.algorithms import ALGORITHMS, MAX_PRINCIPALS, SignatureRule, rule_for, rules_from, signs_records
from broker.core.errors import AlgorithmEnded
from broker.core.streams import KINDS
from broker.trust.directory_fields import read_keys, read_object, read_texts, read_time, refuse, rfc3339

if TYPE_CHECKING:
    from broker.core.policy import Directory

SIGNATURES: Final = "signatures"
ALGORITHMS_KEY: Final = "algorithms"
_RULE: Final = frozenset({"algorithms", "principals"})
_FROM: Final = "from"
_BEFORE: Final = "before"
_TIMED: Final = frozenset({_FROM, _BEFORE})


def read_signatures(value: Any) -> dict[str, SignatureRule]:
    """The rules by kind: which algorithms, how many principals, and perhaps since when."""
    # Earlier versions reserved the key, and took it when it was empty.
    rules = {} if value in ([], "", None) else read_object(value, SIGNATURES)
    if not KINDS.issuperset(rules):
        refuse(f"{SIGNATURES} names a kind that this version does not know")
    return {kind: _rule(rule, f"{SIGNATURES}.{kind}") for kind, rule in rules.items()}


def read_ended_algorithms(value: Any) -> dict[str, int]:
    """When algorithms end that sign records: an object of objects with the time ``not_after``."""
    ends = read_object(value, ALGORITHMS_KEY)
    if not all(map(signs_records, ends)):
        refuse(f"{ALGORITHMS_KEY} names something else than an algorithm for records: {_for_records()}")
    return {
        name: read_time(read_keys(end, frozenset({"not_after"}), f"{ALGORITHMS_KEY}.{name}")["not_after"], name)
        for name, end in ends.items()
    }


def check_signatures(directory: Directory) -> None:
    """Refuse rules that no record can follow: their algorithms have ended when the version is issued, or they begin."""
    for kind in directory.signatures:
        for rule in rules_from(directory, kind, directory.issued_at_ms):
            try:
                rule_for(directory, kind, max(directory.issued_at_ms, rule.from_ms))
            except AlgorithmEnded as error:
                refuse(error.message)


def signature_fields(directory: Directory) -> dict[str, Any]:
    """Both parts as they stand in a payload, if they have content."""
    rules = {kind: _rule_fields(rule) for kind, rule in directory.signatures.items()}
    ends = {name: {"not_after": rfc3339(end_ms)} for name, end_ms in directory.ended_algorithms.items()}
    return {**({SIGNATURES: rules} if rules else {}), **({ALGORITHMS_KEY: ends} if ends else {})}


def _rule_fields(rule: SignatureRule) -> dict[str, Any]:
    fields = {"algorithms": list(rule.algorithms), "principals": rule.principals}
    if not rule.from_ms:
        return fields
    return {**fields, _FROM: rfc3339(rule.from_ms), _BEFORE: None if rule.before is None else _rule_fields(rule.before)}


def _rule(value: Any, where: str) -> SignatureRule:
    fields = read_keys(value, _RULE, where, _TIMED)
    algorithms, principals = read_texts(fields["algorithms"], where), fields["principals"]
    if not algorithms or not all(map(signs_records, algorithms)):
        refuse(f"{where}.algorithms is not a list of algorithms for records: {_for_records()}")
    if type(principals) is not int or not 0 < principals <= MAX_PRINCIPALS:
        refuse(f"{where}.principals is not a number from 1 to {MAX_PRINCIPALS}")
    # Who forgets the rule that is in force would end it: so a rule for later says what is demanded before.
    if 0 < len(fields.keys() & _TIMED) < len(_TIMED):
        refuse(f"{where} has one of from and before: give both, and null as before if there was no rule")
    if _FROM not in fields:
        return SignatureRule(algorithms, principals)
    from_ms = read_time(fields[_FROM], where)
    before = None if fields[_BEFORE] is None else _rule(fields[_BEFORE], f"{where}.{_BEFORE}")
    if before is not None and before.from_ms >= from_ms:
        refuse(f"{where}.{_BEFORE} does not begin earlier")
    return SignatureRule(algorithms, principals, from_ms, before)


def _for_records() -> str:
    return ", ".join(filter(signs_records, ALGORITHMS))
