"""Cells of comparisons with planted effects."""

import numpy as np

from tasksift.evaluate.cells import Cell, Costs
from tasksift.evaluate.names import FULL, RANDOM, ZERO_SHOT

POOL_ROWS = 10_000

BASE = {"loss": 2.0, "accuracy": 0.5}


def made_cell(arm, seed, scores, *, task="t", budget="1%", preset=None, weights=None, **costs):
    """A cell with these scores of held-out rows by metric; its rows follow from the budget."""
    bare = arm in (ZERO_SHOT, FULL)
    share = {ZERO_SHOT: 0.0, FULL: 100.0}.get(arm) if bare else float(budget.rstrip("%"))
    rows = round(share * POOL_ROWS / 100)
    return Cell(
        task=task,
        arm=arm,
        budget=None if bare else budget,
        seed=None if arm == ZERO_SHOT else seed,
        preset=None if bare else preset or arm.partition(":")[0],
        rows=rows,
        distinct=rows,
        tokens=100 * rows,
        epochs=2,
        pool_rows=POOL_ROWS,
        scores={metric: np.asarray(each, dtype=float) for metric, each in scores.items()},
        weights={} if weights is None else {metric: np.asarray(each, dtype=float) for metric, each in weights.items()},
        costs=Costs(**{"train_flops": 1e9 * rows, "train_seconds": 0.1 * rows, **costs}),
    )


def made_cells(
    effects,
    *,
    tasks=("t",),
    budgets=("1%",),
    seeds=(0, 1, 2),
    metrics=("loss",),
    rows=200,
    seed_noise=0.01,
    row_noise=0.05,
    draw=0,
):
    """A grid of cells. `effects` says by arm how much better than random it is, in the metric's unit.

    Zero-shot, random and the full pool are there unless `effects` names them. Row difficulties are shared by all arms,
    `seed_noise` is the standard deviation of a training, `row_noise` that of a training on a row.
    """
    rng = np.random.default_rng(draw)
    effects = {ZERO_SHOT: -0.5, RANDOM: 0.0, FULL: 0.2, **effects}
    cells = []
    for task in tasks:
        hard = {metric: rng.normal(scale=0.3, size=rows) for metric in metrics}
        for arm, effect in effects.items():
            for budget in budgets if arm not in (ZERO_SHOT, FULL) else ("",):
                for seed in seeds if arm != ZERO_SHOT else (None,):
                    moved = effect + rng.normal(scale=seed_noise)
                    scores = {
                        metric: BASE[metric] + hard[metric] + rng.normal(scale=row_noise, size=rows) + sign * moved
                        for metric, sign in ((m, -1 if m == "loss" else 1) for m in metrics)
                    }
                    cells.append(made_cell(arm, seed, scores, task=task, budget=budget))
    return cells
