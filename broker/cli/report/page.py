"""The page of a report, made with Jinja2 (the extra ``report``).

Whatever the template prints is escaped, and first made plain: the maker of a bundle chose its names. The page has one
style sheet of its own, which its policy names by digest, and nothing else may be loaded or run.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from broker.cli.report.plaintext import plain
from broker.cli.report.view import times
from broker.core.strict import encode_base64

if TYPE_CHECKING:
    from broker.cli.report.view import View

_TEMPLATE: Final = "report.html.jinja"
_STYLE: Final = "report.css"


def page(view: View) -> bytes:
    """The page of a verification, as HTML in UTF-8."""
    style = _text(_STYLE)
    digest = encode_base64(hashlib.sha256(style.encode()).digest())
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FunctionLoader(_text),
        finalize=_made_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template(_TEMPLATE)
    # By attribute, so that a word may be called as a method of dictionaries is.
    words = SimpleNamespace(**view.words.texts)
    own = {"style": Markup(style), "lines": _lines}  # noqa: S704 - our own file
    return template.render(view=view, w=words, times=times, policy=policy, **own).encode()


def _made_plain(value: Any) -> Any:
    """What is printed for a value. Numbers and markup are printed as they are."""
    return plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _lines(text: str) -> Markup:
    """Escape commands and keep their lines. Of others they have only quoted names that are plain."""
    return Markup().join(f"{line}\n" for line in text.splitlines())


def _text(name: str) -> str:
    return resources.files("broker.cli.report").joinpath(name).read_text("utf-8")
