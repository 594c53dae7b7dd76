"""A holder discloses a section, and somebody without any key proves that it belongs to the signed record."""

from __future__ import annotations

import asyncio
import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from click.testing import CliRunner

from broker.bootstrap.disclosing import check_disclosures
from broker.cli.disclose import disclose
from broker.cli.proof import proof
from broker.cli.verify import verify
from broker.client.disclosing import Disclosing
from broker.core.disclosure import MAX_DISCLOSURE_BYTES, Disclosure
from broker.core.errors import (
    BundleInvalid,
    DisclosureInvalid,
    InputRefused,
    KeyCommitmentBroken,
    RecordUnknown,
    SealInvalid,
    SealKeyMissing,
    SectionMismatch,
)
from broker.trust.keyfolder import FolderKeys
from broker.trust.sealing import AesGcmCipher
from certs.development import KEY_FOLDER
from tests.support.exchange import running_exchange
from tests.support.pki import SamplePki
from tests.support.process import edge_tables, write_toml
from tests.support.records import CODEC
from tests.support.replays import covered
from tests.support.sealed import SealedRecords

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

    from broker.core.body import KeyWrap
    from broker.core.envelope import Envelope

SHANXI, HEBEI, NGO, LAB, AUDITOR = (
    "shanxi-police",
    "hebei-police",
    "child-aid-ngo",
    "national-dna-database",
    "national-audit",
)
CONTENTS = {"case": b"a synthetic case", "identity": b"a synthetic name"}


def record_id(envelope: Envelope) -> str:
    return CODEC.parse_body(envelope.body).record_id


class Court(NamedTuple):
    """Two sealed records of one exchange, the proofs that its agencies got, and their profiles."""

    folder: Path
    pki: SamplePki
    envelope: Envelope
    other: Envelope

    def disclosed(self, agency: str, section: str, source: Path, out: Path, record: str = "") -> Result:
        """What ``case-exchange disclose`` does for an agency."""
        profile = self.folder / f"{agency}.toml"
        which = record or record_id(self.envelope)
        arguments = [which, "--section", section, "--from", source, "--profile", profile, "--out", out]
        return CliRunner().invoke(disclose, [str(each) for each in arguments])

    def judged(self, file: Path) -> tuple[int, dict[str, Any]]:
        """What an auditor, whose proof has no section at all and who has no key, is told of a disclosure."""
        root = self.pki.folder.trust / "governance.pem"
        arguments = [self.folder / f"{AUDITOR}.proof", "--root", root, "--disclosure", file, "--json"]
        done = CliRunner().invoke(verify, [str(each) for each in arguments])
        (found,) = json.loads(done.stdout)["disclosures"]
        return done.exit_code, found


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Court:
    folder = tmp_path_factory.mktemp("court")
    pki = SamplePki.build(folder / "pki", plain=False)
    records = SealedRecords(pki, SHANXI, (HEBEI, NGO))
    envelope, other = records.make(CONTENTS), records.make({"case": b"another case", "identity": b"another name"})

    async def make() -> None:
        async with running_exchange(pki, folder / "log") as exchange:
            publisher = await exchange.publisher(SHANXI)
            for each in (envelope, other):
                await publisher.publish(each)
            await covered(exchange)
            for agency in (SHANXI, HEBEI, NGO, LAB, AUDITOR):
                profile = write_toml(folder / f"{agency}.toml", edge_tables(pki, agency, exchange.target))
                if agency == LAB:
                    continue
                arguments = [record_id(envelope), "--profile", profile, "--out", folder / f"{agency}.proof"]
                more = ["--purpose", "a court asks"] if agency == AUDITOR else []
                done = await asyncio.to_thread(CliRunner().invoke, proof, [*map(str, arguments), *more])
                assert done.exit_code == 0, done.output

    asyncio.run(make())
    (folder / "other.envelope").write_bytes(CODEC.encode_envelope(other))
    return Court(folder, pki, envelope, other)


