"""What to install if a library is missing. The libraries of each role are an extra of the package (pyproject.toml)."""

from __future__ import annotations

import contextlib
import re
from importlib.metadata import requires
from typing import TYPE_CHECKING, Final

from broker.core.errors import ExtraMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE: Final = "case-exchange"
_DISTRIBUTIONS: Final = {
    "PIL": "pillow",
    "kafka": "kafka-python",
    "pkcs11": "python-pkcs11",
    "rfc3161_client": "rfc3161-client",
    "tomli_w": "tomli-w",
}
"""Distributions with a name that differs from their module's."""
_EXTRA: Final = re.compile(r"([A-Za-z0-9._-]+).*; extra == [\"']([a-z]+)[\"']")
_ALL: Final = "all"


@contextlib.contextmanager
def needed() -> Iterator[None]:
    """Import something that an extra provides.

    Raises:
        ExtraMissing: it is not installed. The message names the library and the extras that have it.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        extras = _extras_with(_DISTRIBUTIONS.get(module, module))
        if not extras:
            raise
        choice = " or ".join(f"{_PACKAGE}[{extra}]" for extra in extras)
        message = f"the library {module} is not installed; {choice} brings it"
        raise ExtraMissing(message) from error


def _extras_with(distribution: str) -> list[str]:
    found = (_EXTRA.fullmatch(line) for line in requires(_PACKAGE) or ())
    return [item[2] for item in found if item is not None and item[1] == distribution and item[2] != _ALL]
