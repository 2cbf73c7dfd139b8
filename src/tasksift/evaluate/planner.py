"""The planner: for a budget of operations, which method to select with and how much of the pool to train on.

The problem is that of Yin, Rush, Compute-Constrained Data Selection (ICLR 2025, section 3): the best score such that
selection and training together stay within the budget. Each method brings a measured curve and its costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasksift.errors import InputError
from tasksift.evaluate.gain_curves import SLACK, GainCurve

Float = NDArray[np.float64]

STEPS = 33
"""Budgets of a frontier."""


@dataclass(frozen=True)
class Method:
    """A way to select, what it costs and what it yields.

    Attributes
    ----------
    name : str
    curve : GainCurve
    overhead : float
        Operations of selecting from the pool, in any unit that all methods share.
    reusable_fraction : float
        Which part of the overhead another target does not pay again, 0 to 1. It changes the advice, so there is no
        default to forget: 1 for features that know no target, 0 for a model that is tuned on each target.
    query : float
        Operations that every target pays.
    scales : bool
        Whether the selection runs the model that selects, so that overhead and query go down with its size.
    """

    name: str
    curve: GainCurve
    overhead: float
    reusable_fraction: float
    query: float = 0.0
    scales: bool = False

    def __post_init__(self) -> None:
        """Refuse costs that cannot be."""
        if not 0 <= self.reusable_fraction <= 1:
            raise InputError(f"{self.name}: a reusable fraction of {self.reusable_fraction:g} is not between 0 and 1")
        if not (0 <= self.overhead < np.inf and 0 <= self.query < np.inf):
            raise InputError(f"{self.name}: operations of selecting are finite and not below 0")

    def selection(self, targets: float = 1) -> float:
        """Return what selecting takes for each of so many targets."""
        shared = self.reusable_fraction
        return self.overhead * (shared / targets + 1 - shared) + self.query


@dataclass(frozen=True)
class Choice:
    """What a method comes to within a budget.

    Attributes
    ----------
    method : str
    share : float
        Of a full training. Where the curve is flat, the least that scores as much.
    score, low, high : float
        By the curve, with its interval.
    selection, total : float
        Operations of selecting, and with the training.
    """

    method: str
    share: float
    score: float
    low: float
    high: float
    selection: float
    total: float


@dataclass(frozen=True)
class Plan:
    """What to do with a budget.

    Attributes
    ----------
    budget, full_training, targets : float
    choices : tuple of Choice
        Of every method that the budget pays for, the best first; among equals the cheaper selection, then the order of
        declaration.
    tied : tuple of str
        Methods whose interval reaches into the best one's, the best first.
    """

    budget: float
    full_training: float
    targets: float
    choices: tuple[Choice, ...]
    tied: tuple[str, ...]

    @property
    def best(self) -> Choice | None:
        """The choice to make; None where the budget is below the smallest measured share of every method."""
        return self.choices[0] if self.choices else None

    @property
    def everything(self) -> bool:
        """Whether the best is to train on everything, without selecting."""
        return self.best is not None and self.best.selection == 0 and self.best.share >= 1 - SLACK


def plan(methods: Sequence[Method], budget: float, full_training: float, *, targets: float = 1) -> Plan:
    """Return the best method for a budget and how much to train on.

    Parameters
    ----------
    methods : sequence of Method
        Among them, best first, one that costs nothing, such as random draws.
    budget : float
        Operations for one target, in the unit of `full_training` and of the methods' costs.
    full_training : float
        Operations of one training on everything.
    targets : float
        Targets that share what is reusable, at least 1.

    Raises
    ------
    InputError
        If a number is out of range.

    Notes
    -----
    No curve is read outside its measured shares: a method whose smallest one does not fit is no choice, and money
    beyond the largest one is left.
    """
    _check(methods, budget, full_training, targets)
    found = [choice for each in methods if (choice := _choice(each, budget, full_training, targets)) is not None]
    ranked = sorted(found, key=lambda choice: (-choice.score, choice.selection))
    tied = tuple(choice.method for choice in ranked if choice.high >= ranked[0].low)
    return Plan(budget, full_training, targets, tuple(ranked), tied)


def _choice(method: Method, budget: float, full_training: float, targets: float) -> Choice | None:
    selection = method.selection(targets)
    share = (budget - selection) / full_training
    if share < method.curve.shares[0] * (1 - SLACK):
        return None
    share = method.curve.enough(max(share, float(method.curve.shares[0])))
    score = float(method.curve.at([share])[0])
    (low,), (high,) = method.curve.interval([share])
    return Choice(method.name, share, score, float(low), float(high), selection, selection + share * full_training)


def _check(methods: Sequence[Method], budget: float, full_training: float, targets: float) -> None:
    if not 0 < budget < np.inf:
        raise InputError(f"a budget of {budget:g} operations: it should be a number above 0")
    if not 0 < full_training < np.inf:
        raise InputError(f"a full training of {full_training:g} operations: it should be a number above 0")
    if not 1 <= targets < np.inf:
        raise InputError(f"{targets:g} targets: at least 1 shares the selection")
    names = [each.name for each in methods]
    if len(set(names)) < len(names):
        raise InputError(f"two methods have the name {max(names, key=names.count)!r}; give each its own")


def budgets(methods: Sequence[Method], full_training: float, *, targets: float = 1, steps: int = STEPS) -> Float:
    """Return a log grid of budgets, from the cheapest that any method fits to the dearest method's full training."""
    cheapest = min(each.selection(targets) + each.curve.shares[0] * full_training for each in methods)
    dearest = max(each.selection(targets) + each.curve.shares[-1] * full_training for each in methods)
    return np.geomspace(cheapest, max(dearest, full_training), steps)


def frontier(
    methods: Sequence[Method], full_training: float, at: ArrayLike | None = None, *, targets: float = 1
) -> list[Plan]:
    """Return the plan of every budget `at`, by default of the grid of `budgets`."""
    grid = budgets(methods, full_training, targets=targets) if at is None else np.asarray(at, dtype=np.float64)
    return [plan(methods, float(budget), full_training, targets=targets) for budget in grid]


def pareto(costs: ArrayLike, scores: ArrayLike) -> NDArray[np.bool_]:
    """Return which points nothing beats: none costs as little and scores more, or costs less and scores as much."""
    cost, score = np.asarray(costs, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    front = np.zeros(len(cost), dtype=bool)
    reached, price = -np.inf, np.nan
    for i in np.lexsort((-score, cost)):
        if score[i] > reached:
            reached, price = float(score[i]), float(cost[i])
        front[i] = score[i] == reached and cost[i] == price
    return front
