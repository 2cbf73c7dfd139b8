"""The outlook of a case as JSON: its plan for a budget, the table by budget, the front, the break-evens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from tasksift.evaluate.break_even import BreakEven, What, break_even, first_lead
from tasksift.evaluate.gain_curves import SLACK
from tasksift.evaluate.planner import Choice, Method, Plan, budgets, frontier, pareto, plan

SHOWN = (0.03, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Budgets of the table, in full trainings, beside the one that was asked for."""


@dataclass(frozen=True)
class Case:
    """One thing to plan for: a task or a panel, with its methods.

    Attributes
    ----------
    name, metric : str
    higher_is_better : bool
        Where it is not, curves hold the negated metric; `shown` turns it back.
    methods : tuple of Method
    full_training : float
        Operations.
    ratio : float
        Size of the trained model over that of the model that selects, which the methods' costs have in them.
    margin : float
        What a lead must exceed to be one, in units of the metric.
    zero : float or None
        Score of the model as it is, as the curves have it.
    """

    name: str
    metric: str
    higher_is_better: bool
    methods: tuple[Method, ...]
    full_training: float
    ratio: float = 1.0
    margin: float = 0.0
    zero: float | None = None

    def shown(self, score: float) -> float:
        """Return a score of the curves in the metric's own direction."""
        return score if self.higher_is_better else -score

    def plan(self, budget: float, targets: float) -> Plan:
        """Return the plan for a budget."""
        return plan(self.methods, budget, self.full_training, targets=targets)


def outlook(case: Case, budget: float, *, targets: float = 1) -> dict[str, Any]:
    """Return all that is to be said of a case, as JSON; operations throughout, shares of a full training.

    ``table`` has every method that a budget pays for, ``frontier`` the best one over a log grid of budgets, ``front``
    the measured points that nothing beats at their price, and ``break_even`` intervals; null there stands for nowhere
    in the range that was tried.
    """
    shares = sorted({*SHOWN, budget / case.full_training})
    grid = budgets(case.methods, case.full_training, targets=targets)
    return {
        "name": case.name,
        "metric": case.metric,
        "higher_is_better": case.higher_is_better,
        "full_training": case.full_training,
        "zero": None if case.zero is None else case.shown(case.zero),
        "methods": [
            {
                "method": each.name,
                "once": each.overhead,
                "reusable_fraction": each.reusable_fraction,
                "per_target": each.query,
                "selection": each.selection(targets),
                "smallest_share": float(each.curve.shares[0]),
                "interval": each.curve.basis,
            }
            for each in case.methods
        ],
        "plan": _plan(case, case.plan(budget, targets)),
        "table": [_plan(case, case.plan(share * case.full_training, targets)) for share in shares],
        "frontier": [_step(case, each) for each in frontier(case.methods, case.full_training, grid, targets=targets)],
        "front": _front(case, targets),
        "break_even": [asdict(each) for each in break_evens(case, budget, targets)],
    }


def break_evens(case: Case, budget: float, targets: float) -> list[BreakEven]:
    """Return the break-evens of the methods whose selection is not negligible.

    The ratio of sizes is that at whatever budget below a full training suits the method best; targets are those at
    `budget`, where this is below a full training; budgets have the case's ratio and so many targets.
    """
    return [
        break_even(methods, name, case.full_training, at, what, targets=targets, margin=case.margin)
        for methods, name, at, what in _questions(case, budget, targets)
    ]


def across(cases: Sequence[Case], budget: float, targets: float) -> list[dict[str, Any]]:
    """Return how far break-evens are apart: per method and kind the smallest and largest value over cases.

    ``high`` is null where some case has none, which ``never`` counts.
    """
    found: dict[tuple[str, What], list[float | None]] = {}
    for case in cases:
        for methods, name, at, what in _questions(case, budget, targets):
            value = first_lead(methods, name, case.full_training, at, what, targets=targets, margin=case.margin)
            found.setdefault((name, what), []).append(value)
    rows = []
    for (method, what), values in found.items():
        there = [value for value in values if value is not None]
        never = len(values) - len(there)
        high = None if never else max(there)
        low = min(there, default=None)
        rows.append({"method": method, "what": what, "low": low, "high": high, "cases": len(values), "never": never})
    return rows


def _questions(case: Case, budget: float, targets: float) -> Iterator[tuple[Sequence[Method], str, Any, What]]:
    """Yield methods, the one that is asked about, budgets, and what grows."""
    grid = budgets(case.methods, case.full_training, targets=targets)
    grid = grid[grid < case.full_training * (1 - SLACK)]
    same_size = [_same_size(each, case.ratio) for each in case.methods]
    for each in case.methods:
        if not each.scales or not len(grid):
            continue
        if any(not other.scales for other in case.methods):
            yield same_size, each.name, grid, "ratio"
        if budget < case.full_training and each.reusable_fraction > 0:
            yield case.methods, each.name, budget, "targets"
        yield case.methods, each.name, grid, "budget"


def _same_size(method: Method, ratio: float) -> Method:
    if not method.scales:
        return method
    return replace(method, overhead=method.overhead * ratio, query=method.query * ratio)


def _plan(case: Case, made: Plan) -> dict[str, Any]:
    return {
        "budget": made.budget,
        "full_trainings": made.budget / case.full_training,
        "targets": made.targets,
        "best": None if made.best is None else made.best.method,
        "tied": list(made.tied),
        "train_on_everything": made.everything,
        "choices": [_choice(case, choice) for choice in made.choices],
    }


def _choice(case: Case, choice: Choice) -> dict[str, Any]:
    ends = sorted((case.shown(choice.low), case.shown(choice.high)))
    return {**asdict(choice), "score": case.shown(choice.score), "low": ends[0], "high": ends[1]}


def _step(case: Case, made: Plan) -> dict[str, Any]:
    best = None if made.best is None else _choice(case, made.best)
    return {"budget": made.budget, "best": best, "tied": list(made.tied), "train_on_everything": made.everything}


def _front(case: Case, targets: float) -> list[dict[str, Any]]:
    points: list[tuple[str, float, float, float]] = []
    for each in case.methods:
        for share, score in zip(each.curve.shares.tolist(), each.curve.scores.tolist(), strict=True):
            points.append((each.name, share, each.selection(targets) + share * case.full_training, score))
    kept = pareto([point[2] for point in points], [point[3] for point in points])
    ordered = sorted((points[i] for i in np.flatnonzero(kept)), key=lambda point: point[2])
    return [
        {"method": name, "share": share, "flops": flops, "score": case.shown(score)}
        for name, share, flops, score in ordered
    ]
