"""The summary of a comparison with planted effects, of one with gaps, its notes and its text."""

import json

import numpy as np
import pytest
from made_cells import made_cell, made_cells

from tasksift.errors import InputError
from tasksift.evaluate.statistics import paired
from tasksift.evaluate.summary import summarize
from tasksift.evaluate.summary_text import text_table


def table(summary, task="t", budget="1%", metric="loss"):
    wanted = {"task": task, "budget": budget, "metric": metric}
    (found,) = [each for each in summary["tables"] if {name: each[name] for name in wanted} == wanted]
    return {row["arm"]: row for row in found["rows"]}


@pytest.fixture(scope="module")
def planted():
    effects = {"tsds": 0.1, "bm25": 0.1, "dsir": 0.0, "less": -0.1}
    grid = {"budgets": ("1%", "5%"), "tasks": ("t", "u"), "metrics": ("loss", "accuracy")}
    cells = made_cells(effects, seeds=(0, 1, 2, 3), seed_noise=0.005, **grid)
    return cells, summarize(cells)


def test_planted_effects_are_named(planted):
    _, summary = planted
    for each in summary["tables"]:
        verdicts = {row["arm"]: (row["versus_random"] or {}).get("verdict") for row in each["rows"]}
        assert verdicts.pop("dsir") in ("tie", "better", "worse")
        assert verdicts == {
            "full": "better",
            "tsds": "better",
            "bm25": "better",
            "random": None,
            "less": "worse",
            "zero-shot": "worse",
        }


def test_every_table_is_there_with_every_arm_the_best_first(planted):
    _, summary = planted
    keys = [(each["task"], each["budget"], each["metric"]) for each in summary["tables"]]
    tasks, budgets = ("t", "u", None), ("1%", "5%")
    assert len(keys) == len(set(keys)) == 12
    assert set(keys) == {(t, b, m) for t in tasks for b in budgets for m in ("loss", "accuracy")}
    for each in summary["tables"]:
        assert len(each["rows"]) == 7
        scores = [row["score"] for row in each["rows"]]
        assert scores == sorted(scores, reverse=each["higher_is_better"])
        assert each["held_out_rows"] == (400 if each["task"] is None else 200)


def test_a_difference_is_that_of_the_paired_rows(planted):
    cells, summary = planted
    arms = {
        arm: np.stack([c.scores["loss"] for c in cells if (c.task, c.arm, c.budget) == ("t", arm, "1%")])
        for arm in ("tsds", "random")
    }
    found = paired(arms["tsds"], arms["random"], higher_is_better=False)
    row = table(summary)["tsds"]
    expected = {"mean": found.mean, "low": found.low, "high": found.high, "verdict": found.verdict}
    assert row["versus_random"] == expected
    assert row["seeds"] == pytest.approx(arms["tsds"].mean(axis=1))
    assert row["score"] == pytest.approx(arms["tsds"].mean())
    assert row["spread"] == pytest.approx(arms["tsds"].mean(axis=1).std(ddof=1))


def test_the_best_is_a_selection_and_what_cannot_be_told_from_it_is_named(planted):
    _, summary = planted
    ties = {(tie["task"], tie["budget"], tie["metric"]): tie for tie in summary["ties"]}
    for each in summary["tables"]:
        rows = {row["arm"]: row for row in each["rows"]}
        best = [arm for arm, row in rows.items() if row["versus_best"] is None]
        assert best[0] in ("tsds", "bm25")
        assert len(best) == 1
        tied = [arm for arm, row in rows.items() if row["tied_with_best"] and arm not in (best[0], "full")]
        tie = ties.get((each["task"], each["budget"], each["metric"]))
        assert (tie["best"], tie["arms"]) == (best[0], tied) if tied else tie is None
    assert any({tie["best"], *tie["arms"]} == {"tsds", "bm25"} for tie in summary["ties"])


