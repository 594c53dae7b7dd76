"""Our checkpoints and proofs, checked by other projects' programs: Go's x/mod and OpenSSL."""

from __future__ import annotations

import os
import shutil
import subprocess
from base64 import b64encode
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.core.streams import Position, StreamPartition
from broker.core.tree.checkpoint import Checkpoint, NoteSignature, VerifierKey, marshal_note, parse_note
from broker.core.tree.leaf import Leaf
from broker.core.tree.origin import checkpoint_origin
from tests.support.tiledlog import tiled
from tests.support.trees import GrownTree

if TYPE_CHECKING:
    from collections.abc import Sequence

GO_PACKAGES = Path("/usr/share/gocode")
"""The sources from Debian's golang-golang-x-mod-dev, so that no module proxy is needed."""
PROGRAM = Path(__file__).parents[1] / "interop" / "checkpoint"
PARTITION = StreamPartition("cases", 0)
ORIGIN = checkpoint_origin("case-exchange.example", PARTITION, "sample-log")
KEY_NAME = "case-exchange.example/log"
KEY = Ed25519PrivateKey.from_private_bytes(b"a sample key, not of any system!")
VERIFIER_KEY = VerifierKey(KEY_NAME, KEY.public_key().public_bytes_raw())
LARGEST = 300


def sample_leaf(index: int) -> bytes:
    position = Position(*PARTITION, offset=3 * index)
    record_id = f"01890a5d-ac96-774b-bcce-{index:012x}"
    return Leaf(position, "sample-log", 0, record_id, index.to_bytes(32), 1_767_225_600_000 + index).marshal()


@dataclass(frozen=True)
class Evidence:
    """The input files of the Go program."""

    note: bytes
    vkey: bytes
    inclusion: bytes
    consistency: bytes


@pytest.fixture(scope="module")
def tree() -> GrownTree:
    return GrownTree(sample_leaf(index) for index in range(LARGEST))


@pytest.fixture(scope="module")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("go") is None:
        pytest.skip("no Go compiler on the path: apt-get install golang-go")
    if not (GO_PACKAGES / "src/golang.org/x/mod/sumdb/note").is_dir():
        pytest.skip("Debian's x/mod sources are not installed: apt-get install golang-golang-x-mod-dev")
    binary = tmp_path_factory.mktemp("go") / "checkpoint"
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": str(GO_PACKAGES), "GOFLAGS": ""}
    subprocess.run(["go", "build", "-o", binary, "main.go"], cwd=PROGRAM, env=environment, check=True)
    return binary


def signed_checkpoint(tree: GrownTree, size: int, *others: NoteSignature) -> bytes:
    text = Checkpoint(ORIGIN, size, tree.roots[size]).marshal()
    return marshal_note(text, [*others, NoteSignature(KEY_NAME, VERIFIER_KEY.key_id, KEY.sign(text))])


def proof_file(number: int, data: bytes, proof: Sequence[bytes]) -> bytes:
    lines = [f"{number} {b64encode(data).decode()}", *(b64encode(item).decode() for item in proof)]
    return "".join(f"{line}\n" for line in lines).encode()


def evidence(tree: GrownTree, index: int, size: int, old_size: int) -> Evidence:
    return Evidence(
        note=signed_checkpoint(tree, size),
        vkey=f"{VERIFIER_KEY}\n".encode(),
        inclusion=proof_file(index, tree.leaves[index], tree.inclusion(index, size)),
        consistency=proof_file(old_size, tree.roots[old_size], tree.consistency(old_size, size)),
    )


