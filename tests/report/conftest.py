"""One browser for all tests of the page, and a way to open a report in it."""

import pytest
from browser import Visit, chromium

from tasksift.report import page


@pytest.fixture(scope="session")
def driver():
    with chromium() as opened:
        yield opened


@pytest.fixture
def visit(driver, tmp_path):
    def open_(data, **window):
        path = tmp_path / "report.html"
        path.write_text(page.render(data), encoding="ascii")
        return Visit(driver, path, **window)

    return open_