def test_every_arm_below_random_is_a_loser(planted):
    _, summary = planted
    below = {
        (each["task"], each["budget"], each["metric"], row["arm"])
        for each in summary["tables"]
        for row in each["rows"]
        if row["versus_random"] and row["versus_random"]["mean"] < 0 and row["arm"] != "zero-shot"
    }
    losers = {(each["task"], each["budget"], each["metric"], each["arm"]) for each in summary["losers"]}
    assert losers == below
    assert {each["verdict"] for each in summary["losers"] if each["arm"] == "less"} == {"worse"}


def test_the_mean_over_tasks_is_the_mean_of_the_tasks(planted):
    _, summary = planted
    for arm in ("tsds", "full", "zero-shot"):
        mean, t, u = (table(summary, task)[arm] for task in (None, "t", "u"))
        for of in (lambda row: row["score"], lambda row: row["versus_random"]["mean"]):
            assert of(mean) == pytest.approx((of(t) + of(u)) / 2)
        assert mean["card"]["pir_full"] == pytest.approx((t["card"]["pir_full"] + u["card"]["pir_full"]) / 2)


def test_curves_go_through_the_scores(planted):
    _, summary = planted
    assert len(summary["curves"]) == 6
    (curve,) = [each for each in summary["curves"] if (each["task"], each["metric"]) == ("t", "loss")]
    assert curve["zero"] == table(summary)["zero-shot"]["score"]
    assert curve["full"] == table(summary)["full"]["score"]
    lines = {line["arm"]: line["points"] for line in curve["lines"]}
    assert set(lines) == {"random", "tsds", "bm25", "dsir", "less"}
    assert [point["fraction"] for point in lines["tsds"]] == pytest.approx([0.01, 0.05])
    assert lines["tsds"][1]["score"] == pytest.approx(table(summary, budget="5%")["tsds"]["score"])
    assert all(point["low"] < point["score"] < point["high"] for point in lines["tsds"])


def test_it_is_json_of_finite_numbers_and_the_same_again(planted):
    _, summary = planted
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    cells = made_cells({"tsds": 0.1})
    assert summarize(cells) == summarize(cells)
    assert summarize(cells, seed=1) != summarize(cells)


def one_row(arm, seed, score, budget="1%", **more):
    return made_cell(arm, seed, {"accuracy": np.full(40, score)}, budget=budget, **more)


def test_the_score_card():
    costs = {"feature_seconds": 60.0, "select_seconds": 40.0, "feature_flops": 6e10, "select_flops": 4e10}
    cells = [made_cell("zero-shot", None, {"accuracy": np.full(40, 0.2)})]
    for seed in range(3):
        cells += [one_row("full", seed, 0.8), one_row("random", seed, 0.4), one_row("random", seed, 0.6, "4%")]
        cells += [one_row("rds+", seed, 0.5, **costs), one_row("tsds:encoder", seed, 0.7, "4%")]
    summary = summarize(cells)
    card = table(summary, metric="accuracy")["rds+"]["card"]
    assert card["pir_full"] == pytest.approx(0.5 / 0.8)
    assert card["pir_random"] == pytest.approx(0.5 / 0.4)
    assert card["sdf"] == pytest.approx(0.01)
    assert card["residual"] == pytest.approx(0.5 / 0.8 - 0.4 / 0.8)
    assert card["str"] == pytest.approx(100 / 1000)
    assert card["flops_share"] == pytest.approx(0.5)
    assert card["flags"] == {"model_free": False, "dataset_free": True, "gpt_free": True}
    rows = table(summary, budget="4%", metric="accuracy")
    assert rows["tsds:encoder"]["card"]["flags"]["model_free"] is False
    assert rows["random"]["card"]["residual"] == pytest.approx(0)
    assert rows["full"]["card"]["pir_full"] == 1
    assert rows["zero-shot"]["card"]["flags"] is None
    seen = table(summarize(cells, representations={"tsds:encoder": "tfidf"}), budget="4%", metric="accuracy")
    assert seen["tsds:encoder"]["card"]["flags"]["model_free"] is True


