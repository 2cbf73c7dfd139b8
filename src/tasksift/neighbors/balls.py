"""Candidates in balls, and which pairs of a candidate and a pool row may be within the bandwidth of each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasksift.neighbors.distances import LARGEST, Points, squared_distances, true_pairs
from tasksift.neighbors.frame import ROUNDOFF, Frame, Survey, plain_frame
from tasksift.neighbors.groups import Groups
from tasksift.neighbors.tiles import tiles
from tasksift.vectors import Vectors

Int = NDArray[np.int64]
Float = NDArray[np.float64]

SIMPLE = 5e9
"""So few products (candidates × rows × dimensions) take less time than looking for a way to save some."""

TILE_ROWS, TILE_COLUMNS = 256, 4096
"""Candidates and rows of one table of bounds, which a core's own cache holds."""


@dataclass(frozen=True)
class Local:
    """Rows as a ball sees them: coordinates around its centre, and how far they may be from the truth.

    Attributes
    ----------
    coordinates : (b, p) or (b, p + 1)
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
    members : slice
        Which of the candidates.
    centre : float64 (d,)
    radius : float
        No member is farther from the centre.
    origin : (p,)
        The centre's coordinates in the frame.
    local : Local
        The members, as seen from the centre.
    """

    members: slice
    centre: Float
    radius: float
    origin: NDArray[Any]
    local: Local

    def see(self, frame: Frame, coordinates: NDArray[Any], low: Float, high: Float) -> Local:
        """Look at rows from the centre; see `look`."""
        return look(frame, coordinates, self.centre, self.origin, low, high)


@dataclass(frozen=True)
class Candidates:
    """The rows whose surroundings are summed up, ball by ball.

    Attributes
    ----------
    positions, ids : int64 (r,)
        Where each was in the list that was asked for, and its group.
    raw : (r, d)
        As stored in the pool.
    balls : list of Ball
    centres : Points
    frame : Frame
    """

    positions: Int
    ids: Int
    raw: NDArray[Any]
    balls: list[Ball]
    centres: Points
    frame: Frame


def put_into_balls(
    pool: Vectors, groups: Groups, ids: Int, sigma: float, survey: Survey | None = None, *, cut: bool = True
) -> Candidates:
    """Look up the given groups (r,), and cut them into balls so that comparing them with the pool is cheap.

    With `cut` false they are one ball as they are, for those who compare them all the same.
    """
    frame = plain_frame(pool.dim)
    if not cut:
        parts = [np.arange(len(ids))]
    elif len(ids) * len(pool) * pool.dim < SIMPLE:
        parts = list(np.arange(len(ids))[:, None])
    else:
        survey = survey or Survey(pool, groups)
        points = pool.narrow(pool.rows(groups.representative[ids]))
        frame = survey.choose_frame(points[:: max(1, len(ids) // 128)], sigma)
        parts = tiles(points, survey.sample, sigma)
        del points
    positions = np.concatenate(parts)
    raw = pool.rows(groups.representative[ids[positions]])
    ends = np.cumsum([len(members) for members in parts])
    balls = [_ball(pool, raw, slice(end - len(members), end), frame) for members, end in zip(parts, ends, strict=True)]
    return Candidates(positions, ids[positions], raw, balls, Points(np.array([ball.centre for ball in balls])), frame)


def _ball(pool: Vectors, candidates: NDArray[Any], members: slice, frame: Frame) -> Ball:
    exact, narrow = pool.exact(candidates[members]), pool.narrow(candidates[members])
    centre = exact.mean(axis=0)
    squares = squared_distances(exact, centre)
    origin = frame.coordinates(centre.astype(narrow.dtype)[None])[0]
    seen = look(frame, frame.coordinates(narrow), centre, origin, squares * (1 - 1e-9), squares * (1 + 1e-9))
    return Ball(members, centre, float(np.sqrt(squares.max())) * (1 + 1e-9), origin, seen)


def look(
    frame: Frame, coordinates: NDArray[Any], centre: Float, origin: NDArray[Any], low: Float, high: Float
) -> Local:
    """Move coordinates (b, p) to a centre, and add what lies across the frame.

    `low` and `high` bound the rows' squared distances from the centre. With U the frame's directions,
    |y - m|² = |U(y - m)|² + |across|², and distances across differ by no more than two rows do (Cauchy-Schwarz).
    """
    if max(float(centre @ centre), float(high.max(initial=0.0))) >= LARGEST**2:
        coordinates = coordinates.astype(np.float64)
    along = coordinates - origin
    squares = np.einsum("ij,ij->i", along, along).astype(np.float64)
    error = (frame.error + ROUNDOFF) * (3 * float(np.sqrt(centre @ centre)) + 2 * np.sqrt(high))
    # Squares of tiny coordinates underflow, here and in the product that follows.
    error += 2 * np.sqrt((along.shape[1] + 1) * float(np.finfo(along.dtype).tiny))
    if frame.basis is None:
        return Local(along, squares, error)
    length, share = np.sqrt(squares), 2 * along.shape[1] * ROUNDOFF
    least = np.sqrt(np.maximum(0.0, low - (length * (1 + share) + error) ** 2))
    most = np.sqrt(np.maximum(0.0, high - np.maximum(0.0, length * (1 - share) - error) ** 2))
    across = (least + most) / 2
    slack = error + (most - least) / 2 + 2 * ROUNDOFF * across
    return Local(np.column_stack([along, across.astype(along.dtype)]), squares + across**2, slack)


def near_pairs(ball: Ball, rows: Local, sigma: float) -> Iterator[tuple[slice, slice, Int, Int]]:
    """Yield (candidates, rows, i, j): tile by tile, the pairs in it that may be within `sigma` of each other."""
    dtype = np.result_type(rows.coordinates, ball.local.coordinates)
    # With u the unit roundoff, squares of p terms and their product are off by at most p·u of |x|² + |y|² each.
    margin = 2 * (rows.coordinates.shape[1] + 32) * float(np.finfo(np.float32).eps)
    reach = (sigma + float(ball.local.slack.max()) + rows.slack) * (1 + 1e-6)
    with np.errstate(over="ignore"):  # a bandwidth beyond float32 reaches everything
        column = (((1 - margin) * rows.squares - reach**2) / 2).astype(dtype)
    # One more dimension takes the rows' own terms into the product.
    right = np.column_stack([rows.coordinates, column])
    least = ((1 - margin) * ball.local.squares / 2).astype(dtype)
    left = np.column_stack([ball.local.coordinates, np.full(len(least), -1, dtype=dtype)])
    for a in range(0, len(left), TILE_ROWS):
        some = slice(a, min(a + TILE_ROWS, len(left)))
        members = slice(ball.members.start + some.start, ball.members.start + some.stop)
        for b in range(0, len(right), TILE_COLUMNS):
            columns = slice(b, min(b + TILE_COLUMNS, len(right)))
            i, j = true_pairs(left[some] @ right[columns].T >= least[some, None])
            if len(i):
                yield members, columns, i, j
