"""Selections of a comparison: an index that is found, and seconds that are remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_comparison import ROWS

from tasksift.evaluate.arms import Arm
from tasksift.evaluate.selecting import (
    INDEX,
    Inputs,
    choose,
    chosen_examples,
    keep_seconds,
    kept_seconds,
    pool_examples,
)
from tasksift.rows import TextReader, expand


def test_the_index_is_made_once(toys: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pool, target = expand(toys["pool"]), tuple(expand(toys["target"][0]))
    inputs = Inputs(tuple(pool), (), tmp_path / "work" / "index")
    asked = {"pool": [toys["pool"]], "target": [toys["target"][0]], "budget": "5", "seed": 1}
    config = Arm("a", {"preset": "bm25"}).config(asked, None)
    first = choose(config, inputs, target)
    assert {path.name for path in inputs.index.iterdir()} == set(INDEX)
    assert [path.name for path in inputs.index.parent.iterdir()] == ["index"]

    def fails(*_: Any, **__: Any) -> None:
        raise AssertionError("the pool is read again")

    with monkeypatch.context() as patch:
        patch.setattr("tasksift.line.survey", fails)
        again = choose(config, inputs, target)
    assert again.selection.record.equals(first.selection.record)
    # An index that was interrupted is made again.
    (inputs.index / "rows.done").write_text('{"po')
    assert choose(config, inputs, target).selection.record.equals(first.selection.record)
    assert first.feature_seconds == 0
    assert first.select_seconds > 0


def test_examples_come_in_the_order_of_ranks(toys: dict[str, Any], tmp_path: Path):
    inputs = Inputs(tuple(expand(toys["pool"])), (), tmp_path / "work" / "index")
    config = Arm("a", {"preset": "random"}).config({"pool": [toys["pool"]], "budget": "9", "seed": 1}, None)
    selection = choose(config, inputs, ()).selection
    reader = TextReader(None)
    pool = [example.text for example in pool_examples(selection, inputs.pool, reader)]
    assert len(pool) == ROWS
    assert [each.text for each in chosen_examples(selection, reader)] == [pool[at] for at in selection.positions]


def test_seconds_add_up(tmp_path: Path):
    assert kept_seconds(tmp_path / "a.json") == 0
    keep_seconds(tmp_path / "a.json", 1.5)
    keep_seconds(tmp_path / "a.json", 2.0)
    assert kept_seconds(tmp_path / "a.json") == 3.5
