"""Plans from the user's own comparison: cases, front and advice out of its cells."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasksift.errors import InputError
from tasksift.evaluate.cells import Cell, Costs, cell_table
from tasksift.evaluate.gain_curves import gain_curve
from tasksift.evaluate.names import BALANCED, FULL, HIGHER_IS_BETTER, RANDOM, ZERO_SHOT
from tasksift.evaluate.outlook import Case
from tasksift.evaluate.plan_words import over_budgets
from tasksift.evaluate.planner import Method, pareto

NEGLIGIBLE = 0.02
"""Share of a full training below which a selection counts as cheap."""

STEPS = 9
"""Budgets that advice looks at."""


def frontier(cells: Sequence[Cell], metric: str, task: str) -> list[dict[str, Any]]:
    """Return what every arm and budget of one task cost and scored, and which of these nothing beats at its price.

    Points ``{"arm", "budget", "flops", "score", "front"}``, by operations: means over seeds of features, selection and
    training for one target. Trainings that diverged are left out.
    """
    groups = _groups(cells, task, metric)
    paid = [
        float(np.mean([c.costs.feature_flops + c.costs.select_flops + c.costs.train_flops for c in group]))
        for group in groups.values()
    ]
    scores = [float(np.mean([cell.score(metric) for cell in group])) for group in groups.values()]
    front = pareto(paid, [_oriented(score, metric) for score in scores])
    points: list[dict[str, Any]] = [
        {"arm": arm, "budget": budget, "flops": flops, "score": score, "front": bool(best)}
        for (arm, budget), flops, score, best in zip(groups, paid, scores, front, strict=True)
    ]
    return sorted(points, key=lambda point: float(point["flops"]))


def frontier_of(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return the `frontier` of every task and metric, as ``{"task", "metric", "points"}``."""
    return [
        {"task": task, "metric": metric, "points": frontier(cells, metric, task)}
        for task in tasks(cells)
        for metric in HIGHER_IS_BETTER
        if any(cell.task == task and metric in cell.scores for cell in cells)
    ]


def advice(cells: Sequence[Cell]) -> str | None:
    """Say in one sentence what the comparison advises, or None where it has too few budgets to say anything.

    It looks at every task, at budgets between the smallest measured one and a full training, by the first metric that
    all tasks have.
    """
    metric = common_metric(cells)
    if metric is None or any(not _full(cells, task, metric) for task in tasks(cells)):
        return None
    for task in tasks(cells):
        measured = {budget for arm, budget in _groups(cells, task, metric) if arm not in (ZERO_SHOT, FULL)}
        if len(measured) < 2:
            return None
    return over_budgets([case_of(cells, task, metric) for task in tasks(cells)], STEPS)


def tasks(cells: Sequence[Cell]) -> list[str]:
    """Return the names of the tasks, as they come."""
    return list(dict.fromkeys(cell.task for cell in cells))


def common_metric(cells: Sequence[Cell]) -> str | None:
    """Return the first metric, in the order of `HIGHER_IS_BETTER`, that every cell has; None if there is none."""
    return next((name for name in HIGHER_IS_BETTER if cells and all(name in cell.scores for cell in cells)), None)


