"""The words of a report in one language: words.toml and findings.toml beside this module."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

LANGUAGES: Final = ("zh", "en")
_ANY_OTHER: Final = "OTHER"


class Explanation(NamedTuple):
    """What a code means, for a layman: in a few words, and in a few sentences."""

    title: str
    text: str


class Words:
    """The words of one language."""

    def __init__(self, language: str) -> None:
        words, findings = _read("words.toml"), _read("findings.toml")
        self.texts: Final[Mapping[str, str]] = words[language]
        self.terms: Final = [(str(term[language][0]), str(term[language][1])) for term in words["terms"]]
        self._explanations: Final = {
            code: Explanation(texts[f"{language}_title"], texts[language]) for code, texts in findings.items()
        }

    def explanation(self, code: str) -> Explanation:
        """What a code means. One that has no words of its own is only named."""
        return self._explanations.get(code) or self._explanations[_ANY_OTHER]

    @property
    def codes(self) -> frozenset[str]:
        """The codes with words of their own."""
        return frozenset(self._explanations) - {_ANY_OTHER}


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files("broker.cli.report").joinpath(name).read_text("utf-8"))
