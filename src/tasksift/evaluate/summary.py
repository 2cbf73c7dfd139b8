"""What the cells of a comparison say: scores, differences to random and to the best with intervals, ties and losers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from tasksift.evaluate.cells import Cell, Costs
from tasksift.evaluate.names import BASELINES, FULL, HIGHER_IS_BETTER, RANDOM, ZERO_SHOT
from tasksift.evaluate.score_card import (
    flags,
    flops_share,
    local_line,
    performance_ratio,
    residual,
    selection_time_ratio,
)
from tasksift.evaluate.statistics import Difference
from tasksift.evaluate.summary_grid import Grid, Runs, Tasks
from tasksift.evaluate.summary_notes import notes
from tasksift.represent import REPRESENTATIONS

_UNSELECTED = (ZERO_SHOT, FULL)


def summarize(
    cells: Sequence[Cell],
    confidence: float = 0.95,
    seed: int = 0,
    *,
    representations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return what the cells of a comparison say, finished or not.

    Parameters
    ----------
    cells : sequence of Cell
    confidence : float
        Of the intervals.
    seed : int
        Of the draws behind them.
    representations : mapping of str to str, optional
        What an arm looks at, where it is not its preset's own and its label is not ``PRESET:REPRESENTATION``.

    Returns
    -------
    dict
        Plain JSON, every number finite or None:

        ``tables``
            One for every task, budget and metric, and where several tasks have the metric one with the task None: the
            mean over them. Its rows are the arms, the best score first, with the score of each seed, the differences
            ``versus_random`` (at the same budget) and ``versus_best`` (the best mean among arms of this budget), the
            score card and the mean costs. ``tied_with_best`` says that an arm is the best or cannot be told from it.
        ``curves``
            For every task and metric the score of each arm over the fraction of the pool, with an interval.
        ``losers``
            Every selection whose mean is below random's, with the verdict.
        ``ties``
            For each table the selections that cannot be told from its best.
        ``notes``
            Sentences on what the comparison can and cannot show, and on what is missing in it.

    Raises
    ------
    InputError
        If there is no cell, or cells contradict each other.
    """
    grid = Grid(cells, confidence, seed)
    seen = {arm: _named_representation(arm) for arm in grid.arms} | dict(representations or {})
    tables = [_table(grid, *where, seen) for where in _tables(grid)]
    return {
        "tables": tables,
        "curves": [_curve(grid, tasks, metric) for tasks, metric in _scopes(grid)],
        "losers": [loser for table in tables for loser in _losers(table)],
        "ties": [tie for table in tables for tie in _ties(table)],
        "notes": notes(grid, tables, confidence),
    }