@pytest.mark.parametrize(("agency", "section"), [(HEBEI, "identity"), (NGO, "case"), (SHANXI, "identity")])
def test_a_holder_discloses_a_section_and_who_has_no_key_proves_it(
    court: Court, tmp_path: Path, agency: str, section: str
) -> None:
    """A recipient opens it with its key for records, and the publisher with its archive key."""
    out = tmp_path / "case.disclosure"
    done = court.disclosed(agency, section, court.folder / f"{agency}.proof", out)
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert Disclosure.parse(out.read_bytes()).content == CONTENTS[section]
    code, found = court.judged(out)
    assert code == 0
    assert found == found | {
        "record_id": record_id(court.envelope),
        "section": section,
        "publisher": SHANXI,
        "sealed": True,
        "content_bytes": len(CONTENTS[section]),
        "refusal": None,
        "unchecked": None,
    }
    again = court.disclosed(agency, section, court.folder / f"{agency}.proof", out)
    assert "exists already" in str(again.exception)


def test_a_disclosure_opens_nothing_but_its_section(court: Court, tmp_path: Path) -> None:
    out = tmp_path / "case.disclosure"
    assert court.disclosed(HEBEI, "case", court.folder / f"{HEBEI}.proof", out).exit_code == 0
    made = Disclosure.parse(out.read_bytes())
    assert [section.name for section in CODEC.decode_envelope(made.envelope).sections] == ["case"]
    assert CONTENTS["identity"] not in out.read_bytes() + made.envelope + made.content
    out.write_bytes(made._replace(section="identity").marshal())
    assert court.judged(out)[1]["refusal"]["reason"] == SectionMismatch.reason


def test_a_record_that_the_edge_kept_is_disclosed_from_its_envelope(court: Court, tmp_path: Path) -> None:
    source = tmp_path / "kept.envelope"
    source.write_bytes(CODEC.encode_envelope(court.envelope))
    out = tmp_path / "case.disclosure"
    assert court.disclosed(SHANXI, "case", source, out).exit_code == 0
    assert court.judged(out)[0] == 0
    wrong = court.disclosed(SHANXI, "case", court.folder / "other.envelope", tmp_path / "other.disclosure")
    assert isinstance(wrong.exception, RecordUnknown)


def test_files_that_cannot_be_used_are_named(court: Court, tmp_path: Path) -> None:
    source = tmp_path / "kept.envelope"
    source.write_bytes(CODEC.encode_envelope(court.envelope))
    missing = tmp_path / "no-such-folder" / "case.disclosure"
    done = court.disclosed(SHANXI, "case", source, missing)
    assert isinstance(done.exception, InputRefused)
    assert f"{missing} cannot be used: No such file or directory" in done.exception.message
    # A file of this length is no record, and no bundle.
    with source.open("r+b") as file:
        file.truncate(MAX_DISCLOSURE_BYTES + 1)
    done = court.disclosed(SHANXI, "case", source, tmp_path / "case.disclosure")
    assert isinstance(done.exception, InputRefused)
    assert f"{source} cannot be used: File too large" in done.exception.message


def test_who_has_no_key_of_the_section_discloses_nothing(court: Court, tmp_path: Path) -> None:
    out = tmp_path / "case.disclosure"
    source = court.folder / f"{HEBEI}.proof"
    assert isinstance(court.disclosed(LAB, "case", source, out).exception, SealKeyMissing)
    # The NGO has a wrap of the record, and the content key of this section is not in it.
    assert isinstance(court.disclosed(NGO, "identity", source, out).exception, SealKeyMissing)
    assert isinstance(court.disclosed(NGO, "identity", court.folder / f"{NGO}.proof", out).exception, SectionMismatch)
    assert not out.exists()


def damaged(wrap: KeyWrap) -> KeyWrap:
    return wrap._replace(wrapped_keys=wrap.wrapped_keys[:-1] + bytes([wrap.wrapped_keys[-1] ^ 1]))


def with_wraps(envelope: Envelope, change: Callable[[KeyWrap], tuple[KeyWrap, ...]]) -> Envelope:
    """What a publisher signs that wraps otherwise."""
    body = CODEC.parse_body(envelope.body)
    wraps = tuple(each for wrap in body.key_wraps for each in change(wrap))
    return replace(envelope, body=CODEC.encode_body(replace(body, key_wraps=wraps)))


