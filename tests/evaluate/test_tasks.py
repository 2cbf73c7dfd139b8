"""Tasks: targets paired with held-out rows, and the split where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_comparison import make_rows, write

from tasksift.errors import InputError
from tasksift.evaluate.tasks import LEAST_HELD_OUT, Task, read_tasks


def ids(files) -> list[str]:
    return [row["id"] for file in files for row in file.records]


@settings(max_examples=40)
@given(st.integers(11, 60), st.floats(0.05, 0.95), st.integers(0, 3))
def test_a_split_is_disjoint_and_exhaustive(n: int, share: float, seed: int):
    rows = make_rows(n, 0)
    out = round(share * n)
    if out < LEAST_HELD_OUT or out == n:
        with pytest.raises(InputError, match=rf"{out} of {n} target rows would be held out"):
            read_tasks([rows], [], share=share, seed=seed)
        return
    (task,) = read_tasks([rows], [], share=share, seed=seed)
    kept, held = ids(task.target), ids(task.held_out)
    assert len(held) == out
    assert sorted(kept + held) == sorted(row["id"] for row in rows)
    # Either part keeps the order of the rows.
    order = [row["id"] for row in rows]
    assert kept == sorted(kept, key=order.index)
    assert held == sorted(held, key=order.index)


def test_the_split_is_the_seeds():
    rows = make_rows(40, 0)
    drawn = {seed: ids(read_tasks([rows], [], seed=seed)[0].held_out) for seed in (0, 1, 0)}
    assert drawn[0] != drawn[1]
    assert drawn[0] == ids(read_tasks([rows], [])[0].held_out)


def test_tasks_pair_in_their_order(tmp_path: Path):
    targets = [write(tmp_path / f"{name}.dev.jsonl", make_rows(3, 0)) for name in "ba"]
    held_out = [write(tmp_path / f"{name}.test.jsonl", make_rows(12, 1)) for name in "xy"]
    first, second = read_tasks(targets, held_out)
    assert (first.name, second.name) == ("b", "a")
    assert [task.held_out[0].path for task in (first, second)] == list(map(str, held_out))
    named = read_tasks(targets, held_out, names=["α/β", ""])
    assert [task.name for task in named] == ["α/β", ""]


def test_one_name_twice(tmp_path: Path):
    (tmp_path / "other").mkdir()
    targets = [write(tmp_path / part / "dev.jsonl", make_rows(3, 0)) for part in (".", "other")]
    held_out = [make_rows(12, 1)] * 2
    assert [task.name for task in read_tasks(targets, held_out)] == ["dev", "dev-2"]
    with pytest.raises(InputError, match="two tasks have one name"):
        read_tasks(targets, held_out, names=["a", "a"])


@pytest.mark.parametrize(
    ("targets", "held_out", "options", "words"),
    [
        (1, 2, {}, "there are 1 --target and 2 --held-out"),
        (2, 2, {"names": ["a"]}, "there are 2 --target files and 1 --task-names"),
        (0, 0, {}, "there is no target"),
        (1, 0, {"share": 1.0}, "--hold-out 1 is out of range"),
        (1, 0, {"share": float("nan")}, "--hold-out nan is out of range"),
        (1, 0, {"share": 0.1}, "1 of 12 target rows would be held out"),
    ],
    ids=str,
)
def test_refusals(targets: int, held_out: int, options: dict, words: str):
    with pytest.raises(InputError, match=words):
        read_tasks([make_rows(12, 0)] * targets, [make_rows(12, 1)] * held_out, **options)


def test_a_task_is_plain_data():
    (task,) = read_tasks([make_rows(30, 0)], [])
    assert task == Task(task.name, task.target, task.held_out)
