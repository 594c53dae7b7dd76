"""Check what clients saw against what the exchange guarantees. Pure: it takes a history and bundles, and gives faults.

The analyses are those of Jepsen's test of Kafka (lost writes, duplicates, reordered and inconsistent reads), for
receipts, deliveries and checkpoints.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from tests.scenarios.torture.history import LEASE_LOST
from tests.scenarios.torture.signed import forked, inconsistent, shrinking, uncovered

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from broker.core.receipt import ReceiptStatement
    from broker.core.streams import StreamPartition
    from tests.scenarios.torture.evidence import Bundle, InLog
    from tests.scenarios.torture.history import Ack, Back, Delivery, History, Phase, Received, Root, Sent

_OWN_LINES = ("{", "case-exchange: ")
_SHOWN = 5
"""The limit for examples of one kind of violation."""
_FEWER = 3.0
_SLOWER = 3.0
_SLOWER_SECONDS = 0.3
"""Without witnesses there may be this many times fewer receipts, and half of them may take this many times and seconds
longer. On a busy machine two equal phases differ. Receipts that waited for witnesses would wait for seconds."""


class Violation(NamedTuple):
    """A guarantee that did not hold."""

    guarantee: str
    what: str


def violations(history: History, bundles: Sequence[Bundle], logs: Mapping[str, Sequence[str]]) -> list[Violation]:
    """Everything that is wrong, a few examples of each kind. ``logs``: the lines of each broker's log."""
    found: list[Violation] = []
    for guarantee, examples in _checks(history, bundles, logs):
        told = list(examples)
        found += [Violation(guarantee, what) for what in told[:_SHOWN]]
        if len(told) > _SHOWN:
            found.append(Violation(guarantee, f"and {len(told) - _SHOWN} more"))
    return found


def _checks(
    history: History, bundles: Sequence[Bundle], logs: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, Iterable[str]]]:
    receipted = history.receipted()
    yield "no good record is refused", (str(refused) for refused in history.refused)
    yield "receipts of one record agree", disagreeing(history.received)
    yield "an acknowledged order is kept", out_of_real_order(history.sent, history.received)
    for bundle in bundles:
        yield f"{bundle.source}: the bundle verifies", unclean(bundle)
        yield f"{bundle.source}: nothing stands astray", (f"{s.position} {s.reason}" for s in bundle.strays)
        yield f"{bundle.source}: receipted records are there, once", not_there(receipted, history.sent, bundle.records)
    yield "bundles agree", differing(bundles)
    yield "receipted records are delivered", undelivered(receipted, history.deliveries)
    unprocessed = bundles[-1].unprocessed
    yield "receipted records are processed, refused or dead letters", unfinished(receipted, history.acks, unprocessed)
    yield "auditors know of every refusal", untold(history.confirmed, unprocessed)
    yield "deliveries are of what was published", altered(history.sent, receipted, history.deliveries)
    yield "each case is delivered in order", disordered(history.deliveries)
    yield "a confirmed acknowledgement is final", confirmed_twice(history.confirmed)
    yield "one root for each size", forked(history.roots)
    yield "checkpoints are of the final tree", inconsistent(history.roots, bundles[-1].leaves)
    yield "the final tree has all that was signed", uncovered(history.roots, bundles[-1])
    yield "a broker's checkpoints only grow", shrinking(history.roots)
    yield "absent witnesses delay no receipt", delayed(history)
    yield "a witness that is back cosigns again", idle(history.back, history.roots)
    yield "every exception is handled", unhandled(logs)


