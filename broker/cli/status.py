"""``case-exchange status``."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker.bootstrap.edge import connect, edge_expiries, edge_list_expiries
from broker.bootstrap.trust import configured_expiries
from broker.cli.expiries import expiry_facts, print_expiries
from broker.cli.main import REFUSED
from broker.cli.options import json_option
from broker.client.auditor import Auditor
from broker.client.deadletters import DeadLettersClient
from broker.client.directories import directories_in_force
from broker.client.operator import is_serving
from broker.client.trace import TraceClient
from broker.config.broker import BrokerConfig
from broker.config.edge import load_edge
from broker.config.loader import config_path, load
from broker.core.errors import CaseExchangeError, PositionUnknown
from broker.core.streams import STREAMS, StreamPartition
from broker.core.tree.checkpoint import Checkpoint, parse_note
from broker.core.tree.cosignature import cosigners
from broker.core.tree.witnesspolicy import parse_directory_policy
from broker.trust.directory import open_directory
from broker.trust.governance import Governance
from broker.trust.system import SystemClock
from broker.trust.witnesskeys import witness_checks

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc

    from broker.client.auditor import NewestCheckpoint
    from broker.config.edge import EdgeConfig
    from broker.core.policy import Directory
    from broker.ports import AskedAuthorities
    from broker.trust.expiries import Expiry

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--profile", type=_FILE, help="The edge profile: which broker, which agency, which keys.")
@click.option(
    "--config", "broker_config", type=_FILE, help="A broker's configuration: only what ends when, of its files."
)
@json_option
def status(profile: Path | None, *, broker_config: Path | None, as_json: bool) -> None:
    """Show whether the broker accepts records, and what ends when.

    It also shows the directory version, dead letters, refusals, the newest checkpoints, whether witnesses have cosigned
    them, and the newest timestamp of each authority that the broker asks. Dead letters are those of the agency's
    subscriptions. Below them stand refusals and dead letters of the records that it published. An auditor gets those of
    every agency. With --json there are also the origins of the checkpoints. The configuration of a witness names them.
    Last comes when each certificate, authority, encryption key, list and the directory ends. What is past two thirds of
    its life is marked DUE: renew it. With --config there are the keys for records of every agency.

    Exit codes: 0 it accepts records, 1 it does not accept records or did not answer, 2 wrong settings.

    Example:  case-exchange status --profile shanxi.toml
    """
    if (profile is None) == (broker_config is None):
        message = "give --profile or --config"
        raise click.UsageError(message)
    if profile is None:
        ends = configured_expiries(load(BrokerConfig, config_path(broker_config)))
        of_files = expiry_facts(ends, SystemClock().now_ms())
        if as_json:
            click.echo(json.dumps({"expiries": of_files}, indent=2))
        else:
            print_expiries(of_files)
        return
    config = load_edge(profile)
    facts = asyncio.run(_status(config))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(f"broker {config.broker.address}: {'accepts records' if facts['serving'] else 'NOT SERVING'}")
        soon = " (EXPIRES SOON)" if facts["directory_expires_soon"] else ""
        until = f"{facts['directory_expires_at']}{soon}"
        click.echo(f"directory: version {facts['directory_version']}, in force until {until}")
        letters = facts["dead_letters"]
        more = f", {letters['parked']} records parked behind them, the oldest since {letters['oldest']}"
        since = f"{more}: case-exchange deadletter list" if letters["count"] else ""
        click.echo(f"dead letters: {letters['count']}{since}")
        told = facts["unprocessed"]
        since = f" since {told['refused_since']}: case-exchange trace --unprocessed" if told["refused"] else ""
        click.echo(f"of what was published: {told['dead_letters']} dead letters, {told['refused']} refused{since}")
        _print_witnesses(facts["witnesses"])
        _print_timestamps(facts["timestamps"])
        for name, size in facts["checkpoints"].items():
            click.echo(f"  {name:12} {size} records under a signed checkpoint")
        print_expiries(facts["expiries"])
    sys.exit(0 if facts["serving"] else REFUSED)


async def _status(config: EdgeConfig) -> dict[str, Any]:
    governance = Governance.load(config.trust.governance_key)
    async with connect(config) as channel:
        serving = await is_serving(channel)
        documents = await directories_in_force(channel)
        directory = open_directory(documents[0] if documents else b"", governance)
        letters = await DeadLettersClient(channel).count()
        unprocessed = await TraceClient(channel).count_unprocessed()
        return {
            "serving": serving,
            "directory_version": directory.version,
            "directory_expires_at": _time(directory.expires_at_ms),
            "directory_expires_soon": directory.expires_soon(SystemClock().now_ms()),
            "dead_letters": {
                "count": letters.dead_letters,
                "parked": letters.parked,
                "oldest": None if letters.oldest_ms is None else _time(letters.oldest_ms),
            },
            "unprocessed": {
                "refused": unprocessed.refused,
                "refused_since": None if unprocessed.refused_since_ms is None else _time(unprocessed.refused_since_ms),
                "dead_letters": unprocessed.dead_letters,
            },
            **_checkpoints(await _newest(channel), directory),
            "timestamps": _timestamps(await Auditor(channel).timestamping()),
            "expiries": expiry_facts(_expiries(config, directory), SystemClock().now_ms()),
        }


def _expiries(config: EdgeConfig, directory: Directory) -> list[Expiry]:
    found = edge_expiries(config, directory)
    try:
        found += edge_list_expiries(config, directory)
    except CaseExchangeError as error:
        # What else there is to show may say why.
        click.echo(f"warning: {error.line}", err=True)
    return found


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


async def _newest(channel: grpc.aio.Channel) -> dict[StreamPartition, NewestCheckpoint]:
    """Each partition's newest checkpoint. Only an audit can check whether it is true."""
    auditor, newest = Auditor(channel), {}
    for stream in STREAMS:
        number = 0
        while True:
            partition = StreamPartition(stream, number)
            try:
                newest[partition] = await auditor.newest_checkpoint(partition)
            except PositionUnknown:
                break
            number += 1
    return newest


