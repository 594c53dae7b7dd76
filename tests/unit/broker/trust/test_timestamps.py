"""Timestamps of OpenSSL's authority, asked for and checked by us, and checked by OpenSSL."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from broker.core.errors import CertificateInvalid, TimestampInvalid
from broker.core.tree.checkpoint import Checkpoint
from broker.trust.certificates import der, pem
from broker.trust.timestamps import MAX_TIMESTAMP_BYTES, TimestampAuthority, _reason, timestamp_request
from tests.support.tsa import OpensslTsa, signed_parts

if TYPE_CHECKING:
    from pathlib import Path

CHECKPOINT = Checkpoint("case-exchange.example/log/cases/0", 271, bytes(range(32))).marshal()


@pytest.fixture(scope="module")
def tsa(tmp_path_factory: pytest.TempPathFactory) -> OpensslTsa:
    return OpensslTsa.build(tmp_path_factory.mktemp("tsa") / "tsa")


@pytest.fixture(scope="module")
def authority(tsa: OpensslTsa) -> TimestampAuthority:
    return TimestampAuthority.load(tsa.folder / "chain.pem")


def now_ms() -> int:
    return round(datetime.now(UTC).timestamp() * 1000)


def test_a_checkpoint_is_stamped_with_the_time_of_the_authority(tsa: OpensslTsa, authority: TimestampAuthority) -> None:
    request = timestamp_request(CHECKPOINT)
    before = now_ms()
    answer = tsa.answer(request.document)
    at_ms = authority.accept(answer, request)
    # OpenSSL's authority writes whole seconds.
    assert before - 1000 < at_ms <= now_ms()
    assert authority.verify(answer, CHECKPOINT) == at_ms
    assert tsa.openssl_accepts(answer, CHECKPOINT)


def test_only_the_digest_of_a_checkpoint_goes_to_the_authority() -> None:
    request = timestamp_request(CHECKPOINT)
    assert CHECKPOINT[:20] not in request.document
    assert len(request.document) < 100


def test_a_timestamp_of_other_bytes_is_refused_here_and_by_openssl(
    tsa: OpensslTsa, authority: TimestampAuthority
) -> None:
    stamp = tsa.stamp(CHECKPOINT)
    with pytest.raises(TimestampInvalid, match="mismatch between messages"):
        authority.verify(stamp, CHECKPOINT + b"\n")
    assert not tsa.openssl_accepts(stamp, CHECKPOINT + b"\n")


def test_an_earlier_answer_is_no_answer_to_a_new_request(tsa: OpensslTsa, authority: TimestampAuthority) -> None:
    first, second = timestamp_request(CHECKPOINT), timestamp_request(CHECKPOINT)
    answer = tsa.answer(first.document)
    authority.accept(answer, first)
    with pytest.raises(TimestampInvalid, match="nonce"):
        authority.accept(answer, second)


def test_a_refusal_of_the_authority_is_no_timestamp(tmp_path: Path) -> None:
    tsa = OpensslTsa.build(tmp_path / "tsa")
    # The authority knows no other digest than this.
    (tsa.folder / "ts.cnf").write_text((tsa.folder / "ts.cnf").read_text().replace("sha256, sha384, sha512", "sha512"))
    request = timestamp_request(CHECKPOINT)
    with pytest.raises(TimestampInvalid):
        TimestampAuthority(tsa.chain).accept(tsa.answer(request.document), request)


def test_another_authority_s_timestamp_is_refused_even_with_its_certificate_in_it(
    authority: TimestampAuthority, tmp_path: Path
) -> None:
    other = OpensslTsa.build(tmp_path / "other")
    stamp = other.stamp(CHECKPOINT)
    assert TimestampAuthority(other.chain).verify(stamp, CHECKPOINT)
    with pytest.raises(TimestampInvalid):
        authority.verify(stamp, CHECKPOINT)


def test_a_pinned_signer_that_the_pinned_root_did_not_issue_is_refused(tsa: OpensslTsa, tmp_path: Path) -> None:
    other = OpensslTsa.build(tmp_path / "other")
    with pytest.raises(TimestampInvalid):
        TimestampAuthority([tsa.signer, other.root]).verify(tsa.stamp(CHECKPOINT), CHECKPOINT)


@pytest.mark.parametrize(
    "period", [(timedelta(days=-2), timedelta(days=-1)), (timedelta(days=1), timedelta(days=2))], ids=["ended", "early"]
)
def test_a_signer_that_was_not_valid_at_the_time_is_refused(
    tmp_path: Path, period: tuple[timedelta, timedelta]
) -> None:
    begin, end = (datetime.now(UTC) + each for each in period)
    tsa = OpensslTsa.build(tmp_path / "tsa", signs_from=begin, signs_until=end)
    with pytest.raises(TimestampInvalid):
        TimestampAuthority(tsa.chain).verify(tsa.stamp(CHECKPOINT), CHECKPOINT)


def test_an_authority_is_pinned_with_its_root(tsa: OpensslTsa) -> None:
    with pytest.raises(CertificateInvalid, match="up to a root"):
        TimestampAuthority([tsa.signer])


@pytest.mark.parametrize("content", [b"", b"\x30\x00", b"no timestamp", bytes(MAX_TIMESTAMP_BYTES + 1)], ids=len)
def test_what_is_no_timestamp_is_said_to_be_none(authority: TimestampAuthority, content: bytes) -> None:
    with pytest.raises(TimestampInvalid):
        authority.verify(content, CHECKPOINT)


def test_the_largest_timestamp_is_looked_at(authority: TimestampAuthority) -> None:
    with pytest.raises(TimestampInvalid, match="cannot be read"):
        authority.verify(bytes(MAX_TIMESTAMP_BYTES), CHECKPOINT)
    with pytest.raises(TimestampInvalid, match="larger than"):
        authority.verify(bytes(MAX_TIMESTAMP_BYTES + 1), CHECKPOINT)


def test_the_library_s_reason_is_told_as_a_part_of_a_sentence() -> None:
    assert _reason(ValueError("The signed data has 0 signer infos.")) == "the signed data has 0 signer infos"


def test_certificates_in_another_order_than_that_of_der_are_refused_and_openssl_accepts_them(
    tsa: OpensslTsa, authority: TimestampAuthority
) -> None:
    # `openssl ts -reply -chain` writes the set of certificates as it has them: the signer, then those above it.
    request = timestamp_request(CHECKPOINT)
    (tsa.folder / "above.pem").write_bytes(pem(tsa.root))
    answer = tsa.answer(request.document, "-chain", "above.pem")
    assert der(tsa.root) in answer
    assert tsa.openssl_accepts(answer, CHECKPOINT)
    with pytest.raises(TimestampInvalid, match="in DER"):
        authority.accept(answer, request)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_every_bit_that_an_authority_signed_is_checked_and_openssl_agrees(
    tsa: OpensslTsa, authority: TimestampAuthority
) -> None:
    stamp = tsa.stamp(CHECKPOINT)
    accepted = {}
    for at in range(8 * len(stamp)):
        changed = flipped_bit(stamp, at)
        with contextlib.suppress(TimestampInvalid):
            accepted[at] = authority.verify(changed, CHECKPOINT)
    # What is left: version numbers, and the name of the algorithm of a signature that is checked all the same.
    signer_info = stamp.rindex(tsa.signer.issuer.public_bytes())
    parts = signed_parts(stamp)
    assert {at // 8 for at in accepted} <= {34, signer_info - 3, *range(parts[1].stop + 2, parts[2].start)}
    assert set(accepted.values()) == {authority.verify(stamp, CHECKPOINT)}
    # OpenSSL is a process for each, so it gets some of the bits.
    for part in parts:
        for at in range(8 * part.start, 8 * part.stop, 41):
            assert at not in accepted
            assert not tsa.openssl_accepts(flipped_bit(stamp, at), CHECKPOINT), at


def flipped_bit(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at // 8] ^= 1 << at % 8
    return bytes(changed)
