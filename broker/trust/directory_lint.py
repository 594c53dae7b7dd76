"""What governance may not have meant, in a directory that would be accepted."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from broker.core.algorithms import ALGORITHMS, end_of, rule_for, rules_from, signs_records, unended
from broker.core.counterparts import rights_without_counterpart
from broker.core.errors import AlgorithmEnded, DirectoryInvalid, SignerCertificateInvalid
from broker.core.inforce import check_issued
from broker.trust.certificates import parse_certificate, principal_of, signing_validity, validity
from broker.trust.expiries import AUTHORITY, SIGNING, Expiry, authority_expiries
from broker.trust.keyring import signing_authorities
from broker.trust.recordkeys import algorithm_of, record_key
from broker.trust.requests import key_sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from broker.core.policy import Agency, Directory


def lint(directory: Directory, now_ms: int) -> list[str]:
    """Sentences about what governance may not have meant.

    Raises:
        DirectoryInvalid: the directory has expired already, or is of the future, so nobody could use it.
    """
    check_issued(directory, now_ms)
    if directory.expires_at_ms <= now_ms:
        message = "the directory has already expired: set a later expires_at"
        raise DirectoryInvalid(message)
    return [
        *_of_the_whole(directory, now_ms),
        *_of_keys(directory, now_ms),
        *_of_rules(directory, now_ms),
        *_of_ends(directory, now_ms),
        *rights_without_counterpart(directory),
    ]


def _of_the_whole(directory: Directory, now_ms: int) -> Iterator[str]:
    if directory.expires_soon(now_ms):
        yield f"the directory expires soon: {_date(directory.expires_at_ms)}"
    open_keys = len(directory.log_keys) - len(directory.ended_log_keys)
    if open_keys > 1:
        yield (
            f"{open_keys} of log_keys have no end: list those that no broker signs with in ended_log_keys "
            "(`case-exchange log-key`)"
        )
    for one in authority_expiries(directory.signing_authorities):
        if now_ms >= one.due_ms:
            yield f"the {AUTHORITY} {one.name} ends at {_date(one.last_ms)}: {one.remedy}"


def _of_keys(directory: Directory, now_ms: int) -> Iterator[str]:
    authorities = signing_authorities(directory.signing_authorities)
    holders: dict[str, list[str]] = defaultdict(list)
    for agency in directory.agencies.values():
        usable = 0
        for data in agency.signing_certificates:
            certificate = parse_certificate(data)
            holders[key_sha256(record_key(certificate))].append(agency.id)
            name = f"a signing certificate of {agency.id}"
            try:
                last_ms = signing_validity(certificate, authorities).last_ms
            except SignerCertificateInvalid as error:
                yield f"{name} cannot be used: {error.message}"
                continue
            life = Expiry(SIGNING, name, validity(certificate).first_ms, last_ms)
            usable += life.first_ms <= now_ms <= life.last_ms
            if now_ms > life.last_ms:
                yield f"{name} ended at {_date(life.last_ms)}: leave it out, and it is kept as retired"
            elif now_ms >= life.due_ms:
                yield f"{name} ends at {_date(life.last_ms)}: its agency should renew it"
        if not usable and _signs(agency, directory):
            yield f"{agency.id} signs records, and has no signing certificate that is good now"
    for found in holders.values():
        if len(found) > 1:
            yield f"one key has {len(found)} certificates in use, of {', '.join(sorted(set(found)))}"


def _of_rules(directory: Directory, now_ms: int) -> Iterator[str]:
    for agency in directory.agencies.values():
        held = _algorithms_of(agency)
        kinds = sorted(agency.publish.keys() & directory.signatures.keys())
        rules = [(each, rule) for each in kinds for rule in rules_from(directory, each, now_ms)]
        for kind, rule in rules:
            enough = sum(found.issuperset(rule.algorithms) for found in held.values())
            if rule.algorithms and enough < rule.principals:
                needs = f"a {kind} needs {rule.principals} principals with {' and '.join(rule.algorithms)}"
                yield f"{needs}, and {agency.id}, which may publish it, has certificates of {enough} such principals"


def _of_ends(directory: Directory, now_ms: int) -> Iterator[str]:
    """Kinds that nobody, or one agency not, can publish any more when an algorithm has ended."""
    known = [end_of(directory, name) for name in filter(signs_records, ALGORITHMS)]
    ends = sorted({max(now_ms, end) for end in known if end is not None})
    for kind in sorted(directory.signatures):
        begins = [rule.from_ms for rule in rules_from(directory, kind, now_ms)[1:]]
        for at_ms in sorted({*ends, *begins}):
            try:
                rule_for(directory, kind, at_ms)
            except AlgorithmEnded as error:
                yield f"nobody can publish a {kind} from {_date(at_ms)} on: {error.message}"
                break
    for agency in directory.agencies.values():
        held = set[str]().union(*_algorithms_of(agency).values())
        for at_ms in ends:
            kinds = [kind for kind in sorted(agency.publish) if not rules_from(directory, kind, at_ms)[0].algorithms]
            if held and kinds and not unended(directory, held, at_ms):
                which = f"has certificates of {' and '.join(sorted(held))} only, which has ended"
                yield f"{agency.id} can publish no {', '.join(kinds)} from {_date(at_ms)} on: it {which}"
                break


def _algorithms_of(agency: Agency) -> Mapping[str, set[str]]:
    """The algorithms of its certificates, by the system that they name."""
    held: dict[str, set[str]] = defaultdict(set)
    for certificate in map(parse_certificate, agency.signing_certificates):
        held[principal_of(certificate).system].add(algorithm_of(record_key(certificate)))
    return held


def _signs(agency: Agency, directory: Directory) -> bool:
    return bool(agency.publish) or agency.id == directory.exchange


def _date(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).date().isoformat()
