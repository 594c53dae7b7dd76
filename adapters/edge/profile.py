"""The profiles of gateways and programs: connection, keys, folders, formats and routes. Each is one TOML file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from broker.config.edge import AgencyConfig, BrokerAddress, PinnedTrust  # noqa: TC001 - as above
from broker.config.loader import LoggingConfig, Setting, parse, read_toml
from broker.core.errors import ConfigInvalid
from broker.core.identity import is_agency_id
from broker.core.streams import STREAMS_OF_KIND

_Profile = TypeVar("_Profile")


@dataclass(frozen=True, kw_only=True)
class GatewayConfig:
    """[gateway]: folders and formats.

    Inside ``folder``: inbox (with attachments/), done, quarantine, outbox, and the spool.
    """

    folder: Annotated[Path, Setting("folder of inbox, outbox, done, quarantine and spool; made if it does not exist")]
    formats: Annotated[tuple[str, ...], Setting("adapters that read the inbox, in the order of trying")]
    mapping: Annotated[Path, Setting("TOML file for the agency's own columns (docs/police-tables.md)")] = Path()
    outbox_format: Annotated[str, Setting("adapter that writes the outbox; other kinds are written as record-json")]
    subscription: Annotated[str, Setting("name of the durable subscription")] = "gateway"
    subscribe: Annotated[tuple[str, ...], Setting("kinds of record to receive; none: the gateway only publishes")] = ()
    poll_seconds: Annotated[float, Setting("how often the inbox is checked", least=0.05, most=3600)] = 1.0
    lease_seconds: Annotated[float, Setting("lease of a delivery", least=1, most=600)] = 30.0
    retry_seconds: Annotated[float, Setting("longest wait before another attempt", least=0.1, most=600)] = 10.0


@dataclass(frozen=True, kw_only=True)
class ProgramConfig:
    """[program]: an agency's own program. It is a separate system, with its own certificate and spool."""

    folder: Annotated[Path, Setting("folder of its spool and quarantine; made if it does not exist")]
    retry_seconds: Annotated[float, Setting("longest wait before another attempt", least=0.1, most=600)] = 10.0


class Route(NamedTuple):
    """[routes.KIND]: the recipients, the purpose and the stream for records of a kind."""

    recipients: tuple[str, ...]
    purpose: str
    stream: str


@dataclass(frozen=True, kw_only=True)
class GatewayProfile:
    """The whole profile of a gateway."""

    broker: BrokerAddress
    agency: AgencyConfig
    trust: PinnedTrust
    gateway: GatewayConfig
    logging: LoggingConfig = field(default_factory=LoggingConfig)

    @property
    def folder(self) -> Path:
        """Where the spool lies."""
        return self.gateway.folder


@dataclass(frozen=True, kw_only=True)
class ProgramProfile:
    """The whole profile of an agency's own program."""

    broker: BrokerAddress
    agency: AgencyConfig
    trust: PinnedTrust
    program: ProgramConfig
    logging: LoggingConfig = field(default_factory=LoggingConfig)

    @property
    def folder(self) -> Path:
        """Where the spool lies."""
        return self.program.folder


def load_profile(path: Path) -> tuple[GatewayProfile, dict[str, Route]]:
    """Read a gateway's profile, and its routes by kind.

    Raises:
        ConfigInvalid: the message names the key.
    """
    return _load(GatewayProfile, path)


def load_program(path: Path) -> tuple[ProgramProfile, dict[str, Route]]:
    """Read the profile of an agency's own program, and its routes by kind, if it has any.

    Raises:
        ConfigInvalid: the message names the key.
    """
    return _load(ProgramProfile, path)


def _load(kind: type[_Profile], path: Path) -> tuple[_Profile, dict[str, Route]]:
    tables = read_toml(path)
    routes = tables.pop("routes", {})
    if not isinstance(routes, dict):
        message = "[routes] must hold one section for each kind"
        raise ConfigInvalid(message)
    return parse(kind, tables, path.parent), {name: _route(name, table) for name, table in routes.items()}


def _route(kind: str, table: Any) -> Route:
    streams = STREAMS_OF_KIND.get(kind)
    if streams is None:
        message = f"[routes.{kind}]: there is no such kind of record"
        raise ConfigInvalid(message)
    match table:
        case {"recipients": [*recipients], "purpose": str(purpose), **rest} if all(map(_is_agency, recipients)):
            stream = rest.pop("stream", next(iter(streams)) if len(streams) == 1 else None)
            if rest or stream not in streams:
                message = f"[routes.{kind}] has an unknown key, or needs a stream: one of {', '.join(sorted(streams))}"
                raise ConfigInvalid(message)
            return Route(tuple(recipients), purpose, stream)
    message = f"[routes.{kind}] needs recipients (a list of agency ids) and a purpose"
    raise ConfigInvalid(message)


def _is_agency(value: object) -> bool:
    return isinstance(value, str) and is_agency_id(value)