def test_missing_cells_are_said_and_the_shared_seeds_compared():
    cells = made_cells({"tsds": 0.1, "bm25": 0.1}, tasks=("t", "u"), seeds=(0, 1, 2, 3))
    cells = [c for c in cells if not (c.task == "u" and (c.arm == "bm25" or (c.arm, c.seed) == ("tsds", 2)))]
    summary = summarize(cells)
    assert "bm25" in table(summary)
    assert "bm25" not in table(summary, "u")
    assert "bm25" not in table(summary, None)
    assert len(table(summary, "u")["tsds"]["seeds"]) == 3
    assert len(table(summary, None)["tsds"]["seeds"]) == 3
    assert table(summary, None)["tsds"]["versus_random"]["verdict"] == "better"
    notes = "\n".join(summary["notes"])
    assert "tsds at 1% on u lacks seed 2;" in notes
    assert "bm25 at 1% on u is missing;" in notes
    assert "bm25 at 1% has no seed with loss on all of the tasks" in notes


def test_a_training_that_diverged_is_said_and_left_out():
    cells = made_cells({"tsds": 0.1}, seeds=(0, 1, 2, 3))
    (bad,) = [c for c in cells if (c.arm, c.seed) == ("tsds", 1)]
    bad.scores["loss"][3] = np.nan
    summary = summarize(cells)
    assert len(table(summary)["tsds"]["seeds"]) == 3
    assert any(note.startswith("tsds at 1% on t, seed 1: the loss is not finite") for note in summary["notes"])
    json.dumps(summary, allow_nan=False)


def test_without_random_nothing_is_held_against_it():
    cells = [cell for cell in made_cells({"tsds": 0.1, "bm25": 0.0}) if cell.arm != "random"]
    summary = summarize(cells)
    assert all(row["versus_random"] is None for row in table(summary).values())
    assert table(summary)["tsds"]["card"]["pir_random"] is None
    assert any("No arm stands beside random" in note for note in summary["notes"])


def test_one_seed_gives_no_verdict():
    summary = summarize(made_cells({"tsds": 0.5}, seeds=(7,)))
    row = table(summary)["tsds"]
    assert row["versus_random"]["verdict"] == "too few seeds"
    assert row["spread"] is None
    assert table(summary)["random"]["tied_with_best"] is True
    assert any("There is 1 seed; at least 3" in note for note in summary["notes"])


def test_one_held_out_row_has_no_interval():
    summary = summarize(made_cells({"tsds": 0.5}, rows=1))
    assert table(summary)["tsds"]["versus_random"]["low"] is None
    assert table(summary)["tsds"]["versus_random"]["verdict"] == "too few rows"
    assert "+0." in text_table(summary)


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [one_row("random", 0, 0.4), one_row("random", 0, 0.5)],
        [one_row("random", 0, 0.4), made_cell("tsds", 0, {"accuracy": np.ones(41)})],
    ],
)
def test_cells_that_contradict_each_other_are_refused(cells):
    with pytest.raises(InputError):
        summarize(cells)


def test_only_baselines_without_a_budget():
    summary = summarize([cell for cell in made_cells({}) if cell.arm in ("full", "zero-shot")])
    assert summary["tables"] == []
    assert summary["curves"][0]["full"] is not None


def test_the_text_has_a_line_for_every_arm_and_loser(planted):
    _, summary = planted
    text = text_table(summary)
    assert "t, 1%: loss (lower is better) of 200 held-out rows" in text
    assert "mean over tasks, 5%: accuracy (higher is better) of 400 held-out rows" in text
    assert text.count("zero-shot") == len(summary["tables"])
    assert text.count("beyond noise)") == sum(loser["verdict"] == "worse" for loser in summary["losers"])
    assert all(note in text for note in summary["notes"])
    assert max(map(len, text.split("\n\n")[0].splitlines())) <= 100
