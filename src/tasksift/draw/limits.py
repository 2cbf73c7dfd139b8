"""Limits per source: who may give how many rows, and what that does to each row's chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasksift.draw.sample import members
from tasksift.errors import InputError, ShortPlanError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def water_fill(mass: Floats, low: Floats, high: Floats, total: float) -> Floats:
    """Share `total` in proportion to `mass`, each share kept within [low, high].

    The answer is ``clip(t * mass, low, high)`` for the one level t at which it sums to `total`. The sum is piecewise
    linear in t and bends where a share meets a bound; the bend below the level is bisected, the rest is one division.

    Parameters
    ----------
    mass, low, high : float64 (n,)
        Masses >= 0 and bounds 0 <= low <= high; low equals high where the mass is 0.
    total : float
        Between ``low.sum()`` and ``high.sum()``.

    Returns
    -------
    float64 (n,)
        Shares; they sum to `total` up to rounding and never leave their bounds. Cost: O(n log n).
    """
    share: Floats = low.copy()
    given = np.flatnonzero(mass > 0)
    # The floor keeps every bound over a mass finite.
    mass = np.maximum(mass[given] / mass.max(initial=0.0), 1e-290)
    low, high = low[given], high[given]
    rise, cap = low / mass, high / mass
    bends = np.unique(np.concatenate([[0.0], rise, cap]))
    first, last = 0, len(bends)  # the shares at bends[first] sum to at most the total, those at bends[last] to more
    while last - first > 1:
        middle = (first + last) // 2
        if float(np.clip(bends[middle] * mass, low, high).sum()) <= total:
            first = middle
        else:
            last = middle
    full = cap <= bends[first]
    free = ~full & (rise <= bends[first])
    share[given] = np.where(free, 0.0, np.where(full, high, low))
    if free.any():
        rest = total - float(share.sum())
        share[given[free]] = np.clip(rest * (mass[free] / mass[free].sum()), low[free], high[free])
    return share


def check_limits(
    rows: Ints, k: int, minimum: int | None, maximum: int | None, names: Sequence[str], *, complete: bool = True
) -> None:
    """Raise an `InputError` if k rows cannot be drawn within the limits.

    Parameters
    ----------
    rows : int64 (S,)
        How many rows each of the pool's sources has in the plan.
    k : int
        The budget in rows.
    minimum, maximum : int or None
        Rows per source.
    names : sequence of str
        The name of each source.
    complete : bool
        False if a longer plan may hold more rows; what that could mend is a `ShortPlanError`.
    """
    n = len(rows)
    low, high = minimum or 0, k if maximum is None else maximum
    short_of_rows = InputError if complete else ShortPlanError
    if min(low, high) < 0:
        raise InputError(f"limits per source are whole numbers from 0, not {min(low, high)}")
    if low > high and maximum is not None:
        raise InputError(f"--min-per-source {low} is above --max-per-source {high}; lower the one or raise the other")
    if n * low > k:
        raise InputError(
            f"--min-per-source {low} for {n} sources takes {n * low} rows and the budget is {k}; "
            f"raise the budget, or lower the minimum to {k // n}"
        )
    if n * high < k:
        raise InputError(
            f"--max-per-source {high} for {n} sources allows {n * high} rows and the budget is {k}; "
            f"lower the budget, or raise the maximum to {-(-k // n)}"
        )
    lacking = [f"{name} has {count or 'none'}" for name, count in zip(names, rows.tolist(), strict=True) if count < low]
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise short_of_rows(
            f"--min-per-source {low}: of the rows that can be drawn, {', '.join(lacking[:5])}{more}; "
            "lower the minimum, leave these sources out of the pool, or plan for more rows (TSDS: a larger --breadth)"
        )
    most = int(np.minimum(rows, high).sum())
    if most < k:
        by = "" if maximum is None else f" under --max-per-source {maximum}"
        raise short_of_rows(
            f"the plan's sources can give {most} rows{by} and the budget is {k}; "
            + (
                "lower the budget or plan for more rows (TSDS: a larger --breadth)"
                if maximum is None
                else "lower the budget or raise the maximum"
            )
        )


def quotas(
    mass_by_source: Floats,
    rows_by_source: Ints,
    k: int,
    minimum: int | None,
    maximum: int | None,
    names: Sequence[str],
    *,
    complete: bool = True,
) -> Floats:
    """Share a budget among sources: in proportion to mass, within the limits and the rows there are.

    Parameters
    ----------
    mass_by_source : float64 (S,)
        Mass of each of the pool's sources, 0 for one that the plan does not mention.
    rows_by_source : int64 (S,)
        Rows of each source that can be drawn, 0 for one that the plan does not mention.
    k, minimum, maximum, names, complete
        As in `check_limits`.

    Returns
    -------
    float64 (S,)
        Expected rows per source; they sum to k.

    Raises
    ------
    InputError
        If no shares within the limits sum to k (`check_limits`).
    """
    check_limits(rows_by_source, k, minimum, maximum, names, complete=complete)
    high = np.minimum(rows_by_source, k if maximum is None else maximum).astype(np.float64)
    return water_fill(mass_by_source, np.full(len(high), float(minimum or 0)), high, float(k))


def inclusion_within(p: Floats, source: Ints, quota: Floats) -> Floats:
    """Probability that each row is drawn, given the expected rows per source.

    Inside a source the probability is ``min(1, t * p)`` with t such that they sum to the quota: a row that would be
    drawn more than once is taken for certain and its excess goes to the others of its source in proportion to p
    (Särndal, Swensson, Wretman 1992, section 3.6.2).

    Parameters
    ----------
    p : float64 (n,)
        Positive masses.
    source : int64 (n,)
        The source of each row.
    quota : float64 (S,)
        Expected rows per source, at most the rows it has.

    Returns
    -------
    float64 (n,)
        Probabilities; their sum within each source is its quota.
    """
    inclusion = np.zeros(len(p))
    for share, rows in zip(quota, members(source, len(quota)), strict=True):
        if len(rows):
            inclusion[rows] = water_fill(p[rows], np.zeros(len(rows)), np.ones(len(rows)), float(share))
    return inclusion
