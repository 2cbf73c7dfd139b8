"""The whole of it: what every format has in common."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasksift import mix as mix_package
from tasksift.errors import InputError
from tasksift.mix import mix

Row = dict[str, Any]
Write = Callable[[Path, list[Row]], Path]
Contents = Callable[[Path], dict[str, bytes]]


@pytest.mark.parametrize("format", ["jsonl", "llama-factory", "axolotl", "datasets"])
def test_the_order_of_the_pool_changes_nothing(
    tmp_path: Path,
    rows: list[Row],
    format: str,
    write: Write,
    contents: Contents,
    monkeypatch: pytest.MonkeyPatch,
):
    rows += rows[:5]  # copies
    moved = random.Random(0).sample(rows, len(rows))
    found = []
    for k, some in enumerate((rows, moved, rows)):
        folder = tmp_path / str(k)
        folder.mkdir()
        monkeypatch.chdir(folder)
        mix(write(folder / "pool.jsonl", some), "out", format=format, budget=30, seed=k // 2)
        found.append(contents(folder / "out"))
    for name in found[0]:
        here, there = (each[name].replace(str(tmp_path / str(k)).encode(), b"") for k, each in enumerate(found[:2]))
        assert here == there, name
    assert found[0] != found[2]  # another seed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "5tok"}, "--budget 5tok is in tokens"),
        ({"budget": 0}, "--budget '0': write a number of rows"),
        ({"budget": "150%"}, r"--budget '150%': .* or a share of the pool up to 100% \(10%\)$"),
        ({"budget": 1.5}, "--budget '1.5': write a number of rows"),
        ({"format": "gguf"}, "--format gguf is not one of jsonl, llama-factory, axolotl, datasets"),
        ({"seed": -1}, "--seed -1 is out of range; it is a whole number from 0"),
        ({"seed": 1.5}, "--seed 1.5 is out of range"),
        ({"seed": "1"}, "--seed '1' is out of range"),
        ({"shares": {"code": None}}, "--shares: code has None"),
        ({"features": "f"}, "--features serves to find clusters"),
        ({"clusters": 2, "domain_column": "source"}, "give one of them"),
        ({"clusters": 2, "features": "f"}, "--features f holds no features"),
        ({"clusters": 0}, "--clusters 0: ask for a whole number from 1"),
        ({"clusters": 47}, "--clusters 47 for 46 rows: ask for 46 at most"),
    ],
)
def test_what_is_refused(tmp_path: Path, rows: list[Row], options: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        mix(rows, tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


def test_a_seed_of_numpy_is_one_like_others(tmp_path: Path, rows: list[Row], contents: Contents):
    for folder, seed in (("a", 3), ("b", np.int64(3))):
        assert mix(rows, tmp_path / folder, budget=5, seed=seed).record["seed"] == 3
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_what_is_said(tmp_path: Path):
    said: list[str] = []
    rows = [{"text": str(k), "source": f"s{k:02}"} for k in range(30)]
    mix(rows[:1], tmp_path / "one", say=said.append)
    assert said == ["s00: 1 row, share 1.0000", f"1 domain, 1 row -> {tmp_path / 'one'}"]
    said.clear()
    mix(rows, tmp_path / "out", shares={"s00": 2, **{f"s{k:02}": 1 for k in range(1, 13)}}, budget=28, say=said.append)
    assert said[:2] == [
        "s00: 1 row, share 0.1429, 4 drawn (4.0 times each)",
        "s01: 1 row, share 0.0714, 2 drawn (2.0 times each)",
    ]
    assert said[12:] == [
        "and 1 more domain",
        "left out, as no row is asked of them: " + ", ".join(f"s{k}" for k in range(13, 25)) + " and 5 more",
        f"13 domains, 28 rows -> {tmp_path / 'out'}",
    ]


def test_public_names():
    assert set(mix_package.__all__) == {"FORMATS", "Mix", "find_shares", "mix"}
