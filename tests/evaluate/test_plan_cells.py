"""Plans from cells of a comparison: curves and costs as paid, the front, the advice, and the file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasksift.errors import InputError
from tasksift.evaluate.cells import Cell, Costs, cell_table
from tasksift.evaluate.plan_cells import advice, case_of, common_metric, frontier, frontier_of, read_table, tasks
from tasksift.evaluate.plan_words import at_budget
from tasksift.evaluate.planner import plan

FULL_FLOPS = 1000.0


def cell(arm: str, budget: str | None, seed: int | None, loss: float, **more) -> Cell:
    share = {None: 1.0, "1%": 0.01, "5%": 0.05, "25%": 0.25}[budget]
    scores = {"loss": np.array([loss, loss + 0.2]), **more.pop("scores", {})}
    costs = {"train_flops": 0.0 if arm == "zero-shot" else FULL_FLOPS * share, **more.pop("costs", {})}
    return Cell(
        more.pop("task", "maths"), arm, budget, seed, None, int(1000 * share), int(1000 * share), int(9000 * share), 1,
        1000, scores, costs=Costs(**costs),
    )  # fmt: skip


def comparison(task: str = "maths", gain: float = 0.3, spread: float = 0.02) -> list[Cell]:
    cells = [cell("zero-shot", None, None, 3.0, task=task)]
    for seed in range(3):
        off = (seed - 1) * spread
        cells.append(cell("full", None, seed, 1.9 + off, task=task))
        for budget, loss in (("1%", 2.8), ("5%", 2.6), ("25%", 2.3)):
            cells.append(cell("random", budget, seed, loss + off, task=task))
            dear = {"feature_flops": 20.0, "select_flops": 1.0, "reusable": 0.5}
            cells.append(cell("tsds", budget, seed, loss - gain + off, task=task, costs=dear))
    return cells


def test_a_case_has_the_scores_and_costs_that_were_measured():
    case = case_of(comparison(), "maths", "loss")
    assert [each.name for each in case.methods] == ["full", "random", "tsds"]
    full, random, tsds = case.methods
    np.testing.assert_allclose(random.curve.shares, [0.01, 0.05, 0.25, 1.0])
    np.testing.assert_allclose(tsds.curve.scores, [-2.6, -2.4, -2.1, -2.0])
    assert (tsds.overhead, tsds.query, tsds.reusable_fraction, tsds.scales) == (20.0, 1.0, 0.5, True)
    assert (random.overhead, random.scales, full.curve.shares.tolist()) == (0.0, False, [1.0])
    assert (case.full_training, case.higher_is_better, case.zero) == (FULL_FLOPS, False, pytest.approx(-3.1))
    assert {each.curve.basis for each in case.methods} == {"seeds"}
    made = plan(case.methods, 71.0, FULL_FLOPS)
    assert (made.choices[0].method, made.choices[0].share, made.tied) == ("tsds", pytest.approx(0.05), ("tsds",))
    assert case.shown(made.choices[0].score) == pytest.approx(2.4)
    assert plan(case.methods, FULL_FLOPS, FULL_FLOPS).everything


def test_a_larger_model_pays_the_same_selection():
    case = case_of(comparison(), "maths", "loss", full_training=10 * FULL_FLOPS, pool=2.0)
    assert (case.full_training, case.ratio, case.methods[2].overhead) == (10 * FULL_FLOPS, 5.0, 40.0)


def test_the_front_is_in_the_metric_as_it_is():
    points = frontier(comparison(gain=0.35), "loss", "maths")
    assert [point["flops"] for point in points] == sorted(point["flops"] for point in points)
    assert {"arm", "budget", "flops", "score", "front"} == set(points[0])
    kept = [(point["arm"], point["budget"]) for point in points if point["front"]]
    assert kept == [
        ("zero-shot", None), ("random", "1%"), ("tsds", "1%"), ("tsds", "5%"), ("tsds", "25%"), ("full", None),
    ]  # fmt: skip
    tsds = next(point for point in points if (point["arm"], point["budget"]) == ("tsds", "5%"))
    assert (tsds["score"], tsds["flops"]) == (pytest.approx(2.35), 71.0)
    assert [(each["task"], each["metric"]) for each in frontier_of(comparison())] == [("maths", "loss")]


def test_higher_is_better_for_accuracy():
    cells = [
        cell("random", "1%", 0, 2.0, scores={"accuracy": np.array([1.0, 0.0])}),
        cell("tsds", "1%", 0, 1.0, scores={"accuracy": np.array([0.0, 0.0])}),
    ]
    assert [point["front"] for point in frontier(cells, "accuracy", "maths") if point["arm"] == "random"] == [True]
    assert [point["front"] for point in frontier(cells, "accuracy", "maths") if point["arm"] == "tsds"] == [False]


def test_advice_names_what_wins():
    said = advice([*comparison(), *comparison("code")])
    assert said is not None
    assert said.startswith("Take tsds: at ")
    found = re.fullmatch(r"Take tsds: at \d+ of 18 compute budgets of 2 tasks \((.*)\) it scores best or .*\.", said)
    assert found is not None
    assert found[1] == "1.0e+01 to 1.0e+03 FLOPs"


def test_advice_is_random_where_nothing_beats_it():
    said = advice(comparison(gain=0.0, spread=0.05))
    assert said is not None
    assert said.startswith("Draw at random: ")


def test_no_advice_from_too_little():
    assert advice([]) is None
    assert advice([each for each in comparison() if each.budget in (None, "1%")]) is None
    assert advice([each for each in comparison() if each.arm != "full"]) is None
    begun = [each for each in comparison("code") if each.budget is None]
    assert advice([*comparison(), *begun]) is None


def test_trainings_that_diverged_are_left_out():
    broken = [cell(arm, "5%", 3, np.nan) for arm in ("tsds", "random")] + [cell("full", None, 3, np.inf)]
    alone = [cell("less", budget, 0, np.nan) for budget in ("1%", "5%")]
    cells = comparison()
    assert frontier([*cells, *broken, *alone], "loss", "maths") == frontier(cells, "loss", "maths")
    assert advice([*cells, *broken, *alone]) == advice(cells)


def test_cells_come_back_from_the_file(tmp_path: Path):
    cells = comparison()
    pq.write_table(cell_table(cells), tmp_path / "cells.parquet")
    for path in (tmp_path, tmp_path / "cells.parquet"):
        found = read_table(path)
        assert frontier(found, "loss", "maths") == frontier(cells, "loss", "maths")
        assert advice(found) == advice(cells)
        assert (tasks(found), common_metric(found)) == (["maths"], "loss")


def test_what_cannot_be_planned_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"there is no .*cells\.parquet"):
        read_table(tmp_path)
    (tmp_path / "cells.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_table(tmp_path)
    pq.write_table(cell_table(comparison()).drop_columns(["train_flops"]), tmp_path / "cells.parquet")
    with pytest.raises(InputError, match="no column 'train_flops'"):
        read_table(tmp_path)
    table = cell_table(comparison())
    texts = pa.array(["many"] * len(table))
    pq.write_table(table.drop_columns(["train_flops"]).append_column("train_flops", texts), tmp_path / "cells.parquet")
    with pytest.raises(InputError, match="column train_flops is string, not double"):
        read_table(tmp_path)
    none = pa.nulls(len(table), pa.float64())
    pq.write_table(table.drop_columns(["train_flops"]).append_column("train_flops", none), tmp_path / "cells.parquet")
    with pytest.raises(InputError, match="column train_flops has lines without a value"):
        read_table(tmp_path)
    none = pa.nulls(len(table), pa.int64())
    pq.write_table(table.drop_columns(["tokens"]).append_column("tokens", none), tmp_path / "cells.parquet")
    with pytest.raises(InputError, match="column tokens has lines without a value"):
        read_table(tmp_path)
    pq.write_table(cell_table([]), tmp_path / "cells.parquet")
    with pytest.raises(InputError, match="has no cells"):
        read_table(tmp_path)
    unfinished = [each for each in comparison() if each.arm != "full"]
    with pytest.raises(InputError, match="no training on everything for maths"):
        case_of(unfinished, "maths", "loss")
    free = [*unfinished, cell("full", None, 0, 1.9, costs={"train_flops": 0.0})]
    with pytest.raises(InputError, match="count no operations of training on everything"):
        case_of(free, "maths", "loss")


def test_the_advice_says_that_no_training_is_better():
    """On losses, which are better when they are lower."""
    case = case_of(comparison(), "maths", "loss")
    for zero, said in ((-3.0, None), (-1.2, "; yet the model as it is scores better, 1.2.")):
        sentence = at_budget(replace(case, zero=zero), case.plan(300.0, 1))
        assert "train on" in sentence
        assert sentence.endswith(said) if said else "yet the model" not in sentence
