"""Bad requests by the command itself, in processes of their own: exit code and streams as a shell sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bad_case import ENVIRONMENT, check_message, snapshot
from bad_cases import CASES


@pytest.mark.parametrize(
    "name", ["empty.jsonl", "cut.arrow", "nan", "config-no-yaml", "max-per-source", "out-is-the-pool"]
)
def test_in_a_process_of_its_own(name: str, folder: Path):
    case = next(case for case in CASES if case.name == name)
    if case.make is not None:
        case.make(folder)
    before = snapshot(folder)
    done = subprocess.run(
        [sys.executable, "-m", "tasksift", *case.args()],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    check_message(done.stderr, case.facts)
    assert done.stdout == ""
    assert snapshot(folder) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["selct"], ["'selct'", "Did you mean 'select'?", "See python -m tasksift --help"]),
        (["select", "--foo"], ["--foo", "See python -m tasksift select --help"]),
        (["select", "--budget"], ["--budget", "requires an argument", "--help"]),
        (["presets", "bm25", "a\u202eb\x1b[31m"], ["unexpected", "presets --help"]),
        (["report"], ["Missing", "RUN", "report --help"]),
    ],
    ids=["command", "option", "value", "argument", "missing"],
)
def test_what_the_parser_refuses_is_one_line_too(arguments: list[str], words: list[str], folder: Path):
    done = subprocess.run(
        [sys.executable, "-m", "tasksift", *arguments],
        cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tasksift: ")
    assert done.stderr.count("\n") == 1
    assert [word for word in words if word not in done.stderr] == []
    assert not {"\x1b", "\u202e"} & set(done.stderr)


def test_no_arguments_show_the_help(folder: Path):
    done = subprocess.run(
        [sys.executable, "-m", "tasksift"], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "select" in done.stdout
