"""The directory's payload: JSON to the core's Directory and back. docs/directory.md lists its keys.

Everything unknown is refused. An unknown key could be a restriction from a newer governance program, and this version
would not apply it. Some keys are reserved for later versions. They are refused too, unless they are empty.
"""

from __future__ import annotations

import contextlib
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from broker.core.checkpoint import VerifierKey
from broker.core.errors import CheckpointInvalid, DirectoryInvalid, WitnessPolicyInvalid
from broker.core.identity import is_agency_id, is_trust_domain
from broker.core.policy import ANY, Agency, Directory, PublishRight, ReceiveRight, ReplayRight, RetiredCertificate
from broker.core.quota import LEAST, is_quota
from broker.core.streams import KINDS, STREAMS
from broker.core.strict import NotStrict, decode_base64, encode_base64, parse_json
from broker.core.witnesspolicy import parse_directory_policy
from broker.trust.keyring import listed_certificate, signing_authorities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Right = TypeVar("Right", PublishRight, ReceiveRight, ReplayRight)

MAX_NAME: Final = 200
_DIRECTORY_KEYS: Final = frozenset(
    {"version", "trust_domain", "issued_at", "expires_at", "exchange"}
    | {"signing_authorities", "log_keys", "purposes", "agencies"}
)
_DIRECTORY_RESERVED: Final = frozenset({"responsible", "signatures"})
_AGENCY_KEYS: Final = frozenset({"name", "signing_certificates", "publish", "receive", "replay"})
_AGENCY_RESERVED: Final = frozenset({"encryption_keys"})
_RETIRED: Final = "retired_certificates"
_LIMITS: Final = "limits"
_MAY_CORRECT: Final = "may_correct"
_WITNESS_POLICY: Final = "witness_policy"
_DIRECTORY_OPTIONAL: Final = _DIRECTORY_RESERVED | {_MAY_CORRECT, _WITNESS_POLICY}
_RFC3339_UTC: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{3})?Z", re.ASCII)
_SECTION: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_PURPOSE: Final = re.compile(r"[a-z][a-z0-9-]{0,63}")


@contextlib.contextmanager
def strictly() -> Iterator[None]:
    """Refuse a directory for what is not strict JSON or base64 in it."""
    try:
        yield
    except NotStrict as error:
        message = f"the directory holds something that is {error}"
        raise DirectoryInvalid(message) from error


def parse_payload(payload: bytes, document: bytes) -> Directory:
    """Read a payload with a verified signature.

    Args:
        payload: the JSON text that was signed.
        document: the signed document of the payload, which the result keeps.

    Raises:
        DirectoryInvalid: it names the first wrong field.
    """
    with strictly():
        fields = _object(parse_json(payload), _DIRECTORY_KEYS, "the directory", _DIRECTORY_OPTIONAL)
        _refuse_reserved(fields, _DIRECTORY_RESERVED, "")
        trust_domain = _text(fields["trust_domain"], is_trust_domain, "trust_domain")
        members = _any_object(fields["agencies"], "agencies")
        ids = frozenset(members)
        directory = Directory(
            version=_version(fields["version"]),
            trust_domain=trust_domain,
            issued_at_ms=_time(fields["issued_at"], "issued_at"),
            expires_at_ms=_time(fields["expires_at"], "expires_at"),
            exchange=_text(fields["exchange"], ids.__contains__, "exchange"),
            signing_authorities=tuple(map(decode_base64, _texts(fields["signing_authorities"], "signing_authorities"))),
            log_keys=_texts(fields["log_keys"], "log_keys"),
            purposes=_names(fields["purposes"], _PURPOSE.fullmatch, "purposes"),
            agencies={agency: _agency(agency, value, ids) for agency, value in members.items()},
            document=document,
            may_correct=_may_correct(fields.get(_MAY_CORRECT, {}), ids),
            witness_policy=_text(fields.get(_WITNESS_POLICY, ""), lambda text: text.isascii(), _WITNESS_POLICY),
        )
    _check(directory)
    return directory


def directory_payload(directory: Directory) -> bytes:
    """Write a directory as the JSON text to be signed. ``document`` is not used."""
    correctors = directory.may_correct
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
        "agencies": {agency.id: _agency_fields(agency) for agency in directory.agencies.values()},
    }
    return json.dumps(fields, ensure_ascii=False, indent=1).encode() + b"\n"


def _agency(agency: str, value: Any, ids: frozenset[str]) -> Agency:
    if not is_agency_id(agency):
        _refuse("agencies holds a key that is not an agency id")
    fields = _object(value, _AGENCY_KEYS, agency, _AGENCY_RESERVED | {_RETIRED, _LIMITS})
    _refuse_reserved(fields, _AGENCY_RESERVED, f"{agency}.")
    certificates = _texts(fields["signing_certificates"], f"{agency}.signing_certificates")

    def publish(right: Any, where: str) -> PublishRight:
        names = _object(right, frozenset({"recipients", "sections"}), where)
        return PublishRight(_agencies(names["recipients"], ids, where), _sections(names["sections"], where))

    def receive(right: Any, where: str) -> ReceiveRight:
        names = _object(right, frozenset({"publishers", "sections"}), where)
        return ReceiveRight(_agencies(names["publishers"], ids, where), _sections(names["sections"], where))

    def replay(right: Any, where: str) -> ReplayRight:
        return ReplayRight(_sections(_object(right, frozenset({"sections"}), where)["sections"], where))

    return Agency(
        id=agency,
        name=_text(fields["name"], lambda text: 0 < len(text) <= MAX_NAME and text.isprintable(), f"{agency}.name"),
        signing_certificates=tuple(map(decode_base64, certificates)),
        publish=_rights(fields["publish"], KINDS, publish, f"{agency}.publish"),
        receive=_rights(fields["receive"], KINDS, receive, f"{agency}.receive"),
        replay=_rights(fields["replay"], frozenset(STREAMS), replay, f"{agency}.replay"),
        retired_certificates=_retired(fields.get(_RETIRED, []), f"{agency}.{_RETIRED}"),
        limits=_limits(fields.get(_LIMITS, {}), f"{agency}.{_LIMITS}"),
    )


