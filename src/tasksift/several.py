"""Several tasks, each with its share of the budget: one plan out of one plan for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.plan import Kind, Links, Plan
from tasksift.selectors.contract import Context, Margins, Planner, Selector, Texts
from tasksift.vectors import Vectors

Int = NDArray[np.int64]
Float = NDArray[np.float64]
Moved = Callable[[Float], tuple[float, Float]]

ROUNDING = 1e-9
"""Below this, what a task is ahead of its share is rounding."""


def prepare_each(
    selector: Selector, context: Context, parameters: Mapping[str, Any], shares: NDArray[np.float64]
) -> Planner:
    """Prepare a selector for each task by itself and join the plans.

    Plans of probabilities are mixed in the tasks' shares, so that each task's expected part of any draw is its share.
    Plans of anything else are merged to one ranking: tasks take turns by their shares, each its best row that is still
    free, so that the first k rows hold each task's share of k, rounded down or up, while every task has rows.

    Parameters
    ----------
    shares : float64 (t,)
        Above 0, sum 1.
    """
    tasks = [np.flatnonzero(context.tasks == k) for k in range(len(shares))]
    planners = [selector.prepare(of_task(context, k, rows), parameters) for k, rows in enumerate(tasks)]

    def plan(budget: int) -> Plan:
        # Each for the whole budget: no row of a mixture is then more probable than a draw of it admits.
        plans = [planner(budget) for planner in planners]
        joined = (
            _mixed(plans, shares) if selector.kind in ("mass", "quota") else _merged(plans, shares, context, budget)
        )
        links = _links(plans, tasks, shares)
        about = [each.info for each in plans]
        return replace(joined, links=links, info={"tasks": list(context.task_names), "plans": about, **joined.info})

    return plan


def joined_kind(kind: Kind) -> Kind:
    """The kind of a joined plan."""
    return kind if kind in ("mass", "quota") else "score"


def of_task(context: Context, task: int, rows: Int) -> Context:
    """Return what a selector is told about one task alone; `rows` are its target rows."""
    margins, texts = context.margins, context.texts
    if margins is not None:
        margins = Margins(
            margins.pool,
            [each[rows] for each in margins.target],
            margins.pool_values,
            margins.target_values[:, rows],
            None if margins.moved is None else partial(_moved, margins.moved, rows),
        )
    if texts is not None:
        texts = Texts(texts.pool, [texts.target[row] for row in rows])
    return replace(
        context,
        target=_taken(context.target, rows),
        target_lengths=_taken(context.target_lengths, rows),
        tasks=np.zeros(len(rows), dtype=np.int64),
        task_names=(context.task_names[task],),
        task_target=_taken(context.task_target, np.array([task])),
        margins=margins,
        texts=texts,
    )


def _moved(moved: Moved, rows: Int, weights: Float) -> tuple[float, Float]:
    """What a moved model says of one task's targets."""
    distance, margins = moved(weights)
    return distance, margins[rows]


def _taken(vectors: Vectors | None, rows: Int) -> Vectors | None:
    if vectors is None:
        return None
    return Vectors(vectors.rows(rows), normalize=vectors.normalize, name=vectors.name)


def _mixed(plans: list[Plan], shares: NDArray[np.float64]) -> Plan:
    ids = np.unique(np.concatenate([plan.ids for plan in plans]))
    values = np.zeros(len(ids))
    for plan, share in zip(plans, shares, strict=True):
        values[np.searchsorted(ids, plan.ids)] += share * plan.values / plan.values.sum()
    return Plan(
        kind=plans[0].kind,
        selector=plans[0].selector,
        ids=ids,
        values=values / values.sum(),
        status=max((plan.status for plan in plans), key=["converged", "pool_exhausted", "exhausted"].index),
        complete=all(plan.complete for plan in plans),
    )


def _merged(plans: list[Plan], shares: NDArray[np.float64], context: Context, budget: int) -> Plan:
    ranked = [plan.ids[np.lexsort((context.order[plan.ids], -plan.values))] for plan in plans]
    taken = np.zeros(len(context.order), dtype=bool)
    at, count = [0] * len(plans), np.zeros(len(plans))
    rows: list[int] = []
    takers: list[int] = []
    turn = 0
    while turn >= 0 and len(rows) < budget:
        turn = -1
        # The first to be a whole row short unless it is served, of those whose share is not reached; ties to the
        # furthest behind. Always serving the furthest behind fails with five tasks. Without a free row a task passes.
        ahead = count - shares * (len(rows) + 1)
        due = np.ceil((count + 1) / shares - ROUNDING)
        for task in np.lexsort((np.arange(len(plans)), ahead, due, ahead > -ROUNDING)):
            wanted = ranked[task]
            while at[task] < len(wanted) and taken[wanted[at[task]]]:
                at[task] += 1
            if at[task] < len(wanted):
                turn = int(task)
                break
        if turn < 0:
            break
        row = int(ranked[turn][at[turn]])
        taken[row] = True
        count[turn] += 1
        rows.append(row)
        takers.append(turn)
    ids = np.array(rows, dtype=np.int64)
    return Plan.ranked(
        plans[0].selector,
        ids,
        complete=turn < 0 and all(plan.complete for plan in plans),
        task=np.array(takers, dtype=np.int64)[np.argsort(ids)],
        info={"picked": count.astype(int).tolist()},
    )


def _links(plans: list[Plan], tasks: list[Int], shares: NDArray[np.float64]) -> Links | None:
    """The links of plans of probabilities, with targets numbered as in the whole."""
    parts: list[Links] = []
    for plan, rows, share in zip(plans, tasks, shares, strict=True):
        if plan.links is None or plan.kind != "mass":
            return None
        parts.append(replace(plan.links, target=rows[plan.links.target], mass=share * plan.links.mass))
    return Links(*(np.concatenate([getattr(part, name) for part in parts]) for name in Links.__dataclass_fields__))
