"""The report has words for whatever `verify` can say, in both languages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from broker.cli.fatetext import FATES
from broker.cli.hideable import PHRASES
from broker.cli.outcome import Outcome
from broker.cli.proofreport import PROOF_PHRASES
from broker.cli.report.words import LANGUAGES, Words
from broker.core.audit.findings import Stated
from broker.core.bundle import BundleSource
from broker.core.errors import CaseExchangeError, all_errors

ROOT = Path(__file__).parents[5]
CORE = ROOT / "broker" / "core"
JUDGES = ("authorship", "beginning", "body", "former", "inforce", "judge", "partition", "policy")
A_DEFECT = "INTERNAL"
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def documented() -> set[str]:
    """The codes in the first column of the tables of docs/findings.md."""
    lines = (ROOT / "docs" / "findings.md").read_text("utf-8").splitlines()
    cells = [line.split("|")[1] for line in lines if line.startswith("| `")]
    return {code for cell in cells for code in re.findall(r"`([A-Z_]+)`", cell)}


def in_the_code() -> set[str]:
    """The codes that the core gives to findings, and the reasons of the errors that its judges raise."""
    reasons = {error.__name__: error.reason for error in all_errors() if error is not CaseExchangeError}
    found: set[str] = set()
    for path in CORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="error" | "warning"), args=[ast.Constant(value=str(code)), *_]):
                    found.add(code)
                case ast.Raise(exc=ast.Call(func=ast.Name(id=name))) if path.stem in JUDGES and name in reasons:
                    found.add(reasons[name])
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_code_of_a_finding_has_an_explanation(language: str) -> None:
    words = Words(language)
    codes = documented() | in_the_code()
    assert {"RECORD_CHANGED", "SIGNER_REVOKED", "RIGHT_DENIED", "RECORD_EXPIRED", "LOG_FORKED"} <= codes
    assert codes - words.codes - {A_DEFECT} == set()
    for code in words.codes:
        title, text = words.explanation(code)
        assert title
        assert text
        assert bool(CHINESE.search(title)) == bool(CHINESE.search(text)) == (language == "zh"), code


def test_a_code_without_words_is_still_told() -> None:
    assert Words("en").explanation("A_NEW_CODE").title == "A check failed"


def test_both_languages_have_the_same_words_with_the_same_blanks() -> None:
    zh, en = (Words(language) for language in ("zh", "en"))
    assert zh.texts.keys() == en.texts.keys()
    assert len(zh.terms) == len(en.terms) > 10
    for key, text in en.texts.items():
        assert set(re.findall(r"{(\w+)}", text)) == set(re.findall(r"{(\w+)}", zh.texts[key])), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_whatever_a_report_names_has_words(language: str) -> None:
    texts = Words(language).texts
    named = [stated.value for stated in Stated]
    named += [*FATES, *(f"hide_{what}" for what in PHRASES), *(f"unsaid_{what}" for what in PROOF_PHRASES)]
    named += [name for one in Outcome for name in (one.value, f"{one.value}_text")]
    assert [name for name in named if name not in texts] == []


def test_no_word_is_left_that_nothing_uses() -> None:
    package = ROOT / "broker" / "cli" / "report"
    source = "".join(path.read_text("utf-8") for path in package.iterdir() if path.suffix in {".py", ".jinja"})
    named = {stated.value for stated in Stated} | {f"hide_{what}" for what in PHRASES}
    named |= {name for one in Outcome for name in (one.value, f"{one.value}_text")}
    # Those that the template puts together of two parts.
    named |= {
        key for key in Words("en").texts if key.startswith("code_") and f'"{key.removeprefix("code_")}"' in source
    }
    named |= {f"source_{source.value}" for source in BundleSource}
    named |= {"proved_text", *(f"unsaid_{what}" for what in PROOF_PHRASES)}
    named |= FATES.keys()
    named |= {f"{what}_text" for what in ("unprocessed", "void", "republished", "skipped")}
    unused = [key for key in Words("en").texts if key not in named and not re.search(rf"\b{key}\b", source)]
    assert unused == []
