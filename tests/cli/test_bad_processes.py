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
