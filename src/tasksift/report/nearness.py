"""Distances between targets and rows: of the pool, of the selection, and from each target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.report.basis import Basis
from tasksift.report.histograms import edges_of, shares
from tasksift.selectors import nearest
from tasksift.vectors import Vectors

Int = NDArray[np.int64]
Float = NDArray[np.float64]

POOL_ROWS = 20_000
"""Rows of the pool whose distances are shown."""

TAKEN_BLOCKS = 4
"""Blocks of vectors that are taken from the pool at a time, enough for several threads."""

SAMPLED = 1
"""What the sample of the pool is drawn for."""

WHAT = "distance to the nearest target"
UNIT_WHAT = f"{WHAT} (0 = the same, 1.41 = nothing in common)"


@dataclass(frozen=True)
class Nearness:
    """How near targets and selected rows are.

    Attributes
    ----------
    target, distance : (s,)
        The nearest target of every selected row, and how far it is.
    selected, selected_distance : (m,)
        The nearest selected row of every target, as a place in the selection, and how far it is.
    """

    target: Int
    distance: Float
    selected: Int
    selected_distance: Float


def measure(pool: Vectors, target: Vectors, places: Int) -> Nearness:
    """Measure all pairs of targets and selected rows.

    Parameters
    ----------
    places : int64 (s,)
        The selected rows, as rows of `pool`.

    Notes
    -----
    Exact; ties to the first. Cost: 4·m·s·d operations; memory for a few blocks of vectors.
    """
    m = len(target)
    towards, distance = np.empty(len(places), dtype=np.int64), np.empty(len(places))
    best, best_distance = np.zeros(m, dtype=np.int64), np.full(m, np.inf)
    step = TAKEN_BLOCKS * pool.block_rows
    for start in range(0, len(places), step):
        some = slice(start, start + step)
        rows = Vectors(pool.take(places[some]), name="features")
        towards[some], distance[some] = _nearest(rows, target)
        found, far = _nearest(target, rows)
        closer = far < best_distance
        best[closer], best_distance[closer] = start + found[closer], far[closer]
    return Nearness(towards, distance, best, best_distance)


def distances(basis: Basis, near: Nearness, copies: Int, *, unit: bool) -> dict[str, Any]:
    """Return the histogram of distances: of a sample of the pool, and of the selected rows with their copies."""
    assert basis.pool is not None
    assert basis.target is not None
    sample = np.sort(basis.sample(POOL_ROWS, SAMPLED))
    far = np.empty(len(sample))
    step = TAKEN_BLOCKS * basis.pool.block_rows
    for start in range(0, len(sample), step):
        some = slice(start, start + step)
        far[some] = _nearest(Vectors(basis.pool.take(sample[some]), name="features"), basis.target)[1]
    edges = edges_of(far, near.distance)
    return {
        "what": UNIT_WHAT if unit else WHAT,
        "edges": edges,
        "pool": shares(far, edges),
        "selected": shares(near.distance, edges, copies),
        "sampled": len(sample),
        "median_pool": float(np.median(far)),
        "median_selected": float(np.median(np.repeat(near.distance, copies))),
    }


def _nearest(rows: Vectors, to: Vectors) -> tuple[Int, Float]:
    links = nearest.fit(rows, to).links
    assert links is not None
    return links.target, links.distance
