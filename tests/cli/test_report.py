"""`tasksift report` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from tasksift.cli_report import add_report
from tasksift.errors import InputError
from tasksift.online.domains import Domains
from tasksift.online.history import History


@contextmanager
def answering() -> Iterator[None]:
    try:
        yield
    except InputError as error:
        typer.echo(f"tasksift: {error}", err=True)
        raise typer.Exit(2) from None


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run the command by itself in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    app = typer.Typer()
    add_report(app, answering, lambda quiet: (None, lambda line: None if quiet else typer.echo(line, err=True)))

    def run(*args: object) -> Any:
        result = CliRunner().invoke(app, [str(arg) for arg in args])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The output folder of an online run."""
    history = History(tmp_path / "run" / "mixture.jsonl", Domains.of(["a", "b"]), {"mode": "uniform"})
    history.begin(0)
    history.append(4, [0.5, 0.5], [1.0, 2.0], [3, 5])
    return tmp_path / "run"


def test_report(run: Path, report: Callable[..., Any]):
    done = report("run")
    assert (done.exit_code, done.stdout) == (0, "run/report.html\n")
    assert done.stderr.startswith("Up to step 4, 8 rows of 2 domains were drawn.")
    assert done.stderr.count("\n") == 1
    page = (run / "report.html").read_bytes()
    again = report("run/mixture.jsonl", "--out", "page.html", "--quiet")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "page.html\n", "")
    assert Path("page.html").read_bytes() == page
    assert report("run").exit_code == 0
    refused = report("run", "-o", "page.html")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr == "tasksift: page.html exists; use --force to replace it, or name another file\n"
    assert report("run", "-o", "page.html", "--force", "-q").exit_code == 0


@pytest.mark.parametrize("given", ["gone", ".", "pool.jsonl", "run/report.html"])
def test_anything_else_is_one_line(run: Path, report: Callable[..., Any], given: str):
    Path("pool.jsonl").write_text(json.dumps({"text": "a row"}) + "\n")
    assert report("run").exit_code == 0
    done = report(given)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("tasksift: ")
    assert "name a run folder of select" in done.stderr
    assert done.stderr.count("\n") == 1
