"""How crowded each candidate's surroundings are: kernel sums over the whole pool (the density of TSDS)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tasksift.neighbors.distances import Points, pair_chunk, squared_distances
from tasksift.neighbors.groups import Groups
from tasksift.vectors import Vectors

Int = NDArray[np.int64]
Float = NDArray[np.float64]

UNIT = 2.0**36
"""Kernel values are summed as integers in units of 1/UNIT: integer sums do not depend on their order, so a density is
the same bit for bit whatever the blocks, shards or workers. The rounding is 7e-12 a term."""

TABLE_ENTRIES = 4 * 2**20
"""Entries of one table of bounds (candidates × rows of a block)."""


def densities(
    pool: Vectors, groups: Groups, ids: Int, sigma: float, tick: Callable[[int], None] | None = None
) -> Float:
    """Density of the given groups: sum over all pool rows x' of max(0, 1 - ||x - x'||² / sigma²).

    Parameters
    ----------
    pool : Vectors (n, d)
    groups : Groups
        The pool's distinct rows; a group of m copies counts m times.
    ids : int64 (c,)
        Groups to evaluate.
    sigma : float
        Bandwidth in the units of the vectors. 0 counts nothing but the row and its exact copies.
    tick : callable, optional
        Called with the number of kernel terms just bounded.

    Returns
    -------
    float64 (c,), each at least the size of its group: the row itself is counted.

    Notes
    -----
    Bounds from a float32 product rule out the pairs farther apart than sigma; the others are subtracted directly in
    float64. Cost: 2·c·n·d operations and a few fixed blocks of memory, never a table of n × n.
    """
    own = groups.size[ids].astype(np.float64)
    if sigma <= 0 or len(ids) == 0:
        return own
    rank = groups.rank
    candidates = pool.take(groups.representative[ids])
    total = np.zeros(len(ids), dtype=np.int64)
    step = max(1, min(4096, len(ids)))
    parts = [(at, Points(candidates[at : at + step])) for at in range(0, len(ids), step)]
    for start, raw in pool.blocks(max(1, min(pool.block_rows, TABLE_ENTRIES // step))):
        there = rank[start : start + len(raw)]
        block = raw[there >= 0]
        there = there[there >= 0]
        if len(there):
            for at, points in parts:
                one, other = np.nonzero(points.table(block).within(sigma * sigma))
                _add_terms(total, pool, groups, candidates, ids, one + at, there[other], sigma)
        if tick:
            tick(len(raw) * len(ids))
    return own + total / UNIT


def _add_terms(
    total: Int, pool: Vectors, groups: Groups, candidates: Float, ids: Int, one: Int, other: Int, sigma: float
) -> None:
    """Add the kernel terms of the pairs (candidate `one`, group `other`), leaving out a group's term with itself."""
    apart = ids[one] != other
    one, other = one[apart], other[apart]
    step = pair_chunk(pool.dim)
    for at in range(0, len(one), step):
        left, right = one[at : at + step], other[at : at + step]
        seen, where = np.unique(right, return_inverse=True)
        rows = pool.take(groups.representative[seen])
        kernel = np.maximum(0.0, 1.0 - squared_distances(candidates[left], rows[where]) / (sigma * sigma))
        np.add.at(total, left, np.rint(kernel * UNIT).astype(np.int64) * groups.size[right])


def prefetched_densities(
    pool: Vectors, groups: Groups, ids: Int, sigma: float, max_neighbors: int | None = None
) -> Float:
    """Density among the given groups only, over at most `max_neighbors` nearest: the published code's estimate.

    It depends on which other targets share the batch and undercounts at the edge of the prefetch, so it serves only to
    reproduce published numbers. Shapes as in `densities`. Cost: c² distances.
    """
    rows = pool.take(groups.representative[ids])
    out = np.empty(len(ids))
    for j in range(len(ids)):
        kernel = np.maximum(0.0, 1.0 - squared_distances(rows, rows[j]) / (sigma * sigma))
        kernel[j] = 1.0
        terms = np.repeat(kernel, groups.size[ids]) if (groups.size[ids] > 1).any() else kernel
        out[j] = terms.sum() if max_neighbors is None else np.sort(terms)[::-1][:max_neighbors].sum()
    return out
