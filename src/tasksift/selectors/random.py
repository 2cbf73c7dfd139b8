"""Random rows: the baseline that every comparison needs, plain or balanced by source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.limits import water_fill
from tasksift.errors import InputError
from tasksift.numbering import numbers
from tasksift.plan import Plan
from tasksift.scratch import large
from tasksift.selectors.contract import Context, Planner, Selector
from tasksift.selectors.parameter import Parameter


def fit(n: int, *, budget: int | None = None, sources: NDArray[np.int64] | None = None, balanced: bool = False) -> Plan:
    """Give every row, or every source, the same chance.

    Parameters
    ----------
    n : int
        Rows in the pool.
    budget : int, optional
        Rows to be drawn; needed by `balanced`.
    sources : int64 (n,), optional
        Source code of every row; needed by `balanced`.
    balanced : bool
        Equal shares for all sources. A source smaller than its share gives all its rows, and the others share the rest
        equally.

    Returns
    -------
    Plan of kind "mass" over all n rows. Copies of a row are rows of their own.
    """
    if n < 1:
        raise InputError("the pool is empty")
    rows = numbers(n)
    if not balanced:
        return Plan(kind="mass", selector="random", ids=rows, values=large(n, np.float64, fill=1.0 / n))
    if budget is None or sources is None:
        raise InputError("balanced random needs a budget and the source of every row")
    if budget > n:
        raise InputError(f"budget {budget} exceeds the pool's {n} rows")
    sizes: NDArray[np.float64] = np.bincount(sources).astype(np.float64)
    share = water_fill((sizes > 0).astype(np.float64), np.zeros(len(sizes)), sizes, float(budget))
    mass = (share / np.maximum(sizes, 1))[sources]
    return Plan(kind="mass", selector="random-balanced", ids=rows, values=mass / mass.sum())


def _prepare(context: Context, parameters: Mapping[str, Any]) -> Planner:
    return lambda budget: fit(len(context.order), budget=budget, sources=context.sources, **parameters)


SELECTOR = Selector(
    _prepare,
    "mass",
    {"balanced": Parameter(False, "equal shares for all sources")},
    needs=frozenset(),
    plans_all_rows=True,
    flops=lambda size: 0.0,
)
