"""Where ``fsck`` reads logs, and by which keys it judges them."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from broker.bootstrap.log import KAFKA
from broker.core.errors import CheckpointInvalid, ConfigInvalid
from broker.core.incarnations import Incarnations
from broker.core.policy import may_replay
from broker.core.streams import every_partition
from broker.core.tree.origin import log_path, parse_log_path
from broker.core.webaddress import WebAddress
from broker.extras import needed
from broker.files import read_file
from broker.messagelog.sqlite import SqliteCheckpointStore, SqliteLogReader
from broker.services.erasing import scan
from broker.services.erasureorders import ErasureOrders
from broker.services.fsck import check_log, not_shown
from broker.services.soundness import EntryJudge
from broker.services.tiles import LogTiles
from broker.trust.certificates import load_certificates, principal_of
from broker.trust.directory import MAX_DIRECTORY_BYTES, open_directory
from broker.trust.governance import Governance
from broker.trust.logkeys import DirectoryLogKeys, log_verifiers
from broker.trust.system import SystemClock
from broker.trust.tls import check_tls_files
from broker.web.tilefolder import FolderTiles, MirroredTiles, logs_in
from broker.wire.codec import ProtobufCodec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from broker.config.broker import BrokerConfig
    from broker.config.edge import AgencyConfig
    from broker.core.policy import Directory
    from broker.ports import CheckpointStore, LogReader, TileSource
    from broker.services.fsck import LogReport

_HTTPS = "https://"


class Where(NamedTuple):
    """Where the tiles are, in one of three ways.

    Attributes:
        place: an address that begins with https://, or a folder.
        agency: with whose certificate to ask, if it is an address.
        broker: a broker's configuration, for its own log. Then there is no place.
    """

    place: str = ""
    agency: AgencyConfig | None = None
    broker: BrokerConfig | None = None


async def fsck(
    where: Where,
    roots: tuple[Path, ...],
    directory: Path,
    mirror: Path | None,
    progress: Callable[[int], None],
) -> list[LogReport]:
    """Check every log that is there. A server of all logs is also asked for those that it does not show.

    Args:
        where: the tiles.
        roots: files with the public keys (PEM) that sign directories.
        directory: the signed directory, which has the keys that sign checkpoints.
        mirror: a folder for everything that is read. None: nothing is kept.
        progress: called with the number of leaves of each part that was read.

    Raises:
        DirectoryInvalid: no pinned key signed the directory.
        KeyInvalid, CertificateInvalid, ConfigInvalid, ExtraMissing
        CheckpointInvalid: the server names a log as no log is named.
        IdentityRefused, Overloaded, Unavailable, LogError: the logs cannot be read to their end.
        OSError: a file cannot be read or written.
    """
    trusted = open_directory(read_file(directory, MAX_DIRECTORY_BYTES), Governance.load(*roots))
    verifiers = log_verifiers([trusted])
    reports = []
    async with _sources(where, trusted) as sources:
        for name, source in sources.items():
            mirrored = None if mirror is None else MirroredTiles(source, mirror / name)
            reports.append(await check_log(mirrored or source, name, trusted.trust_domain, verifiers, progress))
            if mirrored is not None:
                mirrored.finish()
        if _all_of_a_server(where):
            reports += not_shown(sources, trusted.partitions)
    return reports


def _all_of_a_server(where: Where) -> bool:
    """Whether a server says which logs there are. Then it may leave some out."""
    return where.place.startswith(_HTTPS) and not _split(WebAddress.parse(where.place).prefix)[1]


@contextlib.asynccontextmanager
async def _sources(where: Where, trusted: Directory) -> AsyncIterator[Mapping[str, TileSource]]:
    """The logs by their names. An empty name: only its checkpoint says which one it is."""
    if where.broker is not None:
        async with _own(where.broker, trusted) as own:
            yield own
    elif where.place.startswith(_HTTPS):
        async with _over_https(where, trusted) as served:
            yield served
    else:
        folder = Path(where.place)
        found = logs_in(folder)
        if not found:
            message = f"{folder} is no folder with a log: there is no checkpoint in it"
            raise ConfigInvalid(message)
        yield {name: FolderTiles(path) for name, path in found.items()}


@contextlib.asynccontextmanager
async def _over_https(where: Where, trusted: Directory) -> AsyncIterator[Mapping[str, TileSource]]:
    with needed():
        from broker.web.client import HttpClient  # noqa: PLC0415 - only who asks over HTTPS needs the extra
        from broker.web.tilesource import HttpTiles, log_names  # noqa: PLC0415
        from broker.web.tls import client_context, load_certificate  # noqa: PLC0415
    agency = where.agency
    if agency is None:
        message = "tiles over HTTPS are for members: name a profile with a certificate"
        raise ConfigInvalid(message)
    check_tls_files(agency.certificate, agency.key, SystemClock().now_ms())
    own = principal_of(load_certificates(agency.certificate)[0]).agency
    context = client_context(agency.authorities)
    load_certificate(context, agency.certificate, agency.key)
    try:
        address = WebAddress.parse(where.place)
    except ValueError as error:
        raise ConfigInvalid(str(error)) from error
    before, name = _split(address.prefix)
    client = HttpClient(address._replace(prefix=before), context)
    try:
        sources = {}
        for one in [name] if name else await log_names(client):
            # The name becomes part of a file's path, so it must be one.
            partition, _ = parse_log_path(one)
            sources[one] = HttpTiles(client, one, entries=may_replay(trusted, own, partition.stream))
        yield sources
    finally:
        await client.close()


def _split(prefix: str) -> tuple[str, str]:
    """The part of an address's path before a log's, and the log's. Empty: it names none, so all are meant."""
    parts = prefix.split("/")
    name = "/".join(parts[-3:])
    with contextlib.suppress(CheckpointInvalid):
        parse_log_path(name)
        return "/".join(parts[:-3]), name
    return prefix, ""


@contextlib.asynccontextmanager
async def _own(config: BrokerConfig, trusted: Directory) -> AsyncIterator[Mapping[str, TileSource]]:
    """The log of a broker, beside the broker if that runs. Every record is read, too."""
    log: LogReader
    store: CheckpointStore
    async with contextlib.AsyncExitStack() as stack:
        if config.log.backend == KAFKA:
            with needed():
                from broker.bootstrap.directlog import open_direct  # noqa: PLC0415 - only who reads Kafka has the client
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="case-exchange-fsck-")))
            keys = DirectoryLogKeys(lambda: trusted)
            domain = trusted.trust_domain
            declared = Incarnations(trusted.incarnations)
            log, store = await open_direct(
                config.kafka, keys, domain, SystemClock(), declared=lambda: declared, folder=folder, stack=stack
            )
        else:
            log = await SqliteLogReader.open(config.log.folder / "log.db")
            stack.push_async_callback(log.close)
            store = SqliteCheckpointStore(config.log.folder / "checkpoints.db", read_only=True)
            stack.push_async_callback(store.close)
        expire = config.kafka.retention_days * 86_400.0 if config.log.backend == KAFKA else 0
        codec, orders = ProtobufCodec(), ErasureOrders()
        await scan(orders, log, codec)
        judge = EntryJudge(codec, orders, SystemClock(), expire or None)
        yield {
            log_path(one, log.log_id(one.stream)): LogTiles(log, store, one, judge)
            for one in every_partition(log.partitions)
        }
