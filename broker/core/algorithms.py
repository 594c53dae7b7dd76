"""The registry of signature algorithms, and which signatures a record of a kind needs (docs/adr/0061).

An algorithm may have an end: in the registry, or earlier in the directory. From then on its signatures count for
nothing in records that are accepted later. Records that were accepted before stay as good as they were.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from broker.core.envelope import ECDSA_P256_SHA256, ML_DSA_65
from broker.core.errors import AlgorithmEnded, SignatureMissing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from broker.core.body import Body

ED25519: Final = "ed25519"
RECORDS: Final = "records"
MAX_PRINCIPALS: Final = 4
"""The most principals whose signatures a kind can need. With two algorithms these are eight signatures."""


class Algorithm(NamedTuple):
    """A signature algorithm.

    Attributes:
        name: as bodies and the directory write it.
        standard: where it is defined.
        signs: what it may sign.
        public_key_bytes: the size of a public key, without what names its type.
        signature_bytes: the largest size of a signature.
        not_after_ms: from then on it counts for nothing new (epoch milliseconds, UTC). None: no end is set.
    """

    name: str
    standard: str
    signs: tuple[str, ...]
    public_key_bytes: int
    signature_bytes: int
    not_after_ms: int | None = None


ALGORITHMS: Final = {
    each.name: each
    for each in (
        Algorithm(
            ECDSA_P256_SHA256,
            "FIPS 186-5, ASN.1 DER",
            (RECORDS, "directories", "key statements", "receipts", "bundles"),
            65,
            72,
        ),
        Algorithm(ML_DSA_65, "FIPS 204, pure, empty context", (RECORDS,), 1952, 3309),
        Algorithm(ED25519, "RFC 8032", ("checkpoints", "cosignatures"), 32, 64),
    )
}
"""Every algorithm of which this version verifies a signature of the exchange, of an agency or of a witness."""


class SignatureRule(NamedTuple):
    """Which signatures a record needs: one of each algorithm, by each of so many principals of its publisher.

    Without algorithms: one of any algorithm for records.

    ``from_ms``: it is demanded of records that are accepted from then on. Publishers follow it as soon as they know it.
    ``before``: the rule until then. None: as if the kind had no rule.
    """

    algorithms: tuple[str, ...] = (ECDSA_P256_SHA256,)
    principals: int = 1
    from_ms: int = 0
    before: SignatureRule | None = None


ANY_SIGNATURE: Final = SignatureRule(algorithms=())
"""What a record of a kind needs for which the directory has no rule. So no kind ends with an algorithm because
governance named it in no rule."""


class Rules(Protocol):
    """What a directory says of signatures."""

    @property
    def exchange(self) -> str:
        """The agency id under which the broker signs its own records."""

    @property
    def signatures(self) -> Mapping[str, SignatureRule]:
        """The rules, by kind."""

    @property
    def ended_algorithms(self) -> Mapping[str, int]:
        """When algorithms end, by name (epoch milliseconds, UTC)."""


class Signs(Protocol):
    """The certificate of a signature."""

    @property
    def algorithm(self) -> str:
        """The algorithm of its key."""

    @property
    def system(self) -> str:
        """The system of the principal that it names."""

    @property
    def public_key_der(self) -> bytes:
        """Its public key."""


def signs_records(algorithm: str) -> bool:
    """Whether an algorithm of this name may sign records."""
    known = ALGORITHMS.get(algorithm)
    return known is not None and RECORDS in known.signs


def end_of(rules: Rules, algorithm: str) -> int | None:
    """When an algorithm ends (epoch milliseconds, UTC): in the registry or in the directory, whichever is first."""
    ends = [ALGORITHMS[algorithm].not_after_ms, rules.ended_algorithms.get(algorithm)]
    return min((end for end in ends if end is not None), default=None)


def rules_from(rules: Rules, kind: str, at_ms: int) -> list[SignatureRule]:
    """The rule of a kind that is in force at a time (epoch milliseconds, UTC), and behind it those that begin later."""
    found = [rules.signatures.get(kind, ANY_SIGNATURE)]
    while at_ms < found[0].from_ms:
        found.insert(0, found[0].before or ANY_SIGNATURE)
    return found


def unended(rules: Rules, algorithms: Iterable[str], at_ms: int) -> tuple[str, ...]:
    """Those of the algorithms that have not ended at a time (epoch milliseconds, UTC)."""
    return tuple(name for name in algorithms if (end := end_of(rules, name)) is None or at_ms < end)


def rule_for(rules: Rules, kind: str, at_ms: int) -> SignatureRule:
    """What a record of a kind needs that is accepted at a time: only algorithms that have not ended by then.

    ``ANY_SIGNATURE`` if the kind has no rule.

    Args:
        rules: those of the directory.
        kind: the kind of the record.
        at_ms: the time: milliseconds since the Unix epoch, UTC.

    Raises:
        AlgorithmEnded: all of them have ended.
    """
    rule = rules_from(rules, kind, at_ms)[0]
    good = unended(rules, rule.algorithms, at_ms)
    if rule.algorithms and not good:
        message = f"of the algorithms that a {kind} must be signed with, all have ended: {', '.join(rule.algorithms)}"
        raise AlgorithmEnded(message)
    return rule._replace(algorithms=good)


def check_required(rules: Rules, body: Body, signers: Iterable[Signs], at_ms: int) -> None:
    """Check that the signatures of a record are at least those that its kind needs.

    Two certificates with one key are of one person, whatever names they have. The exchange's own records need one
    signature, of the algorithm of its receipts: neither rules nor ends of a directory are about these.

    Args:
        rules: those of the directory.
        body: the record's.
        signers: the certificates of its signatures, all of them of its publisher.
        at_ms: when it was accepted, milliseconds since the Unix epoch, UTC.

    Raises:
        AlgorithmEnded: of the algorithms that it needs, or without a rule of those that it has, all had ended.
        SignatureMissing: a signature of an algorithm, or of another principal, is missing.
    """
    rule = SignatureRule() if body.publisher == rules.exchange else rule_for(rules, body.kind, at_ms)
    if not rule.algorithms:
        if not unended(rules, (signer.algorithm for signer in signers), at_ms):
            message = f"the {body.kind} has signatures of algorithms that have ended only"
            raise AlgorithmEnded(message, record_id=body.record_id)
        return
    keys: dict[str, dict[str, set[bytes]]] = {}
    for signer in signers:
        if signer.algorithm in rule.algorithms:
            keys.setdefault(signer.system, {}).setdefault(signer.algorithm, set()).add(signer.public_key_der)
    whole = [[own[name] for name in rule.algorithms] for own in keys.values() if len(own) == len(rule.algorithms)]
    if not _different(whole, rule.principals, frozenset()):
        who = (
            "one principal" if rule.principals == 1 else f"each of {rule.principals} principals with keys of their own"
        )
        message = f"a {body.kind} needs signatures by {who} of {body.publisher}, of {' and '.join(rule.algorithms)}"
        raise SignatureMissing(message, record_id=body.record_id)


def _different(principals: Sequence[Sequence[set[bytes]]], number: int, used: frozenset[bytes]) -> bool:
    """Whether so many of the principals have one key of each algorithm that no other of them has.

    It tries what there is: a record has at most 16 signatures, and needs 4 principals.
    """
    if not number:
        return True
    if len(principals) < number:
        return False
    own, *others = principals
    return any(
        _different(others, number - 1, used.union(keys)) for keys in itertools.product(*own) if used.isdisjoint(keys)
    ) or _different(others, number, used)
