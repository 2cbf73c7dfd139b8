"""What a plan advises, in one sentence of plain language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from tasksift.evaluate.names import FULL, GAIN, RANDOM
from tasksift.evaluate.outlook import Case
from tasksift.evaluate.planner import Plan

NEARLY = 0.995
"""Share of the pool from which on it does not matter what is left out."""


def at_budget(case: Case, made: Plan) -> str:
    """Return the advice for one budget."""
    best = made.best
    if best is None:
        least = min(each.selection(made.targets) + each.curve.shares[0] * made.full_training for each in case.methods)
        return (
            f"No method fits: {made.budget:.2e} FLOPs do not pay for the smallest share of the pool that was measured, "
            f"and nothing is known below it; from {least:.2e} FLOPs on there is a plan."
        )
    if made.everything:
        return (
            f"Train on everything, without selecting: it takes {made.full_training:.2e} of the {made.budget:.2e} "
            "FLOPs, and no method is measured to score better."
        )
    if best.share >= NEARLY and RANDOM in [name.lower() for name in made.tied]:
        return (
            f"Train on a random draw of all that the budget pays for, {100 * best.share:.4g} % of the pool: which few "
            f"rows are left out hardly matters. Training on everything takes {made.full_training:.4g} FLOPs."
        )
    found, *ends = (score_text(case.metric, case.shown(each)) for each in (best.score, best.low, best.high))
    low, high = ends if case.higher_is_better else ends[::-1]
    unit = " of the gain of a full training" if case.metric == GAIN else ""
    score = f"predicted {found}{unit} ({low} to {high})"
    what = f"train on {share_text(best.share)} of the pool"
    others = [name for name in made.tied if name != best.method]
    drawn = [name for name in others if name.lower() == RANDOM]
    if best.method.lower() == RANDOM:
        tail = ", as nothing within this budget is measured to score better"
    elif drawn:
        tail = ", but a random draw is within the uncertainty and costs nothing to select"
        others = [name for name in others if name not in drawn]
    else:
        tail = ""
    begin = "Draw at random and" if best.method.lower() == RANDOM else f"Select with {best.method} and"
    also = f"; {listed(others)} cannot be told from it" if others else ""
    worse = ""
    if case.zero is not None and best.score < case.zero:
        worse = f"; yet the model as it is scores better, {score_text(case.metric, case.shown(case.zero))}"
    return f"{begin} {what}, {score}{tail}{also}{worse}."


def over_budgets(cases: Sequence[Case], steps: int) -> str:
    """Return the advice of a comparison: the cheapest arm that is best, or cannot be told from it, most often."""
    tied: Counter[str] = Counter()
    costs = {each.name: each.selection() for case in cases for each in reversed(case.methods)}
    order = {name: i for i, name in enumerate(dict.fromkeys(each.name for case in cases for each in case.methods))}
    grids = []
    for case in cases:
        smallest = max(each.curve.shares[0] for each in case.methods if each.name != FULL)
        grids.append(case.full_training * np.geomspace(smallest, 1, steps, endpoint=False))
        for budget in grids[-1]:
            tied.update(name for name in case.plan(float(budget), 1).tied if name != FULL)
    total = sum(len(grid) for grid in grids)
    where = "" if len(cases) == 1 else f" of {len(cases)} tasks"
    span = f"{min(grid[0] for grid in grids):.1e} to {max(case.full_training for case in cases):.1e} FLOPs"
    best = min(tied, key=lambda name: (-tied[name], costs[name], order[name]))
    others = [name for name in order if tied[name] == tied[best] and name != best]
    if best == RANDOM and tied[best] == total:
        return (
            f"Draw at random: at none of {total} compute budgets{where} ({span}) does any arm score better than a "
            "random draw beyond noise."
        )
    also = f", as {listed(others)} {'does' if len(others) == 1 else 'do'} at a higher cost" if others else ""
    return (
        f"Take {best}: at {tied[best]} of {total} compute budgets{where} ({span}) it scores best or cannot be told "
        f"from the best{also}."
    )


def score_text(metric: str, score: float) -> str:
    """Return a score, in the metric's own direction, as people read it."""
    return f"{100 * score:.0f} %" if metric == GAIN else f"{score:.4g}"


def share_text(share: float) -> str:
    """Return a share in percent, with two digits where it is small."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def listed(names: Iterable[str]) -> str:
    """Return names with commas, and a word before the last."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
