"""Comparisons and their configuration: which cells there are, what each works on, and what is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from toy_comparison import ROWS, ToyTrainee, make_rows, write

import tasksift as ts
from tasksift.errors import InputError
from tasksift.evaluate import work
from tasksift.evaluate.cells import cell_table, row_table
from tasksift.evaluate.compare import Comparison
from tasksift.evaluate.config import CompareConfig

Compared = Callable[..., Comparison]


def keys(comparison: Comparison) -> list[tuple[Any, ...]]:
    return [(cell.task, cell.arm, cell.budget, cell.seed) for cell in comparison.cells]


def test_every_comparison_has_the_baselines(compared: Compared, trainees: list[ToyTrainee]):
    done = compared(presets="bm25,tsds", arm=["mine: preset=tsds alpha=0.3"], budgets="10%,9", seeds="0,1")
    wanted = {(task, "zero-shot", None, None) for task in ("maths", "code")}
    for task in ("maths", "code"):
        wanted |= {(task, "full", None, seed) for seed in (0, 1)}
        for arm in ("random", "random-balanced", "bm25", "tsds", "mine"):
            wanted |= {(task, arm, budget, seed) for budget in ("10%", "9") for seed in (0, 1)}
    assert set(keys(done)) == wanted
    assert len(keys(done)) == len(wanted)
    assert (done.failed, done.left) == ({}, 0)
    # Two seeds of the pool, 2 x 2 of either random arm, and 2 x 2 x 2 of the three that look at the target.
    assert len(trainees[0].fitted) == 2 + 2 * 4 + 3 * 8
    # Trained once, judged on either task.
    full = max(trainees[0].fitted, key=len)
    assert trainees[0].judged.count(full) == 2
    assert trainees[0].judged.count(()) == 2
    shown = {row["arm"] for table in done.summary["tables"] for row in table["rows"]}
    assert shown == {"zero-shot", "random", "random-balanced", "full", "bm25", "tsds", "mine"}


def test_baselines_that_may_be_left_out(compared: Compared):
    assert {arm for _, arm, _, _ in keys(compared(without="full"))} == {
        "zero-shot",
        "random",
        "random-balanced",
        "bm25",
    }
    assert {arm for _, arm, _, _ in keys(compared(without="full,random-balanced"))} == {"zero-shot", "random", "bm25"}
    with pytest.raises(InputError, match=r"^--without random: only full and random-balanced can be left out$"):
        compared(without="random")


@pytest.mark.parametrize("options", [{"preset": name} for name in ("tsds", "bm25", "dsir", "random")], ids=str)
def test_rows_are_those_of_select(
    options: dict[str, str], compared: Compared, toys: dict[str, Any], trainees: list[ToyTrainee]
):
    """The index and the features of an earlier arm are found, and change nothing."""
    compared(presets=["tsds", "bm25", "dsir"], seeds=[3, 4], budgets=["9", "20%"])
    pool = [f"{row['prompt']}\n{row['response']}" for row in make_rows(ROWS, 0)]
    for seed in (3, 4):
        for budget in ("9", "20%"):
            selection = ts.select(toys["pool"], toys["target"][1], budget, seed=seed, **options)
            drawn = [pool[at] for at, n in zip(selection.positions, selection.copies, strict=True) for _ in range(n)]
            assert (seed, *drawn) in trainees[0].fitted


def test_a_plan_serves_all_seeds_unless_it_depends_on_them(compared: Compared, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def choose(config: Any, *others: Any) -> Any:
        asked.append((config.preset, config.seed))
        return real(config, *others)

    real = work.choose
    monkeypatch.setattr(work, "choose", choose)
    compared(presets=["tsds", "dsir"], seeds=[3, 4, 5], without="full")
    # Once to see whether an arm can be served, and then for each of two tasks.
    assert Counter(asked)["tsds", 3] == 1 + 2
    assert not any(("tsds", seed) in asked for seed in (4, 5))
    assert all(Counter(asked)["dsir", seed] == 2 for seed in (4, 5))


def test_rows_drawn_twice_are_trained_twice_and_full_is_every_row(compared: Compared, trainees: list[ToyTrainee]):
    done = compared(presets="", arm=["again: preset=tsds draw=multinomial alpha=0.9"], budgets="40")
    again = {cell.task: cell for cell in done.cells if cell.arm == "again"}
    fitted = [Counter(each[1:]) for each in trainees[0].fitted]
    assert any(cell.distinct < cell.rows == 40 for cell in again.values())
    for cell in again.values():
        assert any((sum(some.values()), len(some)) == (cell.rows, cell.distinct) for some in fitted)
    full = next(each for each in trainees[0].fitted if len(each) == ROWS + 1)
    assert len(set(full[1:])) == ROWS
    of_full = next(cell for cell in done.cells if cell.arm == "full")
    assert (of_full.rows, of_full.distinct, of_full.pool_rows, of_full.fraction) == (ROWS, ROWS, ROWS, 1.0)


def test_seeds_change_rows_and_training_and_equal_seeds_give_equal_bits(compared: Compared, tmp_path: Path):
    first, again = compared(seeds=[0, 1]), compared(seeds=[0, 1], out=tmp_path / "again")
    assert [cell.scores["loss"].tobytes() for cell in first.cells] == [
        cell.scores["loss"].tobytes() for cell in again.cells
    ]
    by_arm: dict[str, set[bytes]] = {}
    for cell in first.cells:
        if cell.task == "maths":
            by_arm.setdefault(cell.arm, set()).add(cell.scores["loss"].tobytes())
    assert {arm: len(scores) for arm, scores in by_arm.items()} == {
        "zero-shot": 1, "random": 2, "random-balanced": 2, "bm25": 2, "full": 2
    }  # fmt: skip


def test_nothing_trains_on_what_resembles_held_out_rows(
    compared: Compared, toys: dict[str, Any], trainees: list[ToyTrainee], tmp_path: Path
):
    """A row of the pool that shares 13 words with a held-out row of either task is in no training, full included."""
    run = "these are exactly thirteen words that stand in one row after the other"
    assert len(run.split()) == 13
    held = make_rows(12, 21, ("code",))
    held[5]["response"] = f"before {run} behind"
    write(Path(toys["held_out"][1]), held)
    leaked = {"id": "leak", "prompt": "what leaks", "response": f"here {run} it is", "source": "code"}
    write(Path(toys["pool"]), [*make_rows(ROWS, 0), leaked])
    done = compared(decontaminate=13)
    assert all(run not in text for each in trainees[-1].fitted for text in each[1:])
    assert {cell.rows for cell in done.cells if cell.arm == "full"} == {ROWS}
    compared(out=tmp_path / "leaky")
    assert any(run in text for each in trainees[-1].fitted for text in each[1:])


def test_what_is_written(compared: Compared, tmp_path: Path):
    done = compared(seeds=[0, 1, 2])
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == {
        "cells", "cells.parquet", "config.yaml", "manifest.json", "report.html", "request.json", "rows.parquet",
        "summary.json",
    }  # fmt: skip
    assert pq.read_table(folder / "cells.parquet").equals(cell_table(done.cells))
    assert pq.read_table(folder / "rows.parquet").equals(row_table(done.cells))
    assert json.loads((folder / "summary.json").read_text()) == json.loads(json.dumps(done.summary))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["cells"] == {
        "done": len(done.cells), "asked": len(done.cells), "files": manifest["cells"]["files"]
    }  # fmt: skip
    assert sorted(manifest["cells"]["files"]) == sorted(path.name for path in (folder / "cells").iterdir())
    assert [(task["name"], task["targets"], task["held_out"]) for task in manifest["tasks"]] == [
        ("maths", 4, 12), ("code", 4, 12)
    ]  # fmt: skip
    # The configuration replays.
    loaded = CompareConfig.load(folder / "config.yaml")
    assert loaded.model_dump() == CompareConfig.create(**loaded.model_dump()).model_dump()
    assert loaded.seeds == [0, 1, 2]


def test_costs(compared: Compared):
    done = compared(presets="tsds", epochs=3)
    cells = {cell.arm: cell for cell in done.cells if cell.task == "maths"}
    for name, cell in cells.items():
        assert cell.costs.train_flops == 6 * 7 * cell.tokens * 3, name
        assert (cell.tokens > 0) == (name != "zero-shot")
        assert cell.epochs == 3
    assert cells["tsds"].costs.feature_flops > 0
    assert cells["tsds"].costs.feature_seconds > 0
    assert cells["random"].costs.feature_flops == cells["random"].costs.feature_seconds == 0


def test_rows_of_python_are_tasks(compared: Compared):
    """A list of dicts is one task, a list of such lists several; a pandas frame is rows, too."""
    pandas = pytest.importorskip("pandas")
    dev, test = make_rows(4, 10, ("maths",)), make_rows(12, 20, ("maths",))
    pool = make_rows(ROWS, 0)
    one = compared(pool=pool, target=dev, held_out=test, task_names=["maths"])
    several = compared(pool=pool, target=[dev, dev], held_out=[test, test[:11]], task_names=["a", "b"], force=True)
    framed = compared(pool=pandas.DataFrame(pool), target=pandas.DataFrame(dev), held_out=test, force=True)
    assert {cell.task for cell in one.cells} == {"maths"}
    assert {cell.task for cell in several.cells} == {"a", "b"}
    scores = {arm: cell.score("loss") for cell in one.cells for arm in [cell.arm]}
    assert scores == {cell.arm: cell.score("loss") for cell in framed.cells}
    assert scores == {cell.arm: cell.score("loss") for cell in several.cells if cell.task == "a"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"model": ""}, "there is no --model"),
        ({"target": None, "held_out": None}, "there is no target"),
        ({"target": []}, "there is no target"),
        ({"held_out": "nowhere.jsonl"}, "2 --target and 1 --held-out"),
        ({"budgets": "0"}, "the budget 0 is not positive"),
        ({"budgets": "10%,some"}, "the budget 'some' is not a number of rows"),
        ({"budgets": "auto"}, "the budget 'auto'"),
        ({"budgets": "5,5"}, "--budgets 5,5: give at least one, and none twice"),
        ({"seeds": "0,x"}, "--seeds"),
        ({"seeds": [-1]}, "--seeds -1: seeds are at least 0"),
        ({"presets": "tsds,nothing"}, "nothing"),
        ({"arm": ["full: preset=tsds"]}, "'full' is the name of a baseline"),
        ({"source_column": "nothing"}, "nothing"),
    ],
    ids=str,
)
def test_refusals_leave_nothing_behind(options: dict[str, Any], words: str, compared: Compared, tmp_path: Path):
    with pytest.raises(InputError) as raised:
        compared(**options)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()
