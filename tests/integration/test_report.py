"""The report for a judge, written by the command. The programs of others that it names run on what it prints."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from broker.bootstrap.directoryfacts import LogKey, directory_facts, log_keys_of
from broker.bootstrap.reportfacts import report_facts
from broker.bootstrap.verify import verify_bundle
from broker.cli.export import export
from broker.cli.report.writing import JudgedFiles, ReportFile
from broker.cli.verify import verify
from broker.client.composing import SectionDraft
from broker.core.bundle import CosignedCheckpoint, PartitionStart
from broker.core.errors import BundleInvalid, CaseExchangeError, SetupInvalid
from broker.core.events import AuditEvent, DeliveryMade
from broker.core.inforce import DirectoryVersion
from broker.core.receipt import portable_receipt
from broker.core.streams import StreamPartition
from broker.core.tree.checkpoint import VerifierKey, parse_note
from broker.core.tree.cosignature import with_cosignatures
from broker.core.tree.merkle import leaf_hash
from broker.wire.receiptfile import write_receipts
from broker.wire.receipts import receipt_bytes
from tests.support.bundles import LyingExchange, audit_record, manifest
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import CODEC, RecordMaker
from tests.support.trees import GrownTree
from tests.support.witnesses import SampleWitness

if TYPE_CHECKING:
    from broker.core.bundle import BundleEntry

DNA_0, AUDIT_0 = StreamPartition("dna", 0), StreamPartition("audit", 0)
ROOT = Path(__file__).parents[2]
GO_PACKAGES = Path("/usr/share/gocode")
SECRET = b"synthetic words of a section"
LAB = "spiffe://case-exchange.example/agency/national-dna-database/gateway"


class World(NamedTuple):
    """A folder as an auditor has it: a bundle, the pinned key, a policy of two witnesses, a publisher's receipts."""

    folder: Path
    exchange: LyingExchange
    entries: list[BundleEntry]

    @property
    def bundle(self) -> Path:
        return self.folder / "q3.bundle"

    def verify(self, *options: str, language: str = "en", out: str = "report.html") -> Result:
        brought = "--receipts", "shanxi.receipts", "--witness-policy", "witnesses.policy"
        page = "--report", out, "--lang", language
        arguments = ["q3.bundle", "--root", "governance.pem", *brought, *page, *options]
        return CliRunner().invoke(verify, arguments)

    def page(self) -> str:
        return (self.folder / "report.html").read_text("utf-8")

    def commands(self, tool: str) -> list[str]:
        """The commands of the page for a program, as a reader copies them."""
        return [unescape(text) for text in re.findall(rf'<pre class="{tool}">(.*?)</pre>', self.page(), re.DOTALL)]


