"""TOML files to typed settings.

Relative paths are relative to the file that names them. An unknown key is an error, lest a misspelt limit be none.
docs/configuration.md is generated from the classes of broker.py and edge.py.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar, get_args, get_type_hints

from broker.core.errors import ConfigInvalid

ENVIRONMENT_KEY: Final = "CASE_EXCHANGE_CONFIG"
"""Names the configuration file where no option does."""
_T = TypeVar("_T")
_NAMES: Final = {Path: "a path", str: "text", int: "a whole number", float: "a number", bool: "true or false"}


class Setting(NamedTuple):
    """What a key is for, and its bounds, inclusive."""

    about: str
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, kw_only=True)
class LoggingConfig:
    """[logging]: JSON lines on standard error."""

    level: Annotated[str, Setting("debug, info, warning or error")] = "info"


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


def parse(kind: type[_T], tables: dict[str, Any], folder: Path) -> _T:
    """Make a configuration from tables; paths are relative to ``folder``.

    Raises:
        ConfigInvalid: names the key.
    """
    values: dict[str, Any] = {}
    hints = get_type_hints(kind)
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type] # every class here is a dataclass
    for name in tables.keys() - known:
        message = f"there is no section [{name}]"
        raise ConfigInvalid(message)
    for name in known:
        table = tables.get(name, {})
        if not isinstance(table, dict):
            message = f"[{name}] must be a section"
            raise ConfigInvalid(message)
        values[name] = parse_section(hints[name], name, table, folder)
    return kind(**values)


def parse_section(kind: type[_T], section: str, table: dict[str, Any], folder: Path) -> _T:
    """Make one section from its table.

    Raises:
        ConfigInvalid: names the key.
    """
    hints = get_type_hints(kind, include_extras=True)
    for key in table.keys() - hints.keys():
        message = f"there is no key {key} in [{section}]"
        raise ConfigInvalid(message)
    required = [item.name for item in fields(kind) if item.default is item.default_factory]  # type: ignore[arg-type] # every class here is a dataclass
    missing = [key for key in required if key not in table]
    if missing:
        message = f"[{section}] lacks {', '.join(missing)}"
        raise ConfigInvalid(message)
    values = {key: _value(f"{section}.{key}", value, hints[key], folder) for key, value in table.items()}
    return kind(**values)


def _value(key: str, value: Any, hint: Any, folder: Path) -> Any:
    kind, setting = get_args(hint)
    if kind is Path and isinstance(value, str) and value:
        return folder / value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind == tuple[str, ...] and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if kind == tuple[str, ...]:
        message = f"{key} must be a list of texts"
        raise ConfigInvalid(message)
    if kind is Path or not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        message = f"{key} must be {_NAMES[kind]}"
        raise ConfigInvalid(message)
    if setting.least is not None and value < setting.least:
        message = f"{key} must be at least {setting.least}"
        raise ConfigInvalid(message)
    if setting.most is not None and value > setting.most:
        message = f"{key} must be at most {setting.most}"
        raise ConfigInvalid(message)
    return value
