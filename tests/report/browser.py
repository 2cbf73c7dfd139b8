"""A headless Chromium for tests of the page, and what it saw: messages, requests, places."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

READY = "return document.documentElement.dataset.ready === 'true'"


@contextmanager
def chromium() -> Iterator[Any]:
    """Start one; skip where selenium, Chromium or its driver is not there."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="tests of the page in a browser need selenium")
    program = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("tests of the page in a browser need chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for each in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run"):
        options.add_argument(each)
    for each in (
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-extensions",
        "--disable-sync",
    ):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    opened = webdriver.Chrome(options=options, service=service)
    try:
        yield opened
    finally:
        opened.quit()


class Visit:
    """A page that is open, and all that it said and asked for since."""

    def __init__(self, driver: Any, path: Path, *, width: int = 1400, dark: bool = False) -> None:
        self.driver = driver
        self.width = width
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        driver.get_log("browser"), driver.get_log("performance")
        driver.get(path.as_uri())
        self.wait(READY)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript as a function of `arguments`."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, seconds: float = 30.0) -> None:
        """Wait until a script says true."""
        end = time.monotonic() + seconds
        while not self.run(script):
            if time.monotonic() > end:
                raise AssertionError(f"still not true: {script}; the console says {self.messages()}")
            time.sleep(0.02)

    def messages(self) -> list[str]:
        """Return what the console said."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return every address that was asked for, whether or not it was answered."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def text(self) -> str:
        """Return every text of the page, shown or not."""
        return str(self.run("return document.getElementById('page').textContent"))

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the screen; a phone's window grows with its page."""
        return int(self.run("return Math.max(document.documentElement.scrollWidth, innerWidth)")) - self.width
