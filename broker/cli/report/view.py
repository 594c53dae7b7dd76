"""What a report says, in the order of its page: plain facts and words, before they become markup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from broker.cli.fatetext import fate
from broker.cli.hideable import hideable
from broker.cli.outcome import Outcome, outcome
from broker.cli.proofreport import proof_limits
from broker.cli.report.plaintext import plain
from broker.cli.report.repeat import FileNames, steps
from broker.core.audit.findings import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from broker.bootstrap.reportfacts import CheckedSignature, ReportFacts
    from broker.cli.report.repeat import Step
    from broker.cli.report.words import Explanation, Words
    from broker.core.audit.findings import Finding, FinishedLater, Unprocessed
    from broker.core.audit.report import AuditReport, PartitionReport

_BEIJING_MS: Final = 8 * 3_600_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CYCLE_YEARS: Final = 400
_CYCLE_MS: Final = 146_097 * 86_400_000
"""After so many years the calendar begins again. Python's own calendar ends with the year 9999."""
MAX_ROWS: Final = 100
"""The limit for the rows of each list of what is not wrong. ``verify --json`` has all."""
MAX_PARTITIONS: Final = 1000
_SOUND: Final = frozenset({Outcome.SOUND, Outcome.SOUND_PART})
_UNUSABLE: Final = frozenset({Outcome.DAMAGED, Outcome.BROKEN_OFF, Outcome.UNSOUND_BUNDLE})
_OPEN: Final = frozenset({Outcome.TOO_MANY, Outcome.UNCONFIRMED, Outcome.SHOWS_LESS})


class Times(NamedTuple):
    """One time, in two zones."""

    utc: str
    beijing: str


def times(ms: int) -> Times:
    """A time (milliseconds since the Unix epoch, any number) to the second, in UTC and in Beijing."""
    return Times(_calendar(ms), _calendar(ms + _BEIJING_MS))


def _calendar(ms: int) -> str:
    cycles, rest = divmod(ms, _CYCLE_MS)
    moment = _EPOCH + timedelta(milliseconds=rest)
    return f"{moment.year + _CYCLE_YEARS * cycles:04}-{moment:%m-%d %H:%M:%S}"


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
        self.names = FileNames(facts)
        self.errors = sum(finding.severity is Severity.ERROR for finding in report.findings)
        self.warnings = len(report.findings) - self.errors

    @property
    def outcome(self) -> str:
        """The key of the words for what the verification comes to."""
        return outcome(self.report).value if self.report.proved is None else "proved"

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
    def partitions(self) -> Sequence[PartitionReport]:
        """The parts of the log, up to ``MAX_PARTITIONS``."""
        return self.report.partitions[:MAX_PARTITIONS]

    @property
    def cosignatures(self) -> list[CheckedSignature]:
        """The signatures of witnesses."""
        return [one for one in self.facts.signatures if one.time_s is not None]

    @property
    def witnesses(self) -> list[tuple[str, str, str]]:
        """Each witness that has signed: its name, and the id and the key in hexadecimal. Two may have the same id."""
        return list(dict.fromkeys((one.name, one.key_id, one.public_key.hex()) for one in self.cosignatures))

    @property
    def hidden(self) -> list[str]:
        """What an operator could have hidden, given what was brought. Of a proof of one record, what it leaves open."""
        if self.report.header.proved_record:
            return [self.words.texts[f"unsaid_{what}"] for what in proof_limits(self.report)]
        return [self.words.texts[f"hide_{item.what}"].format(number=item.number) for item in hideable(self.report)]

    @property
    def steps(self) -> list[Step]:
        """How to repeat the verification."""
        return list(steps(self.facts, self.names))

    def _row(self, finding: Finding) -> Row:
        compared = tuple((self.words.texts[item.stated.value], item.value) for item in finding.compared)
        position = "" if finding.position is None else str(finding.position)
        return Row(position, finding.record_id, plain(finding.message), compared)

    def _ended(self, item: Unprocessed | FinishedLater) -> tuple[str, ...]:
        what, code = fate(item)
        return (item.agency, item.subscription, str(item.position), self.words.texts[what].format(code=plain(code)))

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
