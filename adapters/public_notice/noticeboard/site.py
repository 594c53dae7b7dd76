"""The whole site as files in memory: a pure function of the notice board. What is not on it has no file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from adapters.base import Issue, IssueList
from adapters.public_notice import facts
from adapters.public_notice.cap.write import MEDIA_TYPE as CAP
from adapters.public_notice.cap.write import Message, Reference, Resource, can_name, cap_document, sender_of
from adapters.public_notice.defects import without_failing
from adapters.public_notice.noticeboard.atom import Feed, FeedEntry, Link, atom_feed
from adapters.public_notice.noticeboard.frame import Settings, lost, welcome
from adapters.public_notice.noticeboard.icon import icon
from adapters.public_notice.noticeboard.pages import Entry, Shot, help_page, list_pages, notice_page
from adapters.public_notice.picture import MEDIA_TYPE, clean_picture
from adapters.public_notice.words import WORDS
from adapters.records.publicity import for_the_public
from adapters.values.pictures import photo_name
from caseexchange.records.v1 import notice_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from adapters.public_notice.history import NoticeBoard, Standing

STYLE: Final = Path(__file__).parent / "style.css"


class Site(NamedTuple):
    """Files by path, the number of notices in them, issues that somebody should look at, and notices for other formats.

    ``notices``: each as the public may see it, with pictures by their address. If a notice is gone: its withdrawal.
    """

    files: dict[str, bytes]
    shown: int
    issues: tuple[Issue, ...]
    notices: tuple[notice_pb2.PublicNotice, ...]


def make_site(board: NoticeBoard, settings: Settings) -> Site:
    """The site of a notice board. A notice on which this program fails is left out, with an issue ADAPTER_FAILED."""
    issues = IssueList()

    def failed(standing: Standing, defect: Exception) -> None:
        message = f"the program failed on this notice, and it is left out: {type(defect).__name__}"
        issues.reject_record("ADAPTER_FAILED", standing.current.record_id, message)

    made = without_failing((*board.shown, *board.gone), lambda standings: _make(standings, settings), failed)
    return made._replace(issues=(*board.issues, *issues.items, *made.issues))


def _make(standings: Sequence[Standing], settings: Settings) -> Site:
    maker = _Maker(settings)
    gone = [standing for standing in standings if standing.end is not None]
    shown = (standing for standing in standings if standing.end is None)
    entries = [entry for standing in shown if (entry := maker.entry(standing)) is not None]
    maker.write_pages(entries)
    maker.write_alerts(entries, gone)
    maker.write_feeds(entries, gone)
    notices = (*map(maker.public_copy, entries), *map(_withdrawal, gone))
    return Site(maker.files, len(entries), tuple(maker.issues.items), notices)


class _Maker:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.issues = IssueList()
        self.files: dict[str, bytes] = {"style.css": STYLE.read_bytes(), "icon.png": icon()}

    def entry(self, standing: Standing) -> Entry | None:
        """A notice with its pictures, or None if its own text must not be public."""
        notice, where = standing.current.notice, standing.current.record_id
        code = facts.must_not_be_public(notice)
        if code is not None:
            self.issues.reject_record(code, where, "the notice's text has something that must not be published")
            return None
        shots: list[Shot] = []
        for number, photo in enumerate(notice.photos):
            if not photo.content:
                self.issues.warn("PICTURE_ELSEWHERE", where, "a picture that has only an address is left out")
                continue
            picture = clean_picture(photo.content)
            if isinstance(picture, str):
                self.issues.reject_record(picture, f"{where}, photos[{number}]", "the picture is left out")
                continue
            name = photo_name(picture.content, MEDIA_TYPE)
            self.files[f"photos/{name}"] = picture.content
            shots.append(Shot(name, picture.width, picture.height))
        return Entry(standing, for_the_public(notice, where, self.issues), tuple(shots))

    def write_pages(self, entries: list[Entry]) -> None:
        """The pages in both languages."""
        self.files["index.html"] = welcome(self._settings, len(entries))
        self.files["404.html"] = lost(self._settings)
        self.files["robots.txt"] = b"User-agent: *\nDisallow: /photos/\n"
        for words in (WORDS[language] for language in facts.LANGUAGES):
            pages = list_pages(self._settings, words, entries)
            pages["help.html"] = help_page(self._settings, words)
            pages |= {entry.path: notice_page(self._settings, words, entry) for entry in entries}
            self.files |= {f"{words.folder}/{path}": content for path, content in pages.items()}

    def write_alerts(self, entries: list[Entry], gone: Iterable[Standing]) -> None:
        """The newest CAP message of each notice. For a notice that is gone: a cancellation without its content."""
        for entry in entries:
            references = _references(entry.standing)
            if references is None:
                self.issues.warn("CAP_SENDER", entry.standing.current.record_id, "the notice has no CAP sender")
                continue
            resources = [self._resource(shot) for shot in entry.shots]
            message = Message(
                references[-1],
                entry.notice,
                entry.standing.notice_id,
                references[:-1],
                tuple(resources),
                f"{self._settings.url}{WORDS['zh-CN'].folder}/{entry.path}" if self._settings.url else "",
                self._settings.exercise,
            )
            self.files[_alert_path(entry.standing.current.record_id)] = cap_document(message)
        for standing in gone:
            references = _references(standing)
            # A notice that expired says so itself.
            if references is None or standing.end is None or not standing.end.record_id:
                continue
            own = Reference(references[-1].sender, standing.end.record_id, standing.end.when)
            message = Message(own, None, standing.notice_id, references, exercise=self._settings.exercise)
            self.files[_alert_path(f"{references[-1].identifier}.cancel")] = cap_document(message)

    def write_feeds(self, entries: list[Entry], gone: Iterable[Standing]) -> None:
        """One Atom feed for each language."""
        ends = [(item.notice_id, item.end.when) for item in gone if item.end is not None]
        times = [*(entry.standing.current.sent for entry in entries), *(when for _, when in ends)]
        # The time of the newest content, not of the run: the same board makes the same feed.
        updated = max(times, default=self._settings.now)
        for words in (WORDS[language] for language in facts.LANGUAGES):
            own = f"{self._settings.url}{words.folder}/atom.xml" if self._settings.url else "atom.xml"
            feed = Feed(
                f"feed:{self._settings.url}:{words.language}",
                f"{words.notices} · {words.site}",
                words.language,
                own,
                words.site,
                updated,
            )
            found = [self._feed_entry(entry, words.language) for entry in entries]
            self.files[f"{words.folder}/atom.xml"] = atom_feed(feed, found, ends)

    def public_copy(self, entry: Entry) -> notice_pb2.PublicNotice:
        """A notice as the public may see it, for a feed in another agency's format."""
        notice = notice_pb2.PublicNotice()
        notice.CopyFrom(entry.notice)
        notice.report_to.ClearField("name")
        for name in ("photos", "provenance"):
            notice.ClearField(name)
        for shot in entry.shots:
            notice.photos.add(url=f"{self._settings.url}photos/{shot.name}", media_type=MEDIA_TYPE)
        if self._settings.exercise:
            for language in reversed(facts.LANGUAGES):
                notice.texts.insert(0, notice_pb2.LocalisedText(language=language, headline=WORDS[language].exercise))
        return notice

    def _feed_entry(self, entry: Entry, language: str) -> FeedEntry:
        words = WORDS[language]
        root = self._settings.url or "../"
        links = [Link("alternate", "text/html", f"{root}{words.folder}/{entry.path}")]
        alert = _alert_path(entry.standing.current.record_id)
        if alert in self.files:
            links.append(Link("related", CAP, root + alert))
        links += [Link("enclosure", MEDIA_TYPE, f"{root}photos/{shot.name}") for shot in entry.shots]
        return FeedEntry(
            entry.standing.notice_id,
            facts.appeal(entry.notice, language).headline,
            facts.summary(entry.notice, words),
            entry.standing.versions[0].sent,
            entry.standing.current.sent,
            tuple(links),
        )

    def _resource(self, shot: Shot) -> Resource:
        root = self._settings.url or "../"
        return Resource(f"{root}photos/{shot.name}", MEDIA_TYPE, self.files[f"photos/{shot.name}"])


def _references(standing: Standing) -> tuple[Reference, ...] | None:
    sender = sender_of(standing.notice_id, standing.publisher)
    if not can_name(sender):
        return None
    return tuple(Reference(sender, version.record_id, version.sent) for version in standing.versions)


def _withdrawal(standing: Standing) -> notice_pb2.PublicNotice:
    return notice_pb2.PublicNotice(notice_id=standing.notice_id, action=notice_pb2.NOTICE_ACTION_WITHDRAW)


def _alert_path(name: str) -> str:
    return f"cap/{name}.xml"
