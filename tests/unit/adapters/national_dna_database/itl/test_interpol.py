from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.base import Decoded, Limits, Severity, Source
from adapters.national_dna_database.itl.interpol import ADAPTER as INTERPOL_REPLY
from adapters.national_dna_database.itl.type18 import ADAPTER as NIST_TYPE18
from adapters.records.validate import validate
from caseexchange.records.v1 import dna_pb2

SAMPLE = Path(__file__).parents[5] / "adapters" / "national_dna_database" / "samples" / "interpol-hit.xml"
LIMITS = Limits()
TWICE = "<i:TransactionCategoryCode>X</i:TransactionCategoryCode>"


def candidate(number: str, verified: str = "true") -> str:
    name = "TransactionCandidateManualVerificationIndicator"
    flag = f"<i:{name}>{verified}</i:{name}>"
    sequence = f"<i:CandidateSequenceID><nc:IdentificationID>{number}</nc:IdentificationID></i:CandidateSequenceID>"
    return f"<i:TransactionCandidate>{sequence}{flag if verified else ''}</i:TransactionCandidate>"


def listed(code: str = "I", total: str = "1", *candidates: str, category: str = "CPS") -> str:
    count = f"<i:TransactionCandidatesTotalQuantity>{total}</i:TransactionCandidatesTotalQuantity>" if total else ""
    return (
        f"<i:RespondentsList>{''.join(candidates)}{count}"
        f"<i:TransactionCategoryCode>{category}</i:TransactionCategoryCode>"
        f"<i:TransactionSearchResultsCode>{code}</i:TransactionSearchResultsCode></i:RespondentsList>"
    )


def error(code: str = "112", field: str = "DOB", text: str = "SECRET") -> str:
    return (
        f"<i:ErrorMessage><i:ErrorCode>{code}</i:ErrorCode><i:ErrorFieldMnemonicCode>{field}</i:ErrorFieldMnemonicCode>"
        f"<i:ErrorMessageText>{text}</i:ErrorMessageText></i:ErrorMessage>"
    )


def file(
    *response: str,
    kind: str = "SRE",
    request: str = "SYN-REQ",
    number: str = "SYN-RE",
    subject: str = "",
    more: str = "",
) -> bytes:
    numbers = "".join(
        f"<b:TransactionControl{name}Identification><nc:IdentificationID>{text}</nc:IdentificationID>"
        f"</b:TransactionControl{name}Identification>"
        for name, text in (("", number), ("Reference", request))
        if text
    )
    header = f"<b:Transaction>{numbers}<i:TransactionCategoryCode>{kind}</i:TransactionCategoryCode></b:Transaction>"
    data = f"<i:TransactionResponseData>{''.join(response)}</i:TransactionResponseData>"
    detail = f"<i:DomainDefinedDescriptiveDetail>{subject}{data}</i:DomainDefinedDescriptiveDetail>"
    return (
        '<itl:NISTBiometricInformationExchangePackage xmlns:itl="http://biometrics.nist.gov/standard/2011" '
        'xmlns:i="http://interpol.gov/int-i/1.0" xmlns:b="urn:b" xmlns:nc="urn:n">'
        f"<itl:PackageInformationRecord>{header}</itl:PackageInformationRecord>"
        "<itl:PackageDescriptiveTextRecord><itl:UserDefinedDescriptiveDetail>"
        f"{detail}</itl:UserDefinedDescriptiveDetail></itl:PackageDescriptiveTextRecord>{more}"
        "</itl:NISTBiometricInformationExchangePackage>"
    ).encode()


def decode(content: bytes, limits: Limits = LIMITS) -> Decoded:
    return INTERPOL_REPLY.decode(Source(content), limits)


def hits(found: Decoded) -> list[dna_pb2.MatchNotification]:
    return [item.record for item in found.records if isinstance(item.record, dna_pb2.MatchNotification)]


def results(found: Decoded) -> list[dna_pb2.NoMatchResult]:
    return [item.record for item in found.records if isinstance(item.record, dna_pb2.NoMatchResult)]


def codes(found: Decoded) -> list[str]:
    return sorted({issue.code for issue in found.issues})


def test_the_shipped_sample_is_two_candidates_of_whom_nobody_is_named() -> None:
    found = decode(SAMPLE.read_bytes())
    assert codes(found) == ["IDENTITY_LEFT_OUT"]
    assert [hit.match_id for hit in hits(found)] == ["SYN-REPLY-0001/CPS/1", "SYN-REPLY-0001/CPS/2"]
    assert {item.case_reference for item in found.records} == {"SYN-BLD-0071"}
    assert all("测试" not in str(item.record) for item in found.records)


