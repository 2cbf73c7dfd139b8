"""The kernel of the densities, max(0, 1 - d²/σ²), in whole units, so that sums of it do not depend on their order.

A value is defined by direct subtraction in float64 and rounded to a multiple of 1/UNIT. Where many pairs are needed, a
float64 product computes them faster; the few values that it cannot place on the right side of a rounding border are
then subtracted directly. Both ways give the same integers, and integer sums are the same in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.neighbors.distances import Points, pair_chunk, squared_distances
from tasksift.vectors import Vectors

Int = NDArray[np.int64]
Float = NDArray[np.float64]

UNIT = 2.0**34
"""Units of the kernel's maximum. The rounding is 3e-11 a term."""

EXACT = 2.0**53
"""Whole numbers up to here are exact in float64, and so are their sums."""

MANY, DENSE = 0.01, 0.05
"""Shares of the pairs of a tile from which one product for all, in float32 to rule pairs out or in float64 to measure
them, is faster than a subtraction for each."""

MOST_UNSURE = 0.05
"""Units by which a product may be off; twice that is the share of the values that are subtracted after all."""


@dataclass(frozen=True)
class Rows:
    """Rows of a pool: as stored (b, d), their groups (b,) and the sizes of those."""

    pool: Vectors
    raw: NDArray[Any]
    ids: Int
    sizes: Int


def tile_units(left: Float, ids: Int, right: Rows, i: Int, j: Int, sigma: float, *, refine: bool) -> Int:
    """Sum the kernel over pairs of rows.

    Parameters
    ----------
    left : float64 (c, d)
    ids : int64 (c,)
        Their groups; the term of a group with itself is left out.
    right : Rows
    i, j : int64 (k,)
        The pairs (left, right) that may be within sigma of each other.
    sigma : float
    refine : bool
        Whether a float32 product of the whole rows may rule out more of the pairs.

    Returns
    -------
    int64 (c,), in units
    """
    total = np.zeros(len(left), dtype=np.int64)
    pairs = len(left) * len(right.raw)
    if refine and MANY * pairs < len(i) < pairs:
        i, j, _, _ = Points(left).near(right.pool.narrow(right.raw), sigma * sigma)
    table = table_units(left, right.pool.exact(right.raw), sigma) if len(i) > DENSE * pairs else None
    if table is not None:
        units, unsure = table
        units[unsure] = 0
        units[ids[:, None] == right.ids] = 0
        if UNIT * float(right.sizes.sum()) < EXACT:
            total += (units @ right.sizes.astype(np.float64)).astype(np.int64)
        else:
            total += np.einsum("ij,j->i", units.astype(np.int64), right.sizes)
        i, j = np.nonzero(unsure)
    other = ids[i] != right.ids[j]
    i, j = i[other], j[other]
    step = pair_chunk(left.shape[1])
    for at in range(0, len(i), step):
        some, others = i[at : at + step], j[at : at + step]
        units_of = pair_units(left[some], right.pool.exact(right.raw[others]), sigma)
        np.add.at(total, some, units_of * right.sizes[others])
    return total


def pair_units(left: Float, right: Float, sigma: float) -> Int:
    """Kernel of each pair of rows, two (k, d) arrays or broadcastable ones, in units: int64 (k,)."""
    kernel = np.maximum(0.0, 1.0 - squared_distances(left, right) / (sigma * sigma))
    return np.rint(kernel * UNIT).astype(np.int64)


def table_units(left: Float, right: Float, sigma: float) -> tuple[Float, NDArray[np.bool_]] | None:
    """Kernel of all pairs of rows of `left` (c, d) and `right` (b, d) by one product.

    Returns
    -------
    (units, unsure) or None
        Whole numbers (c, b) in float64, and where `pair_units` could differ by one. None when the bandwidth is so small
        against the vectors that most would be unsure.
    """
    ours, theirs = np.einsum("ij,ij->i", left, left), np.einsum("ij,ij->i", right, right)
    error = product_error(left.shape[1], float(ours.max(initial=0.0) + theirs.max(initial=0.0)), sigma)
    if error is None:
        return None
    table: Float = left @ right.T
    table *= 2.0
    table -= ours[:, None]
    table -= theirs
    table *= UNIT / (sigma * sigma)
    table += UNIT
    np.maximum(table, 0.0, out=table)
    units = np.rint(table)
    table -= units
    np.abs(table, out=table)
    return units, table > 0.5 - error


def product_error(dim: int, squares: float, sigma: float) -> float | None:
    """Return by how many units a kernel may be off when it comes from a product in float64; None if by too many.

    `squares` bounds the sum of the two squared lengths.
    """
    # The product and the squares are each off by at most d roundoffs of |x|² + |y|², and the sums around them by less;
    # subtracting from 1 rounds once more, however small those are.
    error = ((4 * dim + 32) * squares / (sigma * sigma) + 2) * 2.0**-53 * UNIT
    return error if error < MOST_UNSURE else None
