"""The folder ``countersign``: what lies there completes its record, or holds this record and no other."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from structlog.testing import capture_logs

from adapters.edge.countersigning import ANSWER, MAX_ANSWER_BYTES, REQUEST, Countersigning
from adapters.edge.holds import Outgoing
from broker.client.signing import countersign
from broker.core.errors import CountersignatureAwaited
from certs.rights import HEBEI
from tests.support.pki import SamplePki
from tests.support.records import CODEC
from tests.support.signers import Desk, body_of, desk, ecdsa_signer, listing, record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from broker.core.envelope import Envelope
    from tests.support.signers import AnySigner

ID: Final = body_of((), 0).record_id


class Waiting(NamedTuple):
    """A record that its gateway signed, and that waits for the others."""

    desk: Desk
    others: Sequence[AnySigner]
    envelope: Envelope
    folder: Path
    countersigning: Countersigning

    @property
    def item(self) -> Outgoing:
        return Outgoing(ID, CODEC.encode_envelope(self.envelope))

    def answer(self, name: str, *signers: AnySigner) -> Path:
        """Lay an answer of these into the folder."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{ID}.{name}{ANSWER}"
        path.write_bytes(countersign(self.envelope, CODEC.parse_body(self.envelope.body), signers))
        return path

    def complete(self) -> Envelope:
        """Look into the folder; the complete record."""
        self.countersigning.look()
        return CODEC.decode_envelope(self.countersigning.complete(self.item))

    def awaited(self) -> list[str]:
        """Look into the folder; the events of the log."""
        self.countersigning.look()
        with capture_logs() as logs, pytest.raises(CountersignatureAwaited):
            self.countersigning.complete(self.item)
        return [each["event"] for each in logs]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> SamplePki:
    return SamplePki.build(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
def waiting(pki: SamplePki, tmp_path: Path) -> Waiting:
    made = desk(pki)
    others = (made.chief[0], ecdsa_signer(pki, system="deputy"), ecdsa_signer(pki, system="judge"))
    directory = listing(made.directory, HEBEI, *others[1:])
    whole = record([made.gateway[0], *others], pki.now_ms)
    envelope = replace(whole, signatures=whole.signatures[:1])
    folder = tmp_path / "countersign"
    countersigning = Countersigning(folder, CODEC, pki.keyring(directory))
    return Waiting(made, others, envelope, folder, countersigning)


BAD: Final[dict[str, Callable[[Path], object]]] = {
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "too large": lambda path: path.write_bytes(bytes(MAX_ANSWER_BYTES + 1)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_answer_holds_one_record_and_does_not_stop_the_others(waiting: Waiting, name: str) -> None:
    waiting.folder.mkdir()
    BAD[name](waiting.folder / f"{ID}.0{ANSWER}")
    assert "a file in the folder countersign cannot be used" in waiting.awaited()
    assert (waiting.folder / f"{ID}{REQUEST}").read_bytes() == waiting.item.envelope
    # Good answers count all the same.
    waiting.answer("1", *waiting.others)
    assert len(waiting.complete().signatures) == 4
    waiting.countersigning.forget(ID)
    assert [path.is_dir() for path in waiting.folder.iterdir()] == [True] * (name == "a folder")


def test_a_folder_in_the_place_of_the_request_holds_one_record(waiting: Waiting) -> None:
    (waiting.folder / f"{ID}{REQUEST}").mkdir(parents=True)
    assert waiting.awaited() == ["a file in the folder countersign cannot be used"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_answers_of_several_principals_come_in_any_order(waiting: Waiting, order: Sequence[int]) -> None:
    # The files are read in the order of their names.
    for number, place in enumerate(order):
        if number:
            waiting.awaited()
        waiting.answer(str(number), waiting.others[place])
    complete = waiting.complete()
    signed_by = [each.certificate_sha256 for each in complete.signatures]
    assert signed_by == [each.certificate_sha256 for each in (waiting.desk.gateway[0], *waiting.others)]


def test_an_answer_that_does_not_hold_is_set_aside_and_a_good_one_counts(waiting: Waiting) -> None:
    bad = waiting.answer("0", *waiting.others)
    document = json.loads(bad.read_bytes())
    document["signatures"][2]["sig"] = document["signatures"][1]["sig"]
    bad.write_text(json.dumps(document))
    waiting.answer("1", waiting.others[2])
    document["signatures"] = [{**document["signatures"][0], "keyid": "0" * 64}]
    (waiting.folder / f"{ID}.2{ANSWER}").write_text(json.dumps(document))
    assert waiting.awaited() == ["a countersignature cannot be used"] * 2
    assert len(list(waiting.folder.glob("*.refused"))) == 2
    waiting.answer("0", *waiting.others[:2])
    assert len(waiting.complete().signatures) == 4


def test_an_answer_that_is_still_being_copied_is_not_set_aside(waiting: Waiting) -> None:
    path = waiting.answer("0", *waiting.others)
    whole = path.read_bytes()
    for part in (0, len(whole) // 3, len(whole) // 2):
        path.write_bytes(whole[:part])
        assert waiting.awaited() == []
    path.write_bytes(whole)
    assert len(waiting.complete().signatures) == 4


def test_what_cannot_be_read_and_does_not_change_is_set_aside(waiting: Waiting) -> None:
    path = waiting.answer("0", *waiting.others)
    path.write_bytes(path.read_bytes()[:100])
    assert waiting.awaited() == []
    assert waiting.awaited() == ["a countersignature cannot be used"]
    assert path.with_name(path.name + ".refused").exists()
