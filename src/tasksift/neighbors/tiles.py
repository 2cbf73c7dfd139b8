"""Candidates in balls: a row farther from the centre than radius plus bandwidth is near none of a ball's points.

How finely to cut the candidates is decided by what it saves on a sample of the pool.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.neighbors.distances import LARGEST

Int = NDArray[np.int64]

STRAYS = 4
"""Balls of so few points are taken into larger ones where these reach as far anyway."""

WIDE = 2.0
"""Likewise, balls of more than this share of the usual squared radius."""

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
    if max(float(np.abs(points).max()), float(np.abs(sample).max()), sigma) > LARGEST:
        points, sample = points.astype(np.float64), sample.astype(np.float64)
    squares = np.einsum("ij,ij->i", sample, sample)
    per_row = _ROW + _ROW_DIM * points.shape[1]

    def look(members: Int) -> tuple[float, NDArray[np.bool_] | None]:
        """What it costs to compare these as one ball, and how to halve it if there may be something to gain."""
        offset = points[members]
        centre = offset.mean(axis=0)
        offset -= centre
        radius = float(np.sqrt(np.einsum("ij,ij->i", offset, offset).max()))
        apart = squares - 2 * (sample @ centre) + centre @ centre
        near = float((apart <= (radius + sigma) ** 2).mean())
        whole = near * (_COLUMN + _PAIR * len(members))
        # Two balls cost two looks at every row; there must be that much to gain.
        if len(members) == 1 or whole <= per_row or radius == 0:
            return per_row + whole, None
        return per_row + whole, _halve(offset)

    def cut(members: Int, depth: int) -> tuple[float, list[Int]]:
        cost, first = look(members)
        if first is None or depth == DEEPEST or first.all() or not first.any():
            return cost, [members]
        cost_a, balls_a = cut(members[first], depth + 1)
        cost_b, balls_b = cut(members[~first], depth + 1)
        return min((cost, [members]), (cost_a + cost_b, balls_a + balls_b), key=lambda way: way[0])

    return _gather(points, cut(np.arange(len(points)), 0)[1])


def _gather(points: NDArray[Any], balls: list[Int]) -> list[Int]:
    """Put what bisection leaves between, tiny balls and wide ones, into others that already reach as far."""
    sizes = np.array([len(ball) for ball in balls])
    centres = np.array([points[ball].mean(axis=0) for ball in balls])
    radii = np.array(
        [np.square(points[of] - centre).sum(axis=1).max() for of, centre in zip(balls, centres, strict=True)]
    )
    usual = np.median(np.repeat(radii, sizes))
    firm = (sizes > STRAYS) & (radii <= WIDE * usual)
    if firm.all() or not firm.any():
        return balls
    loose = [ball for ball, keeps in zip(balls, firm, strict=True) if not keeps]
    stray, owner = np.concatenate(loose), np.repeat(np.arange(len(loose)), sizes[~firm])
    centres, radii = centres[firm], radii[firm]
    apart = np.einsum("ij,ij->i", centres, centres) - 2 * (points[stray] @ centres.T)
    nearest = apart.argmin(axis=1)
    fits = np.square(points[stray] - centres[nearest]).sum(axis=1) <= 1.1 * radii[nearest]
    kept = [ball for ball, keeps in zip(balls, firm, strict=True) if keeps]
    gathered = [np.concatenate([ball, stray[fits & (nearest == k)]]) for k, ball in enumerate(kept)]
    return gathered + [stray[~fits & (owner == k)] for k in np.unique(owner[~fits])]


def _halve(offset: NDArray[Any]) -> NDArray[np.bool_]:
    """Split points, given around their mean (c, d), in two by 2-means that starts from two far ones: bool (c,)."""
    squares = np.einsum("ij,ij->i", offset, offset)
    one = offset[squares.argmax()]
    other = offset[(squares - 2 * (offset @ one)).argmax()]
    first = np.zeros(len(offset), dtype=bool)
    for _ in range(STEPS):
        first = offset @ (one - other) > (one @ one - other @ other) / 2
        if first.all() or not first.any():
            break
        weights = first.astype(offset.dtype)
        total, count = weights @ offset, weights.sum()
        # Offsets from their mean add up to nothing.
        one, other = total / count, -total / (len(offset) - count)
    return first
