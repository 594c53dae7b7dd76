"""Pictures of the notice board and of the auditor's report in a browser, if one is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Final

from world import BOUND_SECONDS, DemoFailed

if TYPE_CHECKING:
    from pathlib import Path

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
_FLAGS: Final = (
    "--headless",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
)
_WIDE: Final = "1200,900"
_SHORT: Final = "/tmp"  # noqa: S108 - the folder made in it has a name of its own, and mode 0700


def find_browser() -> str | None:
    """The first installed browser that can take pictures without a user."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def take_pictures(site: Path, folder: Path) -> list[Path]:
    """Take a picture of the notice board and of each notice on it, into a folder. Without a browser: none.

    Raises:
        DemoFailed: there is a browser, but it took no picture.
    """
    browser = find_browser()
    if browser is None:
        return []
    pages = [site / "zh" / "index.html", *sorted(site.glob("zh/notice/*.html"))]
    return [_take(browser, page, folder / f"notice-board-{number}.png") for number, page in enumerate(pages, start=1)]


def picture_of(page: Path, picture: Path) -> list[Path]:
    """Take a picture of a page. Without a browser: none.

    Raises:
        DemoFailed: there is a browser, but it took no picture.
    """
    browser = find_browser()
    return [] if browser is None else [_take(browser, page, picture)]


def _take(browser: str, page: Path, picture: Path) -> Path:
    # Chromium's own sandbox does not run as root. The pages are ours and contain no script.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    # In /tmp, whatever TMPDIR says: the path of the browser's socket may have at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="case-exchange-browser-", dir=_SHORT) as profile:
        command = [browser, *_FLAGS, *sandbox, f"--user-data-dir={profile}", f"--window-size={_WIDE}"]
        try:
            subprocess.run(
                [*command, f"--screenshot={picture}", page.as_uri()],
                env={**os.environ, "TMPDIR": _SHORT},
                capture_output=True,
                check=True,
                timeout=2 * BOUND_SECONDS,
            )
        except (OSError, subprocess.SubprocessError) as error:
            message = f"{browser} took no picture of {page.name}: {type(error).__name__}"
            raise DemoFailed(message) from error
    if not picture.is_file():
        message = f"{browser} took no picture of {page.name}"
        raise DemoFailed(message)
    return picture
