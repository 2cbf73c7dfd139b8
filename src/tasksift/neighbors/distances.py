"""Distances between a block of the pool and a set of points: float32 bounds to filter by, float64 values to keep.

A block product in float32 is fast but cancels for near-duplicates and rounds differently for every block shape. So it
only ever rules pairs *out*, with a rigorous error bound; every distance that reaches an answer is then computed by
direct subtraction in float64, row by row, which does not depend on blocks, threads or shards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError

Float = NDArray[np.float64]

LARGEST = 1e15
"""Values beyond this are multiplied in float64, because their squares leave the range of float32."""

PAIR_BYTES = 32 * 2**20
"""Memory for the differences of one chunk of pairs."""


class Points:
    """Points to measure from, with what every block needs of them computed once.

    Parameters
    ----------
    points : float64 (m, d)
    """

    def __init__(self, points: Float) -> None:
        self.points = points
        self.squares = _squares(points)
        self.narrow: NDArray[np.float32] | None = points.astype(np.float32) if _small(points) else None

    def lower_upper(self, block: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Bounds of the squared distances to each row of `block` (b, d): two arrays of shape (m, b).

        The error of a dot product of d terms is at most d·u·|x||y| with u the unit roundoff, and 2|x||y| ≤ |x|²+|y|².
        """
        squares = _squares(block.astype(np.float64, copy=False))
        left: NDArray[Any] = self.narrow if self.narrow is not None and _small(block) else self.points
        dtype = left.dtype
        total = self.squares[:, None].astype(dtype) + squares[None, :].astype(dtype)
        product = left @ block.astype(dtype, copy=False).T
        product *= -2
        product += total
        unit = float(np.finfo(dtype).eps) / 2
        total *= (block.shape[1] + 16) * unit
        # Squares of tiny numbers underflow; the bound must stay valid there too.
        total += block.shape[1] * float(np.finfo(dtype).tiny)
        return product - total, product + total


def _squares(wide: Float) -> Float:
    with np.errstate(over="ignore"):
        squares: Float = (wide * wide).sum(axis=1)
    if not np.isfinite(squares).all():
        raise InputError("the vectors hold values too large for squared distances; rescale them")
    return squares


def _small(values: NDArray[Any]) -> bool:
    return values.size == 0 or (float(values.max()) < LARGEST and float(values.min()) > -LARGEST)


def squared_distances(left: Float, right: Float) -> Float:
    """Squared L2 distance of each pair of rows by direct subtraction: two (n, d) or (d,) arrays to (n,)."""
    difference = left - right
    difference *= difference
    total: Float = difference.sum(axis=1)
    return total


def pair_chunk(dim: int) -> int:
    """How many pairs of `dim` dimensions are subtracted at a time."""
    return max(1, PAIR_BYTES // (16 * max(1, dim)))
