"""The profiles of gateways and programs: connection, keys, folders, formats and routes. Each is one TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

from msgspec.structs import replace

from adapters.ownfiles import OwnFiles
from adapters.retention import RetentionConfig
from broker.config.edge import AgencyConfig, BrokerAddress, PinnedTrust
from broker.config.loader import LoggingConfig, Section, parse, read_toml, setting
from broker.core.errors import ConfigInvalid, InputRefused
from broker.core.identity import is_agency_id
from broker.core.streams import KINDS, STREAMS_OF_KIND
from broker.core.strict import unknown
from broker.core.subscriptions import StartPoint

_Profile = TypeVar("_Profile")


class GatewayConfig(Section, frozen=True, kw_only=True):
    """[gateway]: folders and formats.

    Inside ``folder``: inbox (with attachments/), done, quarantine, outbox, and the spool.
    """

    folder: Annotated[Path, setting("folder of inbox, outbox, done, quarantine and spool; made if it does not exist")]
    formats: Annotated[tuple[str, ...], setting("adapters that read the inbox, in the order of trying")]
    mapping: Annotated[Path, setting("TOML file for the agency's own columns (docs/police-tables.md)")] = Path()
    outbox_format: Annotated[str, setting("adapter that writes the outbox; other kinds are written as record-json")]
    subscription: Annotated[str, setting("name of the durable subscription")] = "gateway"
    start: Annotated[
        str,
        setting(
            "where a new subscription begins, and a kind that is added later: earliest, latest, or a time such as "
            "2026-01-31T08:00:00+08:00"
        ),
    ] = "earliest"
    subscribe: Annotated[tuple[str, ...], setting("kinds of record to receive; none: the gateway only publishes")] = ()
    poll_seconds: Annotated[float, setting("how often the inbox is checked", least=0.05, most=3600)] = 1.0
    lease_seconds: Annotated[float, setting("lease of a delivery", least=1, most=600)] = 30.0
    retry_seconds: Annotated[float, setting("longest wait before another attempt", least=0.1, most=600)] = 10.0
    seal_files: Annotated[
        bool,
        setting(
            "whether records, pictures and source files in outbox, done and quarantine are sealed to the agency's age "
            "identity, in its key folder (docs/keys.md)"
        ),
    ] = False
    drain_seconds: Annotated[float, setting("how long work may go on after SIGTERM", least=0, most=3600)] = 10.0
    keep_days: Annotated[
        float, setting("how long a record is kept after its receipt, for `publish --again`", least=0, most=3650)
    ] = 30.0


class ProgramConfig(Section, frozen=True, kw_only=True):
    """[program]: an agency's own program. It is a separate system, with its own certificate and spool."""

    folder: Annotated[Path, setting("folder of its spool and quarantine; made if it does not exist")]
    retry_seconds: Annotated[float, setting("longest wait before another attempt", least=0.1, most=600)] = 10.0
    keep_days: Annotated[
        float, setting("how long a record is kept after its receipt, for `publish --again`", least=0, most=3650)
    ] = 30.0


class Route(Section, frozen=True, kw_only=True):
    """[routes.KIND]: the recipients, the purpose and the stream for records of a kind."""

    recipients: Annotated[tuple[str, ...], setting("ids of the agencies that get records of the kind")]
    purpose: Annotated[str, setting("why they are sent: one of the codes of the signed directory")]
    stream: Annotated[
        str, setting("none: the kind's own; a Correction needs `cases`, `dna` or `notices`, as what it corrects")
    ] = ""


class GatewayProfile(Section, frozen=True, kw_only=True):
    """The whole profile of a gateway."""

    broker: BrokerAddress
    agency: AgencyConfig
    trust: PinnedTrust
    gateway: GatewayConfig
    retention: RetentionConfig = RetentionConfig()
    logging: LoggingConfig = LoggingConfig()

    @property
    def folder(self) -> Path:
        """Where the spool lies."""
        return self.gateway.folder

    @property
    def keep_days(self) -> float:
        """How long a record is kept after its receipt."""
        return self.gateway.keep_days


class ProgramProfile(Section, frozen=True, kw_only=True):
    """The whole profile of an agency's own program."""

    broker: BrokerAddress
    agency: AgencyConfig
    trust: PinnedTrust
    program: ProgramConfig
    retention: RetentionConfig = RetentionConfig()
    logging: LoggingConfig = LoggingConfig()

    @property
    def folder(self) -> Path:
        """Where the spool lies."""
        return self.program.folder

    @property
    def keep_days(self) -> float:
        """How long a record is kept after its receipt."""
        return self.program.keep_days


def load_profile(path: Path) -> tuple[GatewayProfile, dict[str, Route]]:
    """Read a gateway's profile, and its routes by kind.

    Raises:
        ConfigInvalid: the message names the key.
    """
    profile, routes = _load(GatewayProfile, path)
    for kind in profile.gateway.subscribe:
        _check_kind(kind, "gateway.subscribe")
    try:
        StartPoint.parse(profile.gateway.start)
    except InputRefused as error:
        message = f"gateway.start: {error.message}"
        raise ConfigInvalid(message) from error
    return profile, routes


def load_program(path: Path) -> tuple[ProgramProfile, dict[str, Route]]:
    """Read the profile of an agency's own program, and its routes by kind, if it has any.

    Raises:
        ConfigInvalid: the message names the key.
    """
    return _load(ProgramProfile, path)


def load_any(path: Path) -> GatewayProfile | ProgramProfile:
    """Read the profile of a gateway, or of an agency's own program.

    Raises:
        ConfigInvalid: the message names the key.
    """
    return load_program(path)[0] if "program" in read_toml(path) else load_profile(path)[0]


def own_files_of(profile: GatewayProfile | ProgramProfile) -> OwnFiles:
    """How the plain files of an edge are written and read. A program of an agency's own writes none.

    Raises:
        AgeIdentityMissing, KeyInvalid, ExtraMissing: they are to be sealed, and cannot be.
    """
    seals = isinstance(profile, GatewayProfile) and profile.gateway.seal_files
    files = OwnFiles(profile.agency.encryption_keys, seals=seals)
    files.check()
    return files


def _load(kind: type[_Profile], path: Path) -> tuple[_Profile, dict[str, Route]]:
    tables = read_toml(path)
    routes = parse(dict[str, Any], tables.pop("routes", {}), path.parent, "routes")
    return parse(kind, tables, path.parent), {name: _route(name, table, path.parent) for name, table in routes.items()}


def _route(kind: str, table: object, folder: Path) -> Route:
    _check_kind(kind, f"routes.{kind}")
    streams = STREAMS_OF_KIND[kind]
    route = parse(Route, table, folder, "routes", kind)
    if not all(map(is_agency_id, route.recipients)):
        message = f"routes.{kind}.recipients must be ids of agencies"
        raise ConfigInvalid(message)
    if not route.stream and len(streams) == 1:
        return replace(route, stream=next(iter(streams)))
    if route.stream not in streams:
        message = f"routes.{kind}.stream must be one of {', '.join(sorted(streams))}"
        raise ConfigInvalid(message)
    return route


def _check_kind(kind: str, place: str) -> None:
    if kind not in KINDS:
        message = f"{place}: there is no kind of record {unknown(kind, KINDS)}"
        raise ConfigInvalid(message)