def test_a_hit_is_a_candidate_without_a_figure() -> None:
    found = decode(file(listed("I", "2", candidate("1"), candidate("2", "false"))))
    assert codes(found) == []
    for hit, verification in zip(
        hits(found), (dna_pb2.MANUAL_VERIFICATION_DONE, dna_pb2.MANUAL_VERIFICATION_NOT_DONE), strict=True
    ):
        assert hit.stage == dna_pb2.MATCH_STAGE_CANDIDATE
        assert hit.relationship == dna_pb2.RELATIONSHIP_SAME_PERSON
        assert (hit.likelihood_ratio, hit.loci_compared) == ("", 0)
        assert (hit.reported_hit.candidates, hit.reported_hit.verification) == (2, verification)
        assert hit.search.database == "INTERPOL INT-I CPS"
        assert list(hit.barcodes) == ["SYN-REQ"]


def test_candidates_that_are_counted_and_not_listed_are_told_of() -> None:
    found = decode(file(listed("I", "3", candidate("1"))))
    assert codes(found) == ["CANDIDATES_NOT_LISTED"]
    assert hits(found)[0].reported_hit.candidates == 3
    none = decode(file(listed("I", "3")))
    assert [(hit.match_id, hit.reported_hit.candidate) for hit in hits(none)] == [("SYN-RE/CPS", "")]


def test_without_a_count_the_listed_are_all() -> None:
    found = decode(file(listed("I", "", candidate("1", ""))))
    assert codes(found) == []
    assert hits(found)[0].reported_hit.candidates == 1
    assert hits(found)[0].reported_hit.verification == dna_pb2.MANUAL_VERIFICATION_UNSPECIFIED


def test_no_hit_is_one_whatever_empty_candidate_it_lists() -> None:
    found = decode(file(listed("N", "0", candidate("1", "false"))))
    assert codes(found) == ["CANDIDATE_PLACEHOLDER"]
    (result,) = results(found)
    assert (result.barcode, result.reason) == ("SYN-REQ", dna_pb2.NO_MATCH_REASON_NO_CANDIDATE)
    assert not result.standing_search
    assert not result.public_notice_eligible


def test_an_error_is_a_result_that_says_nothing_was_searched_with_the_errors_codes() -> None:
    found = decode(file(error(), error("7", ""), kind="ERR"))
    assert [(issue.severity, issue.code) for issue in found.issues] == [(Severity.WARN, "REPLY_IS_ERROR")]
    (result,) = results(found)
    assert (result.barcode, result.reason) == ("SYN-REQ", dna_pb2.NO_MATCH_REASON_UNABLE_TO_PROCESS)
    assert [(code.system, code.value, code.display) for code in result.errors] == [
        ("INT-I", "112", "DOB"),
        ("INT-I", "7", ""),
    ]
    assert "SECRET" not in str(result)


def test_several_searches_in_one_reply_are_each_answered() -> None:
    found = decode(file(listed("N", "0"), listed("I", "1", candidate("1"), category="MPS")))
    assert (len(results(found)), len(hits(found))) == (1, 1)


def test_who_was_searched_for_whom_to_call_and_pictures_stay_in_the_source() -> None:
    subject = (
        "<i:RecordSubject><i:N>SECRET</i:N></i:RecordSubject><i:RecordMetadata><nc:P>SECRET</nc:P></i:RecordMetadata>"
        "<i:Other>SECRET</i:Other>"
    )
    picture = f"<itl:PackageFacialImageRecord><b:O>SECRET{'A' * 30_000}</b:O></itl:PackageFacialImageRecord>"
    found = decode(file(listed("I", "1", candidate("1")), subject=subject, more=picture))
    assert codes(found) == ["IDENTITY_LEFT_OUT", "OTHER_TYPES_NOT_READ"]
    assert "SECRET" not in str(hits(found)[0])


def test_what_else_the_reply_says_of_itself_is_kept() -> None:
    assert not hits(decode(file(listed("I", "1", candidate("1")))))[0].provenance.unmapped
    position = "<i:LatentMatchingPosition><i:Candidate>5</i:Candidate></i:LatentMatchingPosition>"
    (hit,) = hits(decode(file(listed("I", "1", candidate("1")), position)))
    assert "5" in {item.value for item in hit.provenance.unmapped}


