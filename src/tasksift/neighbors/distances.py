"""Distances between a block of the pool and a set of points: float32 bounds to filter by, float64 values to keep.

A block product in float32 is fast but cancels for near-duplicates and rounds differently for every block shape. So it
only ever rules pairs *out*, with a rigorous error bound; every distance that reaches an answer is then computed by
direct subtraction in float64, row by row, which does not depend on blocks, threads or shards.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.errors import InputError

Int = NDArray[np.int64]
Float = NDArray[np.float64]

LARGEST = 1e15
"""Longer rows are multiplied in float64, because their squares leave the range of float32."""

PAIR_BYTES = 2**20
"""Memory for the differences of one chunk of pairs: what a core's own cache holds."""

_scratch = threading.local()


class Points:
    """Points to measure from, with what every block needs of them computed once. This is the NumPy backend.

    Parameters
    ----------
    points : float64 (m, d)
    """

    def __init__(self, points: Float) -> None:
        self.points = points
        self.squares = _squares(points)
        self.narrow: NDArray[np.float32] | None = (
            points.astype(np.float32) if self.squares.max(initial=0) < LARGEST**2 else None
        )

    def table(self, block: NDArray[Any]) -> Table:
        """Bound the distances to every row of `block` (b, d), as `Vectors.narrow` returns it.

        Cost: one product and one pass over its m·b results. The table lies in a buffer of the calling thread, which
        the thread's next table overwrites.
        """
        left, block, squares, info = self._ready(block)
        half = scratch((len(left), len(block)), left.dtype)
        np.matmul(left, block.T, out=half)
        share = self._share(info)
        half -= ((1 - share) / 2 * squares).astype(left.dtype)
        own, width = self._ends(info)
        return Table(half, own, width, 2 * share * squares)

    def bounds(self, block: NDArray[Any], i: Int, j: Int) -> tuple[Float, Float]:
        """Lower and upper bounds of the squared distances of the pairs (point i, row j of the block)."""
        left, block, squares, info = self._ready(block)
        half = np.empty(len(i))
        step = pair_chunk(block.shape[1])
        for at in range(0, len(i), step):
            some = slice(at, at + step)
            half[some] = np.einsum("ij,ij->i", left[i[some]], block[j[some]])
        share = self._share(info)
        own, width = self._ends(info)
        lower = own[i] - 2 * (half - (1 - share) / 2 * squares[j])
        return lower, lower + width[i] + 2 * share * squares[j]

    def _ready(self, block: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], Float, np.finfo[Any]]:
        """Points and block in the dtype in which they are multiplied, the block's squared lengths, and what rounded."""
        squares = _squares(block)
        left: NDArray[Any] = self.points
        if self.narrow is not None and squares.max(initial=0) < LARGEST**2:
            left = self.narrow
        # A block in float32 was rounded before it came here, whatever it is multiplied in.
        info = np.finfo(np.float32 if np.float32 in (left.dtype, block.dtype) else np.float64)
        return left, block.astype(left.dtype, copy=False), squares, info

    def _share(self, info: np.finfo[Any]) -> float:
        # With u the unit roundoff, a product of d terms is off by at most d·u·|x||y|, the squares of the block by
        # d·u·|y|², scaling to unit length by (d/2 + 4)·u, and 2|x||y| <= |x|² + |y|²; the rest covers the sums around.
        return float((4 * self.points.shape[1] + 64) * info.eps / 2)

    def _ends(self, info: np.finfo[Any]) -> tuple[Float, Float]:
        """What a point adds to the lower bound, and to the width, of its distances."""
        share = self._share(info)
        # Squares of tiny numbers underflow, and the bounds must hold there too.
        tiny = self.points.shape[1] * float(info.tiny)
        return (1 - share) * self.squares - tiny, 2 * (share * self.squares + tiny)

    def near(self, block: NDArray[Any], limits: Float | float) -> tuple[Int, Int, Float, Float]:
        """Find the pairs (point, row of the block) that may be within these squared distances.

        Returns
        -------
        (point, row, lower, upper) : the pairs, point by point, with the bounds of their squared distances
        """
        table = self.table(block)
        i, j = true_pairs(table.within(limits))
        return i, j, *table.bounds(i, j)


@dataclass(frozen=True)
class Table:
    """Bounds of the squared distances between m points and the b rows of a block.

    The lower bound of pair (i, j) is ``own[i] - 2 * half[i, j]``, and the upper bound lies ``width[i] + column[j]``
    above it. Kept in this form, because most pairs are ruled out by one comparison.
    """

    half: NDArray[Any]
    own: Float
    width: Float
    column: Float

    def within(self, limits: Float | float) -> NDArray[np.bool_]:
        """Which pairs may be within these squared distances, one for each point or one for all: bool (m, b)."""
        with np.errstate(over="ignore"):
            least = ((self.own - limits) / 2).astype(self.half.dtype)
        reach: NDArray[np.bool_] = self.half >= least[:, None]
        return reach

    def bounds(self, i: Any, j: Any) -> tuple[Float, Float]:
        """Lower and upper bounds of the pairs (i, j), which broadcast against each other."""
        lower: Float = self.own[i] - 2.0 * self.half[i, j]
        return lower, lower + self.width[i] + self.column[j]


def scratch(shape: tuple[int, int], dtype: Any) -> NDArray[Any]:
    """Return a table that the calling thread uses again and again: fresh memory would cost more than filling it."""
    dtype = np.dtype(dtype)
    tables: dict[np.dtype[Any], NDArray[Any]] = _scratch.__dict__.setdefault("tables", {})
    size = shape[0] * shape[1]
    if dtype not in tables or tables[dtype].size < size:
        tables[dtype] = np.empty(size, dtype)
    return tables[dtype][:size].reshape(shape)


def true_pairs(mask: NDArray[np.bool_]) -> tuple[Int, Int]:
    """Return (row, column) of the true entries, row by row; quick when there are few, eight entries at a look."""
    flat = mask.reshape(-1)
    whole = flat.size // 8 * 8
    words = np.flatnonzero(flat[:whole].view(np.uint64))
    word, byte = np.nonzero(flat[:whole].reshape(-1, 8)[words])
    at = np.concatenate([8 * words[word] + byte, whole + np.flatnonzero(flat[whole:])])
    row, column = np.divmod(at, mask.shape[1])
    return row, column


def _squares(rows: NDArray[Any]) -> Float:
    with np.errstate(over="ignore"):
        squares: Float = np.einsum("ij,ij->i", rows, rows).astype(np.float64)
        if rows.dtype == np.float32 and not np.isfinite(squares).all():
            return _squares(rows.astype(np.float64))
    if not np.isfinite(squares).all():
        raise InputError("the vectors hold values too large for squared distances; rescale them")
    return squares


def squared_distances(left: Float, right: Float) -> Float:
    """Squared L2 distance of each pair of rows by direct subtraction: two (n, d) or (d,) arrays to (n,)."""
    # Row by row in one order, whatever the number of rows and however they lie in memory.
    difference = np.subtract(left, right, order="C")
    total: Float = np.einsum("ij,ij->i", difference, difference)
    return total


def pair_chunk(dim: int) -> int:
    """How many pairs of `dim` dimensions are subtracted at a time."""
    return max(1, PAIR_BYTES // (8 * max(1, dim)))
