"""What a report says, in the order of its page: plain facts and words, before they become markup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.cli.hideable import hideable
from broker.cli.outcome import Outcome, outcome
from broker.cli.report.plaintext import plain
from broker.cli.report.repeat import steps
from broker.core.findings import FinishedLater, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from broker.bootstrap.reportfacts import ReportFacts
    from broker.cli.report.repeat import Step
    from broker.cli.report.words import Explanation, Words
    from broker.core.auditreport import AuditReport
    from broker.core.findings import Finding, Unprocessed

BEIJING: Final = timezone(timedelta(hours=8))
MAX_ROWS: Final = 100
"""The limit for the rows of each list of what is not wrong. ``verify --json`` has all."""
_SOUND: Final = frozenset({Outcome.SOUND, Outcome.SOUND_PART})
_UNUSABLE: Final = frozenset({Outcome.DAMAGED, Outcome.BROKEN_OFF, Outcome.UNSOUND_BUNDLE})
_OPEN: Final = frozenset({Outcome.TOO_MANY, Outcome.UNCONFIRMED, Outcome.SHOWS_LESS})


class Times(NamedTuple):
    """One time, in two zones."""

    utc: str
    beijing: str


def times(ms: int) -> Times:
    """A time (milliseconds since the Unix epoch) to the second, in UTC and in Beijing."""
    utc = datetime.fromtimestamp(ms / 1000, UTC)
    return Times(*(f"{utc.astimezone(zone):%Y-%m-%d %H:%M:%S}" for zone in (UTC, BEIJING)))


class Row(NamedTuple):
    """One finding of a code. ``compared`` has what contradicts what, each with its words."""

    position: str
    record_id: str
    message: str
    compared: tuple[tuple[str, str], ...]


class Group(NamedTuple):
    """All findings of one code and severity."""

    code: str
    error: bool
    explanation: Explanation
    rows: tuple[Row, ...]


class Listing(NamedTuple):
    """A list of something that is not wrong: the key of its words, the heads of its columns, and its first rows."""

    what: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    number: int


class View:
    """What the page says about one verification."""

    def __init__(self, report: AuditReport, facts: ReportFacts, words: Words, made_at_ms: int, program: str) -> None:
        self.report = report
        self.facts = facts
        self.words = words
        self.made_at = times(made_at_ms)
        self.program = program
        self.errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
        self.warnings = len(report.findings) - self.errors

    @property
    def outcome(self) -> str:
        """The key of the words for what the verification comes to."""
        return outcome(self.report).value

    @property
    def colour(self) -> str:
        """``sound``, ``unusable``, ``open`` or ``wrong``."""
        found = outcome(self.report)
        colours = {"sound": _SOUND, "unusable": _UNUSABLE, "open": _OPEN}
        return next((colour for colour, of in colours.items() if found in of), "wrong")

    @property
    def groups(self) -> list[Group]:
        """The findings by code, errors first, each in the order of its first finding."""
        grouped: dict[tuple[bool, str], list[Row]] = {}
        for finding in sorted(self.report.findings, key=lambda item: item.severity is not Severity.ERROR):
            key = (finding.severity is Severity.ERROR, finding.code)
            grouped.setdefault(key, []).append(self._row(finding))
        return [
            Group(code, error, self.words.explanation(code), tuple(rows)) for (error, code), rows in grouped.items()
        ]

    @property
    def listings(self) -> list[Listing]:
        """What is not wrong, and should be known."""
        report, texts = self.report, self.words.texts
        agency, subscription, position = texts["agency"], texts["subscription"], texts["position"]
        ended = (agency, subscription, position, texts["fate"])
        again = (texts["record"], position, texts["former"])
        order = (agency, subscription, texts["order"], texts["told_at"])
        found = (
            Listing("unprocessed", ended, _first(map(self._ended, report.unprocessed)), len(report.unprocessed)),
            Listing("void", ended, _first(map(self._ended, report.void)), len(report.void)),
            Listing("republished", again, _first(self._again()), len(report.republished)),
            Listing("skipped", order, _first(self._skipped()), len(report.skipped)),
        )
        return [listing for listing in found if listing.number]

    @property
    def hidden(self) -> list[str]:
        """What an operator could have hidden, given what was brought."""
        return [self.words.texts[f"hide_{item.what}"].format(number=item.number) for item in hideable(self.report)]

    @property
    def steps(self) -> list[Step]:
        """How to repeat the verification."""
        return list(steps(self.facts))

    def _row(self, finding: Finding) -> Row:
        compared = tuple((self.words.texts[item.stated.value], item.value) for item in finding.compared)
        position = "" if finding.position is None else str(finding.position)
        return Row(position, finding.record_id, plain(finding.message), compared)

    def _ended(self, item: Unprocessed | FinishedLater) -> tuple[str, ...]:
        return (item.agency, item.subscription, str(item.position), self._fate(item))

    def _fate(self, item: Unprocessed | FinishedLater) -> str:
        texts = self.words.texts
        if isinstance(item, FinishedLater):
            return texts["finished"]
        for what, code in (("refused", item.refused), ("discarded", item.discarded)):
            if code:
                return texts[what].format(code=plain(code))
        if item.parked:
            return texts["parked"]
        return texts["set_aside"].format(code=plain(item.reason)) if item.reason else texts["dead_letter"]

    def _again(self) -> Iterator[tuple[str, ...]]:
        for item in self.report.republished:
            yield (
                item.record_id,
                str(item.position),
                f"{item.former_position}, {times(item.former_accepted_at_ms).utc} UTC",
            )

    def _skipped(self) -> Iterator[tuple[str, ...]]:
        for item in self.report.skipped:
            what = self.words.texts["order_records"].format(number=item.records, first=f"{item.partition}/{item.first}")
            yield item.agency, item.subscription, f"{plain(item.order)}: {what}", str(item.told_at)


def _first(rows: Iterable[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
    kept: Sequence[tuple[str, ...]] = [row for row, _ in zip(rows, range(MAX_ROWS), strict=False)]
    return tuple(kept)