def ask_go(program: Path, folder: Path, evidence: Evidence, *tiles: Path) -> str:
    """The output of the program: ``ok <size>``, or the first part that does not hold."""
    names = ("note", "vkey", "inclusion", "consistency")
    for name in names:
        (folder / name).write_bytes(getattr(evidence, name))
    run = subprocess.run(
        [program, ORIGIN, *(folder / name for name in names), *tiles],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return run.stdout.strip() if run.returncode == 0 else run.stderr.partition(":")[0]


SHAPES = [
    (0, 1, 1),
    (0, 2, 1),
    (1, 2, 2),
    (2, 3, 2),
    (6, 7, 4),
    (7, 8, 7),
    (8, 9, 8),
    (64, 70, 64),
    (255, 256, 129),
    (256, 257, 256),
    (271, 300, 170),
    (299, 300, 299),
    (0, 300, 300),
]
"""Leaf index, tree size, older tree size: near the powers of two, where trees change their shape."""


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_go_accepts_note_inclusion_and_consistency(
    go_program: Path, tmp_path: Path, tree: GrownTree, shape: tuple[int, int, int]
) -> None:
    assert ask_go(go_program, tmp_path, evidence(tree, *shape)) == f"ok {shape[1]}"


def test_go_accepts_a_note_that_a_stranger_signed_as_well(go_program: Path, tmp_path: Path, tree: GrownTree) -> None:
    stranger = NoteSignature("witness.example/ministry", bytes(4), bytes(72))
    good = replace(evidence(tree, 271, 300, 170), note=signed_checkpoint(tree, 300, stranger))

    assert ask_go(go_program, tmp_path, good) == "ok 300"


@pytest.mark.parametrize("size", [1, 256, 257, 300])
def test_go_accepts_the_tiles_of_a_tree_and_refuses_each_with_a_flipped_bit(
    go_program: Path, tmp_path: Path, tree: GrownTree, size: int
) -> None:
    files, _ = tiled(tree.leaves[:size])
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    good = evidence(tree, 0, size, size)
    assert ask_go(go_program, tmp_path, good, tmp_path) == f"ok {size}"
    for name in (name for name in files if "entries" not in name):
        (tmp_path / name).write_bytes(flipped_bytes(files[name])[0])
        assert ask_go(go_program, tmp_path, good, tmp_path) == "tiles", name
        (tmp_path / name).write_bytes(files[name])


def flipped_bytes(data: bytes) -> list[bytes]:
    """Copies of the data. Each has the lowest bit of another byte flipped, at about twenty places."""
    places = range(0, len(data) - 1, max(1, len(data) // 20))
    return [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in places]


@pytest.mark.parametrize(("part", "named"), [("note", "note"), ("vkey", "note"), ("inclusion", "inclusion")])
def test_go_refuses_a_flipped_byte(go_program: Path, tmp_path: Path, tree: GrownTree, part: str, named: str) -> None:
    good = evidence(tree, 271, 300, 170)

    for changed in flipped_bytes(getattr(good, part)):
        assert ask_go(go_program, tmp_path, replace(good, **{part: changed})) == named, changed


def test_go_refuses_a_flipped_byte_of_the_consistency_proof(go_program: Path, tmp_path: Path, tree: GrownTree) -> None:
    good = evidence(tree, 271, 300, 170)

    for changed in flipped_bytes(good.consistency):
        assert ask_go(go_program, tmp_path, replace(good, consistency=changed)) == "consistency", changed


def test_go_refuses_another_tree_s_checkpoint(go_program: Path, tmp_path: Path, tree: GrownTree) -> None:
    good = evidence(tree, 271, 300, 170)

    assert ask_go(go_program, tmp_path, replace(good, note=signed_checkpoint(tree, 299))) == "inclusion"


# --- OpenSSL ---


def openssl_accepts(folder: Path, text: bytes, signature: bytes) -> bool:
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, content in (("key.pem", pem), ("text", text), ("signature", signature)):
        (folder / name).write_bytes(content)
    arguments = ("-verify", "-pubin", "-inkey", "key.pem", "-rawin", "-in", "text", "-sigfile", "signature")
    return (
        subprocess.run(["openssl", "pkeyutl", *arguments], cwd=folder, capture_output=True, check=False).returncode == 0
    )


@pytest.fixture
def openssl_folder(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on the path: apt-get install openssl")
    return tmp_path


def test_openssl_accepts_the_signature_of_a_checkpoint(openssl_folder: Path, tree: GrownTree) -> None:
    note = parse_note(signed_checkpoint(tree, 300))

    assert openssl_accepts(openssl_folder, note.text, note.signatures[0].value)


def test_openssl_refuses_a_flipped_byte_and_the_blank_line(openssl_folder: Path, tree: GrownTree) -> None:
    note = parse_note(signed_checkpoint(tree, 300))
    signature = note.signatures[0].value

    assert not openssl_accepts(openssl_folder, note.text + b"\n", signature)
    assert not openssl_accepts(openssl_folder, note.text[:-1], signature)
    for changed in flipped_bytes(signature):
        assert not openssl_accepts(openssl_folder, note.text, changed)
