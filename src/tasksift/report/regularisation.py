"""The regularisation path for the report: what other breadths or alphas select, from the plan's own lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.plan import Plan
from tasksift.transport.sweep import Lists, trace_path, transport_at

Int = NDArray[np.int64]
Float = NDArray[np.float64]

VALUES = 25
"""Values of the knob."""

WIDER = 32.0
"""The largest breadth that is shown, as a multiple of the run's own."""

CLOSE = 0.02
"""Values nearer than that to the run's own, as a share of it, are left out."""

EFFECTIVE = "how many rows of equal probability would be as spread out: 1 / Σ p²"
DIFFERENT = "expected share of the selected rows that are different rows; the rest would be repeats"
DISTANCE = "mean distance from the targets to the rows that they ask for"


@dataclass(frozen=True)
class Solution:
    """What one value of the knob selects.

    Attributes
    ----------
    by_source : float64 (sources,)
        Probability of each source.
    effective : float
        ``1 / Σ p²``.
    different : float
        ``Σ min(1, B p) / B`` for a budget of B rows.
    distance : float
        ``Σ γ_ij d_ij``, the transport cost.
    """

    by_source: Float
    effective: float
    different: float
    distance: float


def solve(lists: Lists, breadth: float, sources: Int, count: int, budget: int) -> Solution:
    """Solve for one breadth, in closed form.

    Parameters
    ----------
    lists : Lists
        Of pool rows.
    sources : int64 (n,)
        The source of every pool row, of `count` sources.
    budget : int
        Rows to be drawn.
    """
    transport = transport_at(lists, breadth)
    rows, where = np.unique(transport.ids, return_inverse=True)
    mass = np.bincount(where, weights=transport.mass).astype(np.float64)
    cost = float(transport.mass @ transport.distance)
    return _solution(rows, mass, sources, count, budget, cost)


def _solution(rows: Int, mass: Float, sources: Int, count: int, budget: int, cost: float) -> Solution:
    return Solution(
        np.bincount(sources[rows], weights=mass, minlength=count).astype(np.float64),
        float(1 / (mass @ mass)),
        float(np.minimum(1.0, budget * mass).sum() / budget),
        cost,
    )


def regularisation(
    plan: Plan, sources: Int, count: int, budget: int, *, alpha: float | None, scale: float
) -> dict[str, Any] | None:
    """Follow the path of a TSDS plan.

    Parameters
    ----------
    plan : Plan
        Fresh from its selector, with `searched`.
    sources, count, budget
        As in `solve`.
    alpha : float or None
        The alpha that the user gave; the knob then is alpha, and breadth without it.
    scale : float
        The paper's C.

    Returns
    -------
    dict or None
        The part of the report, with the composition as `count` shares for each value; None for plans of other
        selectors. ``exact_to`` is the largest breadth for which the weights of all neighbours are measured; beyond it
        the weights of farther ones are taken to be like those of the last measured. None where all are measured.

    Notes
    -----
    Cost: O(entries of the lists) for each of the `VALUES` values; nothing is searched or measured anew.
    """
    if plan.breadth is None or (plan.searched is None and alpha is None):
        return None
    knobs: list[float] = []
    solutions: list[Solution] = []
    exact: float | None = None
    whole = None
    if plan.searched is not None:
        lists, exact = plan.searched()
        end = lists.full_breadth if lists.whole else lists.limit
        own = plan.breadth
        values = np.geomspace(min(1.0, own / 4), max(min(end, WIDER * own), own), VALUES)
        values = values[(values <= end) & (np.abs(values - own) > CLOSE * own)]
        breadths = np.unique(np.append(values, own))
        if alpha is not None:
            breadths, knobs = _alphas(lists, breadths, own, alpha, scale)
        else:
            knobs = breadths.tolist()
        solutions = [solve(lists, s, sources, count, budget) for s in breadths.tolist()]
        current = breadths.tolist().index(own)
        whole = lists.whole
    elif plan.links is None and plan.alpha == 0:
        # Fully spread: everything follows from the densities, and no distance was measured.
        knobs, current = [0.0], 0
        solutions = [_solution(plan.ids, plan.values, sources, count, budget, float("nan"))]
    else:
        return None
    return {
        "knob": "breadth" if alpha is None else "alpha",
        "values": knobs,
        "current": current,
        "composition": [each.by_source for each in solutions],
        "effective_rows": [each.effective for each in solutions],
        "effective_rows_what": EFFECTIVE,
        "coverage": [each.different for each in solutions],
        "coverage_what": DIFFERENT,
        "distance": [each.distance for each in solutions],
        "distance_what": DISTANCE,
        "exact_to": None if whole and exact is not None and exact >= end * (1 - 1e-9) else exact,
    }


def _alphas(lists: Lists, breadths: Float, own: float, alpha: float, scale: float) -> tuple[Float, list[float]]:
    """Replace breadths by the breakpoints beside them, with the alphas that they are optimal for, ascending."""
    path = trace_path(lists)
    # A breakpoint is optimal from its critical alpha to that of the one before; in the middle rounding is harmless.
    critical = path.critical_alpha(scale)
    critical = (critical + np.append(1.0, critical[:-1])) / 2
    found = {alpha: own}
    for breadth in breadths[breadths != own].tolist():
        at = min(int(np.searchsorted(path.breadth, breadth)), len(path.breadth) - 1)
        if at >= 0 and (path.breadth[at] - own) * (critical[at] - alpha) < 0:
            found.setdefault(float(critical[at]), float(path.breadth[at]))
    knobs = sorted(found)
    return np.array([found[knob] for knob in knobs]), knobs
