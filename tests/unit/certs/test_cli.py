from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from click import Option
from click.testing import CliRunner

from broker.core.errors import CertificateInvalid, PeerIdentityMissing, RequestInvalid, SetupInvalid
from broker.core.identity import Principal
from certs import operations
from certs.cli import certs
from certs.folder import PkiFolder
from certs.options import now_utc
from certs.profiles import SIGNING
from certs.rights import EXCHANGE

if TYPE_CHECKING:
    from pathlib import Path

    from click import Command

COMMANDS = certs.commands


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(certs, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def root(tmp_path: Path) -> Path:
    run("init", "--pki", tmp_path / "pki")
    return tmp_path / "pki"


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_every_command_explains_itself_with_an_example(command: Command) -> None:
    assert f"Example:  case-exchange certs {command.name}" in " ".join((command.help or "").split("\n"))
    assert all(option.help for option in command.params if isinstance(option, Option))


def test_init_says_what_it_made_and_does_not_do_it_twice(root: Path) -> None:
    facts = json.loads(run("init", "--pki", root, "--force", "--json"))
    assert "shanxi-police" in facts["agencies"]
    with pytest.raises(SetupInvalid):
        run("init", "--pki", root)


def test_a_certificate_can_be_issued_looked_at_renewed_and_revoked(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "archive"
    arguments = ("--pki", root, "--agency", "hebei-police", "--system", "archive", "--profile", "tls-client")
    run("issue", *arguments, "--out", out)
    (shown,) = json.loads(run("show", out / "tls.pem", "--json"))
    assert shown["principal"] == "spiffe://case-exchange.example/agency/hebei-police/archive"
    assert shown["profile"] == "tls-client"
    run("renew", "--pki", root, out / "tls.pem")
    (renewed,) = json.loads(run("show", out / "tls.pem", "--json"))
    assert renewed["public_key_sha256"] != shown["public_key_sha256"]
    (key,) = json.loads(run("show", out / "tls.key", "--json"))
    assert key["public_key_sha256"] == renewed["public_key_sha256"]
    run("revoke", "--pki", root, out / "tls.pem", "--reason", "superseded")
    (listed,) = json.loads(run("show", root / "trust" / "tls.crl", "--json"))
    assert [line.split()[0] for line in listed["revoked"]] == [renewed["serial"]]


def test_issuing_a_signing_certificate_says_that_the_directory_lists_it(root: Path, tmp_path: Path) -> None:
    arguments = ("--agency", "ministry", "--system", "archive", "--profile", "signing", "--out", tmp_path / "archive")
    assert "directory: lists it" in run("issue", "--pki", root, *arguments)


def test_a_request_is_signed_and_every_fingerprint_is_the_same(root: Path, tmp_path: Path) -> None:
    asked = json.loads(run("request", "--agency", "gansu-police", "--folder", tmp_path / "keys", "--json"))
    requests = [one["request"] for one in asked]
    signed = json.loads(run("sign", *requests, "--agency", "gansu-police", "--pki", root, "--days", "5", "--json"))
    assert [one["profile"] for one in signed] == ["tls-client", "signing"]
    assert [one["key_sha256"] for one in asked] == [one["key_sha256"] for one in signed]
    shown = [json.loads(run("show", one["certificate"], "--json"))[0] for one in signed]
    assert [one["public_key_sha256"] for one in shown] == [one["key_sha256"] for one in asked]
    assert {one["principal"] for one in shown} == {"spiffe://case-exchange.example/agency/gansu-police/gateway"}
    days = [datetime.fromisoformat(one["not_after"]) - datetime.fromisoformat(one["not_before"]) for one in shown]
    assert {one.days for one in days} == {5}


def test_of_several_requests_none_is_signed_if_one_is_refused(root: Path, tmp_path: Path) -> None:
    asked = json.loads(run("request", "--agency", "gansu-police", "--folder", tmp_path / "keys", "--json"))
    with pytest.raises(RequestInvalid, match="signing, which you did not name"):
        run(
            "sign",
            *(one["request"] for one in asked),
            "--agency",
            "gansu-police",
            "--profile",
            "tls-client",
            "--pki",
            root,
        )
    assert not list((tmp_path / "keys").glob("*.pem"))


@pytest.mark.parametrize(("profile", "days"), [("tls-client", "91"), ("signing", "1096"), ("kafka-client", "8")])
def test_no_certificate_lives_longer_than_its_authority_allows(
    root: Path, tmp_path: Path, profile: str, days: str
) -> None:
    run("request", "--agency", "gansu-police", "--profile", profile, "--folder", tmp_path / "keys")
    (request,) = (tmp_path / "keys").glob("*.csr")
    arguments = ["sign", str(request), "--agency", "gansu-police", "--profile", profile, "--pki", str(root)]
    result = CliRunner().invoke(certs, [*arguments, "--days", days])
    assert result.exit_code == 2
    assert "lives at most" in result.output


def test_certificates_are_revoked_by_serial_number_and_by_agency(root: Path) -> None:
    (shown,) = json.loads(run("show", root / "broker" / "tls.pem", "--json"))
    colons = ":".join(shown["serial"].zfill(40)[at : at + 2] for at in range(0, 40, 2))
    facts = json.loads(run("revoke", "--pki", root, "--serial", colons, "--reason", "superseded", "--json"))
    assert facts["publish"] == [str(root / "trust" / "tls.crl")]
    assert len(facts["revoked"]) == 1
    facts = json.loads(run("revoke", "--pki", root, "--agency", "ministry", "--reason", "keyCompromise", "--json"))
    assert [one.partition(" ")[2] for one in facts["revoked"]] == [
        f"(spiffe://case-exchange.example/agency/ministry/gateway, {profile})" for profile in ("tls-client", "signing")
    ]
    assert facts["publish"] == [str(root / "trust" / f"{kind}.crl") for kind in ("signing", "tls")]


@pytest.mark.parametrize("which", [[], ["--serial", "xyz"], ["--serial", "1", "--agency", "ministry"]])
def test_what_is_revoked_is_said_in_one_way(root: Path, which: list[str]) -> None:
    result = CliRunner().invoke(certs, ["revoke", "--pki", str(root), "--reason", "superseded", *which])
    assert result.exit_code == 2


def test_lists_can_be_published_for_one_authority(root: Path) -> None:
    assert json.loads(run("crl", "--pki", root, "--authority", "tls", "--days", "2", "--json")) == {"tls": "number 2"}


def test_nothing_is_revoked_from_a_time_in_the_future(root: Path) -> None:
    path = root / "broker" / "tls.pem"
    with pytest.raises(CertificateInvalid, match="in the future"):
        run("revoke", "--pki", root, path, "--reason", "superseded", "--since", "2999-01-01T00:00:00Z")


def test_an_agency_id_of_the_wrong_form_is_refused(root: Path) -> None:
    with pytest.raises(PeerIdentityMissing):
        run("issue", "--pki", root, "--agency", "Hebei", "--system", "gateway", "--profile", "tls-client")


def test_a_private_key_is_shown_without_its_secret(root: Path) -> None:
    shown = run("show", root / "broker" / "checkpoint.key")
    assert shown.splitlines()[0] == "type: private key"
    assert len(shown.splitlines()) == 2


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    for text in ("sample", "-----BEGIN PRIVATE KEY-----", "-----BEGIN X509 CRL-----", "-----BEGIN PUBLIC KEY-----"):
        path.write_text(text)
        with pytest.raises(SetupInvalid, match=r"letter\.txt cannot be read"):
            run("show", path)


def test_an_agency_s_certificate_that_has_ended_since_is_revoked_too(root: Path, tmp_path: Path) -> None:
    then = now_utc() - timedelta(hours=20)
    principal = Principal("case-exchange.example", "hebei-police", "archive")
    life = timedelta(hours=10)
    ended = operations.issue(PkiFolder(root), SIGNING, principal, then, folder=tmp_path / "ended", lifetime=life)
    since = (then + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    arguments = ("revoke", "--pki", root, "--agency", "hebei-police", "--reason", "keyCompromise", "--since", since)
    facts = json.loads(run(*arguments, "--json"))
    assert f"{ended.certificate.serial_number:x}" in {one.partition(" ")[0] for one in facts["revoked"]}


def test_the_exchange_itself_is_revoked_only_after_a_yes(root: Path) -> None:
    arguments = ["revoke", "--pki", str(root), "--agency", EXCHANGE, "--reason", "keyCompromise"]
    before = (root / "trust" / "tls.crl").read_bytes()
    result = CliRunner().invoke(certs, arguments, input="n\n")
    assert result.exit_code == 1
    assert "no broker can serve" in result.output
    assert (root / "trust" / "tls.crl").read_bytes() == before
    assert CliRunner().invoke(certs, [*arguments, "--yes"]).exit_code == 0
    assert (root / "trust" / "tls.crl").read_bytes() != before


def test_keys_are_made_for_all_profiles_or_for_none(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    run("request", "--agency", "gansu-police", "--profile", "signing", "--folder", folder)
    with pytest.raises(CertificateInvalid, match="exists already"):
        run("request", "--agency", "gansu-police", "--folder", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["signing.csr", "signing.key"]


@pytest.mark.parametrize("name", ["bröker.example", "", "a b", "x" * 64 + ".example", "-a.example"])
def test_a_server_s_name_that_no_certificate_can_have_is_refused(tmp_path: Path, name: str) -> None:
    arguments = ("request", "--agency", "gansu-police", "--profile", "tls-server", "--name", name)
    with pytest.raises(RequestInvalid, match="is no DNS name or address"):
        run(*arguments, "--folder", tmp_path / "keys")
    assert not list(tmp_path.rglob("*.key"))


def test_a_request_that_looks_like_a_certificate_is_refused(root: Path, tmp_path: Path) -> None:
    run("request", "--agency", "gansu-police", "--profile", "tls-client", "--folder", tmp_path / "keys")
    (request,) = (tmp_path / "keys").glob("*.csr")
    odd = request.rename(request.with_suffix(".pem"))
    with pytest.raises(RequestInvalid, match=r"end in \.csr"):
        run("sign", odd, "--agency", "gansu-police", "--pki", root)
    assert b"REQUEST" in odd.read_bytes()


def test_a_certificate_with_another_suffix_is_not_renewed(root: Path, tmp_path: Path) -> None:
    odd = tmp_path / "tls.crt"
    odd.write_bytes((root / "broker" / "tls.pem").read_bytes())
    with pytest.raises(CertificateInvalid, match=r"end in \.pem"):
        run("renew", odd, "--early")
    assert [path.name for path in tmp_path.glob("*.key")] == []
