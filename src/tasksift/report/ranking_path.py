"""The path of a ranking for the report: what other budgets would have selected."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]
Float = NDArray[np.float64]

VALUES = 25
"""Budgets that are shown."""

LEAST, MOST = 0.1, 4.0
"""The smallest and the largest of them, as multiples of the run's own."""

CLOSE = 0.02
"""Budgets nearer than that to the run's own, as a share of it, are left out."""

EFFECTIVE = "rows that are selected"
REACHED = "share of the targets that are the nearest target of some selected row"
DISTANCE = "mean distance of the selected rows to their nearest target"


def ranking_path(
    ranking: Int, sources: Int, count: int, budget: int, target: Int | None, distance: Float | None, targets: int
) -> dict[str, Any]:
    """Follow a ranking from a tenth of the budget to four times as much, as far as it goes.

    Parameters
    ----------
    ranking : int64 (p,)
        The plan's rows, best first, at least `MOST` budgets of them where there are as many.
    sources : int64 (p,)
        The source of each row that the plan mentions, of `count` sources.
    target, distance : (p,) or None
        The nearest target of each such row, and how far it is.
    targets : int

    Returns
    -------
    dict
        As `tasksift.report.regularisation.regularisation` returns it, with the knob ``budget``.
    """
    end = max(budget, min(int(MOST * budget), len(ranking)))
    values = np.geomspace(max(1, round(LEAST * budget)), end, VALUES).round().astype(np.int64)
    values = np.unique(np.append(values[np.abs(values - budget) > CLOSE * budget], budget))
    by_source = np.stack([np.bincount(sources[ranking[:k]], minlength=count) / k for k in values])
    reached: list[float | None] = [None] * len(values)
    far: list[float | None] = [None] * len(values)
    if target is not None and distance is not None:
        first = np.full(targets, len(ranking))
        np.minimum.at(first, target[ranking], np.arange(len(ranking)))
        reached = [float((first < k).mean()) for k in values]
        far = (np.cumsum(distance[ranking]) / np.arange(1, len(ranking) + 1))[values - 1].tolist()
    return {
        "knob": "budget",
        "values": values,
        "current": int(np.searchsorted(values, budget)),
        "composition": list(by_source),
        "effective_rows": values,
        "effective_rows_what": EFFECTIVE,
        "coverage": reached,
        "coverage_what": REACHED,
        "distance": far,
        "distance_what": DISTANCE,
        "exact_to": None,
    }
