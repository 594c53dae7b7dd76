"""Which mutants are counted."""

from __future__ import annotations

import pytest

from tests.mutation.run import Change, Outcome, _change, _is_wording, report

DIFF = """--- broker/core/policy.py
+++ broker/core/policy.py
@@ -1,4 +1,4 @@
 def f(right):
-    if right is None:
+    if right is not None:
         return 1
"""


def test_a_change_is_read_from_its_diff() -> None:
    assert _change("core/policy", DIFF) == Change("core/policy", "if right is None:", "if right is not None:")


@pytest.mark.parametrize(
    ("was", "becomes", "wording"),
    [
        ('message = "the record has expired"', "message = None", True),
        ("raise ValueError(message)", "raise ValueError(None)", True),
        ('self.add(error("A_CODE", "in words"))', 'self.add(error("A_CODE", "XXin wordsXX"))', True),
        ('self.add(error("A_CODE", "in words"))', 'self.add(error("XXA_CODEXX", "in words"))', False),
        ('self.add(error("A_CODE", "in words", at))', 'self.add(error("A_CODE", "in words", None))', False),
        ('_deny(body, f"{a} may not")', '_deny(body, f"{A} may not")', False),
        ('elif kind == "a b":', 'elif kind != "a b":', False),
        ("if first < last:", "if first <= last:", False),
    ],
)
def test_only_words_for_people_are_wording(was: str, becomes: str, wording: bool) -> None:  # noqa: FBT001
    assert _is_wording(Change("core/policy", was, becomes)) is wording


@pytest.mark.parametrize(("killed", "code"), [(18, 1), (19, 0)])
def test_under_95_in_a_hundred_the_run_fails_and_names_what_survived(
    capsys: pytest.CaptureFixture[str], killed: int, code: int
) -> None:
    survived = [("core.nothing.x__mutmut_1", Change("core/nothing", "a", "b"))]
    assert report([Outcome("core/nothing", killed, 0, 0, set(), survived)]) == code
    assert "core.nothing.x__mutmut_1" in capsys.readouterr().out
