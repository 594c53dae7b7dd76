"""One browser and one site for all of these tests. Without Chromium they are skipped."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from adapters.public_notice.history import fold
from adapters.public_notice.noticeboard.folder import replace_folder
from adapters.public_notice.noticeboard.frame import HEADER_POLICY, Settings
from adapters.public_notice.noticeboard.pages import slug
from adapters.public_notice.noticeboard.site import make_site
from tests.support.browser import Browser
from tests.support.exhibits import exhibits
from tests.support.notices import EPOCH_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

SCREENSHOTS = Path(__file__).parents[2] / ".dev" / "screenshots"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    missing = not all(shutil.which(name) for name in ("chromium", "chromedriver"))
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if missing:
                item.add_marker(pytest.mark.skip(reason="needs chromium and chromium-driver"))


class Served(NamedTuple):
    """A site, and its address."""

    address: str
    folder: Path

    def notice(self, language: str, number: int) -> str:
        return f"{self.address}{language}/notice/{slug(f'notices.example/SYN-{number:04}')}.html"


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Sends the security policy that docs/noticeboard.md demands of a web server."""

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", HEADER_POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("board") / "site"
    now = datetime.fromtimestamp(EPOCH_SECONDS + 86400, UTC)
    replace_folder(folder, make_site(fold(exhibits(), now), Settings("", now, exercise=True)).files)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Served(f"http://127.0.0.1:{server.server_port}/", folder)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def _browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    running = Browser(tmp_path_factory.mktemp("browser"))
    yield running
    running.quit()


@pytest.fixture
def browser(_browser: Browser) -> Browser:
    """The session's browser, reset: light, wide, and without earlier messages."""
    _browser.forbid_scripts(forbidden=False)
    _browser.look()
    _browser.get("about:blank")
    _browser.complaints()
    return _browser


@pytest.fixture(scope="session")
def screenshots() -> Path:
    """The folder for pictures of the pages, for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return SCREENSHOTS
