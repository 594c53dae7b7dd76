"""How to repeat a verification with OpenSSL and Go: commands that run in a folder with the bundle and the pinned key.

What the maker of the bundle chose stands in them only as base64 or numbers, or not at all. The auditor's own names of
files are quoted.
"""

from __future__ import annotations

import re
import shlex
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.cli.cmscommands import cms_commands
from broker.cli.report.plaintext import plain
from broker.core.envelope import DIRECTORY_TYPE
from broker.core.strict import encode_base64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.bootstrap.directoryfacts import PinnedKey
    from broker.bootstrap.reportfacts import CheckedSignature, ReportFacts

ED25519_DER: Final = bytes.fromhex("302a300506032b6570032100")
"""A SubjectPublicKeyInfo of Ed25519 begins with this (RFC 8410 section 4). The 32 bytes of the key follow."""
X_MOD: Final = "v0.29.0"
_OUR_FILES: Final = frozenset(
    {"directory.json", "payload", "pae", "governance-key", "key.der", "message", "signature", "result", "record"}
    | {"signatures.txt", "proofs.txt", "main.go", "go.mod", "go.sum"}
)
"""What the commands write, or expect from governance."""
_PART: Final = (
    r"""sed -n 's|^{"payloadType": "[^"]*", "payload": "%s".*|\1|p' directory.json | openssl base64 -d -A > """
)
_PAYLOAD_PART: Final = r'\([^"]*\)'
_SIGNATURE_PART: Final = r'[^"]*", "signatures": \[{"keyid": "[^"]*", "sig": "\([^"]*\)'
_LOOP: Final = """\
while read -r name key message signature; do
  printf %s "$key" | openssl base64 -d -A > key.der
  printf %s "$message" | openssl base64 -d -A > message
  printf %s "$signature" | openssl base64 -d -A > signature
  if openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in message -sigfile signature > result
  then echo "$name: good"; else echo "$name: WRONG"; fi
  sed 's/^/    /' message
  echo "    key $(tail -c 32 key.der | od -An -v -tx1 | tr -d ' \\n')"
done < signatures.txt"""


class Step(NamedTuple):
    """One step: the key of its words, who must do it (``openssl``, ``go`` or ``export``), and the commands."""

    what: str
    tool: str
    commands: str


class FileNames:
    """How the commands name the files of an auditor.

    ``standins`` are pairs: a word of the commands, and the name of the file for which it stands, because a shell cannot
    show that name, two files have it, or the commands need it for a file of their own.
    """

    def __init__(self, facts: ReportFacts) -> None:
        self.standins: list[tuple[str, str]] = []
        self._taken = set(_OUR_FILES)
        self.bundle = self._name(facts.bundle.name, "BUNDLE")
        files = {key.file: key.name for key in facts.pinned}
        self._roots = {file: self._name(name, f"KEY-{file + 1}.pem") for file, name in files.items()}
        self._several = {key.file for key in facts.pinned if key.place}
        self.roots = list(self._roots.values())

    def key(self, key: PinnedKey) -> str:
        """The command that prints a pinned key, as PEM or as ``-outform`` says after it."""
        root = self._roots[key.file]
        if key.file not in self._several:
            return f"openssl pkey -pubin -in {root}"
        return f"awk '/-----BEGIN PUBLIC KEY/ {{ n++ }} n == {key.place + 1}' < {root} | openssl pkey -pubin"

    def _name(self, name: str, otherwise: str) -> str:
        usable = name.isprintable() and plain(name) == name and name not in self._taken
        if not usable:
            self.standins.append((otherwise, name))
        self._taken.add(name)
        # No program takes it for an option.
        return shlex.quote(f"./{name}" if name.startswith("-") else name) if usable else otherwise


def steps(facts: ReportFacts, names: FileNames) -> Iterator[Step]:
    """The steps in their order. One that cannot be made has words and no commands."""
    hashes = [f"openssl dgst -sha256 {names.bundle}"]
    hashes += [f"{names.key(key)} -outform DER | openssl dgst -sha256" for key in facts.pinned]
    yield Step("step_files", "openssl", "\n".join(hashes))
    digest = "openssl dgst -sha256 directory.json"
    signer = facts.directories[-1].signer
    if signer is None:
        yield Step("step_directory_unsigned", "openssl", digest)
    else:
        yield Step("step_directory", "openssl", "\n".join((digest, *_governance(names.key(signer)))))
    if not facts.signatures:
        yield Step("step_signatures_none", "", "")
    else:
        yield Step("step_signatures", "openssl", f"{_written('signatures.txt', _signatures(facts))}\n{_LOOP}")
        program = resources.files("broker.cli.report").joinpath("tree.go").read_text("utf-8")
        proofs = _proofs(facts)
        go = (
            _written("proofs.txt", proofs),
            _written("main.go", program.splitlines()),
            f"test -f go.mod || go mod init check; go get golang.org/x/mod@{X_MOD} && go run .",
        )
        yield Step("step_tree" if proofs else "step_tree_alone", "go", "\n".join(go))
    if facts.example is None:
        yield Step("step_record_none", "", "")
    else:
        record_id, accepted_at_ms = facts.example
        pinned = " ".join(f"--root {root}" for root in names.roots)
        export = f"case-exchange export {record_id} --from {names.bundle} {pinned} --as cms --out record"
        yield Step("step_record", "export", "\n".join((export, "cd record", *cms_commands(accepted_at_ms))))


def _governance(key: str) -> tuple[str, ...]:
    """Check governance's signature on the directory: over the bytes that DSSE v1 calls PAE (protocol.md)."""
    head = f"DSSEv1 {len(DIRECTORY_TYPE)} {DIRECTORY_TYPE} %d "
    return (
        _PART % _PAYLOAD_PART + "payload",
        _PART % _SIGNATURE_PART + "signature",
        f"{{ printf '{head}' $(wc -c < payload); cat payload; }} > pae",
        f"{key} -out governance-key",
        "openssl dgst -sha256 -verify governance-key -signature signature pae",
        r"""tr -d '\n' < payload | grep -o '"log_keys"[^]]*]'""",
    )


def _written(name: str, lines: list[str]) -> str:
    return "\n".join((f"cat > {name} <<'END'", *lines, "END"))


def _label(signature: CheckedSignature) -> str:
    stream = re.sub(r"[^a-z0-9]", "_", signature.partition.stream)
    who = "log" if signature.time_s is None else f"witness-{signature.key_id}"
    return f"{stream}-{signature.partition.partition}-{signature.checkpoint.size}-{who}"


def _signatures(facts: ReportFacts) -> list[str]:
    return [
        " ".join(
            (
                _label(item),
                encode_base64(ED25519_DER + item.public_key),
                encode_base64(item.message),
                encode_base64(item.signature),
            )
        )
        for item in facts.signatures
    ]


def _proofs(facts: ReportFacts) -> list[str]:
    logs = {(item.partition, item.checkpoint.size): _label(item) for item in facts.signatures if item.time_s is None}
    return [
        " ".join(
            (
                logs[proof.partition, proof.older.size],
                logs[proof.partition, proof.newer.size],
                *map(encode_base64, proof.path),
            )
        )
        # Every log continues the empty one. What has no signature on the page proves nothing there.
        for proof in facts.proofs
        if proof.older.size
        and {(proof.partition, size) for size in (proof.older.size, proof.newer.size)} <= logs.keys()
    ]
