"""Random rows: the baseline that every comparison needs, plain or balanced by source."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError
from tasksift.plan import Plan


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
    rows = np.arange(n)
    if not balanced:
        return Plan(kind="mass", selector="random", ids=rows, values=np.full(n, 1.0 / n))
    if budget is None or sources is None:
        raise InputError("balanced random needs a budget and the source of every row")
    if budget > n:
        raise InputError(f"budget {budget} exceeds the pool's {n} rows")
    sizes = np.bincount(sources)
    share = _equal_shares(sizes, budget)
    mass = (share / np.maximum(sizes, 1))[sources]
    return Plan(kind="mass", selector="random-balanced", ids=rows, values=mass / mass.sum())


def _equal_shares(sizes: NDArray[np.int64], budget: int) -> NDArray[np.float64]:
    """min(size, level) for every source, with the level at which they sum to `budget`."""
    ascending = np.sort(sizes[sizes > 0]).astype(np.float64)
    before = np.concatenate([[0.0], np.cumsum(ascending)[:-1]])
    left = len(ascending) - np.arange(len(ascending))
    level = (budget - before) / left
    # The level is the first that no longer exceeds the smallest source still counted as large.
    first = int(np.argmax(level <= ascending))
    share: NDArray[np.float64] = np.minimum(sizes, level[first])
    return share