def _retired(value: Any, where: str) -> tuple[RetiredCertificate, ...]:
    if not isinstance(value, list):
        _refuse(f"{where} is not a list")
    retired = []
    for item in value:
        fields = _object(item, frozenset({"certificate", "retired_at"}), where)
        certificate = _text(fields["certificate"], bool, where)
        retired.append(RetiredCertificate(decode_base64(certificate), _time(fields["retired_at"], where)))
    return tuple(retired)


def _limits(value: Any, where: str) -> dict[str, int]:
    limits = _any_object(value, where)
    if not all(is_quota(name, number) for name, number in limits.items()):
        _refuse(f"{where} holds something that is no quota in whole numbers: {', '.join(LEAST)}")
    return limits


def _may_correct(value: Any, ids: frozenset[str]) -> dict[str, frozenset[str]]:
    found = _any_object(value, _MAY_CORRECT)
    if not KINDS.issuperset(found):
        _refuse(f"{_MAY_CORRECT} names a kind that this version does not know")
    # Each agency by its name: "everybody" would be a mistake.
    return {kind: _names(who, ids.__contains__, f"{_MAY_CORRECT}.{kind}") for kind, who in found.items()}


def _rights(value: Any, known: frozenset[str], read: Callable[[Any, str], Right], where: str) -> dict[str, Right]:
    rights = _any_object(value, where)
    if not known.issuperset(rights):
        _refuse(f"{where} names a kind or stream that this version does not know")
    return {name: read(right, f"{where}.{name}") for name, right in rights.items()}


def _agencies(value: Any, ids: frozenset[str], where: str) -> frozenset[str]:
    return _names(value, lambda name: name == ANY or name in ids, where)


def _sections(value: Any, where: str) -> frozenset[str]:
    return _names(value, lambda name: name == ANY or _SECTION.fullmatch(name), where)


def _check(directory: Directory) -> None:
    """Refuse a payload that is well formed but contradicts itself."""
    if directory.expires_at_ms <= directory.issued_at_ms:
        _refuse("expires_at is not after issued_at")
    if not directory.signing_authorities:
        _refuse("signing_authorities is empty")
    signing_authorities(directory.signing_authorities)
    for agency in directory.agencies.values():
        certificates = [*agency.signing_certificates, *(one.certificate for one in agency.retired_certificates)]
        if len(set(certificates)) != len(certificates):
            _refuse(f"{agency.id} lists a certificate twice, in use or retired")
        for certificate in certificates:
            listed_certificate(certificate, agency.id, directory.trust_domain)
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
            kind: {"recipients": sorted(right.recipients), "sections": sorted(right.sections)}
            for kind, right in agency.publish.items()
        },
        "receive": {
            kind: {"publishers": sorted(right.publishers), "sections": sorted(right.sections)}
            for kind, right in agency.receive.items()
        },
        "replay": {stream: {"sections": sorted(right.sections)} for stream, right in agency.replay.items()},
        **({_RETIRED: retired} if retired else {}),
        **({_LIMITS: dict(agency.limits)} if agency.limits else {}),
    }


def _object(value: Any, keys: frozenset[str], where: str, optional: frozenset[str] = frozenset()) -> Mapping[str, Any]:
    fields = _any_object(value, where)
    if fields.keys() - optional != keys:
        _refuse(f"{where} has not exactly the keys {', '.join(sorted(keys))}")
    return fields


def _refuse_reserved(fields: Mapping[str, Any], reserved: frozenset[str], where: str) -> None:
    for key in sorted(reserved & fields.keys()):
        if fields[key] not in ([], {}, "", None):
            _refuse(f"this version does not apply {where}{key}; leave it empty")


def _any_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _refuse(f"{where} is not an object")
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        _refuse(f"{where} is not a list of texts")
    if len(set(value)) != len(value):
        _refuse(f"{where} holds an item twice")
    return tuple(value)


def _names(value: Any, allowed: Callable[[str], object], where: str) -> frozenset[str]:
    names = _texts(value, where)
    if not all(map(allowed, names)):
        _refuse(f"{where} holds a name that is not known or not well formed")
    return frozenset(names)


def _text(value: Any, allowed: Callable[[str], object], where: str) -> str:
    if not isinstance(value, str) or not allowed(value):
        _refuse(f"{where} is not well formed")
    return value


def _version(value: Any) -> int:
    if type(value) is not int or not 0 < value < 2**63:
        _refuse("version is not a positive integer")
    return value


def _time(value: Any, where: str) -> int:
    text = _text(value, _RFC3339_UTC.fullmatch, where)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        _refuse(f"{where} is not a time in RFC 3339, UTC")
    return round(time.timestamp() * 1000)


def rfc3339(time_ms: int) -> str:
    """The text of a time (milliseconds since the Unix epoch): RFC 3339, UTC, without a fraction if it has none."""
    text = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00").removesuffix(".000") + "Z"


def _refuse(what: str) -> NoReturn:
    message = f"the directory cannot be used: {what}"
    raise DirectoryInvalid(message)
