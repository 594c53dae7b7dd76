"""Keys in a token of SoftHSM2: they do what key files do, and each fault of a token says what to do."""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives import hashes, hpke
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.core.encryptionkeys import P256, RECORDS
from broker.core.errors import (
    CaseExchangeError,
    ExtraMissing,
    HardwareKeyInvalid,
    HardwareKeyUnavailable,
    KeyInvalid,
    KeyModuleMissing,
    KeyUriInvalid,
    SealInvalid,
    TokenLocked,
    TokenPinRefused,
)
from broker.core.keyuri import KeyUri
from broker.trust.hpke import HpkeWrapper, PrivateEncryptionKey
from broker.trust.keys import load_checkpoint_key, load_signing_key, load_verification_keys
from broker.trust.signing import Ed25519NoteSigner, ecdsa_verifies, note_verifier
from broker.trust.tokenkeys import TokenEcKey, make_checkpoint_key, make_encryption_key, make_signing_key
from tests.support.tokens import PIN, SampleToken

if TYPE_CHECKING:
    from collections.abc import Callable

SHA256 = ec.ECDSA(hashes.SHA256())
CONTENT_KEYS, INFO = bytes(range(64)), b"one record, one recipient, one key"
VECTOR = json.loads((Path(__file__).parents[3] / "vectors" / "hpke.json").read_text())["cases"][0]


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SampleToken:
    return SampleToken(tmp_path / "token", monkeypatch)


def written(path: Path, data: bytes) -> Path:
    path.touch(0o600)
    path.write_bytes(data)
    return path


def signs(key: TokenEcKey) -> bool:
    return ecdsa_verifies(key.public_key(), b"message", key.sign(b"message", SHA256))


def test_a_key_file_that_names_a_key_in_a_token_is_used_as_any_other(token: SampleToken, tmp_path: Path) -> None:
    made = make_signing_key(token.uri("signing"))
    path = written(tmp_path / "signing.key", made.reference())
    loaded = load_signing_key(path)
    assert isinstance(loaded, TokenEcKey)
    assert signs(loaded)
    # The public key is in it, too: governance's can be pinned from it.
    assert load_verification_keys(path) == [made.public_key()]
    assert copy.deepcopy(loaded) is loaded
    # It is not made twice.
    assert make_signing_key(token.uri("signing")).public_key() == made.public_key()


def test_a_checkpoint_key_is_ed25519_in_the_token(token: SampleToken, tmp_path: Path) -> None:
    path = written(tmp_path / "log.key", make_checkpoint_key(token.uri("log")).reference())
    signer = Ed25519NoteSigner.load("exchange.example/log", path)
    assert note_verifier(signer.public_key)(b"a note\n", signer.sign(b"a note\n"))
    with pytest.raises(KeyInvalid, match="not a P-256"):
        load_signing_key(path)
    written(path, make_signing_key(token.uri("signing")).reference())
    with pytest.raises(KeyInvalid, match="not an Ed25519"):
        load_checkpoint_key(path)


def test_nothing_takes_a_private_key_out_of_its_token(token: SampleToken) -> None:
    from pkcs11 import Attribute, ObjectClass, exceptions  # noqa: PLC0415 - only with SoftHSM2

    keys = (make_signing_key(token.uri("a")), make_encryption_key(token.uri("b")), make_checkpoint_key(token.uri("c")))
    for key in keys:
        with pytest.raises(KeyInvalid, match="never leaves"):
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with token.session() as session:
        found = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
        assert len(found) == 3
        for private in found:
            assert (private[Attribute.SENSITIVE], private[Attribute.EXTRACTABLE]) == (True, False)
            with pytest.raises(exceptions.AttributeSensitive):
                private[Attribute.VALUE]


