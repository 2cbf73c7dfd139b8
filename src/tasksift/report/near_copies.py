"""Selected rows that share their place with near-copies, and how many rows that kept out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.neighbors.density import densities
from tasksift.neighbors.groups import collapse
from tasksift.vectors import Vectors

Int = NDArray[np.int64]
Float = NDArray[np.float64]

SHARING = 1.05
"""Density from which a row counts as one that has near-copies."""

EXAMPLES = 8

MOST_PAIRS = 2 * 10**8
"""Pairs of selected rows that are compared at most."""

WHAT = (
    "near-copies of the selected rows that stand in the pool and were left out, each counted once; a search by "
    "nearness alone ranks them right beside these rows"
)


def near_copies(density: Float, rank: Int, pool: Vectors | None, places: Int, sigma: float | None) -> dict[str, Any]:
    """Count the selected rows that have near-copies.

    Parameters
    ----------
    density : float64 (s,)
        Near-copies of each selected row in the pool, itself included, as the selector counted them.
    rank : int64 (s,)
        For breaking ties.
    pool : Vectors (n, d) or None
    places : int64 (s,)
        The selected rows, as rows of `pool`.
    sigma : float or None
        The kernel's bandwidth.

    Returns
    -------
    dict
        ``avoided`` is ``Σ (density / own - 1)`` over the selected rows, `own` being the same density among the selected
        rows only: of ten near-copies of which three are selected each of the three stands for 10/3, so seven are left
        out. None where there are no vectors or there are too many pairs. ``examples`` holds places in the selection.

    Notes
    -----
    Cost: 2·r·s·d operations for the r rows that have near-copies.
    """
    crowded = np.flatnonzero(density > SHARING)
    avoided: int | None = None
    if not len(crowded):
        avoided = 0
    elif pool is not None and sigma is not None and len(crowded) * len(places) <= MOST_PAIRS:
        rows = Vectors(pool.take(places), name="features")
        groups = collapse(rows, rank)
        own = densities(rows, groups, groups.of_row[crowded], sigma)
        # Exact copies within the selection are one group, and each of them stands for a part of it.
        avoided = round(float(np.maximum(0.0, density[crowded] / own - 1).sum()))
    first = crowded[np.lexsort((rank[crowded], -density[crowded]))][:EXAMPLES]
    return {
        "rows_sharing": len(crowded),
        "mean_density": float(density[crowded].mean()) if len(crowded) else 1.0,
        "avoided": avoided,
        "what": WHAT,
        "examples": [{"place": int(k), "density": density[k]} for k in first],
    }
