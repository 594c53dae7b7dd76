"""What recipients say that they were handed, and how it fits the log and the directory.

The operator logs what it delivers. A copy that it hands over without logging it is seen only by who gets it. So an edge
keeps, for each copy, which record it was and which sections were in it, and its agency signs the list. For each copy:

1. the log has the record, with these signed bytes. If not, and the bundle is whole: DELIVERY_UNLOGGED
2. it was addressed to the agency: DELIVERY_ASTRAY
3. the directory at the time of a logged delivery to the agency, or else when it came, let the agency have each section:
   SECTION_NOT_ALLOWED
4. the log has a delivery of it to the agency, with each of these sections: DELIVERY_UNLOGGED. A record that was
   published again may have been delivered before the log lost it, and is left out of this

If the directory declares, after the copy came, that the record's log or the audit stream lost records, then (1) and (4)
are counted in one warning: DELIVERY_LOST_DECLARED.

It is the word of the agency, which its signature binds it to. A section that it still has proves the rest: its bytes
hash to the digest in the body that the publisher signed. The clock of an agency may differ by ``SKEW_MS``: only copies
that came so long before the bundle was made are missed in the log.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from broker.core.audit.deliveries import over_delivered
from broker.core.audit.findings import error, warning
from broker.core.envelope import RECEIVED_TYPE, Signature, pae
from broker.core.errors import CaseExchangeError, ReceiptInvalid, RevocationUnavailable, SectionNotAllowed
from broker.core.streams import AUDIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from broker.core.audit.deliveries import DeliveryAudit, Terms
    from broker.core.audit.findings import EntryFacts, Finding, RecordedDelivery
    from broker.core.bundle import BundleHeader
    from broker.core.incarnations import Incarnation
    from broker.core.inforce import DirectoryVersion
    from broker.core.streams import Position

SKEW_MS: Final = 3_600_000
_UNLOGGED: Final = "DELIVERY_UNLOGGED"


class ReceivedCopy(NamedTuple):
    """One copy that came to an agency, at ``received_at_ms`` (epoch milliseconds) on its clock, with these sections.

    ``position`` is where its record stood, as the broker said.
    """

    record_id: str
    record_sha256: bytes
    position: Position
    received_at_ms: int
    sections: tuple[str, ...]


class SignedCopies(NamedTuple):
    """Copies that came to an agency: as they were serialised, and its signature over ``message()``."""

    agency: str
    copies: tuple[ReceivedCopy, ...]
    serialised: bytes
    signature: Signature

    def message(self) -> bytes:
        """The bytes that the agency signs."""
        return pae(RECEIVED_TYPE, self.serialised)


class FoundCopy(NamedTuple):
    """A copy that an agency reports, and where the bundle has its record. None: nowhere. ``same``: the same bytes."""

    agency: str
    copy: ReceivedCopy
    here: Position | None
    same: bool


class ReceivedBook(Protocol):
    """The reported copies that count. There may be very many, so it keeps them outside of memory."""

    @property
    def copies(self) -> int:
        """How many count."""

    @property
    def unproved(self) -> int:
        """How many lists were brought that do not count."""

    def meet(self, facts: Iterable[EntryFacts]) -> None:
        """Take entries of the bundle, in any order."""

    def found(self) -> Iterator[FoundCopy]:
        """Every copy."""


@dataclass(slots=True)
class ReceivedReport:
    """What became of the copies that recipients report.

    ``agreed``, ``outside``, ``wrong`` and ``lost`` add up to ``copies``. ``lost``: the log lacks something of it, and
    the directory declares a loss after it came. ``not_judged``: the bundle breaks off.
    """

    copies: int = 0
    unproved: int = 0
    agreed: int = 0
    outside: int = 0
    wrong: int = 0
    lost: int = 0
    not_judged: int = 0


def check_copies(signed: SignedCopies, versions: Sequence[DirectoryVersion], made_at_ms: int) -> None:
    """Check that an agency signed this.

    Args:
        signed: the list.
        versions: the directory versions.
        made_at_ms: when the bundle was made: a key that was revoked by then does not count.

    Raises:
        ReceiptInvalid: no directory lists a key of the agency that signed it.
    """
    for version in reversed(versions):
        try:
            certificate = version.certificates.signer(signed.signature.certificate_sha256)
            certificate.verify(signed.message(), signed.signature.value)
            # The bundle's maker chose its revocation lists. It must not make reports void by leaving one out.
            with contextlib.suppress(RevocationUnavailable):
                certificate.check_trusted(max((copy.received_at_ms for copy in signed.copies), default=0), made_at_ms)
        except CaseExchangeError:
            continue
        if certificate.agency == signed.agency:
            return
    text = "no directory lists the key for the agency that the list names"
    raise ReceiptInvalid(text)


def judge_received(
    book: ReceivedBook | None,
    header: BundleHeader,
    deliveries: DeliveryAudit,
    add: Callable[[Finding], None],
    *,
    broken_off: bool,
    declared: Sequence[Incarnation] = (),
) -> ReceivedReport | None:
    """Judge what recipients report, when the whole bundle was taken.

    Args:
        book: the reports, and what of the bundle met them. None: nothing was brought.
        header: what the bundle promises.
        deliveries: the deliveries in the bundle, and what decides about them.
        add: gets the findings.
        broken_off: the bundle breaks off, so what it lacks says nothing about the log.
        declared: the incarnations in the newest directory of the bundle.
    """
    if book is None:
        return None
    report = ReceivedReport(book.copies, book.unproved)
    if broken_off:
        report.not_judged = report.copies
        return report
    logged: dict[tuple[str, Position], list[RecordedDelivery]] = {}
    for delivery in deliveries.deliveries:
        logged.setdefault((delivery.agency, delivery.position), []).append(delivery)
    judge = _Judge(header, deliveries)
    for found in book.found():
        told = logged.get((found.agency, found.here), []) if found.here is not None else []
        verdict = judge.verdict(found, told)
        if isinstance(verdict, bool):
            report.agreed += verdict
            report.outside += not verdict
            continue
        code, what = verdict
        if code == _UNLOGGED and _may_be_lost(found, declared):
            report.lost += 1
            continue
        report.wrong += 1
        message = f"{found.agency} reports and signed: it was handed this record with {_named(found.copy)}; {what}"
        add(error(code, message, found.copy.record_id, found.here or found.copy.position))
    if report.lost:
        message = (
            f"{report.lost} copies that agencies report are not in the log, or their deliveries are not. The directory "
            "declares that records were lost after they came"
        )
        add(warning("DELIVERY_LOST_DECLARED", message))
    if report.unproved:
        message = f"{report.unproved} lists of what agencies got do not count: unreadable, or not signed by the agency"
        add(warning("DELIVERED_UNPROVED", message))
    return report


def _may_be_lost(found: FoundCopy, declared: Sequence[Incarnation]) -> bool:
    """Whether the record, or the delivery of it, may have been lost with a log, as declared after the copy came."""
    copy = found.copy
    later = [each for each in declared if copy.received_at_ms <= each.declared_at_ms + SKEW_MS]
    if found.here is not None:
        return found.same and any(each.partition.stream == AUDIT for each in later)
    place = copy.position
    return any(each.partition == place.stream_partition and each.survives <= place.offset for each in later)


class _Judge:
    def __init__(self, header: BundleHeader, deliveries: DeliveryAudit) -> None:
        self._header = header
        self._deliveries = deliveries

    def verdict(self, found: FoundCopy, told: Sequence[RecordedDelivery]) -> bool | tuple[str, str]:
        """A code and what is wrong. Or whether the copy agrees with the log; if not, it cannot be told."""
        copy, here = found.copy, found.here
        terms = None if here is None else self._deliveries.terms_of(here)
        if here is None or terms is None:
            if self._header.whole and self._is_old(copy):
                return _UNLOGGED, "and the log has no such record"
            return False
        if not found.same:
            return _UNLOGGED, "and the log has another record of this id"
        if found.agency not in terms.recipients:
            return "DELIVERY_ASTRAY", "it is not addressed to that agency"
        over = self._over(found.agency, copy, terms, told)
        if over:
            return SectionNotAllowed.reason, f"that is {over}"
        return self._is_logged(copy, here, terms, told)

    def _over(self, agency: str, copy: ReceivedCopy, terms: Terms, told: Sequence[RecordedDelivery]) -> str:
        times = [delivery.at_ms for delivery in told] or [copy.received_at_ms]
        seen = [self._deliveries.allowed(agency, terms, at_ms) for at_ms in times]
        known = [allowed for allowed in seen if allowed is not None]
        return over_delivered(set(copy.sections), frozenset[str]().union(*known) if known else None)

    def _is_logged(
        self, copy: ReceivedCopy, here: Position, terms: Terms, told: Sequence[RecordedDelivery]
    ) -> bool | tuple[str, str]:
        if told:
            names = {name for name, _ in terms.sections}
            handed = set[str]().union(*(names - set(delivery.withheld_sections) for delivery in told))
            hidden = sorted(set(copy.sections) - handed)
            return (_UNLOGGED, f"the log says that it withheld {', '.join(hidden)}") if hidden else True
        if AUDIT in self._header.streams and self._is_old(copy) and not self._deliveries.came_again(here):
            return _UNLOGGED, "and the log has no delivery of it to that agency"
        return False

    def _is_old(self, copy: ReceivedCopy) -> bool:
        """Whether it came within the period of the bundle, and so long ago that its delivery must be in it."""
        begin, until = self._header.accepted_from_ms, self._header.accepted_until_ms
        end = self._header.created_at_ms if until is None else min(until, self._header.created_at_ms)
        return (begin or 0) + SKEW_MS * (begin is not None) <= copy.received_at_ms < end - SKEW_MS


def _named(copy: ReceivedCopy) -> str:
    return f"the sections {', '.join(sorted(copy.sections))}" if copy.sections else "no section"