@pytest.fixture
def world(pki: SamplePki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    clock = ManualClock(pki.now_ms + 1000)
    exchange, maker = LyingExchange(pki), RecordMaker(pki, clock)
    exchange.made_at_ms = clock.value_ms + 60_000
    entries = exchange.add(
        DNA_0, [maker.make(sections=(SectionDraft("case", "T", SECRET),)) for _ in range(5)], clock.value_ms
    )
    made = DeliveryMade(entries[0].position, "samples", 1, ("identity",), (1, 2))
    told = asyncio.run(audit_record(pki, clock, [AuditEvent(clock.value_ms, LAB, made)]))
    exchange.add(AUDIT_0, [told], clock.value_ms)
    # Two witnesses have cosigned the first three records.
    tree = GrownTree(map(manifest, entries))
    shorter = LyingExchange(pki)
    shorter.add(DNA_0, [entry.envelope for entry in entries[:3]], clock.value_ms)
    (start, *_), (older, *_) = exchange.frames, shorter.frames
    assert isinstance(start, PartitionStart)
    assert isinstance(older, PartitionStart)
    witnesses = [SampleWitness(f"witness.example/{name}") for name in "ab"]
    lines = [witness.cosign(parse_note(older.note).text, clock.value_ms // 1000) for witness in witnesses]
    cosigned = CosignedCheckpoint(with_cosignatures(older.note, lines), tree.consistency(3, 5))
    exchange.replace(start, replace(start, cosigned=cosigned))
    policy = [f"witness {number} {witness.key}" for number, witness in enumerate(witnesses)]
    (tmp_path / "witnesses.policy").write_text("\n".join([*policy, "group both all 0 1", "quorum both", ""]))
    signed = exchange.receipts(entries)
    assert signed is not None
    with (tmp_path / "shanxi.receipts").open("wb") as file:
        write_receipts(file, [], [receipt_bytes(portable_receipt(signed, place)) for place in range(5)])
    shutil.copy(pki.folder.governance_public_key, tmp_path / "governance.pem")
    shutil.copy(pki.folder.directory, tmp_path / "directory.json")
    exchange.write(tmp_path / "q3.bundle")
    monkeypatch.chdir(tmp_path)
    return World(tmp_path, exchange, entries)


def shell(commands: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-e", "-c", commands],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_the_page_names_what_was_checked_and_who_received_what_and_no_content(world: World) -> None:
    result = world.verify()
    page = world.page()
    # The audit stream has no witness of this policy.
    assert result.exit_code == 1, result.output
    for said in (
        sha256(world.bundle.read_bytes()).hexdigest(),
        sha256((world.folder / "shanxi.receipts").read_bytes()).hexdigest(),
        "Receipts: 5. In their places: 5",
        "witness.example/a",
        "Not confirmed by enough witnesses: audit/0",
        "Too few independent witnesses confirm this part of the log",
        CODEC.parse_body(world.entries[2].envelope.body).record_id,
        "identity",
        "national-dna-database",
    ):
        assert said in page, said
    assert SECRET.decode() not in page
    assert stat.S_IMODE((world.folder / "report.html").stat().st_mode) == 0o600


def test_chinese_is_what_it_is_written_in_if_nothing_is_said(world: World) -> None:
    CliRunner().invoke(verify, ["q3.bundle", "--root", "governance.pem", "--report", "report.html"])
    assert '<html lang="zh-CN">' in world.page()
    assert "所核查的这部分日志未见异常" in world.page()
    assert world.verify(out="english.html").exit_code == 1
    assert '<html lang="en">' in (world.folder / "english.html").read_text("utf-8")


def test_a_changed_record_is_shown_with_both_fingerprints(world: World) -> None:
    honest, other = world.entries[1], world.entries[4]
    changed = honest._replace(envelope=other.envelope)
    world.exchange.hold(world.entries[0], changed, *world.entries[2:])
    world.exchange.write(world.bundle)
    assert world.verify().exit_code == 1
    page = world.page()
    assert "The log in the bundle is not what was signed." in page
    assert "A record is not the one that was accepted" in page
    for entry in (honest, changed):
        assert leaf_hash(manifest(entry)).hex() in page
    # The receipt names the same leaf as the tree, and the bundle does not have it.
    assert page.count(leaf_hash(manifest(honest)).hex()) == 2


def test_two_histories_are_shown_with_both_signed_roots(world: World) -> None:
    clock = ManualClock(world.exchange.pki.now_ms + 1000)
    other = LyingExchange(world.exchange.pki)
    envelopes = [entry.envelope for entry in world.entries]
    other.add(DNA_0, [*envelopes[:4], RecordMaker(other.pki, clock).make()], clock.value_ms)
    notes = [frame.note for frame in (world.exchange.frames[0], other.frames[0]) if isinstance(frame, PartitionStart)]
    (world.folder / "seen.checkpoint").write_bytes(notes[1])
    assert world.verify("--since", "seen.checkpoint").exit_code == 1
    page = unescape(world.page())
    assert "The exchange signed two different histories" in page
    for note in notes:
        root = parse_note(note).text.decode().split("\n")[2]
        assert root in page
    assert sha256(notes[1]).hexdigest() in page


def test_a_shorter_history_that_was_seen_is_compared_with_the_beginning_of_this_one(world: World) -> None:
    clock = ManualClock(world.exchange.pki.now_ms + 1000)
    other = LyingExchange(world.exchange.pki)
    envelopes = [entry.envelope for entry in world.entries[:2]]
    other.add(DNA_0, [*envelopes, RecordMaker(other.pki, clock).make()], clock.value_ms)
    start = other.frames[0]
    assert isinstance(start, PartitionStart)
    (world.folder / "seen.checkpoint").write_bytes(start.note)
    assert world.verify("--since", "seen.checkpoint").exit_code == 1
    (fork,) = re.findall(r"LOG_FORKED</code>.*?</table>", world.page(), re.DOTALL)
    compared = dict(re.findall(r"<dt>(.*?)</dt><dd><code>(.*?)</code>", unescape(fork)))
    # Nobody signed a root of three records here: it is computed from the list of the bundle.
    honest = LyingExchange(world.exchange.pki)
    honest.add(DNA_0, [entry.envelope for entry in world.entries[:3]], world.entries[0].accepted_at_ms)
    shown = parse_note(next(frame.note for frame in honest.frames if isinstance(frame, PartitionStart)))
    assert compared == {
        "size signed before": "3",
        "root hash computed from the list in the bundle": shown.text.decode().split("\n")[2],
        "root hash that the exchange signed before": parse_note(start.note).text.decode().split("\n")[2],
    }


def test_what_witnesses_cosigned_of_another_history_is_shown_beside_this_one_and_confirms_nothing(
    world: World,
) -> None:
    start = world.exchange.frames[0]
    assert isinstance(start, PartitionStart)
    assert start.cosigned is not None
    # The operator shows the log without its third record, and what the witnesses cosigned of the true one.
    lying = LyingExchange(world.exchange.pki)
    kept = [world.entries[place].envelope for place in (0, 1, 3, 4)]
    lying.add(DNA_0, kept, world.entries[0].accepted_at_ms, offsets=(0, 1, 3, 4))
    lying.made_at_ms = world.exchange.made_at_ms
    shown = lying.frames[0]
    assert isinstance(shown, PartitionStart)
    lying.replace(shown, replace(shown, cosigned=start.cosigned))
    lying.write(world.bundle)
    assert world.verify().exit_code == 1
    page = unescape(world.page())
    assert "A mathematical proof about the log does not hold" in page
    for note in (shown.note, start.cosigned.note):
        assert parse_note(note).text.decode().split("\n")[2] in page
    assert "The witnesses that have signed" not in page
    assert "witness-" not in "".join(world.commands("openssl"))


def test_what_witnesses_cosigned_of_another_partition_confirms_nothing_of_this_one(world: World) -> None:
    dna, audit = (frame for frame in world.exchange.frames if isinstance(frame, PartitionStart))
    assert dna.cosigned is not None
    # The exchange shows the checkpoint of one partition, with its witnesses' lines, for another one.
    world.exchange.replace(audit, replace(audit, note=dna.cosigned.note))
    world.exchange.write(world.bundle)
    result = world.verify()
    assert "audit/0      NOT COSIGNED by enough witnesses" in result.output
    rows = re.findall(r'<tr><td class="place"><bdi>([a-z]+/0)</bdi></td><td>\d+</td><td><bdi>witness', world.page())
    assert rows == ["dna/0", "dna/0"]
    signed = world.commands("openssl")[-1]
    assert "dna-0-" in signed
    assert "audit-0-" not in signed


def test_a_forged_record_is_shown_with_its_digest_and_the_certificate_that_it_names(world: World) -> None:
    first = world.entries[0]
    forged = first.envelope.signatures[0]._replace(value=world.entries[1].envelope.signatures[0].value)
    envelope = replace(first.envelope, signatures=(forged,))
    world.exchange.hold(first._replace(envelope=envelope), *world.entries[1:])
    world.exchange.write(world.bundle)
    assert world.verify().exit_code == 1
    page = world.page()
    assert "The publisher's signature does not hold" in unescape(page)
    assert envelope.record_sha256.hex() in page
    assert forged.certificate_sha256.hex() in page


def test_a_report_is_never_overwritten(world: World) -> None:
    (world.folder / "report.html").write_text("an earlier report")
    result = world.verify()
    assert result.exit_code == 2
    assert "a report is evidence and is never overwritten" in result.stderr
    assert world.page() == "an earlier report"
    assert result.stdout == ""
    (world.folder / "dangling").symlink_to(world.folder / "nothing")
    assert world.verify(out="dangling").exit_code == 2
    nowhere = world.verify(out="no-such-folder/report.html")
    assert (nowhere.exit_code, nowhere.stdout) == (2, "")
    assert "no-such-folder is not a folder" in nowhere.stderr


def test_a_signature_that_a_bundle_has_often_is_on_the_page_once(world: World) -> None:
    starts = [frame for frame in world.exchange.frames if isinstance(frame, PartitionStart)]
    honest = report_facts(world.bundle, (world.folder / "governance.pem",))
    world.exchange.frames.extend(starts * 300)
    world.exchange.write(world.bundle)
    flooded = report_facts(world.bundle, (world.folder / "governance.pem",))
    assert (flooded.signatures, flooded.proofs) == (honest.signatures, honest.proofs)
    assert len(honest.signatures) == 3


def flipped(path: Path) -> None:
    """Change a byte of a file. Its size and the time of its change stay the same."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("name", ["q3.bundle", "governance.pem", "shanxi.receipts", "seen/one.checkpoint", "w.policy"])
def test_what_changed_while_it_was_verified_has_no_report(world: World, name: str) -> None:
    start = world.exchange.frames[0]
    assert isinstance(start, PartitionStart)
    (world.folder / "seen").mkdir()
    (world.folder / "seen" / "one.checkpoint").write_bytes(start.note)
    (world.folder / "witnesses.policy").rename(world.folder / "w.policy")
    judged = JudgedFiles(
        Path("q3.bundle"), (Path("governance.pem"),), (Path("shanxi.receipts"), Path("seen")), Path("w.policy")
    )
    file = ReportFile(world.folder / "report.html", "zh", judged)
    report = verify_bundle(judged.bundle, judged.roots, lambda _: None, digest=file.digest)
    flipped(world.folder / name)
    with pytest.raises(CaseExchangeError) as raised:
        file.write(report)
    assert raised.value.reason in {"BUNDLE_INVALID", "KEY_INVALID", "WITNESS_POLICY_INVALID", "DIRECTORY_INVALID"}
    assert not (world.folder / "report.html").exists()


def test_a_bundle_that_was_another_one_while_it_was_verified_has_no_report(world: World) -> None:
    judged = JudgedFiles(world.bundle, (world.folder / "governance.pem",))
    other = world.folder / "other.bundle"
    world.exchange.made_at_ms += 1
    world.exchange.write(other)
    file = ReportFile(world.folder / "report.html", "zh", judged)
    # A link of this name showed another file, and shows the first one again. So the state of the file is the same.
    report = verify_bundle(other, judged.roots, lambda _: None, digest=file.digest)
    with pytest.raises(BundleInvalid, match="changed while it was verified"):
        file.write(report)
    assert not (world.folder / "report.html").exists()


@pytest.mark.parametrize("name", ["q3.bundle", "shanxi.receipts"])
def test_a_pipe_has_no_report_and_nobody_waits_for_it(world: World, name: str) -> None:
    (world.folder / name).unlink()
    os.mkfifo(world.folder / name)
    result = world.verify()
    assert result.exit_code == 2
    assert f"{name} is not a usual file" in result.stderr
    assert result.stdout == ""


def loading(parent: int) -> bool:
    """Whether a process that this one has started is in the middle of its imports."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    # Until it is a program of its own, a new process is a copy of the other one.
    programs = [
        Path("/proc", child) for child in children if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text()
    ]
    return any("cryptography" in (program / "maps").read_text() for program in programs)


def test_ctrl_c_while_the_judges_of_a_large_bundle_load_is_quiet(world: World) -> None:
    pki = world.exchange.pki
    clock = ManualClock(pki.now_ms + 1000)
    exchange, maker = LyingExchange(pki), RecordMaker(pki, clock)
    exchange.made_at_ms = clock.value_ms + 60_000
    # More than 4 MiB are judged by processes.
    large = [maker.make(sections=(SectionDraft("case", "T", os.urandom(500_000)),)) for _ in range(10)]
    exchange.add(DNA_0, large, clock.value_ms, stretch=1)
    exchange.write(world.bundle)
    command = [sys.executable, "-c", "from broker.cli.start import start; start()", "verify", "q3.bundle"]
    with subprocess.Popen(
        [*command, "--root", "governance.pem", "--report", "report.html"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in (".", "protos/gen"))},
    ) as process:
        deadline = time.monotonic() + 30
        while not loading(process.pid):
            assert process.poll() is None
            assert time.monotonic() < deadline
        # As a terminal sends it: to the command and to its judges.
        os.killpg(process.pid, signal.SIGINT)
        told = process.communicate(timeout=30)
    # Click ends the line of the terminal.
    assert (process.returncode, *told) == (130, "", "\n")
    assert not (world.folder / "report.html").exists()


def test_a_page_that_appears_while_the_bundle_is_verified_stays(world: World) -> None:
    judged = JudgedFiles(world.bundle, (world.folder / "governance.pem",))
    file = ReportFile(world.folder / "report.html", "zh", judged)
    report = verify_bundle(judged.bundle, judged.roots, lambda _: None, digest=file.digest)
    (world.folder / "report.html").write_text("of somebody else")
    with pytest.raises(SetupInvalid, match="never overwritten"):
        file.write(report)
    assert world.page() == "of somebody else"
    assert list(world.folder.glob(".report*")) == []


def test_openssl_agrees_with_what_the_page_prints(world: World) -> None:
    world.verify()
    files, directory, signatures = world.commands("openssl")
    told = shell(files)
    assert told.returncode == 0, told.stderr
    numbers = re.findall(r"= ([0-9a-f]{64})", told.stdout)
    assert numbers[0] == sha256(world.bundle.read_bytes()).hexdigest()
    numbers += re.findall(r"= ([0-9a-f]{64})", shell(directory).stdout)
    assert len(numbers) == 3
    assert [number for number in numbers if number not in world.page()] == []
    checked = shell(signatures)
    assert checked.returncode == 0, checked.stderr
    lines = [line for line in checked.stdout.splitlines() if line.endswith((": good", ": WRONG"))]
    names = [line.removesuffix(": good") for line in lines]
    keys = [SampleWitness(f"witness.example/{name}").key.key_id.hex() for name in "ab"]
    assert names == ["dna-0-5-log", "dna-0-3-log", *(f"dna-0-3-witness-{key}" for key in keys), "audit-0-1-log"]
    assert "    case-exchange.example/dna/0/" in checked.stdout
    # Another message under the same signature.
    lied = re.sub(r"^(dna-0-5-log \S+ )\S+", r"\1aGVsbG8K", signatures, flags=re.MULTILINE)
    assert lied != signatures
    assert "dna-0-5-log: WRONG" in shell(lied).stdout


def test_openssl_says_who_signed_the_record_that_the_page_takes_out(world: World) -> None:
    world.verify()
    (commands,) = world.commands("export")
    first, *others = commands.splitlines()
    name, command, *arguments = shlex.split(first)
    assert (name, command) == ("case-exchange", "export")
    assert CliRunner().invoke(export, arguments).exit_code == 0
    told = shell("\n".join(others))
    assert told.returncode == 0, told.stderr
    assert "CMS Verification successful" in told.stderr
    assert "spiffe://case-exchange.example/agency/shanxi-police" in told.stdout
    (world.folder / "record" / "record.pae").write_bytes(b"other")
    assert shell("\n".join(others)).returncode != 0


def test_gos_tlog_agrees_with_what_the_page_prints(world: World) -> None:
    if shutil.which("go") is None or not (GO_PACKAGES / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("needs Go and Debian's golang-golang-x-mod-dev")
    world.verify()
    *_, signatures = world.commands("openssl")
    (commands,) = world.commands("go")
    written, _, run = commands.strip().rpartition("\n")
    # Debian's sources stand in for the module proxy that the last line asks.
    assert run.startswith("test -f go.mod || go mod init check; go get golang.org/x/mod@v")
    shell(signatures)
    assert shell(written).returncode == 0
    offline = {"GO111MODULE": "off", "GOPATH": str(GO_PACKAGES), "GOFLAGS": ""}
    told = shell("go run main.go", **offline)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "dna-0-5-log continues dna-0-3-log: good" in told.stdout
    assert told.stdout.count(": good") == 6
    proofs = world.folder / "proofs.txt"
    proofs.write_text(" ".join([*proofs.read_text().split()[:-1], "AAAA" * 10 + "AAA="]))
    wrong = shell("go run main.go", **offline)
    assert (wrong.returncode, "continues dna-0-3-log: WRONG" in wrong.stdout) == (1, True)


def test_names_of_files_that_a_shell_would_read_otherwise_are_not_in_a_command(world: World) -> None:
    hostile = "$(touch ran) \u202e.bundle"
    world.bundle.rename(world.folder / hostile)
    pages = "--report", "report.html", "--lang", "en"
    CliRunner().invoke(verify, [hostile, "--root", "governance.pem", *pages])
    files, *_ = world.commands("openssl")
    assert "openssl dgst -sha256 BUNDLE\n" in files
    assert "touch" not in "".join(world.commands("export"))
    assert "In the commands, BUNDLE stands for this file" in unescape(world.page())
    assert "$(touch ran) \N{REPLACEMENT CHARACTER}.bundle" in unescape(world.page())


def another_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_names_of_other_languages_and_files_of_two_keys_are_in_the_commands_as_they_are(world: World) -> None:
    bundle, root = "2026年第三季度 $HOME's.bundle", "-治理密钥.pem"
    world.bundle.rename(world.folder / bundle)
    governance = (world.folder / "governance.pem").read_bytes()
    (world.folder / root).write_bytes(another_key() + governance)
    CliRunner().invoke(verify, [bundle, "--root", f"./{root}", "--report", "report.html"])
    files, directory, _ = world.commands("openssl")
    told = shell(files)
    assert told.returncode == 0, told.stderr
    numbers = re.findall(r"= ([0-9a-f]{64})", told.stdout)
    assert len(set(numbers)) == 3
    assert [number for number in numbers if number not in world.page()] == []
    assert numbers[0] == sha256((world.folder / bundle).read_bytes()).hexdigest()
    checked = shell(directory)
    assert "Verified OK" in checked.stdout, checked.stderr
    _, _, *arguments = shlex.split(world.commands("export")[0].splitlines()[0])
    assert CliRunner().invoke(export, arguments).exit_code == 0


def test_two_key_files_of_one_name_and_one_with_a_name_of_ours_have_names_of_their_own(world: World) -> None:
    (world.folder / "other").mkdir()
    (world.folder / "other" / "governance.pem").write_bytes(another_key())
    world.bundle.rename(world.folder / "message")
    roots = "--root", "other/governance.pem", "--root", "governance.pem"
    CliRunner().invoke(verify, ["message", *roots, "--report", "report.html", "--lang", "en"])
    page = unescape(world.page())
    for standin, name in (("BUNDLE", "message"), ("KEY-2.pem", "governance.pem")):
        assert re.search(f"In the commands, {standin} stands for this file.*<bdi>{name}</bdi>", page)
    # The reader copies them under these names.
    shutil.copy("governance.pem", "KEY-2.pem")
    shutil.copy("other/governance.pem", "governance.pem")
    shutil.copy("message", "BUNDLE")
    files, directory, _ = world.commands("openssl")
    numbers = re.findall(r"= ([0-9a-f]{64})", shell(files).stdout)
    assert len(set(numbers)) == 3
    assert [number for number in numbers if number not in page] == []
    assert "Verified OK" in shell(directory).stdout


def test_openssl_checks_governances_signature_and_finds_the_keys_of_the_log(world: World) -> None:
    world.verify()
    _, directory, signatures = world.commands("openssl")
    told = shell(directory)
    assert told.returncode == 0, told.stderr
    assert "Verified OK" in told.stdout
    listed = re.findall(r"<div><code>(.*?)</code></div>", world.page())
    assert listed
    assert [key for key in listed if unescape(key) not in told.stdout] == []
    # Each key that signed is printed as the tables of the page have it.
    keys = set(re.findall(r"^    key ([0-9a-f]{64})$", shell(signatures).stdout, re.MULTILINE))
    assert len(keys) == 3
    assert [key for key in keys if f"<code>{key}</code>" not in world.page()] == []
    document = (world.folder / "directory.json").read_text()
    changed = re.sub(r'("payload": "....)(.)', lambda found: found[1] + ("A" if found[2] != "A" else "B"), document)
    (world.folder / "directory.json").write_text(changed)
    assert "Verified OK" not in shell(directory).stdout


def test_a_directory_whose_first_signature_is_of_another_key_has_no_command_for_it(world: World) -> None:
    pki = world.exchange.pki
    version = DirectoryVersion(0, pki.directory, pki.keyring(pki.directory))
    (world.folder / "another.pem").write_bytes(another_key())
    assert directory_facts(version, [world.folder / "governance.pem"]).signer is not None
    assert directory_facts(version, [world.folder / "another.pem"]).signer is None


def test_an_old_key_of_the_log_stands_with_the_last_directory_that_lists_it(world: World) -> None:
    newest = world.exchange.pki.directory
    old = VerifierKey("case-exchange.example/log-2025", bytes(range(32)))
    older = replace(newest, version=newest.version - 1, log_keys=(str(old), *newest.log_keys))
    assert log_keys_of([older, newest]) == (
        LogKey(old, older.version),
        *(LogKey(VerifierKey.parse(text), newest.version) for text in newest.log_keys),
    )


def test_verify_does_not_load_what_only_an_export_or_a_page_needs() -> None:
    wanted = "import sys, broker.cli.verify; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", wanted], capture_output=True, text=True, check=True).stdout.split()
    assert "broker.cli.verify" in loaded
    others = {"broker.cli.export", "broker.trust.exports", "broker.trust.cms", "broker.core.sigstore", "jinja2"}
    assert others & set(loaded) == set()
