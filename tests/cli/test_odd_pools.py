"""Presets that need no model on pools that nobody would draw by hand: the budget to the row, or one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tasksift as ts
from tasksift.presets import PRESETS
from tasksift.selectors import SELECTORS

Row = dict[str, Any]

WITHOUT_MODEL = [name for name, preset in PRESETS.items() if preset.representation in (None, "tfidf")]

ODD = [
    ("", ""), ("only a prompt", ""), ("", "only an answer"), ("!!! ???", "###"), ("😀😀", "👩‍👩‍👧"),
    ("你好世界，这是一个测试", "好的没有问题"), ("a\x01\x1f\x7fb", "c\x0bd\x85e\u2028f"),
    (" \n\t", "\r\n"), ("\ufeff\u200b", "\u00a0"),
    ("word " * 20_000, "z"), ("q", "a" * 100_000), ("the sum of two numbers", "half the product"),
]  # fmt: skip


def as_rows(texts: list[tuple[str, str]]) -> list[Row]:
    return [{"prompt": a, "response": b, "source": f"s{k % 3}", "n": k % 4 - 1.5} for k, (a, b) in enumerate(texts)]


PAIR = ("the sum of two numbers", "half the product")
POOLS = {
    "one row": as_rows([PAIR]),
    "equal rows": as_rows([PAIR] * 9),
    "no text": as_rows([("", "")] * 3),
    "odd texts": as_rows(ODD + ODD[:6]),
}


def strict(text: str) -> Any:
    """JSON as the standard has it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def contents(path: str) -> list[tuple[str, str]]:
    """The texts of a training file, in no order."""
    return sorted((row["prompt"], row["response"]) for row in map(json.loads, Path(path).read_bytes().splitlines()))


def options(name: str) -> list[str]:
    """What a preset asks for besides the pool."""
    given = ["-p", name]
    if "target" in SELECTORS[PRESETS[name].selector].needs:
        given += ["-t", "target.jsonl"]
    if "scores" in SELECTORS[PRESETS[name].selector].needs:
        given += ["--score-column", "n"]
    return given + (["--dim", "4"] if PRESETS[name].representation else [])


@pytest.mark.parametrize("pool", list(POOLS))
@pytest.mark.parametrize("name", WITHOUT_MODEL)
def test_exactly_the_budget_or_one_line(name: str, pool: str, folder: Path, tasksift: Callable[..., Any], lines: Any):
    rows = POOLS[pool]
    (folder / "pool.jsonl").write_bytes(lines(rows))
    (folder / "mixed.jsonl").write_bytes(lines(rows[::-1]))
    (folder / "target.jsonl").write_bytes(lines(as_rows([PAIR, ("stir butter", "into flour")])))
    for budget in dict.fromkeys([1, max(1, len(rows) // 2), len(rows)]):
        found = tasksift("select", "pool.jsonl", "-b", budget, "-o", "out.jsonl", "--force", *options(name))
        again = tasksift("select", "mixed.jsonl", "-b", budget, "-o", "mixed.out.jsonl", "--force", *options(name))
        assert found.code == again.code
        if found.code:
            assert found.code == 2
            assert found.err.strip().splitlines()[-1].startswith("tasksift: ")
            continue
        record = pq.read_table("out.jsonl.run/selection.parquet")
        assert sum(record["copies"].to_pylist()) == budget
        assert strict(Path("out.jsonl.run/manifest.json").read_text())["selection"]["rows"] == budget
        for table in (record, pq.read_table("out.jsonl.run/plan.parquet")):
            for column in table.columns:
                assert not pa.types.is_floating(column.type) or np.isfinite(column.drop_null().to_numpy()).all()
        assert contents("out.jsonl") == contents("mixed.out.jsonl")
        assert ts.open_run("out.jsonl.run").explain(0).reason


@pytest.mark.parametrize(
    ("direction", "reason"),
    [
        ("lowest", "score -1.5, rank 1"),
        ("middle", "0 places from the median score, rank 1"),
        ("highest", "score 2.5, rank 1"),
    ],
)
def test_a_reason_shows_the_number_itself(direction: str, reason: str, folder: Path, tasksift: Any, lines: Any):
    """Plans hold minus the number, or a distance by rank, where the lowest or the middle is taken."""
    (folder / "pool.jsonl").write_bytes(lines([{"text": f"row {k}", "n": n} for k, n in enumerate([2.5, -1.5, 0])]))
    assert not tasksift("select", "pool.jsonl", "-b", 1, "-o", "out.jsonl", "-p", "column", "--score-column", "n",
                        "--set", f"direction={direction}").code  # fmt: skip
    assert ts.open_run("out.jsonl.run").explain(0).reason == reason


@pytest.mark.parametrize(
    ("preset", "setting", "fact"),
    [
        ("tsds", "sigma=1e-300", "sigma 1e-300 is out of range"),
        ("adapt-infinity", "bins=1e25", "it should be a whole number from 1 to 1000"),
    ],
)
def test_numbers_beyond_arithmetic_are_refused(preset: str, setting: str, fact: str, folder: Path, tasksift: Any):
    model = ["--model", "none", "--score-column", "n"] if preset == "adapt-infinity" else ["-t", "target.jsonl"]
    found = tasksift("select", "pool.jsonl", "-b", 5, "-o", "out.jsonl", "-p", preset, "--set", setting, *model)
    assert found.code == 2
    assert fact in found.err


def test_a_budget_that_near_copies_stand_against_names_the_way_out(folder: Path, tasksift: Any, lines: Any):
    rows = [{"text": f"{'the sum of two numbers equals half the product ' * 9}{word}"} for word in ("of", "and", "the")]
    (folder / "pool.jsonl").write_bytes(lines([*rows, {"text": "stir butter into warm flour"}]))
    select = ["select", "pool.jsonl", "-t", "target.jsonl", "-b", 4, "-o", "out.jsonl", "--dim", 4]
    found = tasksift(*select)
    assert found.code == 2
    assert "lower the budget, or give --sigma 0" in found.err
    assert tasksift(*select, "--sigma", 0).code == 0
