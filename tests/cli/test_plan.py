"""`tasksift plan` on the command line: published and own curves, what is advised and printed, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_outcome import Outcome

from tasksift.evaluate.cells import Cell, Costs, cell_table

SIZES = ("--model-params", "7e9", "--pool-rows", "270679", "--pool-tokens", "1.136e8")


@pytest.fixture
def command(tasksift: Callable[..., Outcome]) -> Callable[..., Outcome]:
    return partial(tasksift, "plan")


def cells(path: Path, seeds: int = 3) -> None:
    found = []
    for arm, budget, share, loss in (
        ("zero-shot", None, 0.0, 3.0), ("full", None, 1.0, 2.0), ("random", "5%", 0.05, 2.7),
        ("random", "25%", 0.25, 2.4), ("less", "5%", 0.05, 2.4), ("less", "25%", 0.25, 2.2),
    ):  # fmt: skip
        for seed in range(seeds if share else 1):
            dear = {"feature_flops": 4e11, "select_flops": 1e9} if arm == "less" else {}
            costs = Costs(train_flops=share * 1e12, **dear)
            scores = {"loss": np.array([loss + 0.01 * seed]), "accuracy": np.array([0.5])}
            rows = int(1000 * share)
            whose = seed if share else None
            found.append(Cell("maths", arm, budget, whose, None, rows, rows, 100 * rows, 1, 1000, scores, costs=costs))
    pq.write_table(cell_table(found), path)


def test_a_plan_from_published_curves(command: Callable[..., Outcome], tmp_path: Path):
    done = command(*SIZES, "--flops", "1e18")
    assert (done.code, done.err) == (0, "")
    assert "a full training takes 4.77e+18" in done.out
    assert "Select with Embed and train on 21 % of the pool, predicted 65 % of the gain" in done.out
    assert "single runs" in done.out
    assert "smallest and largest over the published panels" in done.out
    assert "PPL     FLOPs for each target: from 2.04e+18 on, nowhere in 4 of 6" in done.out
    done = command(*SIZES, "--flops", "1e18", "--panel", "MMLU-7B", "--json", "--out", "plan.json")
    assert done.code == 0
    record = json.loads(done.out)
    assert record == json.loads((tmp_path / "plan.json").read_text())
    assert command(*SIZES, "--flops", "1e18", "--out", "plan.json", "--force").code == 0
    assert json.loads((tmp_path / "plan.json").read_text())["source"] == "published, panel all"
    (case,) = record["cases"]
    assert case["plan"]["best"] == "Embed"
    assert case["plan"]["choices"][0]["score"] == pytest.approx(46.94, abs=0.01)
    assert {each["what"] for each in case["break_even"]} == {"ratio", "targets", "budget"}
    spans = {(each["method"], each["what"]): (each["low"], each["high"]) for each in record["across_panels"]}
    low, high = spans["LESS", "ratio"]
    assert high / low > 10


def test_hours_epochs_and_sizes_change_the_plan(command: Callable[..., Outcome]):
    done = command(*SIZES, "--gpu-hours", 10, "--flops-per-second", "1e14", "--epochs", 2, "--json")
    record = json.loads(done.out)
    assert record["budget"] == pytest.approx(3.6e18)
    assert record["cases"][0]["full_training"] == pytest.approx(2 * 6 * 7e9 * 1.136e8)
    ways = ("--flops", "4e18", "--selector-params", "1e9", "--less-cost", "study", "--json")
    less = json.loads(command(*SIZES, *ways).out)["cases"][0]["methods"][-1]
    assert (less["method"], less["once"]) == ("LESS", pytest.approx(5.4 * 2 * 1e9 * 1.136e8))


def test_what_is_reusable_and_a_score_of_ones_own(command: Callable[..., Outcome]):
    record = json.loads(command(*SIZES, "--flops", "2e18", "--targets", 10, "--reusable", "ppl=1", "--json").out)
    ppl = next(each for each in record["cases"][0]["methods"] if each["method"] == "PPL")
    assert (ppl["selection"], ppl["per_target"]) == (pytest.approx(2 * 7e9 * 1.136e8 / 10), 0)
    ends = ("--zero-score", 3.0, "--full-score", 2.0)
    (case,) = json.loads(command(*SIZES, "--flops", "1e18", *ends, "--json").out)["cases"]
    best = case["plan"]["choices"][0]
    assert 2.2 < best["low"] < best["score"] < best["high"] < 2.5
    assert case["front"][-1]["score"] == pytest.approx(2.0)


def test_a_plan_from_cells(command: Callable[..., Outcome], tmp_path: Path):
    cells(tmp_path / "cells.parquet")
    done = command("--cells", ".", "--flops", "2e11")
    assert done.code == 0
    assert "maths (loss): 2e+11 FLOPs for one target; a full training takes 1e+12" in done.out
    assert "Draw at random and train on 20 % of the pool" in done.out
    assert "Planned by loss" in done.out
    done = command("--cells", "cells.parquet", "--flops", "2e11", "--targets", 10)
    assert "Select with less and train on 16 % of the pool, predicted 2.2" in done.out
    record = json.loads(command("--cells", ".", "--flops", "2e12", "--model-params", "1e9", "--json").out)
    assert record["cases"][0]["full_training"] == pytest.approx(6 * 1e9 * 1e5)
    assert any("assumed to hold" in note for note in record["notes"])
    cells(tmp_path / "cells.parquet", seeds=1)
    assert "one seed only" in command("--cells", ".", "--flops", "2e11", "--metric", "accuracy").out


def test_a_budget_just_below_a_full_training(command: Callable[..., Outcome]):
    done = command(*SIZES, "--flops", "4.77e18")
    assert "Train on a random draw of all that the budget pays for, 99.97 % of the pool" in done.out
    assert "takes 4.771e+18 FLOPs" in done.out


def test_the_advice_is_one_sentence(command: Callable[..., Outcome]):
    done = command(*SIZES, "--flops", "1e18", "--panel", "IFEval-7B")
    assert "(25.1 to 27.88), as nothing within this budget is measured to score better; Embed and BM25" in done.out


def test_a_budget_below_all_that_was_measured(command: Callable[..., Outcome], tmp_path: Path):
    cells(tmp_path / "cells.parquet")
    done = command("--cells", ".", "--flops", "1e10")
    assert done.code == 0
    assert "No method fits: 1.00e+10 FLOPs do not pay" in done.out


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((*SIZES,), "there is no budget: give --flops, or --gpu-hours with --flops-per-second"),
        ((*SIZES, "--gpu-hours", "3"), "--gpu-hours needs --flops-per-second"),
        ((*SIZES, "--gpu-hours", "3", "--flops", "1e18"), "not both"),
        ((*SIZES, "--flops", "many"), "--flops 'many': it should be a number"),
        ((*SIZES, "--flops", "-1"), "--flops '-1': it should be above 0"),
        ((*SIZES, "--flops", "nan"), "--flops 'nan': it should be finite"),
        ((*SIZES, "--flops", "1e-40"), "--flops '1e-40': it should be at least 1e-36"),
        ((*SIZES, "--flops", "1e18", "--epochs", "1e300"), "--epochs '1e300': it should be at most 1e+36"),
        (
            (*SIZES, "--flops", "1e18", "--zero-score", "1e308", "--full-score", "-1e308"),
            "--zero-score '1e308': it should be at most 1e+36",
        ),
        (
            ("--model-params", "7e9", "--pool-rows", "1e8", "--pool-tokens", "3e5", "--flops", "1e18"),
            "--pool-tokens 300000 is less than --pool-rows 1e+08",
        ),
        ((*SIZES, "--flops", "1e18", "--panel", ""), "there is no --panel ''"),
        ((*SIZES, "--flops", "1e18", "--targets", "0.5"), "--targets 0.5: it should be at least 1"),
        ((*SIZES, "--flops", "1e18", "--panel", "GSM8K"), "there is no --panel 'GSM8K'; there are all, MMLU-7B"),
        ((*SIZES, "--flops", "1e18", "--reusable", "ppl"), "--reusable 'ppl': give a method and a number"),
        ((*SIZES, "--flops", "1e18", "--reusable", "ppl="), "--reusable 'ppl=': give a method and a number"),
        ((*SIZES, "--flops", "1e18", "--reusable", "ppl=nan"), "--reusable ppl=nan: it should be between 0 and 1"),
        ((*SIZES, "--flops", "1e18", "--reusable", "ppl=2"), "--reusable ppl=2: it should be between 0 and 1"),
        ((*SIZES, "--flops", "1e18", "--reusable", "tsds=1"), "--reusable tsds: there is no such method"),
        ((*SIZES, "--flops", "1e18", "--less-cost", "free"), "--less-cost free is not one of counted, study, paper"),
        ((*SIZES, "--flops", "1e18", "--zero-score", "1"), "--zero-score and --full-score come together"),
        ((*SIZES, "--flops", "1e18", "--zero-score", "1", "--full-score", "1"), "they should differ"),
        ((*SIZES, "--flops", "1e18", "--metric", "loss"), "--metric goes with --cells"),
        ((*SIZES, "--flops", "1e18", "--out", "no/plan.json"), "cannot write no/plan.json"),
        ((*SIZES, "--flops", "1e18", "--out", "cells.parquet"), "cells.parquet exists; use --force to replace it"),
        ((*SIZES, "--flops", "1e18", "--out", "/proc/plan.json"), "cannot write /proc/plan.json"),
        (("--flops", "1e18"), "there is no --model-params"),
        (("--flops", "1e18", "--cells", "none"), "there is no none"),
        (("--flops", "1e18", "--cells", ".", "--panel", "all"), "--panel is of published curves"),
        (("--flops", "1e18", "--cells", ".", "--reusable", "ppl=1"), "--reusable is of published curves"),
        (("--flops", "1e18", "--cells", ".", "--less-cost", "study"), "--less-cost is of published curves"),
        (("--flops", "1e18", "--cells", ".", "--encoder-params", "1e9"), "--encoder-params is of published curves"),
        (("--flops", "1e18", "--cells", ".", "--metric", "f1"), "--metric f1 is not one of loss, accuracy"),
        (("--flops", "1e18", "--cells", ".", "--metric", "exact-match"), "--metric exact-match: no cell of . has it"),
        (("--flops", "1e18", "--cells", ".", "--epochs", "2"), "--epochs needs --model-params"),
    ],
)
def test_what_is_refused(command: Callable[..., Outcome], tmp_path: Path, options: Any, line: str):
    cells(tmp_path / "cells.parquet", seeds=1)
    done = command(*options)
    assert done.code == 2
    assert done.out == ""
    assert line in done.err
    assert done.err.count("\n") == 1
