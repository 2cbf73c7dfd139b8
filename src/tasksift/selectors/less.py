"""LESS: how far a training step on a row would lower the loss of the task that it serves best.

Xia, Malladi, Gururangan, Arora, Chen 2024 (arXiv 2402.04333). ROSE (arXiv 2412.00631) is the same with gradients of a
preference loss on the side of the targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.plan import Plan
from tasksift.progress import Progress, silent
from tasksift.selectors import nearest
from tasksift.selectors.contract import Context, Planner, Selector
from tasksift.selectors.inputs import check_pair
from tasksift.selectors.parameter import Parameter
from tasksift.vectors import Vectors, VectorsLike


def fit(
    pool: VectorsLike,
    tasks: VectorsLike,
    *,
    aggregate: Literal["max", "mean"] = "max",
    names: Sequence[str] = (),
    progress: Progress = silent,
) -> Plan:
    """Score every row by its influence on the tasks.

    influence(z, T_j) = sum_i w_i cos(mean gradient of T_j at checkpoint i, step on z at checkpoint i), w_i the share of
    checkpoint i in the learning rates (section 3, definition 3.1); score(z) = max_j influence(z, T_j). With the
    checkpoints side by side, each scaled to length sqrt(w_i), the sum is the cosine of two vectors.

    Parameters
    ----------
    pool : array (n, d), memory map, list of shards, or Vectors
        Optimizer steps, or gradients, of the rows. Lengths do not matter; a row of zeros has influence 0.
    tasks : array (t, d)
        One vector for each task: the mean gradient of its target rows, taken before any scaling, so a task may have
        any number of rows.
    aggregate : {"max", "mean"}
        Influence on the task that gains most, or the mean over tasks.
    names : sequence of t str, optional
        What the plan calls the tasks; by default their numbers.

    Returns
    -------
    Plan of kind "score" over all n rows; positive = a step on the row lowers the task's loss. ``info["best_for"]`` has
    how many rows serve each task better than any other.

    Raises
    ------
    InputError
        If the gradients of a task cancel out, or shapes do not fit.

    Notes
    -----
    Values are computed by direct subtraction in float64, so they do not depend on blocks or threads. Copies are rows of
    their own. Cost: 2·t·n·d operations.
    """
    _, towards = check_pair(pool, tasks)
    called = list(names) or [str(k) for k in range(len(towards))]
    for name, vector in zip(called, towards, strict=True):
        if not vector.any():
            raise InputError(f"task {name}: its target rows' gradients cancel out; give other target rows")
    vectors = Vectors(pool, normalize=True, name="features")
    found = nearest.fit(vectors, Vectors(towards, normalize=True), aggregate=aggregate, progress=progress)
    values = found.values.copy()
    values[_empty(vectors, values)] = 0.0
    info: dict[str, Any] = {"tasks": len(called), "aggregate": aggregate}
    task = None
    if len(called) == 1:
        info["note"] = "one task: its mean gradient speaks for all target rows; name the tasks in a column"
    elif found.links is not None:
        task = found.links.target
        best = np.bincount(task, minlength=len(called))
        info["best_for"] = dict(zip(called, best.tolist(), strict=True))
    return Plan(kind="score", selector="less", ids=found.ids, values=values, task=task, info=info)


def _empty(vectors: Vectors, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rows of zeros: they lie at distance 1 from every unit vector, as if their cosine were a half."""
    rows = np.flatnonzero(np.abs(values - 0.5) < 1e-6)
    step = vectors.block_rows
    parts = [rows[at : at + step] for at in range(0, len(rows), step)]
    return np.concatenate([rows[:0], *(part[~vectors.rows(part).any(axis=1)] for part in parts)])


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    if context.pool is None or context.task_target is None:
        raise ValueError("this selector needs features of the pool and of each task")
    names = context.task_names
    plan = fit(context.pool, context.task_target, **parameters, names=names, progress=context.progress)
    return lambda budget: plan


SELECTOR = Selector(
    _prepare,
    "score",
    {"aggregate": Parameter("max", "influence on the task that gains most, or the mean over tasks", ("max", "mean"))},
    plans_all_rows=True,
    meaning="influence",
)
