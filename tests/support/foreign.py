"""Verifiers of other projects, each for many files in one process: of OpenSSL, @sigstore/verify, securesystemslib."""

from __future__ import annotations

import base64
import ctypes
import ctypes.util
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey  # type: ignore[attr-defined] # public, but not listed as exported

import broker.cli.verifiers

if TYPE_CHECKING:
    from collections.abc import Sequence

NODE_MODULES = Path(__file__).parents[1] / "interop" / "sigstore" / "node_modules"
PROGRAMS = Path(broker.cli.verifiers.__file__).parent
_MANY = NODE_MODULES.parent / "many.cjs"
_PURPOSE_ANY = 7
_PARTIAL_CHAIN = 0x80000
_BINARY = 0x80


class OpensslCms:
    """OpenSSL's ``CMS_verify``, as ``openssl cms -verify`` calls it, in this process."""

    def __init__(self, authority: Path, at_ms: int) -> None:
        """Trust this authority (PEM) alone, at this time."""
        name = ctypes.util.find_library("crypto")
        if name is None:
            pytest.skip("OpenSSL's library is not here: apt-get install openssl")
        self._library = library = ctypes.CDLL(name)
        for function, kind in (
            ("X509_STORE_new", ctypes.c_void_p),
            ("X509_STORE_get0_param", ctypes.c_void_p),
            ("BIO_new_mem_buf", ctypes.c_void_p),
            ("d2i_CMS_bio", ctypes.c_void_p),
        ):
            getattr(library, function).restype = kind
        self._store = ctypes.c_void_p(library.X509_STORE_new())
        assert library.X509_STORE_load_file(self._store, str(authority).encode()) == 1
        parameters = ctypes.c_void_p(library.X509_STORE_get0_param(self._store))
        assert library.X509_VERIFY_PARAM_set_purpose(parameters, _PURPOSE_ANY) == 1
        library.X509_VERIFY_PARAM_set_flags(parameters, ctypes.c_ulong(_PARTIAL_CHAIN))
        library.X509_VERIFY_PARAM_set_time(parameters, ctypes.c_int64(at_ms // 1000))

    def accepts(self, document: bytes, message: bytes) -> bool:
        """Whether the CMS signature holds over the message."""
        library = self._library
        source, content = (
            ctypes.c_void_p(library.BIO_new_mem_buf(data, ctypes.c_int(len(data)))) for data in (document, message)
        )
        cms = ctypes.c_void_p(library.d2i_CMS_bio(source, None))
        held = (
            cms.value is not None
            and library.CMS_verify(cms, None, self._store, content, None, ctypes.c_uint(_BINARY)) == 1
        )
        if cms.value is not None:
            library.CMS_ContentInfo_free(cms)
        library.BIO_free(source)
        library.BIO_free(content)
        library.ERR_clear_error()
        return held


class SigstoreFiles(NamedTuple):
    """What @sigstore/verify needs."""

    bundle: bytes
    artifact: bytes
    root: bytes
    signer: bytes

    def as_json(self) -> dict[str, str]:
        artifact = base64.b64encode(self.artifact).decode()
        # Not every altered bundle is text.
        texts = (each.decode("latin-1") for each in (self.bundle, self.root, self.signer))
        return dict(zip(("bundle", "root", "signer"), texts, strict=True), artifact=artifact)


def node_environment() -> dict[str, str]:
    """The environment in which node finds @sigstore/verify. Skips the test where it is not installed."""
    if shutil.which("node") is None:
        pytest.skip("no Node.js on the path: apt-get install npm")
    if not (NODE_MODULES / "@sigstore" / "verify").is_dir():
        pytest.skip("@sigstore/verify is not installed: make interop")
    return {**os.environ, "NODE_PATH": str(NODE_MODULES)}


def sigstore_accepts(
    good: SigstoreFiles, cases: Sequence[SigstoreFiles] = (), flips: Sequence[tuple[str, int]] = ()
) -> tuple[list[bool], list[bool]]:
    """Whether each of the cases holds, and ``good`` with each of these bits of its parts flipped."""
    request: dict[str, Any] = {
        "program": str(PROGRAMS / "verify_sigstore.cjs"),
        "good": good.as_json(),
        "cases": [case.as_json() for case in cases],
        "flips": flips,
    }
    done = subprocess.run(
        ["node", _MANY], input=json.dumps(request).encode(), env=node_environment(), capture_output=True, check=True
    )
    answer = json.loads(done.stdout)
    return answer["cases"], answer["flips"]


def securesystemslib_accepts(document: bytes, public_key_pem: bytes, key_id: str) -> bool:
    """Whether the DSSE document holds under this key."""
    key = SSlibKey(key_id, "ecdsa", "ecdsa-sha2-nistp256", {"public": public_key_pem.decode()})
    try:
        Envelope.from_dict(json.loads(document)).verify([key], 1)
    except (VerificationError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True
