"""From a selector to a drawn budget: plan, draw, and plan again where the draw needs more than the plan mentions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from tasksift.config import AUTO, RunConfig
from tasksift.draw import Budget, Drawn
from tasksift.errors import InputError, ShortPlanError
from tasksift.features import Features
from tasksift.numbering import gather
from tasksift.plan import Plan
from tasksift.progress import Progress
from tasksift.record import draw_from, plan_table
from tasksift.rows.index import PoolIndex
from tasksift.selectors import Planner, nearest

MOST_PLANS = 40
"""How often a plan may be made anew for a budget whose number of rows depends on the plan."""

TAKEN_BLOCKS = 4
"""Blocks of vectors that are taken from the pool at a time, enough for several threads."""

MOST_WIDER = 5
"""How often a plan is made for twice as many rows because the limits per source find too few in it."""


def plan_and_draw(
    config: RunConfig,
    planner: Planner,
    index: PoolIndex,
    features: Features | None,
    there: int,
    progress: Progress,
) -> tuple[Plan, pa.Table, Drawn]:
    """Plan for the budget and draw it.

    Parameters
    ----------
    there : int
        Rows that may be planned: those of the pool but for what was left out.

    Returns
    -------
    (plan, its table, drawn rows as line numbers of the table)

    Raises
    ------
    InputError
        If the budget cannot be drawn from this plan, nor from wider ones where the plan was cut at the budget.
    """
    n = there
    if config.budget == AUTO:
        plan = planner(0)
        table = _table(plan, index, features, progress)
        return (
            plan,
            table,
            draw_from(plan, table, Budget(max(1, len(plan.ids)), "rows"), **_options(config, index, plan)),
        )
    budget, tokens = Budget.parse(config.budget), index.tokens
    if budget.unit == "tokens":
        assert tokens is not None
        rows = min(n, max(1, int(budget.amount / max(1.0, float(tokens.mean())))))
    else:
        rows = budget.rows(len(index))
        if rows > n:
            raise InputError(f"the budget is {rows} rows and {n} of the pool's {len(index)} are left; lower the budget")
    short: InputError | None = None
    wider = 0
    bought, margin = math.inf, 1.05
    for attempt in range(MOST_PLANS):
        try:
            plan = planner(rows)
        except InputError as error:
            if budget.unit == "tokens" and short is None and rows > 1 and margin > 1:
                # The guess was too high, or the pool serves the budget but no more.
                margin, rows = (1.05, int(0.9 * rows)) if math.isinf(bought) else (1.0, math.ceil(bought))
                continue
            # What cannot be widened fails for the reason for which it had to be.
            raise short or error from None
        if short is None and budget.unit == "tokens" and plan.kind == "mass":
            assert tokens is not None
            # Rows of this plan may be longer or shorter than the pool's; plan for what the budget buys, and a
            # little more, as the rows drawn may be shorter than expected.
            bought = max(1.0, budget.amount / max(1.0, float(plan.values @ tokens[plan.ids])))
            wanted = min(n, math.ceil(margin * bought))
            if rows < min(bought, n) or (attempt < MOST_PLANS // 2 and rows > 1.1 * wanted):
                rows = wanted
                continue
        table = _table(plan, index, features, progress)
        try:
            drawn = draw_from(plan, table, budget, **_options(config, index, plan))
        except ShortPlanError as error:
            short = error
            wider += 1
            if rows == n or wider > MOST_WIDER:
                raise
            rows = min(n, 2 * rows)
        except InputError as error:
            if margin > 1:
                raise
            # Planned without a margin, and the rows drawn are shorter than expected.
            short, rows = error, rows + 1
        else:
            return plan, table, drawn
    raise short or InputError(f"--budget {budget} cannot be met: the rows that each plan favours keep changing length")


def _options(config: RunConfig, index: PoolIndex, plan: Plan) -> dict[str, Any]:
    """How to draw, but for the budget."""
    return {
        "pool_rows": len(index),
        "source_names": index.source_names,
        "seed": config.seed,
        "order": index.order if len(plan.ids) == len(index) else gather(index.order, plan.ids),
        "method": config.draw,
        "max_per_source": config.max_per_source,
        "min_per_source": config.min_per_source,
    }


def _table(plan: Plan, index: PoolIndex, features: Features | None, progress: Progress) -> pa.Table:
    """The plan's table, with the nearest target of every planned row where there are features."""
    links = plan.links
    if links is not None and np.array_equal(links.row, plan.ids):
        return plan_table(plan, index, links.target, links.distance)
    if features is None or features.target is None:
        return plan_table(plan, index, None, None)
    if len(plan.ids) == len(index):
        links = nearest.fit(features.pool, features.target, progress=progress).links
        assert links is not None
        return plan_table(plan, index, links.target, links.distance)
    # In blocks, as the vectors of the planned rows may not fit in memory.
    target, distance = np.empty(len(plan.ids), dtype=np.int64), np.empty(len(plan.ids))
    step = TAKEN_BLOCKS * features.pool.block_rows
    with progress("measuring similarity", len(plan.ids)) as tick:
        for start in range(0, len(plan.ids), step):
            some = slice(start, start + step)
            links = nearest.fit(features.pool.take(plan.ids[some]), features.target).links
            assert links is not None
            target[some], distance[some] = links.target, links.distance
            tick(len(links.row))
    return plan_table(plan, index, target, distance)