def test_what_the_reply_says_of_itself_is_kept_once() -> None:
    found = decode(file(listed("I", "2", candidate("1"), candidate("2")), "<i:Other>5</i:Other>"))
    assert [bool(hit.provenance.unmapped) for hit in hits(found)] == [True, False]
    assert len({hit.provenance.source_sha256 for hit in hits(found)}) == 1


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (listed("N", "2"), "RESULT_CONTRADICTION"),
        (listed("I", "0", candidate("1")), "RESULT_CONTRADICTION"),
        (listed("I", ""), "RESULT_CONTRADICTION"),
        (listed("Q", "1"), "RESULT_UNKNOWN"),
        (listed("I", "many"), "COUNT_INVALID"),
        (listed("I", "9" * 10), "COUNT_INVALID"),
        (listed("I", "-1"), "COUNT_INVALID"),
    ],
)
def test_a_result_that_contradicts_itself_is_refused_alone(response: str, code: str) -> None:
    found = decode(file(response, listed("N", "0")))
    assert codes(found) == [code]
    assert len(found.records) == 1


def test_a_candidate_that_stands_twice_is_one() -> None:
    found = decode(file(listed("I", "2", candidate("1"), candidate("1"))))
    assert codes(found) == ["CANDIDATE_REPEATED"]
    assert len(hits(found)) == 1


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"<Other/>", "NOT_ITL"),
        (file(kind="CPS"), "NOT_A_REPLY"),
        (file(kind="SRE"), "RESULT_MISSING"),
        (file(subject="<i:RecordSubject/>", more="<itl:PackageOtherRecord/>"), "RESULT_MISSING"),
        (file(listed(), request=""), "REFERENCE_MISSING"),
        (file(error("1" * 20_001), kind="ERR"), "FIELD_TOO_LONG"),
        (file(listed("N", "0").replace("</i:Resp", f"{TWICE}</i:Resp")), "FIELD_REPEATED"),
    ],
)  # fmt: skip
def test_what_is_no_reply_that_can_be_relied_on_is_refused(content: bytes, code: str) -> None:
    found = decode(content)
    assert code in codes(found)
    assert found.records == ()


def test_a_reply_is_told_from_a_package_of_dna_records() -> None:
    assert INTERPOL_REPLY.sniff(file())
    assert not NIST_TYPE18.sniff(file())


def test_the_format_is_not_written_and_says_so() -> None:
    written = INTERPOL_REPLY.encode([dna_pb2.NoMatchResult(barcode="SYN")], LIMITS)
    assert [issue.code for issue in written.issues] == ["FORMAT_NOT_WRITTEN"]


@given(st.lists(st.sampled_from([b"<i:RespondentsList>", b"</b:Transaction>", b"\xff", b"&", b"\x00"]), max_size=9))
def test_no_mangled_file_makes_the_reader_raise(parts: list[bytes]) -> None:
    decode(file(listed("I", "1", candidate("1"))).replace(b"true", b"".join(parts), 1))


_LISTS = st.builds(
    lambda code, total, numbers: listed(code, total, *(candidate(number, flag) for number, flag in numbers)),
    st.sampled_from(["I", "N", "", "Q"]),
    st.sampled_from(["", "0", "1", "2", "-1", "x", "9" * 12]),
    st.lists(st.tuples(st.sampled_from(["1", "2", ""]), st.sampled_from(["true", "0", "", "maybe"])), max_size=3),
)


_GOOD = st.lists(st.sampled_from("1234"), min_size=1, max_size=3, unique=True).map(
    lambda numbers: listed("I", str(len(numbers)), *map(candidate, numbers))
)


@given(
    st.one_of(
        st.lists(_GOOD, min_size=1, max_size=1),
        st.lists(st.one_of(_GOOD, _LISTS, st.just(error())), max_size=3),
    ),
    st.sampled_from(["SRE", "ERR"]),
)
def test_whatever_a_reply_holds_is_valid_records_or_coded_refusals(response: list[str], kind: str) -> None:
    found = decode(file(*response, kind=kind))
    assert found.records or found.issues
    assert all(validate(item.record) == [] for item in found.records)
    assert all(hit.likelihood_ratio == "" and hit.HasField("reported_hit") for hit in hits(found))
    reasons = {result.reason for result in results(found)}
    assert reasons <= {
        dna_pb2.NO_MATCH_REASON_UNABLE_TO_PROCESS if kind == "ERR" else dna_pb2.NO_MATCH_REASON_NO_CANDIDATE
    }
