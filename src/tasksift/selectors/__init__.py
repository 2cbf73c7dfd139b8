"""The selectors: pure functions from vectors to a `Plan`, and the list by which the pipeline finds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.plan import Kind, Plan
from tasksift.progress import Progress, silent
from tasksift.selectors import nearest, random, round_robin, tsds
from tasksift.vectors import Vectors

__all__ = ["SELECTORS", "Context", "Planner", "Selector", "nearest", "random", "round_robin", "tsds"]


@dataclass(frozen=True)
class Context:
    """What the pipeline knows when it calls a selector.

    Attributes
    ----------
    order : int64 (n,)
        Rank of every pool row in the order of row ids, for breaking ties.
    sources : int64 (n,)
        Source code of every pool row.
    pool, target : Vectors or None
        Features; None for selectors that need none.
    keys : uint64 (n, 2) or None
        Content keys of the features, if they are known already.
    backend : str
        What multiplies, see `tasksift.neighbors.backends`; it changes no answer.
    progress : callable
    """

    order: NDArray[np.int64]
    sources: NDArray[np.int64]
    pool: Vectors | None = None
    target: Vectors | None = None
    keys: NDArray[np.uint64] | None = None
    backend: str = "numpy"
    progress: Progress = silent


Planner = Callable[[int], Plan]
"""A selector after its one-time work: a function from a budget in rows to a plan."""


@dataclass(frozen=True)
class Selector:
    """One line of the list of selectors.

    Attributes
    ----------
    prepare : callable
        ``prepare(context, parameters)`` does what is done once and returns a `Planner`.
    parameters : mapping
        Parameter names and defaults.
    kind : str
        The kind of its plans.
    needs_features : bool
    plans_all_rows : bool
        Whether its plans mention every row of the pool.
    ignores_copies : bool
        Whether n exact copies of a row together receive what the single row would have received.
    """

    prepare: Callable[[Context, Mapping[str, Any]], Planner]
    parameters: Mapping[str, Any]
    kind: Kind
    needs_features: bool = True
    plans_all_rows: bool = False
    ignores_copies: bool = False


def _features(context: Context) -> tuple[Vectors, Vectors]:
    if context.pool is None or context.target is None:
        raise ValueError("this selector needs features of pool and target")
    return context.pool, context.target


def _tsds(context: Context, parameters: Mapping[str, Any]) -> Planner:
    pool, target = _features(context)
    problem = tsds.prepare(
        pool,
        target,
        sigma=parameters["sigma"],
        order=context.order,
        keys=context.keys,
        backend=context.backend,
        progress=context.progress,
    )
    knobs = {name: parameters[name] for name in ("alpha", "scale", "breadth")}
    return lambda budget: problem.plan(budget, **knobs)


def _nearest(context: Context, parameters: Mapping[str, Any]) -> Planner:
    plan = nearest.fit(*_features(context), **parameters, progress=context.progress)
    return lambda budget: plan


def _round_robin(context: Context, parameters: Mapping[str, Any]) -> Planner:
    return round_robin.prepare(
        *_features(context), **parameters, order=context.order, backend=context.backend, progress=context.progress
    ).plan


def _random(context: Context, parameters: Mapping[str, Any]) -> Planner:
    return lambda budget: random.fit(len(context.order), budget=budget, sources=context.sources, **parameters)


SELECTORS: dict[str, Selector] = {
    "tsds": Selector(
        _tsds, {"alpha": None, "scale": 5.0, "breadth": "auto", "sigma": "auto"}, "mass", ignores_copies=True
    ),
    "nearest": Selector(_nearest, {"aggregate": "max"}, "score", plans_all_rows=True),
    "round-robin": Selector(_round_robin, {"tie": "next"}, "score"),
    "random": Selector(_random, {"balanced": False}, "mass", needs_features=False, plans_all_rows=True),
}
