"""Candidates as balls, and which pairs of a candidate and a pool row may be within the bandwidth of each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.neighbors.distances import squared_distances, true_pairs
from tasksift.neighbors.frame import ROUNDOFF, Frame
from tasksift.vectors import Vectors

Int = NDArray[np.int64]
Float = NDArray[np.float64]

TILE_ROWS, TILE_COLUMNS = 256, 4096
"""Candidates and rows of one table of bounds, which a core's own cache holds."""


@dataclass(frozen=True)
class Local:
    """Rows as a ball sees them: coordinates around its centre, and how far they may be from the truth.

    Attributes
    ----------
    coordinates : (b, p + 1)
        Along the directions of the frame, and the distance from the centre across them. Two rows are no nearer to each
        other than their coordinates are, less the slack of both.
    squares : float64 (b,)
        Squared lengths of the coordinates.
    slack : float64 (b,)
    """

    coordinates: NDArray[Any]
    squares: Float
    slack: Float


@dataclass(frozen=True)
class Ball:
    """Candidates that lie together.

    Attributes
    ----------
    members : int64 (c,)
        Their positions among all candidates.
    rows : float64 (c, d)
    centre : float64 (d,)
    radius : float
        No member is farther from the centre.
    origin : (p,)
        The centre's coordinates in the frame.
    local : Local
        The members.
    """

    members: Int
    rows: Float
    centre: Float
    radius: float
    origin: NDArray[Any]
    local: Local

    def see(self, frame: Frame, coordinates: NDArray[Any], low: Float, high: Float) -> Local:
        """Look at rows from the centre; see `look`."""
        return look(frame, coordinates, self.centre, self.origin, low, high)


def make_ball(pool: Vectors, candidates: NDArray[Any], members: Int, frame: Frame) -> Ball:
    """Put some of the candidates, given as stored (r, d), into a ball."""
    raw = candidates[members]
    exact = pool.exact(raw)
    centre = exact.mean(axis=0)
    squares = squared_distances(exact, centre)
    narrow = pool.narrow(raw)
    origin = frame.coordinates(centre.astype(narrow.dtype)[None])[0]
    seen = look(frame, frame.coordinates(narrow), centre, origin, squares * (1 - 1e-9), squares * (1 + 1e-9))
    return Ball(members, exact, centre, float(np.sqrt(squares.max())) * (1 + 1e-9), origin, seen)


def look(
    frame: Frame, coordinates: NDArray[Any], centre: Float, origin: NDArray[Any], low: Float, high: Float
) -> Local:
    """Move coordinates (b, p) to a centre, and add what lies across the frame.

    `low` and `high` bound the rows' squared distances from the centre. With U the frame's directions,
    |y - m|² = |U(y - m)|² + |across|², and distances across differ by no more than two rows do (Cauchy-Schwarz).
    """
    along = coordinates - origin
    squares = np.einsum("ij,ij->i", along, along).astype(np.float64)
    error = (frame.error + ROUNDOFF) * (3 * float(np.sqrt(centre @ centre)) + 2 * np.sqrt(high))
    if frame.basis is None:
        return Local(along, squares, error)
    length = np.sqrt(squares) * (1 + 2 * along.shape[1] * ROUNDOFF)
    least = np.sqrt(np.maximum(0.0, low - (length + error) ** 2))
    most = np.sqrt(np.maximum(0.0, high - np.maximum(0.0, length * (1 - 4 * along.shape[1] * ROUNDOFF) - error) ** 2))
    across = ((least + most) / 2).astype(along.dtype)
    return Local(
        np.column_stack([along, across]),
        squares + across.astype(np.float64) ** 2,
        error + (most - least) / 2 + across * 4 * ROUNDOFF,
    )


def near_pairs(ball: Ball, rows: Local, sigma: float) -> Iterator[tuple[slice, slice, Int, Int]]:
    """Yield (members, rows, i, j): by tiles, the pairs within them that may be within `sigma` of each other."""
    p = rows.coordinates.shape[1]
    margin = 2 * (p + 32) * (ROUNDOFF if rows.coordinates.dtype == np.float32 else 2.0**-53)
    reach = (sigma + float(ball.local.slack.max()) + rows.slack) * (1 + 1e-6)
    column = ((1 - margin) * rows.squares - reach**2) / 2
    # One more dimension takes the columns' own terms into the product.
    right = np.column_stack([rows.coordinates, column.astype(rows.coordinates.dtype)])
    least = ((1 - margin) * ball.local.squares / 2).astype(right.dtype)
    left = np.column_stack([ball.local.coordinates, np.full(len(least), -1, dtype=right.dtype)])
    for a in range(0, len(left), TILE_ROWS):
        members = slice(a, min(a + TILE_ROWS, len(left)))
        for b in range(0, len(right), TILE_COLUMNS):
            columns = slice(b, min(b + TILE_COLUMNS, len(right)))
            i, j = true_pairs(left[members] @ right[columns].T >= least[members, None])
            if len(i):
                yield members, columns, i, j
