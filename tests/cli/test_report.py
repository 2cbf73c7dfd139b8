"""`tasksift report` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from command_outcome import Outcome

from tasksift.online.domains import Domains
from tasksift.online.history import History


@pytest.fixture
def report(tasksift: Callable[..., Outcome]) -> Callable[..., Outcome]:
    return partial(tasksift, "report")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The output folder of an online run."""
    history = History(tmp_path / "run" / "mixture.jsonl", Domains.of(["a", "b"]), {"mode": "uniform"})
    history.begin(0)
    history.append(4, [0.5, 0.5], [1.0, 2.0], [3, 5])
    return tmp_path / "run"


def test_report(run: Path, report: Callable[..., Outcome]):
    done = report("run")
    assert (done.code, done.out) == (0, "run/report.html\n")
    assert done.err.startswith("Up to step 4, 8 rows of 2 domains were drawn.")
    assert done.err.count("\n") == 1
    page = (run / "report.html").read_bytes()
    again = report("run/mixture.jsonl", "--out", "page.html", "--quiet")
    assert (again.code, again.out, again.err) == (0, "page.html\n", "")
    assert Path("page.html").read_bytes() == page
    assert report("run").code == 0
    refused = report("run", "-o", "page.html")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err == "tasksift: page.html exists; use --force to replace it, or name another file\n"
    assert report("run", "-o", "page.html", "--force", "-q").code == 0


@pytest.mark.parametrize("given", ["gone", ".", "pool.jsonl", "run/report.html"])
def test_anything_else_is_one_line(run: Path, report: Callable[..., Outcome], given: str):
    Path("pool.jsonl").write_text(json.dumps({"text": "a row"}) + "\n")
    assert report("run").code == 0
    done = report(given)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("tasksift: ")
    assert "name a run folder of select" in done.err
    assert done.err.count("\n") == 1
