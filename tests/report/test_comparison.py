"""The data of the report of a comparison: from cells, finished or not, small however many there are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasksift.errors import InputError
from tasksift.evaluate.cells import Cell, Costs
from tasksift.evaluate.folder import asked_cells
from tasksift.evaluate.names import BALANCED, FULL, RANDOM, ZERO_SHOT
from tasksift.evaluate.summary import summarize
from tasksift.report.comparison import comparison_data, data_of_cells
from tasksift.report.findings import findings
from tasksift.report.page import render

ROWS = 12


def make_cells(gains: dict[str, float], tasks=("law",), budgets=("1%",), seeds=(0, 1, 2), metrics=("loss",), rows=ROWS):
    """Cells whose arm is better than random by its gain, in every row, up to a little noise."""
    rng = np.random.default_rng(7)
    cells = []
    for task in tasks:
        level = {metric: rng.uniform(2, 3, rows) for metric in metrics}
        runs: list[tuple[str, Any, Any]] = [(ZERO_SHOT, None, None), *((FULL, None, seed) for seed in seeds)]
        runs += [(arm, budget, seed) for arm in (RANDOM, BALANCED, *gains) for budget in budgets for seed in seeds]
        for arm, budget, seed in runs:
            gain = {ZERO_SHOT: -1.0, FULL: 0.3, **gains}.get(arm, 0.0)
            scores = {
                metric: level[metric] + (-gain if metric == "loss" else gain) + rng.normal(0, 0.01, rows)
                for metric in metrics
            }
            size = 0 if arm == ZERO_SHOT else 500 if arm == FULL else int(5 * float(budget[:-1]))
            costs = Costs(1, 1e9, 1, 1e8, 10, 1e8 * size, 1)
            cells.append(Cell(task, arm, budget, seed, arm, size, size, 90 * size, 1, 500, scores, {}, costs))
    return cells


def make_manifest(cells: list[Cell], asked: int | None = None) -> dict[str, Any]:
    tasks = dict.fromkeys(cell.task for cell in cells)
    return {
        "kind": "comparison", "version": "0.1.0", "pool": {"rows": 500, "sources": {"web": 500}},
        "tasks": [{"name": task, "targets": 4, "held_out": ROWS, "metrics": ["loss"]} for task in tasks],
        "model": {"name": "tiny", "parameters": 1000}, "arms": list(dict.fromkeys(cell.arm for cell in cells)),
        "budgets": list(dict.fromkeys(cell.budget for cell in cells if cell.budget)), "seeds": [0, 1, 2],
        "cells": {"done": len(cells), "asked": asked or len(cells)}, "training": {"epochs": 1},
    }  # fmt: skip


def write(folder: Path, cells: list[Cell], asked: int | None = None) -> Path:
    (folder / "cells").mkdir()
    for k, cell in enumerate(cells):
        cell.write(folder / "cells" / f"{k}.json")
    (folder / "manifest.json").write_text(json.dumps(make_manifest(cells, asked)))
    (folder / "config.yaml").write_text("presets: [good, bad]\n")
    return folder


def test_the_data_of_a_folder(tmp_path):
    cells = make_cells({"good": 0.5, "bad": -0.5}, tasks=("law", "maths"), budgets=("1%", "5%"))
    data = comparison_data(write(tmp_path, cells))
    assert (data["format"], data["kind"], data["title"]) == (1, "comparison", "Comparison of 2 methods on 2 tasks")
    assert data["config"] == "presets: [good, bad]\n"
    assert data["manifest"] == make_manifest(cells)
    glance = data["glance"]
    assert glance["held_out_rows"] == {"law": ROWS, "maths": ROWS}
    assert (glance["tasks"], glance["pool_rows"], glance["parameters"]) == (["law", "maths"], 500, 1000)
    assert {(each["task"], each["metric"]) for each in data["frontier"]} == {("law", "loss"), ("maths", "loss")}
    points = data["frontier"][0]["points"]
    assert any(point["front"] for point in points)
    assert {point["arm"] for point in points} >= {"good", "bad", RANDOM}
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    tables = [table for table in data["summary"]["tables"] if table["task"] == "law" and table["budget"] == "5%"]
    scores = {row["arm"]: row["score"] for table in tables for row in table["rows"]}
    wanted = [cell.score("loss") for cell in cells if (cell.task, cell.arm, cell.budget) == ("law", "good", "5%")]
    assert scores["good"] == pytest.approx(np.mean(wanted), rel=1e-5)
    assert glance["sentence"] == (
        "Judged by the loss per response token in 4 cases: 2 tasks at 2 budgets. Better than random beyond noise: "
        "good in all. Worse than random beyond noise: bad in all. Best, or not to be told apart from the best: good "
        "in all."
    )


def test_the_order_of_the_files_decides_nothing(tmp_path):
    cells = make_cells({"good": 0.5, "bad": -0.5}, budgets=("1%", "5%"))
    manifest = make_manifest(cells)
    pages = {render(data_of_cells(asked_cells(each, manifest), manifest, "")) for each in (cells, cells[::-1])}
    assert len(pages) == 1


def test_cells_of_other_arms_budgets_seeds_and_tasks_are_no_part_of_it(tmp_path):
    cells = make_cells({"good": 0.5, "bad": -0.5})
    folder = write(tmp_path, cells)
    data = comparison_data(folder)
    others = make_cells({"good": 0.5, "gone": 1.0}, tasks=("law", "maths"), budgets=("1%", "7%"), seeds=(0, 9))
    known = {(cell.task, cell.arm, cell.budget, cell.seed) for cell in cells}
    others = [cell for cell in others if (cell.task, cell.arm, cell.budget, cell.seed) not in known]
    for k, cell in enumerate(others):
        cell.write(folder / "cells" / f"other-{k}.json")
    assert comparison_data(folder) == data
    cells[-1].write(folder / "cells" / "of-other-options.json")
    manifest = make_manifest(cells)
    manifest["cells"]["files"] = [f"{k}.json" for k in range(len(cells))]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert comparison_data(folder) == data
    (folder / "cells" / "3.json").unlink()
    with pytest.raises(InputError, match=r"cannot read .*3\.json: .*; run the same tasksift compare again"):
        comparison_data(folder)


def test_the_summary_of_the_same_cells_is_taken_and_any_other_made_again(tmp_path):
    cells = make_cells({"good": 0.5})
    folder = write(tmp_path, cells)
    fresh = comparison_data(folder)
    kept = {**summarize(cells), "notes": ["kept"]}
    (folder / "summary.json").write_text(json.dumps(kept))
    assert comparison_data(folder)["summary"] == {**fresh["summary"], "notes": ["kept"]}
    for change in ({"version": "0.0.1"}, {"cells": {"done": 3, "asked": 40}}):
        (folder / "manifest.json").write_text(json.dumps({**make_manifest(cells), **change}))
        assert comparison_data(folder)["summary"] == fresh["summary"]
    (folder / "manifest.json").write_text(json.dumps(make_manifest(cells)))
    for damaged in ("", "[]", "{}", "[" * 100_000):
        (folder / "summary.json").write_text(damaged)
        assert comparison_data(folder) == fresh


def test_what_failed_and_why_there_is_no_advice_are_among_the_notes(tmp_path):
    cells = [replace(cell, costs=Costs()) for cell in make_cells({"good": 0.5}, budgets=("1%", "5%"))]
    failed = {f"arm {k:02d}": "it needs a model" for k in range(25)}
    data = data_of_cells(cells, {**make_manifest(cells), "failed": failed}, "")
    notes = data["summary"]["notes"]
    assert notes[-22].startswith("arm 00 could not be compared: it needs a model")
    assert notes[-2:-1] == ["5 more could not be compared."]
    assert notes[-1].startswith("There is no advice: the cells of ")
    assert data["advice"] is None


def test_an_unfinished_comparison_says_so(tmp_path):
    cells = make_cells({"good": 0.5, "bad": -0.5})
    sentence = comparison_data(write(tmp_path, cells, asked=40))["glance"]["sentence"]
    assert sentence.startswith(
        "This comparison is not finished: 16 of 40 cells are done, and all may yet change. Judged"
    )
    for count in range(len(cells)):
        data = data_of_cells(cells[:count], make_manifest(cells), "")
        assert f" {count} of 16 cells are done" in data["glance"]["sentence"]
        render(data)


def test_no_cell_yet(tmp_path):
    cells = make_cells({"good": 0.5})
    write(tmp_path, cells)
    for path in (tmp_path / "cells").iterdir():
        path.unlink()
    data = comparison_data(tmp_path)
    assert data["glance"]["sentence"].endswith("No method stands beside random yet, so nothing can be said about any.")
    assert (data["frontier"], data["advice"], data["summary"]["tables"]) == ([], None, [])
    render(data)


def test_hostile_names_stay_text(tmp_path):
    arm, task = "</script><script>alert(1)</script>" + "x" * 5000, "\u202e\ud800 <b>"
    data = data_of_cells(
        make_cells({arm: 0.5}, tasks=(task,)), make_manifest(make_cells({arm: 0.5}, tasks=(task,))), "<i>"
    )
    page = render(data)
    assert page.count("</script>") == 2
    assert "<script>alert" not in page
    assert "<b>" not in page
    assert len(page) < 500_000


def test_scores_that_are_no_numbers(tmp_path):
    cells = make_cells({"good": 0.5})
    for cell in cells:
        if cell.arm == "good":
            cell.scores["loss"][3] = np.nan
    json.dumps(data_of_cells(cells, make_manifest(cells), ""), allow_nan=False)


def test_the_page_stays_small(monkeypatch):
    monkeypatch.setattr("tasksift.report.comparison.advice", lambda cells: "a sentence")  # takes seconds for so many
    cells = make_cells({"bm25": 0.1}, budgets=("1%",), metrics=("loss", "accuracy"))
    template = summarize(cells)
    rng = np.random.default_rng(0)
    arms, tasks, budgets = (
        [f"method {k} on features" for k in range(40)],
        [f"task {k}" for k in range(8)],
        ("1%", "3%", "9%"),
    )

    def drawn(value: Any) -> Any:
        """The same with other numbers, of all their digits."""
        if isinstance(value, dict):
            return {name: drawn(each) for name, each in value.items()}
        return (
            [drawn(each) for each in value]
            if isinstance(value, list)
            else (value * rng.uniform(0.5, 2) if isinstance(value, float) else value)
        )

    row = next(row for row in template["tables"][0]["rows"] if row["arm"] == "bm25")
    line = next(line for line in template["curves"][0]["lines"] if line["arm"] == "bm25")
    summary = {
        "tables": [
            {**template["tables"][0], "task": task, "budget": budget, "metric": metric,
             "rows": [{**drawn(row), "arm": arm} for arm in arms]}
            for task in (*tasks, None) for budget in budgets for metric in ("loss", "accuracy")
        ],
        "curves": [
            {**template["curves"][0], "task": task,
             "lines": [{"arm": arm, "points": drawn(3 * line["points"])} for arm in arms]}
            for task in (*tasks, None) for _ in range(2)
        ],
        "losers": [
            {"task": task, "budget": budget, "metric": "loss", "arm": arm, **drawn(row["versus_random"])}
            for task in tasks for budget in budgets for arm in arms
        ],
        "ties": [
            {"task": task, "budget": budget, "metric": "loss", "best": arms[0], "arms": arms}
            for task in tasks for budget in budgets
        ],
        "notes": template["notes"],
    }  # fmt: skip
    cells = make_cells(dict.fromkeys(arms, 0.1), tasks, budgets, seeds=(0,), metrics=("loss", "accuracy"), rows=2)
    manifest = make_manifest(cells)
    whole = {**summary, "tables": summary["tables"][::2]}
    assert len(data_of_cells(cells[:1], manifest, "", whole)["summary"]["tables"]) == 27
    page = render(data_of_cells(cells, manifest, "x" * 100_000, {**summary, "tables": summary["tables"] * 3}))
    assert 3_000_000 < len(page) < 5_000_000
    assert "62 more tables are in summary.json; a page holds 4,000 lines." in page


def test_a_damaged_manifest_is_named(tmp_path):
    write(tmp_path, make_cells({"good": 0.5}))
    manifest = make_manifest(make_cells({"good": 0.5}))
    for name in ("kind", "pool", "tasks", "model", "arms", "budgets", "seeds", "cells"):
        for odd in (None, 3, [3], [{}], {"asked": "5"}):
            if (name == "seeds" and isinstance(odd, list)) or (name in ("pool", "model") and isinstance(odd, dict)):
                continue
            (tmp_path / "manifest.json").write_text(json.dumps({**manifest, name: odd}))
            with pytest.raises(InputError, match=r"manifest\.json is damaged or not of tasksift compare"):
                comparison_data(tmp_path)


def line(arm: str, verdict: str | None, tied: bool = False) -> dict[str, Any]:
    return {"arm": arm, "versus_random": verdict and {"verdict": verdict}, "tied_with_best": tied}


def table(task: str | None, budget: str, metric: str, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"task": task, "budget": budget, "metric": metric, "rows": rows}


def test_what_is_said():
    mixed = [
        table("law", "1%", "loss", line("random", None), line("a", "better", True), line("b", "tie", True)),
        table(
            "law", "5%", "loss", line("random", None), line("a", "tie"), line("b", "worse"), line(FULL, "better", True)
        ),
        table("law", "1%", "accuracy", line("random", None), line("a", "worse")),
        table("chat", "1%", "accuracy", line("random", None), line("a", "better", True), line("b", "worse")),
        table(None, "1%", "loss", line("random", None), line("a", "worse")),
    ]
    assert findings(mixed, 5, 5) == (
        "Judged by accuracy in 2 cases: 2 tasks at a budget of 1%. Better than random beyond noise: a in 1 (chat). "
        "Worse than random beyond noise: a in 1 (law), b in 1 (chat). Best, or not to be told apart from the best: a "
        "in 1 (chat)."
    )
    assert findings(mixed[:2], 5, 5) == (
        "Judged by the loss per response token in 2 cases: 1 task at 2 budgets. Better than random beyond noise: a "
        "in 1 (law at 1%). Worse than random beyond noise: b in 1 (law at 5%). Best, or not to be told apart from "
        "the best: a in 1 (law at 1%), b in 1 (law at 1%)."
    )
    few = [table("law", "1%", "loss", line("random", None), line("a", "too few seeds", True))]
    assert findings(few, 2, 2) == (
        "Judged by the loss per response token in 1 case: 1 task at a budget of 1%. There are too few seeds or "
        "held-out rows to tell any method from random. Best, or not to be told apart from the best: a in all."
    )
    many = [table("law", "1%", "loss", line("random", None), *(line(f"m{k}", "better") for k in range(40)))]
    assert (
        ": m0 in all, m1 in all, m2 in all, m3 in all, m4 in all, m5 in all, and 34 more. Worse than random beyond "
        in (findings(many, 2, 2))
    )