def _checkpoints(newest: Mapping[StreamPartition, NewestCheckpoint], directory: Directory) -> dict[str, Any]:
    texts = {str(partition): Checkpoint.parse(parse_note(one.note).text) for partition, one in newest.items()}
    cosigned = {str(partition): _cosigned(one, directory) for partition, one in newest.items()}
    policy = parse_directory_policy(directory.witness_policy, directory.log_keys)
    return {
        "checkpoints": {name: checkpoint.size for name, checkpoint in texts.items()},
        "origins": {name: checkpoint.origin for name, checkpoint in texts.items()},
        "witnesses": None
        if policy is None
        else {"listed": len(policy.witnesses), "needed": policy.fewest, "cosigned": cosigned},
    }


def _cosigned(one: NewestCheckpoint, directory: Directory) -> dict[str, Any] | None:
    """The size of the newest checkpoint with enough cosignatures, and since when it has them."""
    policy = parse_directory_policy(directory.witness_policy, directory.log_keys)
    if policy is None or one.cosigned is None:
        return None
    note = parse_note(one.cosigned.note)
    checkpoint = Checkpoint.parse(note.text)
    since_s = policy.satisfied_since(cosigners(note, witness_checks(policy)))
    if since_s is None or checkpoint.origin != Checkpoint.parse(parse_note(one.note).text).origin:
        return None
    return {"size": checkpoint.size, "at": _time(since_s * 1000)}


def _print_witnesses(witnesses: dict[str, Any] | None) -> None:
    if witnesses is None:
        click.echo("witnesses: the directory names none, so nothing proves that there is only one history")
        return
    cosigned, needed = witnesses["cosigned"], f"{witnesses['needed']} of {witnesses['listed']} must cosign"
    missing = [name for name, found in cosigned.items() if found is None]
    oldest = min((found["at"] for found in cosigned.values() if found is not None), default="never")
    told = f"NOT COSIGNED: {', '.join(missing)}" if missing else f"every partition is cosigned, the oldest at {oldest}"
    click.echo(f"witnesses: {needed}; {told}")


def _timestamps(asked: AskedAuthorities) -> dict[str, Any]:
    now_ms = SystemClock().now_ms()
    authorities = [
        {
            "url": one.url,
            "newest": None if one.newest_ms is None else _time(one.newest_ms),
            "age_seconds": None if one.newest_ms is None else max(now_ms - one.newest_ms, 0) // 1000,
            "trouble": one.trouble,
            "since": None if one.since_ms is None else _time(one.since_ms),
        }
        for one in asked.authorities
    ]
    return {"authorities": authorities, "trouble": asked.trouble}


def _print_timestamps(timestamps: dict[str, Any]) -> None:
    if not timestamps["authorities"]:
        click.echo("timestamps: the broker asks no authority, so only the exchange says when records were accepted")
        return
    click.echo(f"timestamps: {timestamps['trouble'] or 'in order'}")
    for one in timestamps["authorities"]:
        newest = f"newest at {one['newest']}, {one['age_seconds']} s ago" if one["newest"] else "none since its start"
        trouble = f"; since {one['since']}: {one['trouble']}" if one["trouble"] else ""
        click.echo(f"  {one['url']}: {newest}{trouble}")
