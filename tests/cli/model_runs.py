"""A toy pool and a tiny model for runs of presets that need one, and what must hold for every run."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_outcome import Outcome
from small_models import CHATML, docstrings, save
from typer.testing import CliRunner

import tasksift as ts
from tasksift.cli import app
from tasksift.rows import TextReader
from tasksift.rows.example import Example
from tasksift.rows.ids import rank_names

ROWS = 72
LENGTH = ["--max-length", 48]
SMALL = ["--dim", 32, *LENGTH]
TUNE = ["--rank", 2, "--alpha", 4, "--epochs", 2, "--batch-size", 4, "--learning-rate", 0.01, *LENGTH]
TASKS = ("maths", "code", "words")


class Toys:
    """A folder with `pool.jsonl`, the same rows in `shuffled.jsonl`, `target.jsonl`, and the model `llama`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        texts = docstrings()
        self.pool = [
            {
                "prompt": f"{k} {texts[k][:40]}",
                "response": texts[-k - 1][: 20 + k % 40],
                "source": "abc"[k % 3],
                "kind": "wxyz"[k % 4],
                "rating": (37 * k) % 101 / 10,
            }
            for k in range(ROWS)
        ]
        self.target = [
            {"prompt": texts[80 + k][:50].strip(), "response": texts[100 + k][:30].strip(), "task": TASKS[k % 3]}
            for k in range(6)
        ]
        self.write("pool.jsonl", self.pool)
        self.write("shuffled.jsonl", random.Random(1).sample(self.pool, ROWS))
        self.write("target.jsonl", self.target)
        save(folder / "llama", chat_template=CHATML)

    def write(self, name: str, rows: list[dict[str, Any]]) -> None:
        (self.folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def __call__(self, *arguments: Any) -> Outcome:
        """Run a command line there."""
        with chdir(self.folder):
            result = CliRunner().invoke(app, [str(each) for each in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    def select(self, preset: str, budget: Any, out: str, *more: Any, pool: str = "pool.jsonl") -> ts.Selection:
        """Select, check what holds for every run, and open the run again."""
        done = self("select", pool, "-p", preset, "-b", budget, "-o", out, "--quiet", *more)
        assert (done.code, done.out, done.err) == (0, "", ""), done.err
        selection = ts.open_run(self.folder / f"{out}.run")
        if isinstance(budget, int):
            assert len(selection) == budget
        pool_rows = self.rows(pool)
        copies = selection.copies
        # Rows drawn several times come again in further rounds.
        drawn = [at for turn in range(copies.max()) for at in selection.positions[copies > turn]]
        assert self.rows(out) == [pool_rows[at] for at in drawn]
        for reason in selection.record["reason"].to_pylist():
            assert re.fullmatch(r"\S+( \S+)*", reason), reason
            assert not re.search(r"; ;|;;|;$|^;|\bnan\b|\bNone\b|\binf\b", reason), reason
        assert np.isfinite(selection.plan.values).all()
        return selection

    def rows(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / name).read_text().splitlines()]

    def again(self, selection: ts.Selection, out: str) -> None:
        """A run opened again draws and writes the same; replaying its configuration gives the same bytes."""
        assert selection.redraw().record.equals(selection.record)
        with chdir(self.folder):
            selection.write(f"written-{out}")
        assert self("select", "--config", f"{out}.run/config.yaml", "-o", f"replayed-{out}", "--quiet").code == 0
        for other in (f"written-{out}", f"replayed-{out}"):
            assert (self.folder / other).read_bytes() == (self.folder / out).read_bytes()
            for path in (self.folder / f"{out}.run").iterdir():
                there = (self.folder / f"{other}.run" / path.name).read_bytes()
                assert there.replace(other.encode(), out.encode()) == path.read_bytes(), path.name

    def examples(self, name: str) -> list[Example]:
        reader = TextReader(None)
        return [reader.example(row, f"{name}, line {k + 1}") for k, row in enumerate(self.rows(name))]

    def stored(self, folder: str) -> np.ndarray:
        """The rows of a store."""
        return np.concatenate([np.load(path) for path in sorted((self.folder / folder).glob("shard-*.npy"))])


def ranks(selection: ts.Selection) -> np.ndarray:
    """The rank of every pool row, from a run whose plan has all of them."""
    assert selection.plan_table.num_rows == ROWS
    return rank_names(selection.plan_table["id"])


def unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@contextmanager
def counted(kind: type) -> Iterator[list[int]]:
    """How many rows each call of an embedder's `transform` is given."""
    sizes: list[int] = []
    original = kind.transform

    def transform(self: Any, examples: Any) -> Any:
        sizes.append(len(examples))
        return original(self, examples)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "transform", transform)
        yield sizes