@pytest.fixture(scope="module")
def opening(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        token = SampleToken(tmp_path_factory.mktemp("opening"), monkeypatch)
        yield PrivateEncryptionKey.in_token(token.uri("records"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.binary(max_size=200), st.data())
def test_a_key_in_a_token_opens_what_the_library_seals_and_nothing_else(
    opening: PrivateEncryptionKey, content: bytes, info: bytes, data: st.DataObject
) -> None:
    wrap = HpkeWrapper().wrap(opening.stated_as("sample-agency", RECORDS, 0, 1), content, info)
    assert opening.unwrap(wrap, info) == content
    with pytest.raises(SealInvalid):
        opening.unwrap(wrap, info + b"\0")
    changed = bytearray(wrap)
    bit = data.draw(st.integers(0, len(wrap) * 8 - 1))
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SealInvalid):
        opening.unwrap(bytes(changed), info)
    with pytest.raises(SealInvalid):
        opening.unwrap(wrap[: data.draw(st.integers(0, len(wrap) - 1))], info)


def test_the_vector_of_rfc_9180_opens_with_its_key_in_a_token(token: SampleToken, tmp_path: Path) -> None:
    key = ec.derive_private_key(int(VECTOR["skRm"], 16), ec.SECP256R1())
    path = written(tmp_path / "a.key", token.put("vector", key, derive=True))
    private = PrivateEncryptionKey.load(path)
    assert (private.suite, private.public_key.hex()) == (P256, VECTOR["pkRm"])
    assert private.token_key is not None
    suite = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    sealed, enc = VECTOR["encryptions"][0], bytes.fromhex(VECTOR["enc"])
    info, aad = bytes.fromhex(VECTOR["info"]), bytes.fromhex(sealed["aad"])
    blob = enc + bytes.fromhex(sealed["ct"])
    # The vector has additional data, which the library takes only through a private function. Ours has none.
    opened = openssl.hpke._decrypt_with_aad(suite, blob, private.token_key.for_message(enc), info, aad)
    assert opened.hex() == sealed["pt"]
    with pytest.raises(SealInvalid):
        private.unwrap(blob, info)


def test_the_library_takes_what_fails_in_an_agreement_for_a_damaged_message(opening: PrivateEncryptionKey) -> None:
    """If this fails, ``TokenEcKey.for_message`` can go."""

    class Away(TokenEcKey):
        def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> bytes:  # noqa: ARG002
            message = "the token is away"
            raise HardwareKeyUnavailable(message)

    assert opening.token_key is not None
    suite = hpke.Suite(hpke.KEM.P256, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
    wrap = suite.encrypt(b"", opening.token_key.public_key(), b"")
    with pytest.raises(InvalidTag):
        suite.decrypt(wrap, Away(opening.token_key._uri, opening.token_key.public_key()), b"")


def test_many_threads_use_one_token(token: SampleToken) -> None:
    keys = [make_signing_key(token.uri(f"key {number}")) for number in range(3)]
    opens = PrivateEncryptionKey.in_token(token.uri("records"))
    wrap = HpkeWrapper().wrap(opens.stated_as("sample-agency", RECORDS, 0, 1), CONTENT_KEYS, INFO)
    begun = threading.Barrier(8)

    def work(number: int) -> bool:
        begun.wait(30)
        return all(signs(keys[number % 3]) and opens.unwrap(wrap, INFO) == CONTENT_KEYS for _ in range(10))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


def test_a_token_that_is_away_is_no_damaged_wrap_and_all_goes_on_when_it_is_back(token: SampleToken) -> None:
    key, log = make_signing_key(token.uri("signing")), make_checkpoint_key(token.uri("log"))
    opens = PrivateEncryptionKey.in_token(token.uri("records"))
    wrap = HpkeWrapper().wrap(opens.stated_as("sample-agency", RECORDS, 0, 1), CONTENT_KEYS, INFO)
    for _ in range(2):
        with token.away():
            for use in (lambda: signs(key), lambda: log.sign(b""), lambda: opens.unwrap(wrap, INFO)):
                with pytest.raises(HardwareKeyUnavailable, match="0 tokens are named") as caught:
                    use()
                assert caught.value.retriable
        assert signs(key)
        assert log.sign(b"")
        assert opens.unwrap(wrap, INFO) == CONTENT_KEYS


def test_another_key_that_comes_into_the_place_of_one_in_use_is_no_damaged_wrap(token: SampleToken) -> None:
    from pkcs11 import Attribute  # noqa: PLC0415 - only with SoftHSM2

    opens = PrivateEncryptionKey.in_token(token.uri("records"))
    wrap = HpkeWrapper().wrap(opens.stated_as("sample-agency", RECORDS, 0, 1), CONTENT_KEYS, INFO)
    assert opens.unwrap(wrap, INFO) == CONTENT_KEYS
    with token.session() as session:
        for each in list(session.get_objects({Attribute.LABEL: "records"})):
            each.destroy()
    other = make_encryption_key(token.uri("records"))
    for _ in range(2):
        with pytest.raises(HardwareKeyInvalid, match="not the one"):
            opens.unwrap(wrap, INFO)
    # The one that is there now is used meanwhile.
    assert len(other.exchange(ec.ECDH(), ec.generate_private_key(ec.SECP256R1()).public_key())) == 32


def rename(token: SampleToken, old: str, new: str) -> None:
    from pkcs11 import Attribute  # noqa: PLC0415 - only with SoftHSM2

    with token.session() as session:
        for each in list(session.get_objects({Attribute.LABEL: old})):
            each[Attribute.LABEL] = new


def test_a_key_is_used_again_when_it_is_back_in_the_place_of_another(token: SampleToken) -> None:
    import pkcs11  # noqa: PLC0415 - only with SoftHSM2

    signing, log = make_signing_key(token.uri("signing")), make_checkpoint_key(token.uri("log"))
    make_signing_key(token.uri("another signing"))
    make_checkpoint_key(token.uri("another log"))
    for name, sign in (("signing", lambda: signs(signing)), ("log", lambda: log.sign(b""))):
        assert sign()
        rename(token, name, "aside")
        rename(token, f"another {name}", name)
        pkcs11.lib(token.module).reinitialize()
        for _ in range(2):
            with pytest.raises(HardwareKeyInvalid, match="not the one"):
                sign()
        rename(token, name, f"another {name}")
        rename(token, "aside", name)
        assert sign()


def test_lost_sessions_are_no_fault(token: SampleToken) -> None:
    import pkcs11  # noqa: PLC0415 - only with SoftHSM2

    key = make_signing_key(token.uri("signing"))
    library = pkcs11.lib(token.module)
    library.reinitialize()
    assert signs(key)


def test_a_process_tries_each_pin_once_however_the_token_is_named_and_whatever_file_has_it(token: SampleToken) -> None:
    import pkcs11  # noqa: PLC0415 - only with SoftHSM2

    key = make_signing_key(token.uri("signing"))
    serial = pkcs11.lib(token.module).get_token(token_label=token.label).serial.decode()
    wrong = "wrong-pin-of-a-test"
    token.pin_file.write_text(wrong)
    with token.away(), pytest.raises(HardwareKeyUnavailable):
        key.sign(b"", SHA256)
    with pytest.raises(TokenPinRefused, match="refused its PIN"):
        key.sign(b"", SHA256)
    # Now it would be the right one. That it is refused shows that the token is not asked.
    change_pin(token, PIN, wrong)
    other_file = written(token.pin_file.with_name("other"), f"{wrong}\n".encode())
    names: tuple[dict[str, str], ...] = (
        {},
        {"serial": serial},
        {"token": "", "serial": serial},
        {"pin_source": str(other_file)},
    )
    for content in (wrong, f"{wrong}\n", wrong):
        token.pin_file.write_text(content)
        for fields in names:
            with pytest.raises(TokenPinRefused, match="not asked again") as caught:
                make_signing_key(token.uri("signing", **fields))
            assert wrong not in caught.value.line
    change_pin(token, wrong, "another-pin-of-a-test")
    token.pin_file.write_text("another-pin-of-a-test")
    assert signs(key)


def test_the_last_try_before_a_token_locks_is_left_to_a_person() -> None:
    pkcs11 = pytest.importorskip("pkcs11")
    from broker.trust.tokensessions import check_tries  # noqa: PLC0415 - only with the extra

    uri, flags = KeyUri("/m", "/p", "sample", object="signing"), pkcs11.TokenFlag
    # SoftHSM2 never says it. One wrong PIN, also of another program, is no reason to stop.
    check_tries(flags.TOKEN_INITIALIZED | flags.USER_PIN_COUNT_LOW, uri)
    with pytest.raises(TokenLocked, match="one more wrong PIN"):
        check_tries(flags.TOKEN_INITIALIZED | flags.USER_PIN_COUNT_LOW | flags.USER_PIN_FINAL_TRY, uri)


def change_pin(token: SampleToken, old: str, new: str) -> None:
    import pkcs11  # noqa: PLC0415 - only with SoftHSM2

    with pkcs11.lib(token.module).get_token(token_label=token.label).open(rw=True, user_pin=old) as session:
        session.set_pin(old, new)


@pytest.mark.parametrize(("content", "mode"), [("", 0o600), (PIN, 0o640), (None, 0o600)])
def test_a_pin_file_that_is_empty_open_to_others_or_gone_is_refused(
    token: SampleToken, content: str | None, mode: int
) -> None:
    path = token.pin_file.with_name("other")
    if content is not None:
        path.touch(mode)
        path.chmod(mode)
        path.write_text(content)
    with pytest.raises(TokenPinRefused, match="other"):
        make_signing_key(token.uri("signing", pin_source=str(path)))


def test_a_pin_comes_from_an_open_file_too_and_a_pipe_is_read_once(token: SampleToken) -> None:
    reading, writing = os.pipe()
    os.write(writing, PIN.encode())
    os.close(writing)
    key = make_signing_key(token.uri("signing", pin_source=f"/dev/fd/{reading}"))
    with token.away(), pytest.raises(HardwareKeyUnavailable):
        key.sign(b"", SHA256)
    assert signs(key)
    os.close(reading)


def faults(token: SampleToken) -> dict[str, tuple[type[CaseExchangeError], str, Callable[[], object]]]:
    signing, opens = make_signing_key(token.uri("signing")), make_encryption_key(token.uri("records"))
    log = make_checkpoint_key(token.uri("log"))
    make_signing_key(token.uri("twice", id=b"1"))
    make_signing_key(token.uri("twice", id=b"2"))
    public = signing.public_key()

    def signs_with(**fields: Any) -> Callable[[], object]:
        return lambda: TokenEcKey(token.uri(**{"key": "signing", **fields}), public).sign(b"", SHA256)

    library = Path(os.__file__).with_name("no-such-module.so")
    peer = ec.generate_private_key(ec.SECP256R1()).public_key()
    return {
        "no module": (KeyModuleMissing, "cannot be loaded", signs_with(module_path=str(library))),
        "no PKCS 11 module": (KeyModuleMissing, "cannot be loaded", signs_with(module_path=os.__file__)),
        "no token": (HardwareKeyUnavailable, "0 tokens", signs_with(token="nobody's")),  # noqa: S106 - its label
        "no object": (HardwareKeyInvalid, "0 private keys", signs_with(key="nobody's")),
        "another id": (HardwareKeyInvalid, "0 private keys", signs_with(id=b"another")),
        "two of one label": (HardwareKeyInvalid, "2 private keys", signs_with(key="twice")),
        "of another curve": (HardwareKeyInvalid, "not on the curve P256", signs_with(key="log")),
        "only to open": (HardwareKeyInvalid, "may not be used", signs_with(key="records")),
        "another key in its place": (HardwareKeyInvalid, "not the one", signs_with(key="twice", id=b"1")),
        "another key to open with": (
            HardwareKeyInvalid,
            "not the one",
            lambda: TokenEcKey(token.uri("records"), public).exchange(ec.ECDH(), peer),
        ),
        "only to sign": (
            HardwareKeyInvalid,
            "may not be used",
            lambda: TokenEcKey(token.uri("signing"), opens.public_key()).exchange(ec.ECDH(), peer),
        ),
        "another checkpoint key": (
            HardwareKeyInvalid,
            "not the one",
            lambda: type(log)(token.uri("log"), ed25519.Ed25519PrivateKey.generate().public_key()).sign(b""),
        ),
    }


def test_each_fault_is_typed_and_says_what_to_do_and_no_pin_is_anywhere(
    token: SampleToken, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    for name, (kind, why, use) in faults(token).items():
        with pytest.raises(kind, match=why) as caught:
            use()
        assert type(caught.value) is kind, name
        said.append(caught.value.line + repr(caught.value.__cause__))
    token.add(token.label)
    with pytest.raises(HardwareKeyUnavailable), token.away():
        make_signing_key(token.uri("signing"))
    with pytest.raises(HardwareKeyInvalid, match="2 tokens") as caught:
        make_signing_key(token.uri("signing"))
    said.append(caught.value.line)
    output = capfd.readouterr()
    for text in (*said, caplog.text, output.out, output.err, repr(token.uri("signing"))):
        assert PIN not in text
    assert PIN not in str(token.uri("signing"))


def test_a_token_that_takes_no_pin_is_told_from_a_wrong_pin(token: SampleToken) -> None:
    label = f"{token.label}-2"
    token.add_without_pin(label)
    with pytest.raises(TokenLocked, match="takes no PIN"):
        make_signing_key(token.uri("signing", token=label))
    token.set_pin(label)
    assert signs(make_signing_key(token.uri("signing", token=label)))


def test_one_module_by_two_paths_is_one(token: SampleToken, tmp_path: Path) -> None:
    link = tmp_path / "module.so"
    link.symlink_to(token.module)
    for path in (token.module, str(link)):
        assert signs(make_signing_key(token.uri("signing", module_path=path)))


def test_a_module_that_others_could_write_is_not_loaded(token: SampleToken, tmp_path: Path) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    copy = Path(shutil.copy(token.module, folder / "module.so"))
    for path, mode, usual in ((copy, 0o666, 0o644), (folder, 0o777, 0o755)):
        path.chmod(mode)
        with pytest.raises(KeyModuleMissing, match="can be written by others"):
            make_signing_key(token.uri("signing", module_path=str(copy)))
        path.chmod(usual)


def test_what_softhsm2_never_answers_is_told_too() -> None:
    # It locks no token, and none of its tokens breaks in the middle of a call.
    pkcs11 = pytest.importorskip("pkcs11")
    from broker.trust.tokensessions import typed  # noqa: PLC0415 - only with the extra

    uri = KeyUri("/m", "/p", "sample", object="signing")
    assert type(typed(pkcs11.PinLocked(), uri)) is TokenLocked
    assert type(typed(pkcs11.DeviceRemoved(), uri)) is HardwareKeyUnavailable
    assert type(typed(pkcs11.MechanismInvalid(), uri)) is HardwareKeyInvalid


def test_a_key_that_can_leave_its_token_is_not_taken(token: SampleToken) -> None:
    from pkcs11 import Attribute, KeyType  # noqa: PLC0415 - only with SoftHSM2

    make_signing_key(token.uri("so that the token is there"))
    with token.session() as session:
        parameters = session.create_domain_parameters(
            KeyType.EC, {Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107")}, local=True
        )
        parameters.generate_keypair(label="loose", store=True, private_template={Attribute.EXTRACTABLE: True})
    with pytest.raises(HardwareKeyInvalid, match="can be taken out"):
        make_signing_key(token.uri("loose"))


def test_a_destroyed_key_is_gone_from_its_token_and_another_in_its_place_stays(token: SampleToken) -> None:
    from pkcs11 import Attribute  # noqa: PLC0415 - only with SoftHSM2

    key, other = make_encryption_key(token.uri("old")), make_encryption_key(token.uri("new"))
    peer = ec.generate_private_key(ec.SECP256R1()).public_key()
    with token.away(), pytest.raises(HardwareKeyUnavailable):
        key.destroy()
    with pytest.raises(HardwareKeyInvalid, match="not the one"):
        TokenEcKey(token.uri("new"), key.public_key()).destroy()
    key.destroy()
    with token.session() as session:
        assert not list(session.get_objects({Attribute.LABEL: "old"}))
    for use in (key.destroy, lambda: key.exchange(ec.ECDH(), peer)):
        with pytest.raises(HardwareKeyInvalid, match="0 private keys"):
            use()
    assert len(other.exchange(ec.ECDH(), peer)) == 32


def test_a_key_in_a_token_signs_with_sha_256_only(token: SampleToken) -> None:
    with pytest.raises(UnsupportedAlgorithm):
        make_signing_key(token.uri("signing")).sign(b"", ec.ECDSA(hashes.SHA384()))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"pkcs11:token=t;object=k?module-path=/m&pin-source=/p\n", KeyInvalid),
        (b"pkcs11:token=t;object=k?module-path=/m&pin-source=/p\nno key", KeyInvalid),
        (b"pkcs11:token=t;object=k?module-path=/m&pin-value=4711\n", KeyUriInvalid),
        (b"pkcs11:\xff\n", KeyUriInvalid),
    ],
)
def test_a_key_file_that_names_no_key_is_refused(tmp_path: Path, content: bytes, kind: type[CaseExchangeError]) -> None:
    path = written(tmp_path / "a.key", content)
    for load in (load_signing_key, load_checkpoint_key, PrivateEncryptionKey.load):
        with pytest.raises(kind) as caught:
            load(path)
        assert "4711" not in caught.value.line
        assert not isinstance(caught.value, ExtraMissing)
