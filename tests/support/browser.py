"""Headless Chromium over W3C WebDriver: only what the browser tests need, so no driver library is needed."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)
_TAB = "\ue004"
_ENTER = "\ue007"
_START_SECONDS = 30


class Browser:
    """One window."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._session = ""

    def start(self, profile: Path) -> None:
        options = {"args": [*_FLAGS, f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        found = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{found['sessionId']}"

    def stop(self) -> None:
        if self._session:
            self._call("DELETE", self._session)

    def open(self, address: str) -> None:
        self._post("/url", url=address)

    @property
    def address(self) -> str:
        return str(self._call("GET", f"{self._session}/url"))

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Set the size of the page, and whether the visitor prefers dark colours."""
        self._devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", features=[feature])

    def forbid_scripts(self, *, forbidden: bool = True) -> None:
        """Forbid the scripts of pages. The scripts of the test still run."""
        self._devtools("Emulation.setScriptExecutionDisabled", value=forbidden)

    def screenshot(self, path: Path) -> None:
        """The whole page, as PNG."""
        shot = self._devtools("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def run(self, script: str, *arguments: Any) -> Any:
        """Return the value of a function's body. Wait for a promise."""
        return self._post("/execute/sync", script=script, args=list(arguments))

    def tab(self) -> None:
        self._press(_TAB)

    def enter(self) -> None:
        self._press(_ENTER)

    def focused(self) -> dict[str, Any]:
        """The element with the focus: its name, text and address, and whether the focus is visible."""
        found: dict[str, Any] = self.run(
            """const item = document.activeElement, box = item.getBoundingClientRect();
            const styles = [getComputedStyle(item), getComputedStyle(item, '::after')];
            return {tag: item.tagName, text: item.textContent.trim(), href: item.getAttribute('href') || '',
              ringed: styles.some(style => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2),
              inside: box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth};"""
        )
        return found

    def complaints(self) -> list[str]:
        """The page's messages on the console since the last call."""
        return [str(entry["message"]) for entry in self._post("/se/log", type="browser")]

    def _press(self, key: str) -> None:
        strokes = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._post("/actions", actions=[{"type": "key", "id": "keyboard", "actions": strokes}])

    def _devtools(self, command: str, **parameters: Any) -> Any:
        return self._post("/goog/cdp/execute", cmd=command, params=parameters)

    def _post(self, path: str, **facts: Any) -> Any:
        return self._call("POST", self._session + path, facts)

    def _call(self, method: str, path: str, facts: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            body = None if facts is None else json.dumps(facts)
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        value = answer["value"]
        assert not (isinstance(value, dict) and "error" in value), value
        return value


@contextmanager
def running_browser(folder: Path, port: int) -> Iterator[Browser]:
    """A browser with its own profile, and its driver. Both end with the block."""
    with (folder / "driver.log").open("wb") as log:
        driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=log, stderr=log)
    try:
        browser = Browser(port)
        _wait(port)
        browser.start(folder / "profile")
        try:
            yield browser
        finally:
            browser.stop()
    finally:
        driver.terminate()
        driver.wait(timeout=10)


def _wait(port: int) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        try:
            connection.request("GET", "/status")
            connection.getresponse().read()
        except OSError:
            assert time.monotonic() < end, "the driver does not start"
            time.sleep(0.1)
        else:
            return
        finally:
            connection.close()
