"""What clients saw in a run: only facts, noted when they become known. Times are seconds since the run began."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import click

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.receipt import ReceiptStatement
    from broker.core.streams import Position, StreamPartition

CONFIRMED: Final = "CONFIRMED"
LEASE_LOST: Final = "LEASE_LOST"


def wall(at_ms: int) -> str:
    """A time as the processes' logs have it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")


class Sent(NamedTuple):
    """A record that a publisher has made, and when it was sent for the first time."""

    record_id: str
    body: bytes
    case_id: str
    at: float


class Received(NamedTuple):
    """A verified receipt, and when the call began that brought it."""

    statement: ReceiptStatement
    broker: str
    at: float
    asked_at: float = 0.0


class Refused(NamedTuple):
    """An answer to a good record that forbids to send it again unchanged. There should be none."""

    record_id: str
    reason: str
    broker: str
    at: float


class Delivery(NamedTuple):
    """A record came over a stream of the subscription."""

    position: Position
    record_id: str
    body: bytes
    case_id: str
    attempt: int
    delivery_id: int
    broker: str
    at: float


class Ack(NamedTuple):
    """The outcome of an acknowledgement: ``CONFIRMED``, ``LEASE_LOST``, or why it is unknown.

    ``refused`` is the code of a refusal. It is empty if the record was processed.
    """

    delivery: Delivery
    outcome: str
    sent_at: float
    at: float
    refused: str = ""


class Root(NamedTuple):
    """A signed checkpoint, and where and when it was seen.

    ``signed_at_ms`` is 0 if the place does not tell. The topic of the checkpoints tells it, and has them all.
    """

    partition: StreamPartition
    size: int
    root: bytes
    source: str
    at: float
    note: bytes = b""
    signed_at_ms: int = 0


class Fault(NamedTuple):
    """A fault that hit a process, or something that the process did by itself."""

    what: str
    at: float


class Phase(NamedTuple):
    """A time of the run."""

    begin: float
    end: float


NO_PHASE: Final = Phase(0.0, 0.0)


class Back(NamedTuple):
    """A witness that was away is back."""

    witness: str
    at: float


@dataclass
class History:
    """All facts of one run."""

    began: float = field(default_factory=time.monotonic)
    began_at_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    """The same in the time of the processes' logs and of the signed times."""
    sent: dict[str, Sent] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    acks: list[Ack] = field(default_factory=list)
    roots: list[Root] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)
    cosigned: dict[tuple[str, StreamPartition], Root] = field(default_factory=dict)
    """The newest cosigned checkpoint that was seen, by who gave it. All of them are roots too."""
    back: list[Back] = field(default_factory=list)
    undisturbed: Phase = NO_PHASE
    without_witnesses: Phase = NO_PHASE
    """Before the faults begin: a time when nothing happens, and one when only the witnesses are away."""

    @property
    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def fault(self, what: str) -> None:
        """Note what was done, and print it."""
        self.faults.append(Fault(what, self.now))
        self.say(what)

    @property
    def confirmed(self) -> list[Ack]:
        """The acknowledgements that a broker confirmed."""
        return [ack for ack in self.acks if ack.outcome == CONFIRMED]

    def say(self, what: str) -> None:
        """Print a line for whoever watches the run."""
        click.echo(f"{self.now:7.1f} s  {what}")

    def failed(self, call: str, reason: str) -> None:
        """Count a failed call. Calls may fail while processes are killed."""
        key = f"{call} {reason}"
        self.failures[key] = self.failures.get(key, 0) + 1

    def dump(self, path: Path) -> None:
        """Write all facts, one in each line, so that a violation can be examined afterwards."""
        facts = [self.sent.values(), self.received, self.refused, self.deliveries, self.acks, self.roots, self.faults]
        began = f"the run began at {wall(self.began_at_ms)}\n"
        path.write_text(began + "".join(f"{fact}\n" for kind in facts for fact in kind))

    def receipted(self) -> dict[str, ReceiptStatement]:
        """The first statement about each record that has a receipt."""
        statements: dict[str, ReceiptStatement] = {}
        for receipt in self.received:
            statements.setdefault(receipt.statement.record_id, receipt.statement)
        return statements
