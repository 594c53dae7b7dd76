"""An auditor brings a directory, or a revocation list, that is newer than the bundle's: what it ends counts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from broker.bootstrap.reportfacts import report_facts
from broker.bootstrap.verify import verify_bundle
from broker.cli.verify import verify
from broker.core.audit.findings import Severity
from broker.core.errors import DirectoryInvalid, RevocationListInvalid
from broker.core.logkeyends import EndedLogKey, LastPosition
from broker.core.policy import RetiredCertificate
from broker.core.streams import StreamPartition
from broker.trust.certificates import load_certificates
from broker.trust.signing import Ed25519NoteSigner
from certs.operations import LIST_LIFETIME
from tests.support.bundles import LOG_ID, LyingExchange
from tests.support.pki import ManualClock, SamplePki
from tests.support.records import RecordMaker

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.audit.report import AuditReport
    from broker.core.policy import Directory

DNA_0 = StreamPartition("dna", 0)
MINUTE_MS = 60_000


class World:
    """A bundle with three records, made twenty minutes after its directory, the first version, was issued."""

    def __init__(self, pki: SamplePki, folder: Path) -> None:
        self.pki, self.folder = pki, folder
        clock = ManualClock(pki.now_ms + 2000)
        maker = RecordMaker(pki, clock)
        exchange = LyingExchange(pki)
        exchange.add(DNA_0, [maker.make() for _ in range(3)], clock.value_ms)
        self.made_at_ms = exchange.made_at_ms = pki.now_ms + 20 * MINUTE_MS
        self.bundle = exchange.write(folder / "old.bundle")

    def next(self, *, issued: int, version: int = 2, **changed: Any) -> Path:
        """The next version, issued so many milliseconds after the bundle was made."""
        return self.signed(
            replace(self.pki.directory, version=version, issued_at_ms=self.made_at_ms + issued, **changed)
        )

    def signed(self, directory: Directory) -> Path:
        path = self.folder / f"{directory.version}.json"
        path.write_bytes(self.pki.sign(directory))
        return path

    def ended(self, size: int) -> dict[str, Any]:
        """The former log key ended at this size, and another one is in use."""
        former = self.pki.note_signer.vkey
        used = Ed25519NoteSigner("case-exchange.example/log-2", Ed25519PrivateKey.generate()).vkey
        end = EndedLogKey(former, self.pki.now_ms, (LastPosition(DNA_0, LOG_ID, size, size),))
        return {"log_keys": (former, used), "ended_log_keys": (end,)}

    def verified(self, *, directory: Path | None = None, revocation_lists: tuple[Path, ...] = ()) -> AuditReport:
        roots = (self.pki.folder.trust / "governance.pem",)
        return verify_bundle(self.bundle, roots, lambda _: None, directory=directory, revocation_lists=revocation_lists)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(SamplePki.build(tmp_path / "pki"), tmp_path)


def codes(report: AuditReport) -> list[str]:
    return [item.code for item in report.findings if item.severity is Severity.ERROR]


def test_the_end_of_a_log_key_counts_also_if_the_bundle_has_only_an_older_directory(world: World) -> None:
    assert codes(world.verified()) == []
    # Three records are what the key may speak of. Then its thief made the bundle, with one record more.
    honest = world.verified(directory=world.next(issued=MINUTE_MS, **world.ended(3)))
    assert (codes(honest), honest.clean) == ([], True)
    for issued in (-MINUTE_MS, MINUTE_MS):
        report = world.verified(directory=world.next(issued=issued, **world.ended(2)))
        assert codes(report)[0] == "CHECKPOINT_INVALID"


def test_the_report_says_which_directory_was_used(world: World) -> None:
    root = world.pki.folder.trust / "governance.pem"

    def printed(*more: str | Path) -> tuple[str, Any]:
        arguments = [str(world.bundle), "--root", str(root), *map(str, more)]
        text, as_json = (CliRunner().invoke(verify, [*arguments, *flag]) for flag in ((), ("--json",)))
        assert (text.exit_code, as_json.exit_code) == (0, 0)
        return text.output, json.loads(as_json.output)["directory"]

    text, facts = printed()
    assert "directory: version 1" in text
    assert "You brought none" in text
    assert (facts["version"], facts["in_bundle"], facts["brought"]) == (1, 1, None)
    later = world.next(issued=MINUTE_MS)
    text, facts = printed("--directory", later)
    assert "directory: version 2" in text
    assert "which you brought. The newest in the bundle is version 1" in text
    assert "used an older one" not in text
    assert (facts["version"], facts["in_bundle"], facts["brought"]) == (2, 1, 2)
    # An exchange that was given a newer one, and made its bundle with the older one, is asked why.
    text, facts = printed("--directory", world.next(issued=-MINUTE_MS))
    assert "ask the exchange why it used an older one" in text
    text, facts = printed("--directory", world.pki.folder.directory)
    assert "the newest in the bundle. You brought version 1" in text
    brought = report_facts(world.bundle, (root,), brought=[later], directory=later)
    assert [(one.version, one.brought) for one in brought.directories] == [(1, False), (2, True)]
    assert [file.name for file in brought.brought] == [later.name]
    for language, words in (("en", "the auditor brought it"), ("zh", "由审计方提交")):
        page = world.folder / f"{language}.html"
        printed_page = ["--directory", str(later), "--report", str(page), "--lang", language]
        assert CliRunner().invoke(verify, [str(world.bundle), "--root", str(root), *printed_page]).exit_code == 0
        assert words in page.read_text("utf-8")


def test_a_directory_that_is_not_governance_s_or_not_of_this_exchange_is_refused(world: World, tmp_path: Path) -> None:
    stranger = SamplePki.build(tmp_path / "stranger")
    with pytest.raises(DirectoryInvalid, match="that was brought does not count"):
        world.verified(directory=stranger.folder.directory)
    world.bundle.with_name("no.json").write_bytes(b"{}")
    with pytest.raises(DirectoryInvalid, match="that was brought does not count"):
        world.verified(directory=world.bundle.with_name("no.json"))
    with pytest.raises(DirectoryInvalid, match="issued more than an hour after now"):
        world.verified(directory=world.next(issued=60 * MINUTE_MS))
    # Governance signs one document of each version.
    other = world.next(issued=0, version=1)
    assert codes(world.verified(directory=other)) == ["DIRECTORY_INVALID"]


def test_a_bundle_is_not_older_than_its_directory(world: World) -> None:
    pki = world.pki
    for ahead, expected in ((59, []), (61, ["DIRECTORY_INVALID"])):
        made_at_ms = pki.now_ms - ahead * MINUTE_MS
        exchange = LyingExchange(pki)
        exchange.add(DNA_0, [RecordMaker(pki, ManualClock(made_at_ms)).make()], made_at_ms)
        exchange.made_at_ms = made_at_ms
        path = exchange.write(world.folder / f"{ahead}.bundle")
        roots = (pki.folder.trust / "governance.pem",)
        if expected:
            with pytest.raises(DirectoryInvalid, match="issued more than an hour"):
                verify_bundle(path, roots, lambda _: None)
        else:
            assert "DIRECTORY_INVALID" not in codes(verify_bundle(path, roots, lambda _: None))


def test_a_certificate_of_the_exchange_that_was_retired_signs_no_later_bundle(world: World) -> None:
    pki = world.pki
    exchange = pki.directory.agencies[pki.directory.exchange]
    (certificate,) = exchange.signing_certificates
    for retired, expected in ((-MINUTE_MS, ["RECEIPT_INVALID", "BUNDLE_ALTERED"]), (MINUTE_MS, [])):
        end = RetiredCertificate(certificate, world.made_at_ms + retired)
        member = replace(exchange, signing_certificates=(), retired_certificates=(end,))
        agencies = {**pki.directory.agencies, exchange.id: member}
        assert codes(world.verified(directory=world.next(issued=MINUTE_MS, agencies=agencies))) == expected


def test_a_newer_revocation_list_counts_and_an_older_one_does_not(world: World) -> None:
    pki = world.pki
    authority = pki.authority("signing")
    (certificate,) = load_certificates(pki.folder.member("exchange") / "signing.pem")
    old = world.folder / "old.crl"
    old.write_bytes(authority.revocation_list(pki.now, LIST_LIFETIME).public_bytes(Encoding.PEM))
    authority.revoke(certificate.serial_number, pki.now, "keyCompromise")
    new = world.folder / "new.crl"
    new.write_bytes(authority.revocation_list(pki.now, LIST_LIFETIME).public_bytes(Encoding.PEM))
    assert codes(world.verified(revocation_lists=(old,))) == []
    assert codes(world.verified(revocation_lists=(new,))) == ["RECEIPT_INVALID", "BUNDLE_ALTERED"]
    tls = pki.authority("tls")
    other = world.folder / "tls.crl"
    other.write_bytes(tls.revocation_list(pki.now, LIST_LIFETIME).public_bytes(Encoding.PEM))
    with pytest.raises(RevocationListInvalid):
        world.verified(revocation_lists=(other,))
