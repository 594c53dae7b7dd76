"""``case-exchange readdress``: seal records again for who has joined or has lost a key, and ask others to do so."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from adapters import folders
from adapters.base import Limits, Source
from adapters.edge.edge import open_edge
from adapters.edge.ending import run_until_asked
from adapters.edge.profile import load_profile
from adapters.edge.readdressing import MAX_ENVELOPE_BYTES, Readdressing, spool_requests, unreadable
from adapters.gateway.outbound import Outbound
from adapters.records.record_json import ADAPTER as RECORD_JSON
from adapters.terminal import FILE, json_option, print_json, profile_option, read_file
from broker import telemetry
from broker.client.publisher import Published
from broker.core.errors import InputRefused
from caseexchange.records.v1 import readdress_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from adapters.edge.edge import Edge
    from adapters.edge.profile import GatewayProfile, Route
    from adapters.edge.readdressing import Readdressed
    from adapters.ownfiles import OwnFiles
    from broker.core.errors import CaseExchangeError

_LEAST_DIGITS: Final = 8
_PURPOSE: Final = "readdressing"


@click.group(no_args_is_help=True)
def readdress() -> None:
    """Seal records again, for others or a new key.

    It is for agencies that join, get a right, or lose a key, and it also asks others to do so (docs/keys.md).

    Example:  case-exchange readdress send --profile shanxi.toml --request request.json
    """


@readdress.command()
@profile_option
@click.argument("record_ids", metavar="[RECORD_ID]...", nargs=-1)
@click.option("--envelope", "envelopes", multiple=True, type=FILE, help="A record as a file, instead of by its id.")
@click.option(
    "--request", type=FILE, help="A ReaddressRequest from your outbox: its records, for the agency that asks."
)
@click.option("--to", "agencies", multiple=True, help="The agency that is to get them. May be repeated.")
@click.option("--keys", type=click.Path(file_okay=False, path_type=Path), help="The folder with your archive keys.")
@click.option("--dry-run", is_flag=True, help="Only say what would be sent, and what cannot be.")
@json_option
def send(
    profile_path: Path,
    *,
    record_ids: tuple[str, ...],
    envelopes: tuple[Path, ...],
    request: Path | None,
    agencies: tuple[str, ...],
    keys: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Seal your records again, and publish them.

    They are for other agencies, or for the newest key of a recipient. Each goes as a supplement: a signed record that
    names the original and has the same sections. The original, its signature and its place stay. The rights of today's
    directory count. Your archive key opens the records. What was corrected, withdrawn or closed since, as far as this
    spool knows, is not sent.

    Stop the gateway first: only one process can use a spool.

    Exit codes: 0 every record was sent (or can be), 1 one cannot be, or waits, or the broker did not answer, 2 wrong
    settings, 130 Ctrl-C.

    Example:  case-exchange readdress send --profile shanxi.toml RECORD_ID --to hebei-police --dry-run
    """
    profile, routes = load_profile(profile_path)
    asked = request is not None
    if asked and (agencies or record_ids or envelopes):
        message = "--request says which records and for whom: give it alone"
        raise click.UsageError(message)
    if request is None and (not agencies or not (record_ids or envelopes)):
        message = "name records (RECORD_ID, --envelope) and agencies (--to), or give --request"
        raise click.UsageError(message)
    telemetry.configure("error")
    folder = keys or profile.agency.encryption_keys
    work = _Work(profile, routes, agencies, folder, dry_run=dry_run, request=request)
    rows = run_until_asked(lambda: work.run(record_ids, envelopes), profile.gateway.drain_seconds)
    good = sum(row["result"] in {"accepted", "would be sent"} for row in rows)
    if as_json:
        print_json({"records": rows, "sent": good, "not_sent": len(rows) - good})
    else:
        for row in rows:
            click.echo(f"{row['record_id']} to {', '.join(row['to'])}: {row['result']}{_detail(row)}")
        click.echo(f"{good} {'would be sent' if dry_run else 'sent'}, {len(rows) - good} not")
    sys.exit(0 if good == len(rows) else 1)


@readdress.command()
@profile_option
@click.argument("key_id", metavar="KEY_ID")
@click.option("--purpose", default=_PURPOSE, show_default=True, help="A purpose that the directory lists.")
@json_option
def ask(profile_path: Path, *, key_id: str, purpose: str, as_json: bool) -> None:
    """Ask publishers to seal records to you again.

    These are the records in quarantine/ that need a key that you lost. Each publisher gets a signed request with their
    ids. First retire the key and state another one, and wait until the directory lists it.

    Stop the gateway first: only one process can use a spool.

    Exit codes: 0 every request was sent, 1 one was refused, or waits, or there is nothing to ask for, 2 wrong settings,
    130 Ctrl-C.

    Example:  case-exchange readdress ask 3f9a12bc --profile lab.toml
    """
    if len(key_id) < _LEAST_DIGITS:
        message = f"give at least {_LEAST_DIGITS} digits of the key id (`case-exchange keys list`)"
        raise click.UsageError(message)
    profile, routes = load_profile(profile_path)
    telemetry.configure("error")
    rows = run_until_asked(lambda: _ask(profile, routes, key_id.lower(), purpose), profile.gateway.drain_seconds)
    if as_json:
        print_json({"requests": rows})
    else:
        for row in rows:
            click.echo(f"{row['publisher']}: {row['records']} records asked for: {row['result']}{_detail(row)}")
        if not rows:
            click.echo("no record in quarantine is sealed to this key")
    sys.exit(0 if rows and all(row["result"] == "accepted" for row in rows) else 1)


