"""How to repeat a verification with OpenSSL and Go: commands that run in a folder with the bundle and the pinned key.

What the maker of the bundle chose stands in them only as base64 or numbers, or not at all.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.cli.export import cms_commands
from broker.core.strict import encode_base64

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.bootstrap.reportfacts import CheckedSignature, ReportFacts

ED25519_DER: Final = bytes.fromhex("302a300506032b6570032100")
"""A SubjectPublicKeyInfo of Ed25519 begins with this (RFC 8410 section 4). The 32 bytes of the key follow."""
X_MOD: Final = "v0.29.0"
_USUAL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*", re.ASCII)
_LOOP: Final = """\
while read -r name key message signature; do
  printf %s "$key" | openssl base64 -d -A > key.der
  printf %s "$message" | openssl base64 -d -A > message
  printf %s "$signature" | openssl base64 -d -A > signature
  if openssl pkeyutl -verify -pubin -keyform DER -inkey key.der -rawin -in message -sigfile signature > result
  then echo "$name: good"; else echo "$name: WRONG"; fi
  sed 's/^/    /' message
done < signatures.txt"""


class Step(NamedTuple):
    """One step: the key of its words, who must do it (``openssl``, ``go`` or ``export``), and the commands."""

    what: str
    tool: str
    commands: str


def steps(facts: ReportFacts) -> Iterator[Step]:
    """The steps in their order. One that cannot be made has words and no commands."""
    bundle = _plain(facts.bundle.name, "BUNDLE")
    roots = [_plain(name, "KEY.pem") for name in dict.fromkeys(key.name for key in facts.pinned)]
    hashes = [f"openssl dgst -sha256 {bundle}"]
    hashes += [f"openssl pkey -pubin -in {root} -outform DER | openssl dgst -sha256" for root in roots]
    yield Step("step_files", "openssl", "\n".join(hashes))
    yield Step("step_directory", "openssl", "openssl dgst -sha256 directory.json")
    if not facts.signatures:
        yield Step("step_signatures_none", "", "")
    else:
        yield Step("step_signatures", "openssl", f"{_written('signatures.txt', _signatures(facts))}\n{_LOOP}")
        program = resources.files("broker.cli.report").joinpath("tree.go").read_text("utf-8")
        go = (
            _written("proofs.txt", _proofs(facts)),
            _written("main.go", program.splitlines()),
            f"go mod init check && go get golang.org/x/mod@{X_MOD} && go run .",
        )
        yield Step("step_tree", "go", "\n".join(go))
    if facts.example is None:
        yield Step("step_record_none", "", "")
    else:
        record_id, accepted_at_ms = facts.example
        pinned = " ".join(f"--root {root}" for root in roots)
        export = f"case-exchange export {record_id} --from {bundle} {pinned} --as cms --out record"
        yield Step("step_record", "export", "\n".join((export, "cd record", *cms_commands(accepted_at_ms))))


def _plain(name: str, otherwise: str) -> str:
    """A file's name if every shell takes it as it is. If not, a word in its place."""
    return name if _USUAL.fullmatch(name) else otherwise


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
