"""Checks a log from its tiles: the signature of its checkpoint, then everything under it (core/audit/tree.py)."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from broker.core.audit.tree import TileFault, TreeCheck
from broker.core.errors import CheckpointInvalid, LogCorrupt, PositionUnknown, ProofInvalid, RightDenied
from broker.core.streams import STREAMS, StreamPartition
from broker.core.tree.checkpoint import Checkpoint, parse_note, verify_note
from broker.core.tree.compactrange import HASH_BYTES
from broker.core.tree.origin import parse_log_path
from broker.core.tree.tiles import CHECKPOINT, ENTRIES, TILE_WIDTH, Tile, read_entries, write_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from broker.core.tree.checkpoint import SignatureCheck
    from broker.ports import TileSource


class LogReport(NamedTuple):
    """What was found in one log.

    Attributes:
        name: the path of the log, as ``log_path`` gives it.
        size: leaves under the checkpoint, and ``root`` in hexadecimal. 0 and empty: the checkpoint is not the log's.
        tiles: how many tiles and bundles were right.
        entries: whether the entries were read.
        fault: the first thing that is wrong.
        shown: whether there is such a log at the place that was asked. If not, nothing is known of it.
    """

    name: str
    size: int
    root: str
    tiles: int
    entries: bool
    fault: TileFault | None
    shown: bool = True


def not_shown(names: Iterable[str], partitions: Mapping[str, int]) -> list[LogReport]:
    """The logs that every exchange has, and a server with these logs does not show.

    Each stream has the partitions from 0 on without a gap.

    Args:
        names: the paths of the logs that the server shows.
        partitions: how many partitions a stream has, as the directory says. If it does not say it of a stream, it is
            not seen that the last ones are left out.

    Raises:
        CheckpointInvalid: no log has such a name.
    """
    shown: dict[str, set[int]] = {stream: set() for stream in STREAMS}
    for name in names:
        partition, _ = parse_log_path(name)
        shown.setdefault(partition.stream, set()).add(partition.partition)
    missing = [
        str(StreamPartition(stream, number))
        for stream, numbers in shown.items()
        for number in _gaps(numbers, partitions.get(stream, 1))
    ]
    return [LogReport(name, 0, "", 0, entries=False, fault=None, shown=False) for name in missing]


def _gaps(numbers: set[int], promised: int) -> list[int]:
    # A server may name any number. So no more are listed than there are logs, here or by the directory.
    most = max(*numbers, promised - 1) if numbers else promised - 1
    return list(
        itertools.islice((number for number in range(most + 1) if number not in numbers), len(numbers) + promised)
    )


async def check_log(
    source: TileSource,
    name: str,
    trust_domain: str,
    verifiers: Mapping[tuple[str, bytes], SignatureCheck],
    progress: Callable[[int], None],
) -> LogReport:
    """Check one log. Holds at most one tile of each level and one entry bundle.

    Args:
        source: its tiles.
        name: the path at which it was found. Empty: the checkpoint says it.
        trust_domain: the exchange's.
        verifiers: the checks of the keys that may sign its checkpoint.
        progress: called with the number of leaves of each bundle that was read, or of each tile of level 0.

    Raises:
        IdentityRefused, Overloaded, Unavailable: the log could not be read to its end.
    """
    try:
        checkpoint = _signed(await source.checkpoint(), verifiers)
        before = f"{trust_domain}/"
        told = checkpoint.origin.removeprefix(before)
        partition, log_id = parse_log_path(told)
        if not checkpoint.origin.startswith(before) or told != (name or told):
            message = f"it is the checkpoint of another log: {checkpoint.origin}"
            raise CheckpointInvalid(message)  # noqa: TRY301 - one place turns what is wrong with it into a fault
    except (CheckpointInvalid, PositionUnknown) as error:
        return LogReport(name, 0, "", 0, entries=False, fault=TileFault(CHECKPOINT, None, "", error.message))
    entries = checkpoint.size > 0 and await _may_read_entries(source, checkpoint.size)
    check = TreeCheck(checkpoint, partition, log_id)
    fault = await _follow(check, source, progress, entries=entries)
    return LogReport(told, checkpoint.size, checkpoint.root.hex(), check.tiles, entries, fault)


def _signed(note: bytes, verifiers: Mapping[tuple[str, bytes], SignatureCheck]) -> Checkpoint:
    parsed = parse_note(note)
    verify_note(parsed, verifiers)
    return Checkpoint.parse(parsed.text)


async def _may_read_entries(source: TileSource, size: int) -> bool:
    try:
        await source.tile(Tile(ENTRIES, 0, min(size, TILE_WIDTH)))
    except RightDenied:
        # The directory says so, not the server.
        return False
    except (PositionUnknown, LogCorrupt, ProofInvalid):
        # The check will come to it.
        return True
    return True


async def _follow(
    check: TreeCheck, source: TileSource, progress: Callable[[int], None], *, entries: bool
) -> TileFault | None:
    steps = check.steps(entries=entries)
    try:
        tile = next(steps)
        while True:
            try:
                data = await _read(source, tile)
            except LogCorrupt as error:
                return TileFault(tile.path, None, error.details.get("position", ""), error.message)
            except (PositionUnknown, ProofInvalid) as error:
                return TileFault(tile.path, None, "", error.message)
            if tile.level == (ENTRIES if entries else 0):
                progress(tile.width)
            tile = steps.send(data)
    except StopIteration as ended:
        fault: TileFault | None = ended.value
        return fault


async def _read(source: TileSource, tile: Tile) -> bytes:
    try:
        return await source.tile(tile)
    except PositionUnknown:
        if tile.width == TILE_WIDTH:
            raise
    # Whoever keeps tiles may delete a partial one when the full one is there (tlog-tiles, "Partial Tiles").
    full = tile._replace(width=TILE_WIDTH)
    data = await source.tile(full)
    if tile.level == ENTRIES:
        return write_entries(read_entries(full, data)[: tile.width])
    return data[: tile.width * HASH_BYTES]
