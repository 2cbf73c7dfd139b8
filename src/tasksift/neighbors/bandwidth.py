"""The automatic bandwidth of the density kernel: how close two rows must be to say the same of the task."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasksift.neighbors.distances import squared_distances
from tasksift.neighbors.groups import Groups, collapse
from tasksift.neighbors.search import Neighbours, nearest
from tasksift.vectors import Vectors

Float = NDArray[np.float64]

SHARE = 0.75
"""The bandwidth in units of the spacing around the targets."""

APART = 0.75
"""A neighbour counts as another one when its distance from those before it is more than this share of its distance from
the target. Independent neighbours are about √2 of it apart, edited copies of one row much less."""

COUNT = 10
"""Neighbours that are looked at."""


def automatic_bandwidth(pool: Vectors, groups: Groups, targets: Float, found: list[Neighbours]) -> float:
    """0.75 × the median, over the targets, of the spacing around each.

    The spacing around a target is its distance from the nearest target that differs, or the median distance to its ten
    nearest rows of the pool that are apart from one another, whichever is smaller. It scales with the vectors, and
    copies in the pool hardly move it, however many.

    Parameters
    ----------
    pool, groups : Vectors (n, d), Groups
    targets : float64 (m, d)
    found : list of m Neighbours
        The targets' nearest groups.

    Returns
    -------
    float, 0 when neither targets nor rows differ. Cost: m² distances and a few for each neighbour.
    """
    spacing = []
    for target, here, other in zip(targets, found, _nearest_others(targets), strict=True):
        around = _distances_apart(pool, groups, target, here)
        spacing.append(min(other, float(np.median(around)) if around else np.inf))
    finite = [value for value in spacing if np.isfinite(value)]
    return SHARE * float(np.median(finite)) if finite else 0.0


def _nearest_others(targets: Float) -> list[float]:
    """The distance from each target to the nearest one that differs; inf when none does."""
    vectors = Vectors(targets)
    groups = collapse(vectors)
    if len(groups) == 1:
        return [np.inf] * len(targets)
    return [float(found.distances[1]) for found in nearest(vectors, groups, targets, 2)]


def _distances_apart(pool: Vectors, groups: Groups, target: Float, found: Neighbours) -> list[float]:
    """Distances of the nearest neighbours that differ from the target and are apart from one another."""
    kept: list[Float] = []
    distances: list[float] = []
    rows = pool.take(groups.representative[found.ids])
    for row, distance in zip(rows, found.distances, strict=True):
        if distance == 0:
            continue
        if not kept or squared_distances(np.array(kept), row).min() > (APART * distance) ** 2:
            kept.append(row)
            distances.append(float(distance))
            if len(distances) == COUNT:
                break
    return distances
