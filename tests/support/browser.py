"""Headless Chromium, driven with selenium by the installed driver. No driver is ever fetched."""

from __future__ import annotations

import base64
import shutil
from typing import TYPE_CHECKING, Any

from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.keys import Keys

if TYPE_CHECKING:
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


class Browser(Chrome):
    """One window, with a profile and a driver of its own, until ``quit``.

    Args:
        folder: for the profile and the driver's log.
    """

    def __init__(self, folder: Path) -> None:
        options = ChromeOptions()
        for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = ChromeService(shutil.which("chromedriver"), log_output=str(folder / "driver.log"))
        super().__init__(options, service)

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Set the size of the page, and whether the visitor prefers dark colours."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def forbid_scripts(self, *, forbidden: bool = True) -> None:
        """Forbid the scripts of pages. The scripts of the test still run."""
        self.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": forbidden})

    def picture(self, path: Path) -> None:
        """The whole page, as PNG."""
        shot = self.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))

    def tab(self) -> None:
        ActionChains(self).send_keys(Keys.TAB).perform()

    def enter(self) -> None:
        ActionChains(self).send_keys(Keys.ENTER).perform()

    def focused(self) -> dict[str, Any]:
        """The element with the focus: its name, text and address, and whether the focus is visible."""
        found: dict[str, Any] = self.execute_script(
            """const item = document.activeElement, box = item.getBoundingClientRect();
            const styles = [getComputedStyle(item), getComputedStyle(item, '::after')];
            return {tag: item.tagName, text: item.textContent.trim(), href: item.getAttribute('href') || '',
              ringed: styles.some(style => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2),
              inside: box.bottom > 0 && box.right > 0 && box.top < innerHeight && box.left < innerWidth};"""
        )
        return found

    def violations(self, axe: str) -> list[str]:
        """What axe (its program) finds wrong with the page, by the rules of WCAG 2.2 and its own."""
        self.execute_script(axe)
        found = self.execute_script(
            """const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
            const result = await axe.run(document, {runOnly: tags});
            return {passes: result.passes.length, violations: result.violations.map(
              item => item.id + ': ' + item.nodes.map(node => node.html + ' ' + node.failureSummary).join('; '))};"""
        )
        # It looked at something.
        assert found["passes"] > 10
        return [str(item) for item in found["violations"]]

    def complaints(self) -> list[str]:
        """The page's messages on the console since the last call."""
        return [str(entry["message"]) for entry in self.get_log("browser")]  # type: ignore[no-untyped-call]
