"""A witness: all parts of one process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

import structlog

from broker.bootstrap.httptls import ready_https, watch_tls
from broker.core.errors import CheckpointInvalid, ConfigInvalid, SetupInvalid
from broker.core.tree.checkpoint import VerifierKey
from broker.messagelog.sqlite import SqliteWitnessStore
from broker.services.witness import WitnessService
from broker.sqlitefile import was_made
from broker.trust.signing import note_verifier
from broker.trust.system import SystemClock
from broker.trust.witnesskeys import Ed25519Cosigner
from broker.web.server import HttpBounds, HttpServer
from broker.web.tls import ServerContext
from broker.web.witness import witness_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from broker.config.witness import WitnessConfig, WitnessServerConfig
    from broker.core.tree.checkpoint import Checkpoint, SignatureCheck

_log = structlog.get_logger("broker.witness")


def load_cosigner(config: WitnessConfig) -> Ed25519Cosigner:
    """The key of a witness.

    Raises:
        KeyInvalid
    """
    return Ed25519Cosigner.load(config.witness.name, config.witness.key)


@contextlib.asynccontextmanager
async def open_witness(config: WitnessConfig, *, new: bool) -> AsyncIterator[HttpServer]:
    """Open what the witness has cosigned, and answer. On exit, stop in good order.

    Args:
        config: its configuration.
        new: make the file of what it has cosigned. Without it, the file must exist: a witness that forgot would cosign
            a second history.

    Raises:
        SetupInvalid: a file or setting cannot be used.
        LogError, LogUnavailable, LogFull: the file of what it has cosigned cannot be used.
    """
    signer, logs = load_cosigner(config), _logs(config)
    ready_https(config.server.certificate, config.server.key)
    context = ServerContext(config.server.certificate, config.server.key)
    _check_state(config.witness.state, new=new)
    async with contextlib.AsyncExitStack() as stack:
        store = SqliteWitnessStore(config.witness.state)
        stack.push_async_callback(store.close)
        server = HttpServer(
            witness_app(WitnessService(store, logs, signer, SystemClock(), _tell_fork)),
            config.server.address,
            context,
            _bounds(config.server),
        )
        stack.push_async_callback(server.stop)
        watching = asyncio.create_task(watch_tls(context, config.server.reload_seconds))
        stack.callback(watching.cancel)
        await server.start()
        _log.info("serving", address=f"port {server.port}", count=len(logs))
        yield server


async def serve_witness(config: WitnessConfig, ready: Callable[[int], None], *, new: bool) -> int:
    """Serve until SIGTERM or SIGINT.

    Args:
        config: the configuration.
        ready: called with the port when requests are answered.
        new: see ``open_witness``.

    Returns:
        The signal.

    Raises:
        As ``open_witness``, and Internal: an error ended the server.
    """
    stopping = asyncio.Queue[int]()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.put_nowait, number)
    async with open_witness(config, new=new) as server:
        ready(server.port)
        told, ended = asyncio.create_task(stopping.get()), asyncio.create_task(server.ended())
        try:
            await asyncio.wait({told, ended}, return_when=asyncio.FIRST_COMPLETED)
            return told.result() if told.done() else await ended
        finally:
            told.cancel()
            ended.cancel()


def _tell_fork(checkpoint: Checkpoint, cosigned_root: bytes) -> None:
    _log.error(
        "the log has signed two trees of one size",
        size=checkpoint.size,
        cause=f"roots {checkpoint.root.hex()} and {cosigned_root.hex()} of {checkpoint.origin}",
        remedy="Keep this line and the file of what this witness has cosigned, and report to governance.",
    )


def _logs(config: WitnessConfig) -> dict[str, dict[tuple[str, bytes], SignatureCheck]]:
    logs: dict[str, dict[tuple[str, bytes], SignatureCheck]] = {}
    for table in config.logs:
        try:
            keys = [VerifierKey.parse(text) for text in table.keys]
        except CheckpointInvalid as error:
            message = f"logs.keys holds something that is no verifier key of a log: {error.message}"
            raise ConfigInvalid(message) from error
        for origin in table.origins:
            if origin in logs:
                message = f"logs.origins names {origin} twice"
                raise ConfigInvalid(message)
            logs[origin] = {(key.name, key.key_id): note_verifier(key.public_key) for key in keys}
    if not logs:
        message = "logs.origins names no log"
        raise ConfigInvalid(message)
    return logs


def _check_state(state: Path, *, new: bool) -> None:
    if new and state.exists():
        message = f"{state.name} exists already: start the witness without --new"
        raise SetupInvalid(message)
    if not new and not (state.exists() and was_made(state)):
        # An empty file is no memory either: a full disk, or a copy that failed, leaves one.
        what = "holds nothing: delete it, and" if state.exists() else "does not exist:"
        message = (
            f"{state.name} {what} start a new witness with --new; if the file was lost, take a new key and "
            "name first, because with the old ones this witness could cosign a second history"
        )
        raise SetupInvalid(message)


def _bounds(config: WitnessServerConfig) -> HttpBounds:
    return HttpBounds(config.connections, config.request_seconds, config.idle_seconds, config.drain_seconds)
