"""The directory's payload: JSON to the core's Directory and back. docs/directory.md lists its keys.

Everything unknown is refused. An unknown key could be a restriction from a newer governance program, and this version
would not apply it. Some keys are reserved for later versions. They are refused too, unless they are empty.
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from broker.core.errors import CheckpointInvalid, DirectoryInvalid, WitnessPolicyInvalid
from broker.core.identity import is_agency_id, is_trust_domain
from broker.core.policy import ANY, Agency, Directory, PublishRight, ReceiveRight, ReplayRight, RetiredCertificate
from broker.core.quota import LEAST, is_quota
from broker.core.streams import KINDS, STREAMS
from broker.core.strict import decode_base64, encode_base64, parse_json
from broker.core.tree.checkpoint import VerifierKey
from broker.core.tree.witnesspolicy import parse_directory_policy
from broker.trust.directory_fields import (
    read_keys,
    read_names,
    read_object,
    read_partitions,
    read_text,
    read_texts,
    read_time,
    read_version,
    refuse,
    rfc3339,
)
from broker.trust.directory_incarnations import (
    INCARNATIONS,
    check_declared_by_then,
    incarnation_fields,
    read_incarnations,
)
from broker.trust.directory_log_keys import ENDED_LOG_KEYS, ended_log_key_fields, read_ended_log_keys
from broker.trust.directory_signatures import (
    ALGORITHMS_KEY,
    SIGNATURES,
    check_signatures,
    read_ended_algorithms,
    read_signatures,
    signature_fields,
)
from broker.trust.keyring import listed_certificate, signing_authorities, timestamp_chain
from broker.trust.keystatements import Carrier, statement_fields, with_listed_keys
from broker.trust.signedjson import strictly

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Right = TypeVar("Right", PublishRight, ReceiveRight, ReplayRight)

MAX_NAME: Final = 200
_DIRECTORY_KEYS: Final = frozenset(
    {"version", "trust_domain", "issued_at", "expires_at", "exchange"}
    | {"signing_authorities", "log_keys", "purposes", "agencies"}
)
_DIRECTORY_RESERVED: Final = frozenset({"responsible"})
_AGENCY_KEYS: Final = frozenset({"name", "signing_certificates", "publish", "receive", "replay"})
_ENCRYPTION_KEYS: Final = "encryption_keys"
_RETIRED: Final = "retired_certificates"
_LIMITS: Final = "limits"
_PLAIN: Final = "plain"
_MAY_CORRECT: Final = "may_correct"
_WITNESS_POLICY: Final = "witness_policy"
_TIMESTAMPS: Final = "timestamp_authorities"
_PARTITIONS: Final = "partitions"
_DIRECTORY_OPTIONAL: Final = _DIRECTORY_RESERVED | {
    _PARTITIONS,
    _MAY_CORRECT,
    _WITNESS_POLICY,
    _TIMESTAMPS,
    INCARNATIONS,
    ENDED_LOG_KEYS,
    SIGNATURES,
    ALGORITHMS_KEY,
}
_SECTION: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_PURPOSE: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")


def parse_payload(payload: bytes, document: bytes, *, draft: bool = False) -> Directory:
    """Read a payload with a verified signature.

    Args:
        payload: the JSON text that was signed.
        document: the signed document of the payload, which the result keeps.
        draft: it is one that governance writes now. A certificate that signed a key statement may not be listed yet.

    Raises:
        DirectoryInvalid: it names the first wrong field.
    """
    with strictly():
        fields = read_keys(parse_json(payload), _DIRECTORY_KEYS, "the directory", _DIRECTORY_OPTIONAL)
        _refuse_reserved(fields)
        trust_domain = read_text(fields["trust_domain"], is_trust_domain, "trust_domain")
        members = read_object(fields["agencies"], "agencies")
        ids = frozenset(members)
        authorities = tuple(map(decode_base64, read_texts(fields["signing_authorities"], "signing_authorities")))
        carrier = Carrier(trust_domain, read_time(fields["issued_at"], "issued_at"), authorities)
        read = partial(_agency, ids=ids, carrier=carrier, draft=draft)
        directory = Directory(
            version=read_version(fields["version"]),
            trust_domain=trust_domain,
            issued_at_ms=carrier.issued_at_ms,
            expires_at_ms=read_time(fields["expires_at"], "expires_at"),
            exchange=read_text(fields["exchange"], ids.__contains__, "exchange"),
            signing_authorities=authorities,
            log_keys=read_texts(fields["log_keys"], "log_keys"),
            purposes=read_names(fields["purposes"], _PURPOSE.fullmatch, "purposes"),
            agencies={agency: read(agency, value) for agency, value in members.items()},
            document=document,
            may_correct=_may_correct(fields.get(_MAY_CORRECT, {}), ids),
            witness_policy=read_text(fields.get(_WITNESS_POLICY, ""), lambda text: text.isascii(), _WITNESS_POLICY),
            timestamp_authorities=_timestamp_authorities(fields.get(_TIMESTAMPS, [])),
            ended_log_keys=read_ended_log_keys(fields.get(ENDED_LOG_KEYS, []), fields["log_keys"]),
            incarnations=read_incarnations(fields.get(INCARNATIONS, []), trust_domain),
            partitions=read_partitions(fields.get(_PARTITIONS, {}), _PARTITIONS),
            signatures=read_signatures(fields.get(SIGNATURES, {})),
            ended_algorithms=read_ended_algorithms(fields.get(ALGORITHMS_KEY, {})),
        )
    _check(directory)
    check_declared_by_then(directory)
    check_signatures(directory)
    return directory


def directory_payload(directory: Directory) -> bytes:
    """Write a directory as the JSON text to be signed. ``document`` is not used."""
    correctors, stampers = directory.may_correct, directory.timestamp_authorities
    fields = {
        "version": directory.version,
        "trust_domain": directory.trust_domain,
        "issued_at": rfc3339(directory.issued_at_ms),
        "expires_at": rfc3339(directory.expires_at_ms),
        "exchange": directory.exchange,
        "signing_authorities": [encode_base64(authority) for authority in directory.signing_authorities],
        "log_keys": list(directory.log_keys),
        "purposes": sorted(directory.purposes),
        **({_MAY_CORRECT: {kind: sorted(who) for kind, who in correctors.items()}} if correctors else {}),
        **({_WITNESS_POLICY: directory.witness_policy} if directory.witness_policy else {}),
        **({_TIMESTAMPS: [list(map(encode_base64, chain)) for chain in stampers]} if stampers else {}),
        **(
            {ENDED_LOG_KEYS: [*map(ended_log_key_fields, directory.ended_log_keys)]} if directory.ended_log_keys else {}
        ),
        **({INCARNATIONS: [*map(incarnation_fields, directory.incarnations)]} if directory.incarnations else {}),
        **({_PARTITIONS: {**directory.partitions}} if directory.partitions else {}),
        **signature_fields(directory),
        "agencies": {agency.id: _agency_fields(agency) for agency in directory.agencies.values()},
    }
    return json.dumps(fields, ensure_ascii=False, indent=1).encode() + b"\n"


def _timestamp_authorities(value: Any) -> tuple[tuple[bytes, ...], ...]:
    if not isinstance(value, list):
        refuse(f"{_TIMESTAMPS} is not a list")
    return tuple(tuple(map(decode_base64, read_texts(chain, _TIMESTAMPS))) for chain in value)


def _agency(agency: str, value: Any, ids: frozenset[str], carrier: Carrier, *, draft: bool) -> Agency:
    if not is_agency_id(agency):
        refuse("agencies holds a key that is not an agency id")
    fields = read_keys(value, _AGENCY_KEYS, agency, frozenset({_RETIRED, _LIMITS, _ENCRYPTION_KEYS}))
    certificates = read_texts(fields["signing_certificates"], f"{agency}.signing_certificates")

    def publish(right: Any, where: str) -> PublishRight:
        names = read_keys(right, frozenset({"recipients", "sections"}), where, frozenset({_PLAIN}))
        plain = _sections(names.get(_PLAIN, []), where)
        return PublishRight(_agencies(names["recipients"], ids, where), _sections(names["sections"], where), plain)

    def receive(right: Any, where: str) -> ReceiveRight:
        names = read_keys(right, frozenset({"publishers", "sections"}), where)
        return ReceiveRight(_agencies(names["publishers"], ids, where), _sections(names["sections"], where))

    def replay(right: Any, where: str) -> ReplayRight:
        return ReplayRight(_sections(read_keys(right, frozenset({"sections"}), where)["sections"], where))

    member = Agency(
        id=agency,
        name=read_text(fields["name"], lambda text: 0 < len(text) <= MAX_NAME and text.isprintable(), f"{agency}.name"),
        signing_certificates=tuple(map(decode_base64, certificates)),
        publish=_rights(fields["publish"], KINDS, publish, f"{agency}.publish"),
        receive=_rights(fields["receive"], KINDS, receive, f"{agency}.receive"),
        replay=_rights(fields["replay"], frozenset(STREAMS), replay, f"{agency}.replay"),
        retired_certificates=_retired(fields.get(_RETIRED, []), f"{agency}.{_RETIRED}"),
        limits=_limits(fields.get(_LIMITS, {}), f"{agency}.{_LIMITS}"),
    )
    listed = [*member.signing_certificates, *(one.certificate for one in member.retired_certificates)]
    if len(set(listed)) != len(listed):
        refuse(f"{agency} lists a certificate twice, in use or retired")
    for certificate in listed:
        listed_certificate(certificate, agency, carrier.trust_domain)
    return with_listed_keys(member, fields.get(_ENCRYPTION_KEYS, []), carrier, draft=draft)


def _retired(value: Any, where: str) -> tuple[RetiredCertificate, ...]:
    if not isinstance(value, list):
        refuse(f"{where} is not a list")
    retired = []
    for item in value:
        fields = read_keys(item, frozenset({"certificate", "retired_at"}), where)
        certificate = read_text(fields["certificate"], bool, where)
        retired.append(RetiredCertificate(decode_base64(certificate), read_time(fields["retired_at"], where)))
    return tuple(retired)


def _limits(value: Any, where: str) -> dict[str, int]:
    limits = read_object(value, where)
    if not all(is_quota(name, number) for name, number in limits.items()):
        refuse(f"{where} holds something that is no quota in whole numbers: {', '.join(LEAST)}")
    return limits


def _may_correct(value: Any, ids: frozenset[str]) -> dict[str, frozenset[str]]:
    found = read_object(value, _MAY_CORRECT)
    if not KINDS.issuperset(found):
        refuse(f"{_MAY_CORRECT} names a kind that this version does not know")
    # Each agency by its name: "everybody" would be a mistake.
    return {kind: read_names(who, ids.__contains__, f"{_MAY_CORRECT}.{kind}") for kind, who in found.items()}


def _rights(value: Any, known: frozenset[str], read: Callable[[Any, str], Right], where: str) -> dict[str, Right]:
    rights = read_object(value, where)
    if not known.issuperset(rights):
        refuse(f"{where} names a kind or stream that this version does not know")
    return {name: read(right, f"{where}.{name}") for name, right in rights.items()}


def _agencies(value: Any, ids: frozenset[str], where: str) -> frozenset[str]:
    return read_names(value, lambda name: name == ANY or name in ids, where)


def _sections(value: Any, where: str) -> frozenset[str]:
    return read_names(value, lambda name: name == ANY or _SECTION.fullmatch(name), where)


def _check(directory: Directory) -> None:
    """Refuse a payload that is well formed but contradicts itself."""
    if directory.expires_at_ms <= directory.issued_at_ms:
        refuse("expires_at is not after issued_at")
    if not directory.signing_authorities:
        refuse("signing_authorities is empty")
    signing_authorities(directory.signing_authorities)
    for chain in directory.timestamp_authorities:
        timestamp_chain(chain)
    key_ids = [key.key_id for agency in directory.agencies.values() for key in agency.encryption_keys]
    if len(set(key_ids)) != len(key_ids):
        refuse("two agencies state the same encryption key: each must make its own")
    for vkey in directory.log_keys:
        try:
            VerifierKey.parse(vkey)
        except CheckpointInvalid as error:
            message = "log_keys holds something that is not a checkpoint verifier key"
            raise DirectoryInvalid(message) from error
    try:
        parse_directory_policy(directory.witness_policy, directory.log_keys)
    except WitnessPolicyInvalid as error:
        raise DirectoryInvalid(error.message) from error


def _agency_fields(agency: Agency) -> dict[str, Any]:
    retired = [
        {"certificate": encode_base64(one.certificate), "retired_at": rfc3339(one.retired_at_ms)}
        for one in agency.retired_certificates
    ]
    return {
        "name": agency.name,
        "signing_certificates": [encode_base64(certificate) for certificate in agency.signing_certificates],
        "publish": {
            kind: {
                "recipients": sorted(right.recipients),
                "sections": sorted(right.sections),
                **({_PLAIN: sorted(right.plain)} if right.plain else {}),
            }
            for kind, right in agency.publish.items()
        },
        "receive": {
            kind: {"publishers": sorted(right.publishers), "sections": sorted(right.sections)}
            for kind, right in agency.receive.items()
        },
        "replay": {stream: {"sections": sorted(right.sections)} for stream, right in agency.replay.items()},
        **({_RETIRED: retired} if retired else {}),
        **({_LIMITS: dict(agency.limits)} if agency.limits else {}),
        **({_ENCRYPTION_KEYS: statements} if (statements := statement_fields(agency)) else {}),
    }


def _refuse_reserved(fields: Mapping[str, Any]) -> None:
    for key in sorted(_DIRECTORY_RESERVED & fields.keys()):
        if fields[key] not in ([], {}, "", None):
            refuse(f"this version does not apply {key}; leave it empty")
