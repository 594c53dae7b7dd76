"""Judge the deliveries of a bundle: whether each recipient was addressed, and might have the sections that it got.

The broker cuts each copy by the directory in force when it delivers it, and writes to the audit stream which sections
it withheld. So what it delivered is known from the body that the publisher signed:

1. the record was addressed to the agency: DELIVERY_ASTRAY
2. the directory in force at the delivery had not expired, and let the agency have the record and each section that was
   not withheld: SECTION_NOT_ALLOWED. Near a change of the directory, either version may allow it

A proof of one record hands out a copy, too (docs/adr/0051). Its publisher may have every section, and an auditor those
of its replay right. A recipient may have what a delivery may have. Anybody else may have no proof: DELIVERY_ASTRAY.

A delivery or proof of a record that the bundle does not have cannot be judged. That is no fault of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from broker.core.audit.findings import error
from broker.core.body import Recipient, Routing, SectionDescriptor
from broker.core.errors import CaseExchangeError, SectionNotAllowed
from broker.core.inforce import CHANGE_OF_DIRECTORY_MS, versions_at
from broker.core.policy import ANY, may_replay, replay_sections, visible_sections

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.core.audit.findings import EntryFacts, Finding, RecordedDelivery
    from broker.core.inforce import DirectoryVersion
    from broker.core.streams import Position


class Terms(NamedTuple):
    """What decides who may have what of a record. Records of one kind have few different ones, so they are shared."""

    kind: str
    publisher: str
    recipients: tuple[str, ...]
    sections: tuple[tuple[str, frozenset[str]], ...]

    def routing(self) -> Routing:
        """As policy takes it."""
        sections = tuple(SectionDescriptor(name, "", b"", audience) for name, audience in self.sections)
        recipients = tuple(Recipient(agency, 1) for agency in self.recipients)
        return Routing("", self.kind, "", self.publisher, recipients, sections)


class DeliveryAudit:
    """Takes the facts of a bundle's entries and its deliveries, in any order.

    Args:
        versions: the directory versions, in the order in which they came into force. Without any, only (1) is checked.
    """

    def __init__(self, versions: Sequence[DirectoryVersion]) -> None:
        self._versions = versions
        self._known: dict[Terms, Terms] = {}
        self._terms: dict[Position, Terms] = {}
        self._deliveries: list[RecordedDelivery] = []
        self._proofs: list[RecordedDelivery] = []
        self._allowed: dict[tuple[int, str, Terms], frozenset[str] | None] = {}
        self._again: set[Position] = set()

    def take_record(self, facts: EntryFacts) -> None:
        """Take what decides about the deliveries of one record."""
        recipients = tuple(agency for agency, _ in facts.recipients)
        terms = Terms(facts.kind, facts.publisher, recipients, facts.sections)
        self._terms[facts.position] = self._known.setdefault(terms, terms)
        if facts.again:
            self._again.add(facts.position)

    def take(self, deliveries: Sequence[RecordedDelivery]) -> None:
        """Take deliveries."""
        self._deliveries += deliveries

    def take_proofs(self, proofs: Sequence[RecordedDelivery]) -> None:
        """Take proofs that were handed out."""
        self._proofs += proofs

    @property
    def deliveries(self) -> Sequence[RecordedDelivery]:
        """The deliveries so far."""
        return self._deliveries

    def came_again(self, position: Position) -> bool:
        """Whether the record at a position was published again, after the log had lost it."""
        return position in self._again

    def terms_of(self, position: Position) -> Terms | None:
        """What decides about the record at a position. None: the bundle does not have it."""
        return self._terms.get(position)

    def allowed(self, agency: str, terms: Terms, at_ms: int) -> frozenset[str] | None:
        """The sections that an agency might have of such a record at a time. None: it might not have the record."""
        found: frozenset[str] | None = None
        for version in self._valid(at_ms):
            key = (version.directory.version, agency, terms)
            if key not in self._allowed:
                self._allowed[key] = _visible(version, agency, terms)
            visible = self._allowed[key]
            if visible is not None:
                found = visible if found is None else found | visible
        return found

    def findings(self) -> Iterator[Finding]:
        """What is wrong with the deliveries, in the order in which they are told, and then with the proofs."""
        for delivery in self._deliveries:
            terms = self._terms.get(delivery.position)
            if terms is None:
                continue
            if delivery.agency not in terms.recipients:
                message = f"the record at {delivery.position} was delivered to {delivery.agency}, not addressed by it"
                yield error("DELIVERY_ASTRAY", message, position=delivery.told_at)
            elif self._versions and (over := self._over(delivery, terms)):
                message = f"the record at {delivery.position} was delivered to {delivery.agency} with {over}"
                yield error(SectionNotAllowed.reason, message, position=delivery.told_at)

        for proof in self._proofs if self._versions else ():
            terms = self._terms.get(proof.position)
            if terms is not None and (found := self._proof(proof, terms)):
                yield found

    def _proof(self, proof: RecordedDelivery, terms: Terms) -> Finding | None:
        """What is wrong with a proof. The directory says who is an auditor, so without one nothing can be told."""
        agency = proof.agency
        if agency == terms.publisher:
            return None
        allowed = self.allowed(agency, terms, proof.at_ms)
        read = self._replayed(proof)
        if read is None and agency not in terms.recipients:
            message = f"a proof of the record at {proof.position} was handed to {agency}, no party and no auditor of it"
            return error("DELIVERY_ASTRAY", message, position=proof.told_at)
        if read is not None:
            allowed = read if allowed is None else allowed | read
        handed = _handed(proof, terms)
        over = "" if read is not None and ANY in read else over_delivered(handed, allowed)
        if not over:
            return None
        message = f"a proof of the record at {proof.position} was handed to {agency} with {over}"
        return error(SectionNotAllowed.reason, message, position=proof.told_at)

    def _replayed(self, proof: RecordedDelivery) -> frozenset[str] | None:
        """The sections, or ``ANY``, that the agency might replay at the time. None: it might not replay the stream."""
        agency, stream = proof.agency, proof.position.stream
        valid = [
            version.directory for version in self._valid(proof.at_ms) if may_replay(version.directory, agency, stream)
        ]
        return frozenset[str]().union(*(replay_sections(each, agency, stream) for each in valid)) if valid else None

    def _valid(self, at_ms: int) -> Iterator[DirectoryVersion]:
        """The versions that might be in force at a time, and had not expired."""
        for version in versions_at(self._versions, at_ms):
            if at_ms < version.directory.expires_at_ms + CHANGE_OF_DIRECTORY_MS:
                yield version

    def _over(self, delivery: RecordedDelivery, terms: Terms) -> str:
        """What was delivered that was not allowed, in words. Empty: nothing."""
        return over_delivered(_handed(delivery, terms), self.allowed(delivery.agency, terms, delivery.at_ms))


def _handed(made: RecordedDelivery, terms: Terms) -> set[str]:
    return {name for name, _ in terms.sections} - set(made.withheld_sections)


def over_delivered(handed: set[str], allowed: frozenset[str] | None) -> str:
    """The sections that an agency got and might not have, in words. Empty: there are none."""
    if allowed is None:
        return "everything in it: the directory in force then did not let it have the record"
    over = sorted(handed - allowed)
    names = f"the section {over[0]}" if len(over) == 1 else f"the sections {', '.join(over)}"
    return f"{names}, which the directory in force then did not let it have" if over else ""


def _visible(version: DirectoryVersion, agency: str, terms: Terms) -> frozenset[str] | None:
    try:
        return visible_sections(version.directory, agency, terms.routing())
    except CaseExchangeError:
        # The directory does not list the agency.
        return None
