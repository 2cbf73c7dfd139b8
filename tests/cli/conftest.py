"""A small pool with three sources and a way to run the command line inside the test process."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_outcome import Outcome
from typer.testing import CliRunner

from tasksift.cli import app

TOPICS = {
    "maths": "sum of the two numbers equals half the product so we divide by three and add the remainder once more",
    "kitchen": "stir butter into warm flour then fold in the eggs and bake until golden with a pinch of salt on top",
    "code": "def loop over list items return None if the key is missing else append value to dict and raise error",
}

Row = dict[str, Any]


def make_rows(n: int, seed: int = 0) -> list[Row]:
    """Rows of three topics in turn, every text of its own."""
    rng = random.Random(seed)
    rows = []
    for k in range(n):
        source = list(TOPICS)[k % len(TOPICS)]
        words = TOPICS[source].split()
        rows.append({"text": " ".join(rng.choices(words, k=rng.randint(6, 18))) + f" {seed}-{k}", "source": source})
    return rows


def jsonl(rows: list[Row]) -> bytes:
    """Rows as JSON Lines."""
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


@pytest.fixture
def tasksift(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """Run a command line in `tmp_path`, in this process; an exception that escapes it fails the test."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object) -> Outcome:
        result = CliRunner().invoke(app, [str(arg) for arg in args])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    return run


@pytest.fixture
def rows() -> Callable[[int, int], list[Row]]:
    """Make n distinct rows."""
    return make_rows


@pytest.fixture
def pool(rows: Callable[[int, int], list[Row]]) -> list[Row]:
    """90 rows with nested and numeric columns left out, so that every format can hold them."""
    return [{"n": k, **row} for k, row in enumerate(rows(90, 0))]


@pytest.fixture
def lines() -> Callable[[list[Row]], bytes]:
    """Rows as the bytes of a JSON Lines file."""
    return jsonl


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with `pool.jsonl` (60 rows) and `target.jsonl` (3 rows of the topic maths)."""
    (tmp_path / "pool.jsonl").write_bytes(jsonl(make_rows(60)))
    targets = [row for row in make_rows(9, seed=1) if row["source"] == "maths"]
    (tmp_path / "target.jsonl").write_bytes(jsonl(targets))
    return tmp_path
