"""Tokens of SoftHSM2 for tests. Each has a label of its own, because a process keeps its sessions."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from broker.core.keyuri import KeyUri
from broker.trust.tokenkeys import TokenEcKey, make_signing_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric import ec

PIN: Final = "syn-pin-4711-canary"
"""So that a test finds it wherever it should not be."""
_INITIALISE: Final = """
import ctypes, sys
module, slots, count = ctypes.CDLL(sys.argv[1]), (ctypes.c_ulong * 99)(), ctypes.c_ulong(99)
label, officer = sys.argv[2].ljust(32).encode(), sys.argv[3].encode()
assert module.C_Initialize(None) == module.C_GetSlotList(0, slots, ctypes.byref(count)) == 0
sys.exit(module.C_InitToken(ctypes.c_ulong(slots[count.value - 1]), officer, len(officer), label))
"""
_SET_PIN: Final = """
import sys, pkcs11
module, label, officer, pin = sys.argv[1:]
with pkcs11.lib(module).get_token(token_label=label).open(rw=True, so_pin=officer) as session:
    session.init_pin(pin)
"""
_OFFICER: Final = "syn-officer-0815"
_MODULES: Final = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


class SampleToken:
    """A token in a folder, and the file with its PIN."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = [path for path in _MODULES if Path(path).exists()]
        if not found or shutil.which("softhsm2-util") is None:
            pytest.skip("SoftHSM2 is not installed: apt-get install softhsm2")
        # As programs load it: one library under two names would be begun twice.
        self.module: Final = os.path.realpath(found[0])
        self.label: Final = f"sample-{secrets.token_hex(4)}"
        self.folder: Final = folder / "tokens"
        self.folder.mkdir(parents=True)
        self._config: Final = folder / "softhsm2.conf"
        self._config.write_text(f"directories.tokendir = {self.folder}\nlog.level = ERROR\n")
        # The module reads it when it is begun; programs that a test starts inherit it.
        monkeypatch.setenv("SOFTHSM2_CONF", str(self._config))
        self.add(self.label)
        self.pin_file: Final = folder / "pin"
        self.pin_file.touch(0o600)
        self.pin_file.write_text(f"{PIN}\n")

    def add(self, label: str) -> None:
        """Another token of this label."""
        arguments = ["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", _OFFICER]
        subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True, timeout=60)

    def add_without_pin(self, label: str) -> None:
        """A token of this label whose user PIN was never set, as softhsm2-util makes none."""
        subprocess.run([sys.executable, "-c", _INITIALISE, self.module, label, _OFFICER], check=True, timeout=60)

    def set_pin(self, label: str) -> None:
        """Give this token the user PIN, as its security officer in another program."""
        arguments = [self.module, label, _OFFICER, PIN]
        subprocess.run([sys.executable, "-c", _SET_PIN, *arguments], check=True, timeout=60)

    def uri(self, key: str, **fields: Any) -> KeyUri:
        return KeyUri(
            **{
                "module_path": self.module,
                "pin_source": str(self.pin_file),
                "token": self.label,
                "object": key,
                **fields,
            }
        )

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Within the block nobody finds the token."""
        elsewhere = self.folder.rename(self.folder.with_name("away"))
        self.folder.mkdir()
        try:
            yield
        finally:
            self.folder.rmdir()
            elsewhere.rename(self.folder)

    @contextlib.contextmanager
    def session(self) -> Iterator[Any]:
        """A session that may write, beside those of the program."""
        import pkcs11  # noqa: PLC0415 - only who has SoftHSM2 needs it

        with contextlib.closing(pkcs11.lib(self.module).get_token(token_label=self.label).open(rw=True)) as session:
            yield session

    def put(self, label: str, key: ec.EllipticCurvePrivateKey, **may: bool) -> bytes:
        """Put a key into the token, with what it may be used for. Returns what its key file holds."""
        from pkcs11 import Attribute, KeyType, ObjectClass  # noqa: PLC0415 - only who has SoftHSM2 needs it

        template = {
            Attribute.CLASS: ObjectClass.PRIVATE_KEY,
            Attribute.KEY_TYPE: KeyType.EC,
            Attribute.EC_PARAMS: bytes.fromhex("06082a8648ce3d030107"),
            Attribute.VALUE: key.private_numbers().private_value.to_bytes(32),
            Attribute.LABEL: label,
            Attribute.TOKEN: True,
            **{Attribute[name.upper()]: allowed for name, allowed in may.items()},
        }
        # This logs in.
        make_signing_key(self.uri(f"beside {label}"))
        with self.session() as session:
            session.create_object(template)
        return TokenEcKey(self.uri(label), key.public_key()).reference()