def looked_at(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What the arms of a comparison look at, by its manifest, for `summarize`."""
    return {arm: name for arm, name in (manifest.get("representations") or {}).items() if isinstance(name, str)}


def _scopes(grid: Grid) -> list[tuple[Tasks, str]]:
    """Each task with each of its metrics, and for each metric all tasks that have it, where they are several."""
    single: list[tuple[Tasks, str]] = [((task,), metric) for task in grid.tasks for metric in grid.metrics(task)]
    together = [(tuple(t for t in grid.tasks if metric in grid.metrics(t)), metric) for metric in HIGHER_IS_BETTER]
    return single + [(tasks, metric) for tasks, metric in together if len(tasks) > 1]


def _tables(grid: Grid) -> list[tuple[Tasks, str, str]]:
    return [
        (tasks, budget, metric)
        for tasks, metric in _scopes(grid)
        for budget in grid.budgets
        if all(any(grid.has(task, arm, budget) for arm in grid.arms) for task in tasks)
    ]


def _table(grid: Grid, tasks: Tasks, budget: str, metric: str, looked_at: Mapping[str, str | None]) -> dict[str, Any]:
    there = {arm: grid.runs(tasks, arm, budget, metric) for arm in grid.arms}
    there = {arm: runs for arm, runs in there.items() if runs}
    scores = {arm: _scores(runs, metric) for arm, runs in there.items()}
    sign = 1 if HIGHER_IS_BETTER[metric] else -1
    order = sorted(there, key=lambda arm: -sign * float(np.mean(scores[arm])))
    best = next((arm for arm in order if grid.has(tasks[0], arm, budget)), None)
    random = there.get(RANDOM)
    rows = []
    for arm in order:
        runs = there[arm]
        against = {
            "versus_random": grid.difference(runs, random, metric) if random and arm != RANDOM else None,
            "versus_best": grid.difference(runs, there[best], metric) if best and arm != best else None,
        }
        behind = against["versus_best"]
        rows.append(
            {
                "arm": arm,
                "preset": next(iter(runs.values()))[0].preset,
                "score": float(np.mean(scores[arm])),
                "seeds": scores[arm],
                "spread": float(np.std(scores[arm], ddof=1)) if len(scores[arm]) > 1 else None,
                **{name: _plain(difference) for name, difference in against.items()},
                "tied_with_best": arm == best or (behind is not None and behind.verdict not in ("better", "worse")),
                "card": _mean_card([_card(grid, task, arm, budget, metric, looked_at[arm]) for task in tasks]),
                "costs": _mean_costs([cell for cells in runs.values() for cell in cells]),
            }
        )
    return {
        "task": _task(tasks),
        "budget": budget,
        "metric": metric,
        "higher_is_better": HIGHER_IS_BETTER[metric],
        "held_out_rows": grid.held_out(tasks, metric),
        "rows": rows,
    }


def _card(grid: Grid, task: str, arm: str, budget: str, metric: str, looked_at: str | None) -> dict[str, Any]:
    def of(arm: str, budget: str | None) -> list[Cell]:
        return [cell for (cell,) in grid.runs((task,), arm, budget, metric).values()]

    def ratio(cells: Sequence[Cell], reference: Sequence[Cell]) -> float | None:
        if not (cells and reference):
            return None
        score, other = (float(np.mean([cell.score(metric) for cell in each])) for each in (cells, reference))
        return performance_ratio(score, other, metric)

    cells, full = of(arm, budget), of(FULL, None)
    pir_full, above = ratio(cells, full), None
    if pir_full is not None and grid.has(task, arm, budget):
        drawn = [of(RANDOM, size) for size in grid.budgets if grid.has(task, RANDOM, size)]
        heights = [(_fraction(each), ratio(each, full)) for each in drawn if each]
        line = local_line(_fraction(cells), [(at, height) for at, height in heights if height is not None])
        above = None if line is None else residual(pir_full, _fraction(cells), line)
    whole = Costs(**_mean_costs(full)) if full else None
    return {
        "pir_full": pir_full,
        "pir_random": ratio(cells, of(RANDOM, budget)),
        "sdf": _fraction(cells),
        "str": _mean([selection_time_ratio(cell.costs, whole) for cell in cells]),
        "flops_share": _mean([flops_share(cell.costs) for cell in cells]),
        "residual": above,
        "flags": flags(cells[0].preset, looked_at),
    }


def _mean_card(cards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: cards[0][name] if name == "flags" else _mean([card[name] for card in cards]) for name in cards[0]}


def _curve(grid: Grid, tasks: Tasks, metric: str) -> dict[str, Any]:
    flat = {}
    for name, arm in (("zero", ZERO_SHOT), ("full", FULL)):
        runs = grid.runs(tasks, arm, None, metric)
        flat[name] = float(np.mean(_scores(runs, metric))) if runs else None
    lines = []
    for arm in grid.arms:
        points = []
        for budget in grid.budgets:
            runs = grid.runs(tasks, arm, budget, metric) if arm not in _UNSELECTED else {}
            if runs:
                around = grid.interval(runs, metric)
                at = _fraction([cell for cells in runs.values() for cell in cells])
                points.append({"fraction": at, "score": around.mean, **_ends(around)})
        if points:
            lines.append({"arm": arm, "points": points})
    return {"task": _task(tasks), "metric": metric, **flat, "lines": lines}


def _losers(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    where = {name: table[name] for name in ("task", "budget", "metric")}
    return [
        {**where, "arm": row["arm"], **row["versus_random"]}
        for row in table["rows"]
        if row["arm"] not in _UNSELECTED and row["versus_random"] and row["versus_random"]["mean"] < 0
    ]


def _ties(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    tied = [row for row in table["rows"] if row["tied_with_best"] and row["arm"] not in _UNSELECTED]
    best = [row["arm"] for row in tied if row["versus_best"] is None]
    others = [row["arm"] for row in tied if row["versus_best"] is not None]
    where = {name: table[name] for name in ("task", "budget", "metric")}
    return [{**where, "best": best[0], "arms": others}] if best and others else []


def _scores(runs: Runs, metric: str) -> list[float]:
    return [float(np.mean([cell.score(metric) for cell in cells])) for cells in runs.values()]


def _fraction(cells: Sequence[Cell]) -> float:
    return float(np.mean([cell.fraction for cell in cells]))


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there and len(there) == len(values) else None


def _mean_costs(cells: Sequence[Cell]) -> dict[str, float]:
    costs = [asdict(cell.costs) for cell in cells]
    return {name: float(np.mean([each[name] for each in costs])) for name in costs[0]}


def _plain(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {"mean": difference.mean, **_ends(difference), "verdict": difference.verdict}


def _ends(of: Difference) -> dict[str, float | None]:
    return {name: end if np.isfinite(end) else None for name, end in (("low", of.low), ("high", of.high))}


def _task(tasks: Tasks) -> str | None:
    return tasks[0] if len(tasks) == 1 else None


def _named_representation(arm: str) -> str | None:
    name = arm.partition(":")[2]
    return name if arm not in BASELINES and name in REPRESENTATIONS else None