def unhandled(logs: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Lines of a broker's log that it did not write itself: Python wrote them, of an exception that nobody handled."""
    for broker, lines in logs.items():
        yield from (f"{broker}: {line}" for line in lines if line.strip() and not line.startswith(_OWN_LINES))


def disagreeing(received: Sequence[Received]) -> Iterator[str]:
    """Records with two receipts that differ."""
    first: dict[str, ReceiptStatement] = {}
    for receipt in received:
        statement = receipt.statement
        if first.setdefault(statement.record_id, statement) != statement:
            yield f"{first[statement.record_id]} and then {receipt}"
    at = Counter(statement.position for statement in first.values())
    yield from (f"{count} records have receipts for {position}" for position, count in at.items() if count > 1)


def out_of_real_order(sent: Mapping[str, Sent], received: Sequence[Received]) -> Iterator[str]:
    """Records that come before others that had a receipt before the first were even sent."""
    known = {receipt.statement.record_id: receipt for receipt in reversed(received)}
    by_partition: dict[StreamPartition, list[Received]] = defaultdict(list)
    for receipt in known.values():
        by_partition[receipt.statement.position.stream_partition].append(receipt)
    for receipts in by_partition.values():
        answered = sorted(receipts, key=lambda receipt: receipt.at)
        highest, place = -1, 0
        for item in sorted(receipts, key=lambda receipt: sent[receipt.statement.record_id].at):
            while answered[place].at < sent[item.statement.record_id].at:
                highest = max(highest, answered[place].statement.position.offset)
                place += 1
            if item.statement.position.offset <= highest:
                yield f"{item} stands before {highest}, which had its receipt before this was sent"


def unclean(bundle: Bundle) -> Iterator[str]:
    """The findings of ``verify``."""
    if bundle.exit_code != 0:
        yield f"exit code {bundle.exit_code}"
    for finding in bundle.findings:
        # Every record got its receipt in the end, so there must not even be a gap in the publishers' numbers.
        yield f"{finding['severity']} {finding['code']} {finding.get('position', '')} {finding['message']}"


def not_there(
    receipted: Mapping[str, ReceiptStatement], sent: Mapping[str, Sent], records: Sequence[InLog]
) -> Iterator[str]:
    """Receipted records that are missing, elsewhere, changed, or there more than once; and records that nobody sent."""
    places: dict[str, list[InLog]] = defaultdict(list)
    for record in records:
        places[record.record_id].append(record)
    for record_id, statement in receipted.items():
        found = places.get(record_id, [])
        if [(r.position, r.accepted_at_ms, r.body) for r in found] != [
            (statement.position, statement.accepted_at_ms, sent[record_id].body)
        ]:
            stands = [(str(record.position), record.accepted_at_ms) for record in found]
            yield f"{record_id} has a receipt for {statement.position} {statement.accepted_at_ms}, and stands {stands}"
    for record_id, found in places.items():
        if len(found) > 1:
            yield f"{record_id} stands at {[str(record.position) for record in found]}"
        if found[0].position.stream == "dna" and record_id not in sent:
            yield f"{record_id} was never sent"


def differing(bundles: Sequence[Bundle]) -> Iterator[str]:
    """Bundles that are not a prefix of the last one."""
    last = bundles[-1]
    for bundle in bundles[:-1]:
        for partition, leaves in bundle.leaves.items():
            if last.leaves[partition][: len(leaves)] != leaves:
                yield f"{bundle.source} and {last.source} have different trees of {partition}"


def undelivered(receipted: Mapping[str, ReceiptStatement], deliveries: Sequence[Delivery]) -> Iterator[str]:
    """Receipted records that no subscriber ever got."""
    got = {delivery.record_id for delivery in deliveries}
    return (f"{record_id} at {s.position}" for record_id, s in receipted.items() if record_id not in got)


def unacknowledged(receipted: Mapping[str, ReceiptStatement], acks: Sequence[Ack]) -> Iterator[str]:
    """Receipted records that were not delivered again though every acknowledgement of them surely failed.

    One with an unknown outcome may hold. Then the record is finished, as the subscriber wanted.
    """
    done = {ack.delivery.record_id for ack in acks if ack.outcome != LEASE_LOST}
    return (f"{record_id} at {s.position}" for record_id, s in receipted.items() if record_id not in done)


def unfinished(
    receipted: Mapping[str, ReceiptStatement], acks: Sequence[Ack], unprocessed: Mapping[str, set[str]]
) -> Iterator[str]:
    """Receipted records that nobody has acknowledged, and that are no dead letters either."""
    for told in unacknowledged(receipted, acks):
        _, _, position = told.partition(" at ")
        if "" not in unprocessed.get(position, ()):
            yield told


def untold(confirmed: Sequence[Ack], unprocessed: Mapping[str, set[str]]) -> Iterator[str]:
    """Confirmed refusals that are not in the audit stream with their code."""
    for item in confirmed:
        if item.refused and item.refused not in unprocessed.get(str(item.delivery.position), ()):
            yield f"{item.delivery.position} was refused with {item.refused} at {item.at:.2f} s"


def altered(
    sent: Mapping[str, Sent], receipted: Mapping[str, ReceiptStatement], deliveries: Sequence[Delivery]
) -> Iterator[str]:
    """Deliveries that differ from what was sent, or from the place in the receipt."""
    for delivery in deliveries:
        original = sent.get(delivery.record_id)
        statement = receipted.get(delivery.record_id)
        if original is None or original.body != delivery.body:
            yield f"{delivery.record_id} at {delivery.position} is not what was sent"
        if statement is not None and statement.position != delivery.position:
            yield f"{delivery.record_id} came from {delivery.position}, its receipt says {statement.position}"


def disordered(deliveries: Sequence[Delivery]) -> Iterator[str]:
    """First deliveries that came after one of a later record of the same case."""
    seen: set[str] = set()
    highest: dict[str, Delivery] = {}
    for delivery in deliveries:
        if delivery.record_id in seen:
            continue
        seen.add(delivery.record_id)
        before = highest.get(delivery.case_id)
        if before is not None and before.position.offset > delivery.position.offset:
            yield (
                f"{delivery.position} came first at {delivery.at:.2f} s from {delivery.broker}, "
                f"after {before.position} of the same case at {before.at:.2f} s from {before.broker}"
            )
        else:
            highest[delivery.case_id] = delivery


def confirmed_twice(confirmed: Sequence[Ack]) -> Iterator[str]:
    """Records with two acknowledged deliveries, if both acknowledgements were confirmed.

    An acknowledgement is confirmed after it is committed. The next reader of the partition begins with what was
    committed, and the previous reader can commit no more. So a second confirmation means that the first was undone.
    """
    first: dict[str, Ack] = {}
    for item in confirmed:
        before = first.setdefault(item.delivery.record_id, item)
        if before is not item:
            yield f"{item.delivery.position}: {_told(before)} and {_told(item)}"


def _told(item: Ack) -> str:
    delivery = item.delivery
    return (
        f"delivered at {delivery.at:.2f} s by {delivery.broker} (attempt {delivery.attempt}), "
        f"confirmed at {item.at:.2f} s"
    )


def delayed(history: History) -> Iterator[str]:
    """Receipts that came late or not at all while only the witnesses were away."""
    usual, without = (waits(history.received, phase) for phase in (history.undisturbed, history.without_witnesses))
    rates = [
        len(waits) / max(phase.end - phase.begin, 0.1)
        for waits, phase in ((usual, history.undisturbed), (without, history.without_witnesses))
    ]
    if not usual:
        # Then nothing was measured. The run says so itself if it should have been.
        return
    if rates[1] < rates[0] / _FEWER:
        yield f"{rates[1]:.1f} receipts a second without witnesses, and {rates[0]:.1f} with them"
    elif median(without) > _SLOWER * median(usual) + _SLOWER_SECONDS:
        yield f"half of the receipts took {median(without):.2f} s without witnesses, {median(usual):.2f} s with them"


def waits(received: Sequence[Received], phase: Phase) -> list[float]:
    """How long the receipts took that came in a phase."""
    return [item.at - item.asked_at for item in received if phase.begin <= item.asked_at and item.at < phase.end]


def idle(back: Sequence[Back], roots: Sequence[Root]) -> Iterator[str]:
    """Witnesses that were never seen to cosign anything more after they were back."""
    for witness, at in back:
        before = {root.partition: root.size for root in roots if root.source == witness and root.at <= at}
        after = [root for root in roots if root.source == witness and root.at > at]
        if not any(root.size > before.get(root.partition, 0) for root in after):
            yield f"{witness} was back at {at:.1f} s"