def case_of(
    cells: Sequence[Cell], task: str, metric: str, *, full_training: float | None = None, pool: float = 1.0
) -> Case:
    """Return the case of one task: a method for every arm, its curve by the operations of its trainings.

    Parameters
    ----------
    cells : sequence of Cell
    task, metric : str
    full_training : float, optional
        Operations of training on everything, where another model or pool is planned for; selections stay as they were.
    pool : float
        Tokens of the pool that will be selected from over those of the comparison's.

    Raises
    ------
    InputError
        If nothing was trained on everything, which is what shares are shares of, or no operations were counted.

    Notes
    -----
    A share is that of operations, not of rows, as methods differ in how long the rows are that they take. Training on
    everything is the last point of every arm.
    """
    groups = _groups(cells, task, metric)
    full = _full(cells, task, metric)
    if not full:
        raise InputError(
            f"the comparison has no training on everything for {task} with a finite {metric}: finish it first"
        )
    whole = float(np.mean([cell.costs.train_flops for cell in full]))
    if not 0 < whole < np.inf:
        raise InputError(f"the cells of {task} count no operations of training on everything")
    everything = [_oriented(cell.score(metric), metric) for cell in full]
    arms = dict.fromkeys(arm for arm, _ in groups if arm not in (ZERO_SHOT, FULL))
    ordered = [arm for arm in (RANDOM, BALANCED) if arm in arms] + [a for a in arms if a not in (RANDOM, BALANCED)]
    methods = [Method(FULL, gain_curve({1.0: everything}), 0.0, 1.0)]
    for arm in ordered:
        runs: dict[float, list[float]] = {1.0: everything}
        mine = {key: group for key, group in groups.items() if key[0] == arm}
        for group in mine.values():
            share = float(np.mean([cell.costs.train_flops for cell in group])) / whole
            if not 0 < share < np.inf:
                raise InputError(f"the cells of {arm} on {task} count no operations of training")
            if share != 1.0:
                runs.setdefault(share, []).extend(_oriented(cell.score(metric), metric) for cell in group)
        costs = [cell.costs for group in mine.values() for cell in group]
        once, asked, reusable = (
            float(np.mean([getattr(each, name) for each in costs]))
            for name in ("feature_flops", "select_flops", "reusable")
        )
        dear = once + asked >= NEGLIGIBLE * whole
        methods.append(Method(arm, gain_curve(runs), once * pool, reusable, asked * pool, scales=dear))
    zero = [_oriented(c.score(metric), metric) for c in groups.get((ZERO_SHOT, None), [])]
    start = float(np.mean(zero)) if zero else None
    higher = HIGHER_IS_BETTER[metric]
    planned = whole * pool if full_training is None else full_training
    return Case(task, metric, higher, tuple(methods), planned, planned / (whole * pool), zero=start)


def read_table(path: Path) -> list[Cell]:
    """Read ``cells.parquet``, or that of a comparison's folder; scores are the means that the file has.

    Raises
    ------
    InputError
        If there is no such file, it is not such a table, or it has no rows.
    """
    file = path / "cells.parquet" if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"there is no {file}: name cells.parquet of a comparison, or its folder")
    try:
        table = pq.read_table(file)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise InputError(f"{file} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    own = ("task", "arm", "preset", "budget", "seed", "rows", "distinct", "tokens", "epochs", "pool_rows")
    paid = [each.name for each in fields(Costs)]
    missing = [name for name in (*own, *paid) if name not in table.column_names]
    if missing:
        raise InputError(f"{file} has no column {missing[0]!r}: it is not the cells.parquet of a comparison")
    cells = []
    full = {*own, *paid} - {"preset", "budget", "seed"}
    for line in _cast(table, file, full).to_pylist():
        scores = {name: line.get(name.replace("-", "_")) for name in HIGHER_IS_BETTER}
        known = {name: np.array([value]) for name, value in scores.items() if value is not None}
        costs = Costs(**{name: line[name] for name in paid})
        cells.append(Cell(**{name: line[name] for name in own}, scores=known, costs=costs))
    if not cells:
        raise InputError(f"{file} has no cells")
    return cells


def _cast(table: pa.Table, file: Path, full: Collection[str]) -> pa.Table:
    """The known columns in their types; those of `full` have a value in every line."""
    known = [field for field in cell_table([]).schema if field.name in table.column_names]
    columns = []
    for field in known:
        try:
            columns.append(table[field.name].cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            wrong = f"is {table[field.name].type}, not {field.type}"
            raise InputError(f"{file}: column {field.name} {wrong}; name the cells.parquet of a comparison") from None
        if field.name in full and columns[-1].null_count:
            raise InputError(f"{file}: column {field.name} has lines without a value; tasksift compare gives all one")
    return pa.table(columns, schema=pa.schema(known))


def _groups(cells: Sequence[Cell], task: str, metric: str) -> dict[tuple[str, str | None], list[Cell]]:
    """By arm and budget the cells with a score; those whose training diverged have none."""
    found: dict[tuple[str, str | None], list[Cell]] = {}
    for cell in cells:
        if cell.task == task and metric in cell.scores and np.isfinite(cell.score(metric)):
            found.setdefault((cell.arm, cell.budget), []).append(cell)
    return {key: sorted(group, key=lambda cell: cell.seed or 0) for key, group in found.items()}


def _full(cells: Sequence[Cell], task: str, metric: str) -> list[Cell]:
    return _groups(cells, task, metric).get((FULL, None), [])


def _oriented(score: float, metric: str) -> float:
    """Higher is better from here on; `Case.shown` turns it back."""
    return score if HIGHER_IS_BETTER[metric] else -score