class _Work:
    """What ``send`` does while the edge is open."""

    def __init__(
        self,
        profile: GatewayProfile,
        routes: Mapping[str, Route],
        agencies: Sequence[str],
        keys: Path,
        *,
        dry_run: bool,
        request: Path | None,
    ) -> None:
        self._profile, self._routes, self._agencies, self._keys = profile, routes, agencies, keys
        self._dry_run, self._request = dry_run, request

    async def run(self, record_ids: Sequence[str], envelopes: Sequence[Path]) -> list[dict[str, Any]]:
        """One row for each record."""
        async with open_edge(self._profile) as edge:
            readdressing = Readdressing(edge, self._keys)
            agencies, how = self._agencies, {"dry_run": self._dry_run, "asked": self._request is not None}
            if self._request is not None:
                agencies, record_ids = await asyncio.to_thread(_asked, self._request, edge.own_files)
            made = [await readdressing.from_log(record_id, agencies, **how) for record_id in record_ids]
            for path in envelopes:
                envelope = edge.codec.decode_envelope(read_file(path, MAX_ENVELOPE_BYTES))
                made.append(await asyncio.to_thread(readdressing.readdress, envelope, agencies, **how))
            results = {} if self._dry_run else await _publish(edge, self._profile, self._routes)
        return [self._row(item, results) for item in made]

    def _row(self, item: Readdressed, results: Mapping[str, Published | CaseExchangeError]) -> dict[str, Any]:
        row = {"record_id": item.record_id, "kind": item.kind, "to": list(item.agencies)}
        if item.refusal is not None:
            return row | _told(item.refusal)
        if self._dry_run:
            return row | {"result": "would be sent"}
        return row | {"supplement": item.supplement_id} | _told(results.get(item.supplement_id))


async def _ask(profile: GatewayProfile, routes: Mapping[str, Route], key_id: str, purpose: str) -> list[dict[str, Any]]:
    async with open_edge(profile) as edge:
        quarantine = folders.Folders(profile.gateway.folder).quarantine
        found = await asyncio.to_thread(lambda: sorted(set(unreadable(edge, quarantine, key_id))))
        keys = {whole for _, _, whole in found}
        if len(keys) > 1:
            message = f"{len(keys)} keys have an id that begins like this: give more digits"
            raise InputRefused(message)
        wanted: dict[str, list[str]] = defaultdict(list)
        for publisher, record_id, _ in found:
            wanted[publisher].append(record_id)
        bodies = await asyncio.to_thread(spool_requests, edge, wanted, next(iter(keys), ""), purpose)
        results = await _publish(edge, profile, routes)
    return [
        {"publisher": agency, "record_id": body.record_id, "records": len(wanted[agency])}
        | _told(results.get(body.record_id))
        for body in bodies
        for agency in [body.recipients[0].agency]
    ]


async def _publish(
    edge: Edge, profile: GatewayProfile, routes: Mapping[str, Route]
) -> dict[str, Published | CaseExchangeError]:
    outbound = Outbound(edge, profile.gateway, routes, Limits())
    return {settled.record_id: settled.result async for settled in outbound.publishing()}


def _asked(path: Path, own: OwnFiles) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Who asks in a ReaddressRequest of the outbox, and for which records."""
    decoded = RECORD_JSON.decode(Source(own.read(path, Limits().bytes)), Limits())
    records = [item.record for item in decoded.records]
    asker = folders.sender_of(path)
    if len(records) != 1 or not isinstance(records[0], readdress_pb2.ReaddressRequest) or asker in {"", "unknown"}:
        message = "the file is not a ReaddressRequest in an outbox, with the file beside it that names its sender"
        raise InputRefused(message)
    return (asker,), tuple(records[0].record_ids)


def _told(result: Published | CaseExchangeError | None) -> dict[str, str]:
    if isinstance(result, Published):
        return {"result": "accepted", "position": str(result.statement.position)}
    if result is None:
        return {"result": "waits"}
    return {"result": "cannot be sent", "reason": result.reason, "message": result.message}


def _detail(row: Mapping[str, Any]) -> str:
    if "reason" in row:
        return f": {row['reason']}: {row['message']}"
    return f" at {row['position']}" if "position" in row else ""
