"""What an agency states of its encryption keys: "this is my key", and "nothing may be sealed to it any more".

Each statement is a DSSE envelope in JSON, signed with a signing certificate of the agency that the directory lists, in
use or retired, and that a signing authority of the directory issued. docs/keys.md has the forms. The directory carries
the statements as they are. Whoever reads a directory checks all of them.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from cryptography.hazmat.primitives.asymmetric import ec

from broker.core.dsse import DsseEnvelope, DsseSignature
from broker.core.encryptionkeys import (
    MAX_IN_FORCE,
    PUBLIC_KEY_BYTES,
    USES,
    EncryptionKey,
    KeyRetirement,
    encryption_key_id,
)
from broker.core.envelope import KEY_RETIREMENT_TYPE, KEY_STATEMENT_TYPE, pae
from broker.core.errors import DirectoryInvalid, KeyStatementInvalid, SealInvalid, SignerCertificateInvalid
from broker.core.identity import is_agency_id
from broker.core.strict import NotStrict, decode_base64, encode_base64, parse_json
from broker.trust.certificates import Validity, parse_certificate, signing_validity
from broker.trust.directory_fields import read_keys, read_text, read_time, rfc3339
from broker.trust.hpke import HpkeWrapper
from broker.trust.keyring import signing_authorities
from broker.trust.signedjson import SignedJson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.policy import Agency
    from broker.ports import Signer

MAX_STATEMENT_BYTES: Final = 16 * 1024
MAX_STATEMENTS: Final = 1024
"""Of one agency in one directory."""
MAX_LIFE_MS: Final = 3 * 366 * 24 * 3_600_000
"""How long a key is in force at most, from its beginning on."""
_AHEAD_MS: Final = 24 * 3_600_000
"""So much later than its directory version a statement may be made: clocks differ, and governance writes the time."""
_REMEMBERED: Final = 1024
"""So many statements need not be read and checked again."""
_KEY_FIELDS: Final = frozenset(
    {"trust_domain", "agency", "use", "suite", "public_key", "stated_at", "not_before", "not_after"}
)
_RETIREMENT_FIELDS: Final = frozenset({"trust_domain", "agency", "key_id", "stated_at", "retired_at"})
_KEY_ID: Final = re.compile(r"[0-9a-f]{64}")


class Carrier(NamedTuple):
    """Of the directory version that carries statements: exchange, time of issue and signing authorities (DER)."""

    trust_domain: str
    issued_at_ms: int
    signing_authorities: tuple[bytes, ...]


class KeyStatement(NamedTuple):
    """A statement that is read, and its envelope, whose signatures nobody has checked yet."""

    said: EncryptionKey | KeyRetirement
    trust_domain: str
    stated_at_ms: int
    envelope: SignedJson


def state_key(key: EncryptionKey, trust_domain: str, now_ms: int, signer: Signer) -> EncryptionKey:
    """State that a key is the agency's own. Returns the key with its statement.

    Args:
        key: its agency, suite, use, public key and times.
        trust_domain: the exchange.
        now_ms: the time: milliseconds since the Unix epoch, UTC.
        signer: a signing certificate of the agency.
    """
    payload = {
        "trust_domain": trust_domain,
        "agency": key.agency,
        "use": key.use,
        "suite": key.suite,
        "public_key": encode_base64(key.public_key),
        "stated_at": rfc3339(now_ms),
        "not_before": rfc3339(key.not_before_ms),
        "not_after": rfc3339(key.not_after_ms),
    }
    return replace(key, statement=_signed(KEY_STATEMENT_TYPE, payload, signer))


def state_retirement(
    key: EncryptionKey, retired_at_ms: int, trust_domain: str, now_ms: int, signer: Signer
) -> KeyRetirement:
    """State that nothing may be sealed to a key from a time on. Other arguments as for ``state_key``."""
    payload = {
        "trust_domain": trust_domain,
        "agency": key.agency,
        "key_id": key.key_id.hex(),
        "stated_at": rfc3339(now_ms),
        "retired_at": rfc3339(retired_at_ms),
    }
    return KeyRetirement(key.agency, key.key_id, retired_at_ms, _signed(KEY_RETIREMENT_TYPE, payload, signer))


def parse_statement(data: bytes) -> KeyStatement:
    """Read a statement from a file. Its signature is not checked.

    Raises:
        KeyStatementInvalid: too large, or of another form.
    """
    if len(data) > MAX_STATEMENT_BYTES:
        _refuse("it is too large")
    try:
        return _read(parse_json(data))
    except NotStrict as error:
        _refuse(f"it is {error}")


def with_listed_keys(agency: Agency, items: Any, carrier: Carrier, *, draft: bool = False) -> Agency:
    """Read and check the statements in an agency's entry. Returns the agency with the keys.

    Args:
        agency: the agency with the certificates that the same directory lists for it. They can be read.
        items: the parsed JSON.
        carrier: the directory version.
        draft: who signed a statement is checked later.

    Raises:
        KeyStatementInvalid: a statement is malformed, of another agency or exchange, made after the version, not signed
            by a listed certificate of this agency that was valid then, or stands there twice; or too many keys are in
            force at one time.
        DirectoryInvalid: a signing authority cannot be read.
        NotStrict: a text is not strict JSON or base64.
    """
    if not isinstance(items, list) or len(items) > MAX_STATEMENTS:
        _refuse(f"encryption_keys of {agency.id} is not a list of at most {MAX_STATEMENTS} statements")
    keys: dict[bytes, EncryptionKey] = {}
    ends: dict[tuple[bytes, int], KeyRetirement] = {}
    for statement in map(_read, items):
        said = statement.said
        if (said.agency, statement.trust_domain) != (agency.id, carrier.trust_domain):
            _refuse(f"the directory lists for {agency.id} the key statement of another agency or exchange")
        if statement.stated_at_ms > carrier.issued_at_ms + _AHEAD_MS:
            _refuse("it was stated after the directory version was issued: give that a later issued_at", said.key_id)
        if not draft and not _counts(statement, agency, carrier.signing_authorities):
            who = f"no signing certificate that the directory lists for {agency.id}"
            _refuse(f"{who} signed this key statement, or it was not valid then, or retired before", said.key_id)
        if said.key_id in keys if isinstance(said, EncryptionKey) else (said.key_id, said.retired_at_ms) in ends:
            _refuse(f"the directory lists a key statement of {agency.id} twice", said.key_id)
        if isinstance(said, EncryptionKey):
            keys[said.key_id] = said
        else:
            ends[said.key_id, said.retired_at_ms] = said
    # The earliest retirement counts: a later word never puts a key into force again.
    retired = dict(sorted(ends, key=lambda end: -end[1]))
    found = tuple(replace(key, retired_at_ms=retired.get(key.key_id)) for key in keys.values())
    _check_in_force(agency.id, found)
    return replace(agency, encryption_keys=found, key_retirements=tuple(ends.values()))


def statement_fields(agency: Agency) -> list[Any]:
    """The statements of an agency, as its entry in a directory has them."""
    said: list[EncryptionKey | KeyRetirement] = [*agency.encryption_keys, *agency.key_retirements]
    return [json.loads(one.statement) for one in said]


def _read(item: Any) -> KeyStatement:
    return _parsed(_compact(item))


@functools.lru_cache(_REMEMBERED)
def _parsed(statement: bytes) -> KeyStatement:
    """Read a statement in its compact form. Each version of a directory has the same ones again."""
    item = parse_json(statement)
    match item:
        case {"payloadType": str(kind)} if kind in (KEY_STATEMENT_TYPE, KEY_RETIREMENT_TYPE):
            pass
        case _:
            _refuse("it is not a key statement in a DSSE envelope")
    try:
        envelope = SignedJson.unpack(item, kind, "key statement")
        is_key = kind == KEY_STATEMENT_TYPE
        what = "a key statement" if is_key else "a key retirement"
        fields = read_keys(parse_json(envelope.payload), _KEY_FIELDS if is_key else _RETIREMENT_FIELDS, what)
        trust_domain = read_text(fields["trust_domain"], bool, f"{what}: trust_domain")
        stated_at_ms = read_time(fields["stated_at"], f"{what}: stated_at")
        said = (_key if is_key else _retirement)(fields, statement)
    except KeyStatementInvalid:
        raise
    except DirectoryInvalid as error:
        raise KeyStatementInvalid(error.message) from error
    if isinstance(said, KeyRetirement) and said.retired_at_ms < stated_at_ms:
        _refuse("it retires a key before the time at which it was stated", said.key_id)
    return KeyStatement(said, trust_domain, stated_at_ms, envelope)


@functools.lru_cache(_REMEMBERED)
def signed_by(statement: bytes, certificate: bytes) -> bool:
    """Whether the holder of a listed certificate (DER) signed a statement that a directory carries."""
    key = parse_certificate(certificate).public_key()
    # ML-DSA-65 signs records only (broker/core/algorithms.py).
    return isinstance(key, ec.EllipticCurvePublicKey) and _parsed(statement).envelope.signed_by(key)


@functools.lru_cache(_REMEMBERED)
def _validity(certificate: bytes, authorities: tuple[bytes, ...]) -> Validity | None:
    try:
        return signing_validity(parse_certificate(certificate), signing_authorities(authorities))
    except SignerCertificateInvalid:
        return None


def _counts(statement: KeyStatement, agency: Agency, authorities: tuple[bytes, ...]) -> bool:
    """Whether a listed certificate signed it: of a listed authority, valid then, and in use or retired only later."""
    at_ms = statement.stated_at_ms
    ends: dict[bytes, int | None] = dict.fromkeys(agency.signing_certificates)
    ends.update(agency.retired_certificates)
    for certificate, end in ends.items():
        if (end is None or at_ms < end) and signed_by(statement.said.statement, certificate):
            valid = _validity(certificate, authorities)
            if valid is not None and valid.first_ms <= at_ms <= valid.last_ms:
                return True
    return False


def _key(fields: Mapping[str, Any], statement: bytes) -> EncryptionKey:
    suite = read_text(fields["suite"], PUBLIC_KEY_BYTES.__contains__, "the suite of a key statement")
    public_key = decode_base64(read_text(fields["public_key"], bool, "the public_key of a key statement"))
    key = EncryptionKey(
        agency=read_text(fields["agency"], is_agency_id, "the agency of a key statement"),
        key_id=encryption_key_id(suite, public_key),
        suite=suite,
        use=read_text(fields["use"], USES.__contains__, "the use of a key statement"),
        public_key=public_key,
        not_before_ms=read_time(fields["not_before"], "the not_before of a key statement"),
        not_after_ms=read_time(fields["not_after"], "the not_after of a key statement"),
        retired_at_ms=None,
        statement=statement,
    )
    if key.not_after_ms <= key.not_before_ms:
        _refuse("its not_after is not after its not_before", key.key_id)
    if key.not_after_ms - key.not_before_ms > MAX_LIFE_MS:
        _refuse("it is in force for more than three years", key.key_id)
    try:
        # A key to which nothing can be sealed must not stop the publishers later.
        HpkeWrapper().wrap(key, b"", b"")
    except SealInvalid as error:
        _refuse(error.message, key.key_id)
    return key


def _retirement(fields: Mapping[str, Any], statement: bytes) -> KeyRetirement:
    return KeyRetirement(
        agency=read_text(fields["agency"], is_agency_id, "the agency of a key retirement"),
        key_id=bytes.fromhex(read_text(fields["key_id"], _KEY_ID.fullmatch, "the key_id of a key retirement")),
        retired_at_ms=read_time(fields["retired_at"], "the retired_at of a key retirement"),
        statement=statement,
    )


def _check_in_force(agency: str, keys: Sequence[EncryptionKey]) -> None:
    for begins in keys:
        if not begins.in_force(begins.not_before_ms):
            continue
        at_once = [key for key in keys if key.use == begins.use and key.in_force(begins.not_before_ms)]
        if len(at_once) > MAX_IN_FORCE:
            text = f"{agency} has more than {MAX_IN_FORCE} keys for {begins.use} in force at one time"
            _refuse(f"{text}: it must retire one first", begins.key_id)


def _signed(kind: str, payload: dict[str, Any], signer: Signer) -> bytes:
    content = json.dumps(payload).encode()
    signature = DsseSignature(signer.certificate_sha256.hex(), signer.sign(pae(kind, content)))
    return _compact(DsseEnvelope(kind, content, (signature,)).as_json())


def _compact(item: Any) -> bytes:
    return json.dumps(item, separators=(",", ":"), sort_keys=True).encode()


def _refuse(what: str, key_id: bytes = b"") -> NoReturn:
    details = {"key_id": key_id.hex()} if key_id else {}
    message = f"the key statement cannot be used: {what}"
    raise KeyStatementInvalid(message, **details)