def test_a_wrap_that_does_not_open_hides_no_other_one(court: Court) -> None:
    """A publisher has up to two archive keys, with a wrap for each. One of them is enough."""
    keys = FolderKeys(court.pki.folder.member(SHANXI) / KEY_FOLDER)
    disclosing = Disclosing(court.pki.directory.trust_domain, CODEC, AesGcmCipher())
    for change in (lambda wrap: (damaged(wrap), wrap), lambda wrap: (wrap, damaged(wrap))):
        made = disclosing.disclose(with_wraps(court.envelope, change), "case", SHANXI, keys)
        assert made.content == CONTENTS["case"]
    with pytest.raises(SealInvalid):
        disclosing.disclose(with_wraps(court.envelope, lambda wrap: (damaged(wrap),)), "case", SHANXI, keys)


def _of_another_record(made: Disclosure, court: Court, folder: Path) -> Disclosure:
    out = folder / "other.disclosure"
    source = court.folder / "other.envelope"
    assert court.disclosed(SHANXI, made.section, source, out, record_id(court.other)).exit_code == 0
    return Disclosure.parse(out.read_bytes())


def _moved(made: Disclosure, court: Court, folder: Path) -> Disclosure:
    """The section of another record in this one, with the content and the key of that one."""
    other = _of_another_record(made, court, folder)
    here, there = CODEC.decode_envelope(made.envelope), CODEC.decode_envelope(other.envelope)
    moved = type(here)(here.body_type, here.body, here.signatures, there.sections)
    return made._replace(content_key=other.content_key, content=other.content, envelope=CODEC.encode_envelope(moved))


