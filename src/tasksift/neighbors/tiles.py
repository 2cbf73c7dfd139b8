"""Candidates in balls: a row farther from the centre than radius plus bandwidth is near none of a ball's points.

How finely to cut the candidates is decided by what it saves on a sample of the pool.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]

SMALLEST = 4
"""Candidates of a ball that is not cut further."""

DEEPEST = 30
"""Cuts above one another, at most."""

STEPS = 4
"""Rounds of 2-means for each cut."""

# What the stages cost, in nanoseconds on one core of 2024. Only their ratios matter, and only for speed.
_ROW, _ROW_DIM = 4.0, 0.02
_COLUMN = 40.0
_PAIR = 2.0


def tiles(points: NDArray[Any], sample: NDArray[Any], sigma: float) -> list[Int]:
    """Cut `points` (r, d) into balls so that comparing them with a pool like `sample` (s, d) is cheap.

    Returns
    -------
    list of int64 arrays
        The points of each ball. Every point is in one ball. Any cut gives correct sums, so this needs no exactness.

    Notes
    -----
    Recursive 2-means; of the resulting tree the cheapest cut is kept. Cost: O((r + s·r/32)·d) at the very most.
    """
    squares = np.einsum("ij,ij->i", sample, sample)
    per_row = _ROW + _ROW_DIM * points.shape[1]

    def cut(members: Int, depth: int) -> tuple[float, list[Int]]:
        here = points[members]
        centre = here.mean(axis=0)
        offset = here - centre
        radius = float(np.sqrt(np.einsum("ij,ij->i", offset, offset).max()))
        apart = squares - 2 * (sample @ centre) + centre @ centre
        near = float((apart <= (radius + sigma) ** 2).mean())
        whole = near * (_COLUMN + _PAIR * len(members))
        # Two balls cost two looks at every row; there must be that much to gain.
        if len(members) <= SMALLEST or depth == DEEPEST or whole <= per_row or radius == 0:
            return per_row + whole, [members]
        first = _halve(offset)
        if first.all() or not first.any():
            return per_row + whole, [members]
        cost_a, balls_a = cut(members[first], depth + 1)
        cost_b, balls_b = cut(members[~first], depth + 1)
        if cost_a + cost_b < per_row + whole:
            return cost_a + cost_b, balls_a + balls_b
        return per_row + whole, [members]

    return cut(np.arange(len(points)), 0)[1]


def _halve(offset: NDArray[Any]) -> NDArray[np.bool_]:
    """Split points in two by 2-means that starts from two far ones: bool (c,)."""
    one = offset[np.einsum("ij,ij->i", offset, offset).argmax()]
    apart = offset - one
    other = offset[np.einsum("ij,ij->i", apart, apart).argmax()]
    first = np.zeros(len(offset), dtype=bool)
    for _ in range(STEPS):
        first = offset @ (one - other) > (one @ one - other @ other) / 2
        if first.all() or not first.any():
            break
        one, other = offset[first].mean(axis=0), offset[~first].mean(axis=0)
    return first
