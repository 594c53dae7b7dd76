"""TOML files to typed settings.

Relative paths are relative to the file that names them. An unknown key is an error, because a misspelt limit would be
no limit. docs/configuration.md is generated from the classes of broker.py and edge.py.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

from broker.core.errors import ConfigInvalid

ENVIRONMENT_KEY: Final = "CASE_EXCHANGE_CONFIG"
"""Names the configuration file if no option does."""
_T = TypeVar("_T")
_FAULT: Final = re.compile(r"(?s)\A(.*?)(?: - at `\$([^`]*)`)?\Z")
"""The text of msgspec, and the place. It has no other form of this, so tests check every message."""
_WORDS: Final = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "a section",
    "path": "a path",
    "str": "text",
}


def setting(about: str, *, least: float | None = None, most: float | None = None) -> Meta:
    """What a key is for, and its bounds, inclusive."""
    return Meta(description=about, ge=least, le=most)


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A section of a configuration file, or the file itself."""


class LoggingConfig(Section, frozen=True, kw_only=True):
    """[logging]: JSON lines on standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], setting("least level that is written")] = "info"


def config_path(option: Path | None) -> Path:
    """The configuration file: the option's, or else the environment's.

    Raises:
        ConfigInvalid: neither names one.
    """
    if option is not None:
        return option
    named = os.environ.get(ENVIRONMENT_KEY)
    if not named:
        message = f"no configuration file was named: give --config or set {ENVIRONMENT_KEY}"
        raise ConfigInvalid(message)
    return Path(named)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigInvalid: it cannot be read, or is no TOML; the message says where.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise ConfigInvalid(message) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"{path} is not TOML: {error}"
        raise ConfigInvalid(message) from error


def load(kind: type[_T], path: Path) -> _T:
    """Read a configuration of one of the classes above from a file.

    Raises:
        ConfigInvalid: names the key.
    """
    return parse(kind, read_toml(path), path.parent)


def parse(kind: type[_T], tables: object, folder: Path, *section: str) -> _T:
    """Make a configuration, or the section with this name, from tables; paths are relative to ``folder``.

    Raises:
        ConfigInvalid: names the key, with the sections that it is in.
    """

    def path(_: type, value: object) -> Path:
        if not isinstance(value, str) or not value:
            message = "Expected `path`"
            raise ValueError(message)
        return folder / value

    try:
        return msgspec.convert(tables, kind, dec_hook=path)
    except msgspec.ValidationError as error:
        raise ConfigInvalid(_in_words(kind, str(error), section)) from error


def _in_words(kind: Any, error: str, section: tuple[str, ...]) -> str:
    """What msgspec says, in plain words and with the whole path of the key."""
    ((said, place),) = _FAULT.findall(error)
    path = place.split(".")[1:]
    where = ".".join((*section, *path))
    match said.split("`"):
        case ["Object contains unknown field " | "Object missing required field " as fault, name, _]:
            return f"{'.'.join((*section, *path, name))} is {'unknown' if 'unknown' in fault else 'missing'}"
        case ["Expected ", name, bound] if bound.startswith((" >= ", " <= ")):
            return f"{where} must be at {'least' if '>' in bound else 'most'} {bound[4:]}"
        case ["Expected ", name, *_]:
            return f"{where} must be {_WORDS.get(name, name)}"
    if said.startswith("Invalid enum value"):
        for name in path:
            kind = get_type_hints(kind)[name]
        return f"{where} must be one of {', '.join(get_args(kind))}"
    return f"{where}: {said}"