TAMPERED: dict[str, tuple[Callable[[Disclosure, Court, Path], Disclosure], str]] = {
    "wrong key": (lambda made, *_: made._replace(content_key=bytes(32)), KeyCommitmentBroken.reason),
    "key cut off": (lambda made, *_: made._replace(content_key=made.content_key[:-1]), KeyCommitmentBroken.reason),
    "no key": (lambda made, *_: made._replace(content_key=b""), DisclosureInvalid.reason),
    "changed content": (lambda made, *_: made._replace(content=made.content + b"."), DisclosureInvalid.reason),
    "a section of another record": (_moved, SectionMismatch.reason),
    "another record": (_of_another_record, RecordUnknown.reason),
    "another record under this id": (
        lambda made, court, folder: _of_another_record(made, court, folder)._replace(record_id=made.record_id),
        DisclosureInvalid.reason,
    ),
    "no record": (lambda made, *_: made._replace(envelope=b"\xff"), DisclosureInvalid.reason),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_a_changed_disclosure_is_refused_and_says_why(court: Court, tmp_path: Path, name: str) -> None:
    tamper, reason = TAMPERED[name]
    out = tmp_path / "case.disclosure"
    assert court.disclosed(HEBEI, "case", court.folder / f"{HEBEI}.proof", out).exit_code == 0
    out.write_bytes(tamper(Disclosure.parse(out.read_bytes()), court, tmp_path).marshal())
    code, found = court.judged(out)
    assert (code, found["refusal"]["reason"]) == (1, reason)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'{"format": "case-exchange disclosure v2"}', b"[]", b'{"format": 1}', b"\xff"],
)
def test_a_file_of_another_form_is_refused(court: Court, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "case.disclosure"
    file.write_bytes(data)
    code, found = court.judged(file)
    assert (code, found["refusal"]["reason"]) == (1, DisclosureInvalid.reason)


def test_a_person_reads_what_a_disclosure_proves_and_what_it_does_not(court: Court, tmp_path: Path) -> None:
    out = tmp_path / "case.disclosure"
    assert court.disclosed(HEBEI, "case", court.folder / f"{HEBEI}.proof", out).exit_code == 0
    root = court.pki.folder.trust / "governance.pem"
    arguments = [str(court.folder / f"{AUDITOR}.proof"), "--root", str(root), "--disclosure", str(out)]
    done = CliRunner().invoke(verify, arguments)
    assert done.exit_code == 0
    assert f"section case of record {record_id(court.envelope)}: {SHANXI} signed this CaseRecord" in done.stdout
    assert "a disclosure says nothing of other sections" in done.stdout
    out.write_bytes(b"{}")
    done = CliRunner().invoke(verify, arguments)
    assert done.exit_code == 1
    assert "DISCLOSURE REFUSED: case.disclosure: DISCLOSURE_INVALID" in done.stdout


def test_the_bundle_is_read_once_for_all_disclosures(
    court: Court, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, root = court.folder / f"{AUDITOR}.proof", court.pki.folder.trust / "governance.pem"
    files = [tmp_path / f"{section}.disclosure" for section in CONTENTS]
    for section, out in zip(CONTENTS, files, strict=True):
        assert court.disclosed(HEBEI, section, court.folder / f"{HEBEI}.proof", out).exit_code == 0
    opened: list[Path] = []
    really = Path.open

    def counted(path: Path, *arguments: Any, **options: Any) -> Any:
        opened.append(path)
        return really(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", counted)
    checked = check_disclosures(bundle, (root,), files)
    assert [(item.section, item.holds) for item in checked] == [(section, True) for section in CONTENTS]
    assert opened.count(bundle) == 1


def test_a_bundle_that_cannot_be_read_refuses_no_disclosure(court: Court, tmp_path: Path) -> None:
    """It is the bundle's fault: the findings are told all the same, and the disclosure counts as not checked."""
    out, proof_file = tmp_path / "case.disclosure", tmp_path / f"{AUDITOR}.proof"
    assert court.disclosed(HEBEI, "case", court.folder / f"{HEBEI}.proof", out).exit_code == 0
    proof_file.write_bytes((court.folder / f"{AUDITOR}.proof").read_bytes()[:-1])
    code, found = court._replace(folder=tmp_path).judged(out)
    assert (code, found["refusal"], found["unchecked"]["reason"]) == (1, None, BundleInvalid.reason)
    root = court.pki.folder.trust / "governance.pem"
    done = CliRunner().invoke(verify, [str(proof_file), "--root", str(root), "--disclosure", str(out)])
    assert done.exit_code == 1
    assert "DISCLOSURE NOT CHECKED: case.disclosure: section case" in done.stdout
    assert "error: BUNDLE_INVALID" in done.stdout
    assert "disclosed: " not in done.stdout


class TestPlain:
    """A plain section has no key: whoever has a copy discloses it."""

    def test_it_is_disclosed_without_a_key(self, pki: SamplePki, tmp_path: Path) -> None:
        async def make() -> str:
            async with running_exchange(pki, tmp_path / "log") as exchange:
                envelope = exchange.maker().make()
                await (await exchange.publisher()).publish(envelope)
                await covered(exchange)
                profile = write_toml(tmp_path / "edge.toml", edge_tables(pki, SHANXI, exchange.target))
                arguments = [record_id(envelope), "--profile", profile, "--out", tmp_path / "r.proof"]
                done = await asyncio.to_thread(CliRunner().invoke, proof, [str(each) for each in arguments])
                assert done.exit_code == 0, done.output
                return record_id(envelope)

        record = asyncio.run(make())
        court = Court(tmp_path, pki, None, None)  # type: ignore[arg-type] # only its folder is used
        (tmp_path / f"{SHANXI}.toml").write_text((tmp_path / "edge.toml").read_text())
        (tmp_path / f"{AUDITOR}.proof").write_bytes((tmp_path / "r.proof").read_bytes())
        out = tmp_path / "plain.disclosure"
        done = court.disclosed(SHANXI, "case", tmp_path / "r.proof", out, record)
        assert done.exit_code == 0, done.output
        made = Disclosure.parse(out.read_bytes())
        assert made.content_key == b""
        assert court.judged(out)[1] == court.judged(out)[1] | {"sealed": False, "refusal": None}
        out.write_bytes(made._replace(content=b"another").marshal())
        assert court.judged(out)[1]["refusal"]["reason"] == DisclosureInvalid.reason
